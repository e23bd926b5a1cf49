"""Memory of bits: the memory chain (length and size), and bits spread over the episode.

Observation, float32 of shape [2 + num_bits]: `[clock, query, bits]`.
    clock  1 - t/L, from 1 down to 0; L is `memory_length`
    query  the number of the bit that is asked for, shown at the clock's time t = L - 1, else 0
    bits   +1 or -1 where a bit is shown, else 0
Actions: 0 for a bit of -1, 1 for +1. Only the last action of an episode counts: it gives +1 if it
is right, else -1. All other steps give 0. Every episode ends as terminated.

*Memory chain.* All bits are shown at t = 0; a query, drawn per episode, asks for one of them. The
clock does not move at the first step, so the first observation is shown twice and an episode has
L + 1 steps. These are the rules of `memory_len` and `memory_size` in Osband et al., "Behaviour
Suite for Reinforcement Learning" (2020). `retain/MemoryLength-v0` starts from one bit and a long
time, `retain/MemorySize-v0` from many bits and a short one; either takes both options.

*Distributed memory.* Each bit is shown at one time only, bit i at the i-th of `num_bits` times that
`layout_seed` fixes for good. The sign of the majority is asked for (the query stays 0). The clock
moves at every step, so an episode has L steps.

Axes: B rows, R rows chosen from them, N bits, A ages (steps taken), O observation.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.envs.batched import BatchedEnv, BatchedVectorEnv, Transition
from retain.envs.checks import check_count
from retain.envs.draws import FixedHorizonRules, Rows, below, bits
from retain.envs.experts import register_expert


@dataclass(frozen=True, kw_only=True)
class MemoryLengthOptions:
    """What can be chosen about a memory chain.

    Raises:
        ConfigError: If a value is out of range.
    """

    memory_length: int = 10
    """Steps that the clock takes from 1 to 0."""
    num_bits: int = 1
    """Bits shown at the start, one of which is asked for."""

    def __post_init__(self) -> None:
        for name in ("memory_length", "num_bits"):
            check_count(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class MemorySizeOptions(MemoryLengthOptions):
    """What can be chosen about a memory chain; by default a short one of several bits.

    Raises:
        ConfigError: If a value is out of range.
    """

    memory_length: int = 2
    """Steps that the clock takes from 1 to 0."""
    num_bits: int = 5
    """Bits shown at the start, one of which is asked for."""


@dataclass(frozen=True, kw_only=True)
class DistributedMemoryOptions:
    """What can be chosen about a distributed memory task.

    Raises:
        ConfigError: If a value is out of range, or the bits are even in number or too many.
    """

    memory_length: int = 10
    """Steps of an episode."""
    num_bits: int = 5
    """Bits shown, each at a time of its own; odd, so that there is a majority."""
    layout_seed: int = 0
    """Which times these are: the same for every episode and every row."""

    def __post_init__(self) -> None:
        for name in ("memory_length", "num_bits"):
            check_count(name, getattr(self, name))
        check_count("layout_seed", self.layout_seed, least=0)
        if self.num_bits % 2 == 0:
            raise ConfigError(f"num_bits must be odd to have a majority, got {self.num_bits}")
        if self.num_bits > self.memory_length:
            raise ConfigError(
                f"num_bits {self.num_bits} does not fit memory_length {self.memory_length}: each "
                "bit has a time of its own"
            )

    @property
    def times(self) -> tuple[int, ...]:
        """The time at which each bit is shown, in rising order."""
        chosen = random.Random(self.layout_seed).sample(range(self.memory_length), self.num_bits)
        return tuple(sorted(chosen))


class BitsRules(FixedHorizonRules):
    """What the two tasks share: a clock, hidden numbers shown at fixed ages, an answer at the end.

    Args:
        options: The family's options.
        num_rows: How many copies.
        clock_A: The clock's time at every age from 0 to the horizon.
        shown_AN: Whether each bit is shown, at every age.
        query_A: Whether the query is shown, at every age.
    """

    def __init__(
        self,
        options: Any,
        num_rows: int,
        clock_A: npt.NDArray[np.int64],
        shown_AN: npt.NDArray[np.bool_],
        query_A: npt.NDArray[np.bool_],
    ):
        super().__init__(options, num_rows, len(clock_A) - 1)
        count = options.num_bits
        self.observation_space = gym.spaces.Box(
            np.array([0, 0, *[-1] * count], dtype=np.float32),
            # The query is below `count`; a bound of 0 for a single bit would be no interval.
            np.array([1, count, *[1] * count], dtype=np.float32),
            dtype=np.float32,
        )
        self.action_space = gym.spaces.Discrete(2)
        self._clock_A = (1 - clock_A / options.memory_length).astype(np.float32)
        # What is shown at first, and at which later ages that changes: age, columns, shown or not.
        self._first_N, self._query_first = shown_AN[0].astype(np.int8), bool(query_A[0])
        self._bit_changes = _changes(shown_AN)
        self._query_changes = _changes(query_A[:, None])
        self._present_BO = np.zeros((num_rows, 2 + count), dtype=np.float32)
        self._signs_BN = np.zeros((num_rows, count), dtype=np.int8)
        self.bits_BN = np.zeros((num_rows, count), dtype=np.uint8)
        self.query_B = np.zeros(num_rows, dtype=np.int64)  # 0 where the majority is asked for
        self.answer_B = np.zeros(num_rows, dtype=np.int64)
        self._row_B = np.arange(num_rows)

    @abstractmethod
    def draw(self, rows: Rows) -> None:
        """Fills `bits_BN`, `query_B` and `answer_B` of `rows`."""

    def begin_rows(self, rows: Rows) -> None:
        """Draws the hidden numbers and shows the first of them."""
        super().begin_rows(rows)
        self.draw(rows)
        signs_RN = self.bits_BN[rows].view(np.int8) * np.int8(2) - np.int8(1)
        self._signs_BN[rows] = signs_RN
        self._present_BO[rows, 1] = self.query_B[rows] if self._query_first else 0
        self._present_BO[rows, 2:] = signs_RN * self._first_N

    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Moves the clock, changes what is shown, and pays for the last action."""
        terminated_B, last = self.tick()
        present_BN = self._present_BO[:, 2:]
        for age in self.present_ages():
            bits, query = self._bit_changes.get(age, ()), self._query_changes.get(age, ())
            rows = self.at_age(age) if bits or query else None
            if rows is None:
                continue
            for columns, shown in bits:
                present_BN[rows, columns] = self._signs_BN[rows, columns] if shown else 0
            for _, shown in query:
                self._present_BO[rows, 1] = self.query_B[rows] if shown else 0
        rewards_B = np.zeros(self.num_rows)
        if last is not None:
            self.success_B[last] = actions_B[last] == self.answer_B[last]
            rewards_B[last] = np.where(self.success_B[last], 1.0, -1.0)
        return Transition(rewards_B, terminated_B, np.zeros(self.num_rows, dtype=np.bool_))

    def observe(self) -> npt.NDArray[np.float32]:
        """The observations `[clock, query, bits]`, float32 of shape [B, 2 + num_bits]."""
        # Rows that have ended stay at the clock's last time.
        self._present_BO[:, 0] = self._clock_A.take(self.ages(), mode="clip")
        return self._present_BO.copy()

    def hidden(self) -> dict[str, Any]:
        """The bits."""
        return {f"bit {n}": bits_B.astype(np.int64) for n, bits_B in enumerate(self.bits_BN.T)}

    def render(self, row: int, mode: str) -> str:
        """Draws one row in a line of text (`ansi`)."""
        clock, query, *shown = self.observe()[row]
        signs = "".join({1: "+", -1: "-", 0: "."}[int(bit)] for bit in shown)
        time = min(self.now - int(self.start_B[row]), self.horizon)
        line = f"step {time}/{self.horizon}  clock {clock:.2f}  query {int(query)}  bits {signs}"
        if self.ended_B[row]:
            line += "  right" if self.success_B[row] else "  wrong"
        return line


