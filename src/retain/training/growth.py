"""A curriculum by mastery: what is trained on doubles once it is mastered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Mastered = list[dict[str, float]]
"""What was mastered, in order: its `value` and when."""


@dataclass
class Growth:
    """A number that doubles as it is mastered, until it is whole.

    Args:
        first: What it begins with; None if nothing grows.
        whole: Where growing ends: from there on nothing is held back.
        score: The mean of an evaluation at which a value is mastered.
        mastered: What was mastered so far; grows in place.
    """

    first: int | None
    whole: int
    score: float
    mastered: Mastered

    @property
    def value(self) -> int | None:
        """The number now; None once it is whole."""
        if self.first is None:
            return None
        value = self.first * 2 ** len(self.mastered)
        return value if value < self.whole else None

    def go_on(self, score_at: Callable[[int], float], now: dict[str, float]) -> None:
        """Doubles the number for as long as what it is now turns out to be mastered.

        Args:
            score_at: Plays an evaluation at a value and returns its mean.
            now: When this is, noted with each value that is mastered.
        """
        while (value := self.value) is not None and score_at(value) >= self.score:
            self.mastered.append({"value": value, **now})
