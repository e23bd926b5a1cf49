"""Errors a user can act on, and notes.

Every error that bad input can cause derives from `RetainError`. The command line prints its one
line and exits with status 2; in Python it is an ordinary exception.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from collections.abc import Iterable


class RetainError(Exception):
    """Something the user gave cannot be used; the message says what is wrong and what to do."""


class Note(UserWarning):
    """Something the user may want to know, and that stops nothing."""


@functools.cache
def note(text: str) -> None:
    """Gives a note, as a warning; the same one once, however warnings are filtered."""
    warnings.warn(text, Note, stacklevel=2)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text; its kind if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


#: Names that a message lists.
MOST_NAMES = 40


def _some(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


class UnknownNameError(RetainError, KeyError):
    """A name that is not registered; the message lists the nearest ones.

    Args:
        kind: What is named.
        name: The name.
        known: The names there are.
        otherwise: What to do if none of these is meant.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], otherwise: str = ""):
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {_some(names) or 'none'}"
        if otherwise:
            hint += f" {otherwise[0].upper()}{otherwise[1:]}" if near else f"; {otherwise}"
        super().__init__(f"unknown {kind} '{name}'; {hint}")

    def __str__(self) -> str:  # KeyError would print the message's repr
        return str(self.args[0])


class ConfigError(RetainError, ValueError):
    """A configuration whose values do not fit together."""


class DatasetError(RetainError):
    """A dataset that is missing, broken or does not fit."""


class RunError(RetainError):
    """A run folder that is missing, half-written, of another version, or has wrong weights."""


class ModelError(RetainError):
    """A model that does not keep to the memory contract."""


class TrainingError(RetainError):
    """Training that cannot go on (for example a loss that is not a number)."""


class MissingExtraError(RetainError, ImportError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; run: pip install 'retain[{extra}]'")
