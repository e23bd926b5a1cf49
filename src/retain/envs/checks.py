"""Checks of the options that environments are made with; each says in one line what is wrong."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from numbers import Real
from typing import Any

from retain.core.errors import ConfigError

#: More steps or cells than that are not counted without error everywhere.
MOST = 2**53


def whole_number(name: str, value: Any) -> int:
    """Reads a whole number.

    Raises:
        ConfigError: If it is none.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ConfigError(f"{name} must be a whole number, got {value!r}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raises ConfigError unless `value` is a whole number of at least `least`."""
    number = whole_number(name, value)
    if not least <= number <= MOST:
        limit = f"at most {MOST}" if number > MOST else f"at least {least}"
        raise ConfigError(f"{name} must be {limit}, got {number}")


def check_option_names(id: str, names: Iterable[str]) -> None:
    """Checks that no option of an environment has a name that says how a batch of them is made.

    Raises:
        ConfigError: If one has.
    """
    for name in names:
        if name in ("id", "num_envs", "autoreset_mode", "independent_rows"):
            raise ConfigError(f"{id} has no option '{name}': that is not for it to say")


def check_number(name: str, value: Any) -> None:
    """Raises ConfigError unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
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
