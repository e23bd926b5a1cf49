"""The set of memories that can be reached, and what is decided from each.

Axes: R rows, T steps, S symbols.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from retain.certificate.beginnings import Kind, Shown
from retain.certificate.play import Episode, Inputs, Steps
from retain.certificate.reading import Memories, Read, Reader
from retain.certificate.record import ROUNDS, Refusal
from retain.certificate.subject import Subject
from retain.certificate.tree import Branches, Choices, ask, grow
from retain.certificate.witness import Trail

Array = npt.NDArray[Any]

#: Rows that are read in one call; larger batches are no faster.
ROWS = 256
#: Segments from one memory in a first look.
QUICK = 64


class Closure:
    """Finds memories by reading all segments, or a sample, from all that were found before.

    Args:
        subject: The policy.
        inputs: The inputs of the kind seen.
        episodes: Episodes that were played, and succeeded.
        context_length: Steps of a segment, K.
        budget: The most sequences to list in each part of the search; where there are more, some
            are sampled.
        samples: How many are sampled then.
        most: The most memories to follow.
        rng: Draws samples.
    """

    def __init__(
        self,
        subject: Subject,
        inputs: Inputs,
        episodes: list[Episode],
        *,
        context_length: int,
        budget: int,
        samples: int,
        most: int,
        rng: np.random.Generator,
    ):
        self.subject, self.inputs, self.context_length = subject, inputs, context_length
        self.budget, self.samples, self.rng = budget, samples, rng
        self.reader = Reader(subject)
        self.memories = Memories(subject, most)
        held = np.concatenate([e.steps.action_T[e.held_from : e.asked_at] for e in episodes])
        actions = np.unique(held).tolist()
        if len(actions) > 1:
            # An answer to a question in the third quarter, say, which would then pass for holding.
            taken = ", ".join(map(str, actions))
            raise Refusal(
                f"more than one action was taken while nothing was asked ({taken}), so "
                "what is seen there may ask for one of them or follow from it; certify in longer "
                "episodes, with questions in their last quarter"
            )
        self.usual_action = int(actions[0])
        self.segment = [
            Choices(inputs.observation_S, inputs.signal_S, self.usual_action)
        ] * context_length
        self.decision_margin = np.inf
        self.trail = Trail()
        self.beginnings_read = self.transitions = self.decisions = 0
        self.walked = self.walked_questions = 0
        self.listed = [False, False, False]
        # Of each memory and question: the actions answered, each with what was seen before.
        self.answered: dict[tuple[int, bytes], dict[bytes, tuple[Array, Array]]]
        self.answered = defaultdict(dict)
        self.episodes, self.shown = episodes, Shown(inputs, episodes, context_length)

    # -- writing -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Reads all beginnings, or a sample."""
        counts = [self.inputs.count(int(b.free_T.sum())) for b in self.shown.beginnings.values()]
        self.listed[0] = _sum(counts, self.budget) is not None
        if not self.listed[0]:
            keys = self.shown.draw(self.rng, max(self.samples, len(self.shown.beginnings)))
            self._begin_some(keys)
            return
        for key in self.shown.beginnings:
            choices = self.shown.choices(key)
            for branches in grow(self.reader, self.subject.initial_state(1), choices):
                if branches.length:
                    usual = choices[branches.length - 1].action
                    self.decision_margin = min(self.decision_margin, branches.gap)
                    self._check_branches(branches, choices, None, usual)
                if branches.length == len(choices):
                    found = self.memories.add(branches.state)
                    self.beginnings_read += len(found)
                    self._note_starts(
                        [key] * len(found),
                        found,
                        lambda row: branches.seen(row, choices),  # noqa: B023
                    )

    def _starts(self) -> dict[Kind, set[int]]:
        """Returns the memories that each kind of beginning was found to end in."""
        starts: dict[Kind, set[int]] = defaultdict(set)
        for key, number in self.trail.first:
            starts[key].add(number)
        return starts

    def _begin_some(self, keys: list[Kind]) -> npt.NDArray[np.int64]:
        """Reads a beginning of each of some kinds, drawn where it is free; returns memories."""
        which = np.full(len(keys), -1)
        lengths = np.array([key[0] for key in keys])
        for length in np.unique(lengths):
            chosen = np.flatnonzero(lengths == length)
            for start in range(0, len(chosen), ROWS):
                rows = chosen[start : start + ROWS]
                some = [self.shown.beginnings[keys[row]] for row in rows]
                free = np.stack([beginning.free_T for beginning in some])
                symbols = self.draw(int(free.sum()), 1)[:, 0]
                observation = np.stack([b.steps.observation_T for b in some])
                signal = np.stack([b.steps.signal_T for b in some])
                observation[free] = self.inputs.observation_S[symbols]
                signal[free] = self.inputs.signal_S[symbols]
                action = np.stack([beginning.steps.action_T for beginning in some])
                state = self.subject.initial_state(len(rows))
                if length:
                    read = self.reader.read(state, observation, signal, action)
                    allowed = (read.action_BT == self.usual_action) | (read.action_BT == action)
                    self._check_actions(allowed, read.action_BT, observation.__getitem__, None)
                    self.decision_margin = min(self.decision_margin, read.gap)
                    state = read.after
                which[rows] = self.memories.add(state)
                self.beginnings_read += len(rows)
                self._note_starts([keys[row] for row in rows], which[rows], observation.__getitem__)
        return which

    def _note_starts(
        self, keys: list[Kind], found: npt.NDArray[np.int64], seen: Callable[[int], Array]
    ) -> None:
        for row, (key, number) in enumerate(zip(keys, found.tolist(), strict=True)):
            if (key, number) not in self.trail.first:
                self.trail.first[key, number] = seen(row)

    # -- holding -------------------------------------------------------------------------------

    def explore(self) -> None:
        """Follows a few segments from every memory until no new one comes."""
        done = 0
        while done < len(self.memories):
            numbers = np.arange(done, len(self.memories)).repeat(QUICK)
            done = len(self.memories)
            for start in range(0, len(numbers), ROWS):
                rows = numbers[start : start + ROWS]
                self.follow(rows, self.draw(len(rows), self.context_length))

    def meet(self, played: Memories, ends: list[list[tuple[int, int]]]) -> None:
        """Takes in the memories that the episodes played had, where they are new to their kind.

        Args:
            played: The memories.
            ends: Of each episode: the ends of segments while it held, and the memory there.
        """
        starts = self._starts()
        for episode, key, stops in zip(self.episodes, self.shown.kinds, ends, strict=True):
            if key is None or not stops:
                continue
            known = self.trail.reachable(starts[key])
            found = self.memories.add(played.state(np.array([number for _, number in stops])))
            for (stop, _), number in zip(stops, found.tolist(), strict=True):
                if number not in known:
                    seen = episode.steps.observation_T[:stop]
                    self._note_starts([key], np.array([number]), lambda _: seen)  # noqa: B023

    def close(self) -> None:
        """Follows every segment from every memory, or walks at random, until no new memory comes.

        Raises:
            Refusal: If new memories keep coming.
        """
        self.transitions = self.decisions = 0
        self.answered.clear()
        self.listed[2] = True
        self.listed[1] = self._list()
        if not self.listed[1]:
            self.listed[2] = False
            self._walk()

    def _list(self) -> bool:
        """Reads all segments from all memories; False if that would pass the budget."""
        lengths = [self.inputs.count(length) for length in range(self.context_length + 1)]
        done = 0
        while done < len(self.memories):
            known = len(self.memories)
            if _sum([lengths[-1]] * known, self.budget) is None:
                return False
            fits = _sum(lengths[:-1] * len(self.shown.questions) * known, self.budget)
            self.listed[2] = self.listed[2] and fits is not None
            self._list_from(done)
            done += 1
        return True

    def _list_from(self, number: int) -> None:
        """Reads all segments from one memory; asks all questions behind all parts of them."""
        root = self.memories.state(np.array([number]))
        for branches in grow(self.reader, root, self.segment):
            if branches.length:
                self.decision_margin = min(self.decision_margin, branches.gap)
                self._check_branches(branches, self.segment, number)
            if branches.length == self.context_length:
                found = self.memories.add(branches.state)
                self.transitions += len(found)
                self._note_ways(
                    np.full(len(found), number), found,
                    lambda row: branches.seen(row, self.segment),  # noqa: B023
                )  # fmt: skip
            elif self.listed[2]:
                for question, end in self.shown.questions.items():
                    told = end.observation_T, end.signal_T, end.action_T
                    action, gap = ask(self.reader, branches, *told)
                    self.decision_margin = min(self.decision_margin, gap)
                    self.decisions += len(action)
                    _, first = np.unique(action, axis=0, return_index=True)
                    for row in first.tolist():
                        self.answered[number, question].setdefault(
                            action[row].tobytes(),
                            (branches.seen(row, self.segment) if branches.length
                             else end.observation_T[:0], action[row]),
                        )  # fmt: skip

    def follow(
        self, numbers: npt.NDArray[np.int64], chosen_BT: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Reads a segment of some symbols from each of some memories; returns what they become."""
        told = self.told(chosen_BT)
        action = np.full(told[1].shape, self.usual_action)
        read = self.reader.read(self.memories.state(numbers), *told, action)
        self.decision_margin = min(self.decision_margin, read.gap)
        allowed = read.action_BT == self.usual_action
        self._check_actions(allowed, read.action_BT, told[0].__getitem__, numbers)
        found = self.memories.add(read.after)
        self.transitions += len(found)
        self._note_ways(numbers, found, told[0].__getitem__)
        return found

    def _note_ways(
        self,
        numbers: npt.NDArray[np.int64],
        found: npt.NDArray[np.int64],
        seen: Callable[[int], Array],
    ) -> None:
        pairs, rows = np.unique(np.stack([numbers, found]), axis=1, return_index=True)
        for (number, other), row in zip(pairs.T.tolist(), rows.tolist(), strict=True):
            if other not in self.trail.leads_to[number]:
                self.trail.note(number, other, seen(row))

    def _walk(self) -> None:
        """Lets random episodes go on and on, and asks each behind a part of every segment.

        The set is tried on a round that had no part in finding it.
        """
        walkers = min(ROWS, self.samples)
        keys = self.shown.draw(self.rng, walkers)
        numbers = self._begin_some(keys)
        for _ in range(ROUNDS):
            before, self.walked, self.walked_questions = len(self.memories), 0, 0
            while self.walked < self.samples:
                self._ask_some(keys, numbers, int(self.rng.integers(self.context_length)))
                numbers = self.follow(numbers, self.draw(walkers, self.context_length))
                self.walked += walkers
                self.walked_questions += walkers
            if len(self.memories) == before:
                return
        raise Refusal(f"new memories keep coming: {len(self.memories)} so far")

    # -- answering -----------------------------------------------------------------------------

    def decide(self, *, quick: bool = False) -> None:
        """Asks every memory all that it must know, at every step of a segment.

        Args:
            quick: Do not look at what `close` found; read a few sequences, to find soon what is
                often wrong.

        Raises:
            Refusal: If an answer is wrong, or a memory would have to give two.
        """
        asked: dict[tuple[int, bytes], tuple[Steps, Kind]] = {}
        for key, numbers in self._starts().items():
            for number in self.trail.reachable(numbers):
                for question, ending in self.shown.endings[key].items():
                    other, before = asked.setdefault((number, question), (ending, key))
                    if not np.array_equal(other.action_T, ending.action_T):
                        raise Refusal(
                            "memories are not separate: the same one is reached from beginnings "
                            "with different right answers",
                            self.trail.witness([before, key], number),
                        )
        if not quick and self.listed[2]:
            for (number, question), (ending, key) in asked.items():
                for seen, action in self.answered[number, question].values():
                    if not np.array_equal(action, ending.action_T):
                        observation = np.concatenate([seen, ending.observation_T])
                        self._wrong(key, number, ending, len(seen), observation, action)
            return
        places = [(number, ending, key) for (number, _), (ending, key) in asked.items()]
        for size in {len(ending) for _, ending, _ in places}:
            some = [place for place in places if len(place[1]) == size]
            for length in range(self.context_length):
                for start in range(0, len(some), ROWS // 4):
                    self._ask(some[start : start + ROWS // 4] * 4, length)

    def _ask_some(self, keys: list[Kind], numbers: npt.NDArray[np.int64], length: int) -> None:
        """Asks each memory one of the questions of its kind of beginning."""
        places = []
        for key, number in zip(keys, numbers.tolist(), strict=True):
            endings = list(self.shown.endings[key].values())
            places.append((number, endings[self.rng.integers(len(endings))], key))
        for size in {len(ending) for _, ending, _ in places}:
            self._ask([place for place in places if len(place[1]) == size], length)

    def _ask(self, places: list[tuple[int, Steps, Kind]], length: int) -> None:
        """Asks memories, each its own ending, behind random parts of segments."""
        told = self.told(self.draw(len(places), length))
        observation, signal = (
            np.concatenate([part, np.stack([getattr(e, name) for _, e, _ in places])], axis=1)
            for part, name in zip(told, ("observation_T", "signal_T"), strict=True)
        )
        wanted = np.stack([ending.action_T for _, ending, _ in places])
        action = np.concatenate([np.full((len(places), length), self.usual_action), wanted], axis=1)
        numbers = np.array([number for number, _, _ in places])
        state = self.memories.state(numbers)
        read: Read = self.reader.read(state, observation, signal, action, given=wanted.shape[1])
        self.decisions += len(places)
        self.decision_margin = min(self.decision_margin, read.gap)
        wrong = (read.action_BT[:, length:] != wanted).any(axis=1)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            number, ending, key = places[row]
            seen, action = observation[row], read.action_BT[row, length:]
            self._wrong(key, number, ending, length, seen, action)

    def _wrong(
        self, key: Kind, number: int, ending: Steps, length: int, seen: Array, action: Array
    ) -> None:
        raise Refusal(
            f"a memory that can be reached gives a wrong answer, {length} steps into a segment",
            self.trail.witness(
                [key],
                number,
                observations=seen.tolist(),
                actions=action.tolist(),
                wanted=ending.action_T.tolist(),
            ),
        )

    # -- helpers -------------------------------------------------------------------------------

    def draw(self, rows: int, length: int) -> npt.NDArray[np.int64]:
        """Draws symbols as they were seen, steps independent of one another."""
        weight_S = self.inputs.weight_S
        return self.rng.choice(len(weight_S), size=(rows, length), p=weight_S)

    def told(self, chosen: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Returns the observations and signals of some symbols."""
        return self.inputs.observation_S[chosen], self.inputs.signal_S[chosen]

    def _check_branches(
        self, branches: Branches, choices: list[Choices], number: int | None, *more: int
    ) -> None:
        """Checks the latest actions."""
        allowed_B = np.isin(branches.action_BT[:, -1:], [self.usual_action, *more])
        numbers = None if number is None else np.full(len(allowed_B), number)
        self._check_actions(
            allowed_B, branches.action_BT[:, -1:], lambda row: branches.seen(row, choices), numbers
        )

    def _check_actions(
        self,
        allowed_BT: Array,
        action_BT: Array,
        seen: Callable[[int], Array],
        numbers: npt.NDArray[np.int64] | None,
    ) -> None:
        if allowed_BT.all():
            return
        row, step = (int(index) for index in np.argwhere(~allowed_BT)[0])
        raise Refusal(
            f"the policy acts otherwise than it did while holding (action {action_BT[row, step]} "
            f"instead of {self.usual_action}), so what it sees next is not "
            "of the kind seen",
            self.trail.witness(
                list(self.shown.beginnings),
                None if numbers is None else int(numbers[row]),
                observations=seen(row).tolist(),
                actions=action_BT[row].tolist(),
            ),
        )


def _sum(counts: list[int | None], most: int) -> int | None:
    """The sum of some counts; None if it is greater than `most`, or one has no end."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total if total <= most else None