def _changes(shown_AN: npt.NDArray[np.bool_]) -> dict[int, list[tuple[slice, bool]]]:
    """By age, which columns begin or cease to be shown; neighbours that do so come together."""
    found: dict[int, list[tuple[slice, bool]]] = {}
    change_AN = np.diff(shown_AN.astype(np.int8), axis=0)
    for age in np.flatnonzero(change_AN.any(axis=1)):
        places = np.flatnonzero(change_AN[age])
        breaks = (np.diff(places) > 1) | (np.diff(change_AN[age, places]) != 0)
        for run in np.split(places, np.flatnonzero(breaks) + 1):
            shown = bool(shown_AN[age + 1, run[0]])
            columns = slice(int(run[0]), int(run[-1]) + 1)
            found.setdefault(int(age) + 1, []).append((columns, shown))
    return found


class MemoryChainRules(BitsRules):
    """The rules of `num_rows` memory chains; see the module's text."""

    options: MemoryLengthOptions

    def __init__(self, options: MemoryLengthOptions, num_rows: int):
        length = options.memory_length
        clock_A = np.maximum(np.arange(length + 2) - 1, 0)
        shown_AN = np.repeat(clock_A[:, None] == 0, options.num_bits, axis=1)
        super().__init__(options, num_rows, clock_A, shown_AN, clock_A == length - 1)

    def draw(self, rows: Rows) -> None:
        """Word 0 gives the query, the words after it the bits."""
        count = self.options.num_bits
        words_RW = self.draws.words(rows, 2 + (count - 1) // 32)
        query_R = below(words_RW[:, 0], count)
        bits_RN = bits(words_RW[:, 1:], count)
        self.query_B[rows] = query_R
        self.bits_BN[rows] = bits_RN
        self.answer_B[rows] = bits_RN.ravel().take(self._row_B[: len(query_R)] * count + query_R)


class DistributedMemoryRules(BitsRules):
    """The rules of `num_rows` distributed memory tasks; see the module's text."""

    options: DistributedMemoryOptions

    def __init__(self, options: DistributedMemoryOptions, num_rows: int):
        clock_A = np.arange(options.memory_length + 1)
        shown_AN = clock_A[:, None] == np.array(options.times)
        super().__init__(options, num_rows, clock_A, shown_AN, np.zeros_like(clock_A, np.bool_))

    def hidden(self) -> dict[str, Any]:
        """The bits, and what is asked for: whether most of them are up."""
        return {"majority": self.answer_B.astype(np.int64), **super().hidden()}

    def draw(self, rows: Rows) -> None:
        """The words give the bits."""
        count = self.options.num_bits
        bits_RN = bits(self.draws.words(rows, 1 + (count - 1) // 32), count)
        self.bits_BN[rows] = bits_RN
        self.answer_B[rows] = 2 * bits_RN.sum(axis=1, dtype=np.int64) > count


class MemoryLengthEnv(BatchedEnv):
    """One memory chain (`retain/MemoryLength-v0`); options: `MemoryLengthOptions`."""

    rules_type = MemoryChainRules
    options_type = MemoryLengthOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


class MemoryLengthVectorEnv(BatchedVectorEnv):
    """Many memory chains in one batch; options: `MemoryLengthOptions`."""

    rules_type = MemoryChainRules
    options_type = MemoryLengthOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


class MemorySizeEnv(BatchedEnv):
    """One short memory chain (`retain/MemorySize-v0`); options: `MemorySizeOptions`."""

    rules_type = MemoryChainRules
    options_type = MemorySizeOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


class MemorySizeVectorEnv(BatchedVectorEnv):
    """Many short memory chains in one batch; options: `MemorySizeOptions`."""

    rules_type = MemoryChainRules
    options_type = MemorySizeOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


class DistributedMemoryEnv(BatchedEnv):
    """One distributed memory task (`retain/DistributedMemory-v0`)."""

    rules_type = DistributedMemoryRules
    options_type = DistributedMemoryOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


class DistributedMemoryVectorEnv(BatchedVectorEnv):
    """Many distributed memory tasks in one batch; options: `DistributedMemoryOptions`."""

    rules_type = DistributedMemoryRules
    options_type = DistributedMemoryOptions
    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012


@register_expert("retain/MemoryLength-v0")
@register_expert("retain/MemorySize-v0")
class MemoryChainOracle:
    """Answers the query shown now; what it does before there is one does not matter."""

    def __init__(self) -> None:
        self._bits_BN = np.zeros((0, 1))

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations_BO: The observations, shape [B, 2 + num_bits].
            reset_B: True where the observation is the first of an episode.
        """
        query_B, shown_BN = observations_BO[:, 1].astype(np.int64), observations_BO[:, 2:]
        if self._bits_BN.shape != shown_BN.shape:
            self._bits_BN = np.zeros(shown_BN.shape)
        self._bits_BN = np.where(shown_BN != 0, shown_BN, self._bits_BN)
        return (self._bits_BN[np.arange(len(query_B)), query_B] > 0).astype(np.int64)


@register_expert("retain/DistributedMemory-v0")
class DistributedMemoryOracle:
    """Counts the bits shown and answers with the sign of their sum."""

    def __init__(self) -> None:
        self._sum_B = np.zeros(0)

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations_BO: The observations, shape [B, 2 + num_bits].
            reset_B: True where the observation is the first of an episode.
        """
        if len(self._sum_B) != len(observations_BO):
            self._sum_B = np.zeros(len(observations_BO))
        self._sum_B = np.where(reset_B, 0, self._sum_B) + observations_BO[:, 2:].sum(axis=1)
        return (self._sum_B > 0).astype(np.int64)
