"""Checks of model settings, so that a wrong number is one clear line and no stack trace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from retain.core.errors import ConfigError


def check_positive(config: Any, *names: str, prefix: str = "model") -> None:
    """Checks that fields are at least 1; None, where a field may be None, is let pass.

    Raises:
        ConfigError: If one is not.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ConfigError(f"{prefix}.{name} must be at least 1, not {value}")


def check_probability(config: Any, *names: str, prefix: str = "model") -> None:
    """Checks that fields are from 0 up to, and without, 1.

    Raises:
        ConfigError: If one is not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ConfigError(f"{prefix}.{name} must be at least 0 and below 1, not {value}")


def check_choice(config: Any, name: str, known: Iterable[str], prefix: str = "model") -> None:
    """Checks that a field is one of the known values.

    Raises:
        ConfigError: If it is not.
    """
    value, choices = getattr(config, name), list(known)
    if value not in choices:
        raise ConfigError(f"{prefix}.{name} must be one of {', '.join(choices)}, not '{value}'")
