"""The set of memories that can be reached, and what is decided from each.

Axes: R rows, T steps, S symbols.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retain.agents.sequence_policy import SequencePolicy
from retain.certificate.play import Episode, Inputs, Steps
from retain.certificate.reading import Memories, Reader, Refusal
from retain.memory import MemoryState

Array = npt.NDArray[Any]

#: Tokens that are read in one call, about.
TOKENS = 2**17
#: Segments from one memory in a first look; the least that a sample has; rounds of sampling.
QUICK, LEAST, ROUNDS = 32, 64, 8


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


class Closure:
    """Finds memories by reading all segments, or a sample, from all that were found before.

    Args:
        policy: The policy.
        inputs: The inputs of the kind seen.
        episodes: Episodes that were played, and succeeded.
        context_length: Steps of a segment, K.
        budget: The most sequences to list in each part of the search; where there are more, some
            are sampled.
        samples: How many are sampled from one memory, if the budget allows.
        most: The most memories to follow.
        rng: Draws samples.
    """

    def __init__(
        self,
        policy: SequencePolicy,
        inputs: Inputs,
        episodes: list[Episode],
        *,
        context_length: int,
        budget: int,
        samples: int,
        most: int,
        rng: np.random.Generator,
    ):
        self.policy, self.inputs, self.context_length = policy, inputs, context_length
        self.budget, self.samples, self.rng = budget, samples, rng
        self.reader = Reader(policy)
        self.memories = Memories(policy, most)
        held = np.concatenate([e.steps.action_T[e.held_from : e.asked_at] for e in episodes])
        actions, counts = np.unique(held, return_counts=True)
        self.held_actions = actions
        self.usual_action = actions[counts.argmax()]
        self.decision_margin = np.inf
        self.leads_to: dict[int, set[int]] = defaultdict(set)
        # What was seen on the way from one memory to another, and where episodes began.
        self.seen_between: dict[tuple[int, int], Array] = {}
        self.seen_first: dict[tuple[Kind, int], Array] = {}
        self.beginnings_read = self.transitions = self.decisions = 0
        self.per_state = self.per_question = 0
        self.listed = [True, True, True]
        self.questions = 0
        self._group(episodes)

    def _group(self, episodes: list[Episode]) -> None:
        """Sorts episodes by how they begin, and notes what each kind is asked."""
        length = self.context_length
        self.beginnings: dict[Kind, Beginning] = {}
        self.endings: dict[Kind, dict[bytes, Steps]] = defaultdict(dict)
        for episode in episodes:
            stop = -(-episode.held_from // length) * length
            if stop > episode.asked_at:
                continue
            steps = episode.steps.part(0, stop)
            beginning = Beginning(steps, self.inputs.of_the_kind(steps.told()))
            ending = episode.steps.part(episode.asked_at)
            asked = self.endings[beginning.key]
            self.beginnings.setdefault(beginning.key, beginning)
            other = asked.setdefault(ending.told().tobytes(), ending)
            if not np.array_equal(other.action_T, ending.action_T):
                raise Refusal(
                    "episodes that begin and end with the same inputs have different right "
                    "answers: something is decided by what was seen in between"
                )

    # -- writing -------------------------------------------------------------------------------

    def begin(self) -> dict[Kind, set[int]]:
        """Reads all beginnings, or a sample; returns the memories each kind can end in."""
        starts: dict[Kind, set[int]] = defaultdict(set)
        kinds = self.beginnings.values()
        counts = [self.inputs.count(int(beginning.free_T.sum())) for beginning in kinds]
        self.listed[0] = _sum(counts, self.budget) is not None
        samples = None if self.listed[0] else self._share(len(counts))
        for key, beginning in self.beginnings.items():
            free = np.flatnonzero(beginning.free_T)
            steps = beginning.steps
            for chosen in self._sequences(len(free), samples, len(steps)):
                rows = len(chosen)
                observation = np.repeat(steps.observation_T[None], rows, axis=0)
                returns = np.repeat(steps.return_to_go_T[None], rows, axis=0)
                observation[:, free] = self.inputs.observation_S[chosen]
                returns[:, free] = self.inputs.return_to_go_S[chosen]
                action = np.repeat(steps.action_T[None], rows, axis=0)
                state: MemoryState = self.policy.model.initial_state(rows)
                if len(steps):
                    read = self.reader.read(state, observation, returns, action)
                    allowed = np.isin(read.action_BT, self.held_actions) | (
                        read.action_BT == action
                    )
                    self._check_actions(allowed, read.action_BT, observation, None)
                    state = read.after
                found = self.memories.add(state)
                self.beginnings_read += rows
                which, first = np.unique(found, return_index=True)
                for number, row in zip(which.tolist(), first.tolist(), strict=True):
                    starts[key].add(number)
                    self.seen_first.setdefault((key, number), observation[row])
        return starts

    # -- holding -------------------------------------------------------------------------------

    def explore(self) -> None:
        """Follows a few segments from every memory until no new one comes."""
        self._follow_all(QUICK)

    def close(self) -> None:
        """Follows every segment from every memory, or a sample, until no new memory comes.

        Where segments are sampled, the set is tried on samples that had no part in finding it.

        Raises:
            Refusal: If new memories keep coming.
        """
        self.listed[1] = self._follow_all(None)
        if self.listed[1]:
            return
        for _ in range(ROUNDS):
            before = len(self.memories)
            self._follow_all(self._share(before))
            if len(self.memories) == before:
                return
        raise Refusal(f"new memories keep coming: {len(self.memories)} so far")

    def _follow_all(self, samples: int | None) -> bool:
        """Follows samples, or all segments (None); False if that would pass the budget."""
        self.transitions, done = 0, 0
        whole = self.inputs.count(self.context_length)
        while done < len(self.memories):
            if samples is None and _sum([whole] * len(self.memories), self.budget) is None:
                return False
            self._follow(done, samples)
            done += 1
        self.per_state = self.transitions // max(1, len(self.memories))
        return True

    def _share(self, places: int) -> int:
        """How many sequences to sample at each of some places."""
        return max(LEAST, min(self.samples, self.budget // max(1, places)))

    def _follow(self, number: int, samples: int | None) -> None:
        """Reads segments from one memory."""
        for chosen in self._sequences(self.context_length, samples, self.context_length):
            observation, returns = self._told(chosen)
            action = np.full(chosen.shape, self.usual_action)
            state = self.memories.state(np.full(len(chosen), number))
            read = self.reader.read(state, observation, returns, action)
            self.decision_margin = min(self.decision_margin, read.gap)
            allowed = np.isin(read.action_BT, self.held_actions)
            self._check_actions(allowed, read.action_BT, observation, number)
            found = self.memories.add(read.after)
            self.transitions += len(chosen)
            numbers, rows = np.unique(found, return_index=True)
            for other, row in zip(numbers.tolist(), rows.tolist(), strict=True):
                self.leads_to[number].add(other)
                self.seen_between.setdefault((number, other), observation[row])

    # -- answering -----------------------------------------------------------------------------

    def decide(self, starts: dict[Kind, set[int]], *, quick: bool = False) -> None:
        """Asks every memory all that it must know, at every step of a segment.

        Args:
            starts: What `begin` found.
            quick: Read a few sequences only, to find soon what is often wrong.

        Raises:
            Refusal: If an answer is wrong, or a memory would have to give two.
        """
        asked: dict[tuple[int, bytes], tuple[Steps, Kind]] = {}
        for key, numbers in starts.items():
            for number in self.reachable(numbers):
                for question, ending in self.endings[key].items():
                    other, before = asked.setdefault((number, question), (ending, key))
                    if not np.array_equal(other.action_T, ending.action_T):
                        raise Refusal(
                            "memories are not separate: the same one is reached from beginnings "
                            "with different right answers",
                            self._witness([before, key], number),
                        )
        self.questions = len({question for _, question in asked})
        lengths = range(self.context_length)
        total = _sum([self.inputs.count(n) for n in lengths] * len(asked), self.budget)
        samples = None if total is not None else self._share(len(asked) * len(lengths))
        self.listed[2] = samples is None
        samples = QUICK // len(lengths) + 1 if quick else samples
        self.decisions, self.per_question = 0, samples or 0
        for (number, _), (ending, key) in asked.items():
            for length in lengths:
                self._ask(key, number, ending, length, samples)

    def reachable(self, numbers: Iterable[int]) -> set[int]:
        """Returns the memories that can follow from some."""
        found, rest = set(numbers), list(numbers)
        while rest:
            for other in self.leads_to[rest.pop()] - found:
                found.add(other)
                rest.append(other)
        return found

    def _ask(self, key: Kind, number: int, ending: Steps, length: int, samples: int | None) -> None:
        asked = len(ending)
        for chosen in self._sequences(length, samples, length + asked):
            rows = len(chosen)
            told = self._told(chosen)

            def with_ending(part: Array, end: Array, rows: int = rows) -> Array:
                return np.concatenate([part, np.repeat(end[None], rows, axis=0)], axis=1)

            observation = with_ending(told[0], ending.observation_T)
            returns = with_ending(told[1], ending.return_to_go_T)
            action = with_ending(np.full(chosen.shape, self.usual_action), ending.action_T)
            state = self.memories.state(np.full(rows, number))
            read = self.reader.read(state, observation, returns, action, given=asked)
            self.decisions += rows
            self.decision_margin = min(self.decision_margin, read.gap)
            wrong = (read.action_BT[:, length:] != ending.action_T).any(axis=1)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise Refusal(
                    f"a memory that can be reached gives a wrong answer, {length} steps into a "
                    "segment",
                    self._witness(
                        [key],
                        number,
                        observations=observation[row].tolist(),
                        actions=read.action_BT[row].tolist(),
                        wanted=ending.action_T.tolist(),
                    ),
                )

    # -- helpers -------------------------------------------------------------------------------

    def _sequences(
        self, free: int, samples: int | None, length: int
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Yields sequences of symbols in parts that can be read at once."""
        rows = max(16, TOKENS // max(1, 3 * length))
        for chosen in self.inputs.sequences(free, samples, self.rng):
            for start in range(0, len(chosen), rows):
                yield chosen[start : start + rows]

    def _told(self, chosen: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        return self.inputs.observation_S[chosen], self.inputs.return_to_go_S[chosen]

    def _check_actions(
        self, allowed_BT: Array, action_BT: Array, observation_BT: Array, number: int | None
    ) -> None:
        if allowed_BT.all():
            return
        row, step = (int(index) for index in np.argwhere(~allowed_BT)[0])
        raise Refusal(
            f"the policy acts otherwise than it did while holding (action {action_BT[row, step]} "
            f"instead of {', '.join(map(str, self.held_actions))}), so what it sees next is not "
            "of the kind seen",
            self._witness(
                list(self.beginnings),
                number,
                observations=observation_BT[row].tolist(),
                actions=action_BT[row].tolist(),
            ),
        )

    def _witness(self, keys: list[Kind], number: int | None, **more: Any) -> dict[str, Any]:
        """How each of some kinds of episode can come to a memory, and what was read from it."""
        ways = [] if number is None else [w for key in keys if (w := self._way(key, number))]
        ways = ways if len(keys) < 3 else ways[:1]
        lengths = " and ".join(str(len(way["segments"])) for way in ways)
        text = "it happens before the first memory is written"
        if ways:
            text = f"{lengths} segments after a beginning; the JSON has them"
        return {"text": text, "memory": number, "ways": ways, **more}

    def _way(self, key: Kind, number: int) -> dict[str, Any] | None:
        """The shortest way from a kind of beginning to a memory: all that is seen on it."""
        starts = [start for kind, start in self.seen_first if kind == key]
        came_from: dict[int, int | None] = dict.fromkeys(starts)
        queue = list(starts)
        for at in queue:
            for other in self.leads_to[at] - came_from.keys():
                came_from[other] = at
                queue.append(other)
        if number not in came_from:
            return None
        segments, at = [], number
        while (before := came_from[at]) is not None:
            observations = self.seen_between[before, at].tolist()
            segments.append({"from": before, "to": at, "observations": observations})
            at = before
        beginning = self.seen_first[key, at].tolist()
        return {"beginning": beginning, "first": at, "segments": segments[::-1]}


def _sum(counts: list[int | None], most: int) -> int | None:
    """The sum of some counts; None if it is greater than `most`, or one has no end."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total if total <= most else None
