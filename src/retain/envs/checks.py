"""Checks of the options that environments are made with; each says in one line what is wrong."""

from __future__ import annotations

import math
import operator
from typing import Any

from retain.core.errors import ConfigError


def whole_number(name: str, value: Any) -> int:
    """Reads a whole number.

    Raises:
        ConfigError: If it is none.
    """
    try:
        return operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be a whole number, got {value!r}") from None


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises ConfigError unless `value` is a whole number of at least `least`."""
    number = whole_number(name, value)
    if number < least:
        raise ConfigError(f"{name} must be at least {least}, got {number}")


def check_number(name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")


def check_lengths(shortest: int | None, longest: int) -> None:
    """Checks the lengths that a corridor can have; None: it has but one.

    Raises:
        ConfigError: If one is not a whole number of at least 1, or the two are in the wrong order.
    """
    check_count("corridor_length", longest)
    if shortest is not None:
        check_count("min_corridor_length", shortest)
        if shortest > longest:
            raise ConfigError(
                f"min_corridor_length {shortest} is greater than corridor_length {longest}"
            )
