"""What episodes began with, and what they were asked: the two ends between which a memory holds.

Axes: T steps.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from retain.certificate.play import Episode, Inputs, Steps
from retain.certificate.record import Refusal
from retain.certificate.tree import Choices

#: A kind of beginning: how many steps it has, and what is shown at which of them.
Kind: TypeAlias = tuple[int, bytes]


@dataclass(frozen=True)
class Beginning:
    """An episode up to the end of the segment in which holding begins."""

    steps: Steps
    free_T: npt.NDArray[np.bool_]
    """Steps at which any input of the kind seen may stand."""

    @property
    def key(self) -> Kind:
        """The same for beginnings in which the same was shown at the same steps."""
        shown = np.where(self.free_T[:, None], np.inf, self.steps.told())
        return len(self.steps), shown.tobytes()


class Shown:
    """Sorts episodes by how they begin, and notes what each kind is asked.

    Args:
        inputs: The inputs of the kind seen.
        episodes: Episodes that succeeded; those too short to end a segment are left out.
        context_length: Steps of a segment.

    Raises:
        Refusal: If the same beginning and the same question have two right answers.
    """

    def __init__(self, inputs: Inputs, episodes: list[Episode], context_length: int):
        self.inputs = inputs
        self.beginnings: dict[Kind, Beginning] = {}
        self.weights: dict[Kind, int] = defaultdict(int)
        self.endings: dict[Kind, dict[bytes, Steps]] = defaultdict(dict)
        self.questions: dict[bytes, Steps] = {}
        #: The kind of each episode; None of those that are too short.
        self.kinds: list[Kind | None] = []
        for episode in episodes:
            stop = -(-episode.held_from // context_length) * context_length
            if stop > episode.asked_at:
                self.kinds.append(None)
                continue
            steps = episode.steps.part(0, stop)
            beginning = Beginning(steps, inputs.of_the_kind(steps.told()))
            ending = episode.steps.part(episode.asked_at)
            question = ending.told().tobytes()
            self.beginnings.setdefault(beginning.key, beginning)
            self.weights[beginning.key] += 1
            self.kinds.append(beginning.key)
            self.questions.setdefault(question, ending)
            other = self.endings[beginning.key].setdefault(question, ending)
            if not np.array_equal(other.action_T, ending.action_T):
                raise Refusal(
                    "episodes that begin and end with the same inputs have different right "
                    "answers: something is decided by what was seen in between"
                )

    @property
    def pairs(self) -> int:
        """Kinds of beginning and questions that were seen together."""
        return sum(len(asked) for asked in self.endings.values())

    def choices(self, key: Kind) -> list[Choices]:
        """Returns what can be told at each step of a kind of beginning."""
        beginning, inputs = self.beginnings[key], self.inputs
        steps = beginning.steps
        choices = []
        for t, free in enumerate(beginning.free_T):
            told = steps.observation_T[t : t + 1], steps.signal_T[t : t + 1]
            if free:
                told = inputs.observation_S, inputs.signal_S
            choices.append(Choices(*told, int(steps.action_T[t])))
        return choices

    def draw(self, rng: np.random.Generator, rows: int) -> list[Kind]:
        """Draws kinds as they were seen, but each at least once if there is room."""
        keys = list(self.beginnings)
        weight = np.array([self.weights[key] for key in keys], dtype=np.float64)
        drawn = rng.choice(len(keys), size=rows, p=weight / weight.sum())
        drawn[: len(keys)] = np.arange(len(keys))[:rows]
        return [keys[n] for n in drawn]
