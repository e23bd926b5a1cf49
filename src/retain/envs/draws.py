"""Random numbers of many rows at once, and rules that begin many rows at once.

A generator object per row is slow where episodes are short: beginning 1024 rows means 1024 calls.
Here the random words of an episode are a function of (seed, episode, place). A row that is seeded
with s has the stream of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", 2014) that begins at `key(s)`; any of its words can be computed without those before
it, and episode e has those from e x 2**20 on. So any set of rows is drawn for in a few array
operations, and a row's numbers depend on its own seed and on how many episodes it has begun since,
whatever the other rows do.

Axes: B rows of the batch, R rows chosen from it, W words, N bits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retain.envs.batched import BatchedRules

Words = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64] | slice
"""An index of rows, each named once; all of them are `slice(None)`, which costs no search."""

_STEP = 0x9E3779B97F4A7C15  # SplitMix64's: the odd number nearest to 2**64 over the golden ratio
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_LOW = 2**64 - 1
_EPISODE = np.uint64((_STEP << 20) & _LOW)


def mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scrambles 64-bit words one by one, as SplitMix64 does; a bijection. The shape stays."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z ^= z >> np.uint64(27)
    z *= _SECOND
    z ^= z >> np.uint64(31)
    return z


def keys(seeds: Sequence[int]) -> npt.NDArray[np.uint64]:
    """One word per seed; a seed may be any whole number from 0, also one of more than 64 bits."""
    rest = list(seeds)
    keys_R = np.zeros(len(rest), dtype=np.uint64)
    open_R = np.arange(len(rest))
    while open_R.size:
        low_R = np.array([rest[i] & _LOW for i in open_R], dtype=np.uint64)
        keys_R[open_R] = mix(keys_R[open_R] + low_R + np.uint64(_STEP))
        rest = [seed >> 64 for seed in rest]
        open_R = np.array([i for i in open_R if rest[i]], dtype=np.int64)
    return keys_R


def balanced_bits(seed: int, count: int) -> npt.NDArray[np.int64]:
    """Bits of which each is 0 for half of a few consecutive seeds, and 1 for the rest; shape [N].

    The first three are those of the seed itself, so eight seeds have every combination of them.
    Later ones of the seed would hardly change from one seed to the next. So these are opposite for
    the seeds 2n and 2n + 1, and whether the first of both has a 0 or a 1 is drawn for each n.
    """
    words_N = mix(keys([seed >> 1]) + np.arange(count, dtype=np.uint64) * np.uint64(_STEP))
    bits_N = (words_N & np.uint64(1)).astype(np.int64) ^ (seed & 1)
    bits_N[:3] = [seed >> place & 1 for place in range(min(count, 3))]
    return bits_N


class Draws:
    """The random words of every row's present episode.

    Args:
        num_rows: Number of rows.
    """

    def __init__(self, num_rows: int):
        self._place_B = np.zeros(num_rows, dtype=np.uint64)

    def seed(self, rows: Rows, seeds: Sequence[int]) -> None:
        """Seeds rows afresh; the next `advance` brings them to their first episode."""
        self._place_B[rows] = keys(seeds)

    def advance(self, rows: Rows) -> None:
        """Goes on to the next episode of `rows`."""
        self._place_B[rows] += _EPISODE

    def words(self, rows: Rows, count: int) -> npt.NDArray[np.uint32]:
        """The first `count` words of 32 bits of the present episodes, shape [R, W]."""
        steps = [(i * _STEP) & _LOW for i in range((count + 1) // 2)]
        pairs = mix(self._place_B[rows][:, None] + np.array(steps, dtype=np.uint64))
        return pairs.astype("<u8", copy=False).view("<u4")[:, :count]


def bits(words_RW: npt.NDArray[np.uint32], count: int) -> npt.NDArray[np.uint8]:
    """The first `count` bits of each row's words, lowest first, as 0 or 1; shape [R, N]."""
    bytes_R4 = np.ascontiguousarray(words_RW).view(np.uint8)
    return np.unpackbits(bytes_R4, axis=1, count=count, bitorder="little")


def below(words: npt.NDArray[np.uint32], high: int) -> npt.NDArray[np.int64]:
    """Whole numbers from 0 to `high - 1`, uniform up to `high / 2**32`; the shape stays."""
    return (words.astype(np.uint64) * np.uint64(high) >> np.uint64(32)).astype(np.int64)


class DrawnRules(BatchedRules):
    """Rules whose rows begin many at once, with random numbers from `Draws`.

    A row's `seeds` entry is the seed it was last given; resets without a seed go on to the next
    episode of that seed.

    Args:
        options: The family's options, a frozen dataclass.
        num_rows: How many copies.
    """

    def __init__(self, options: Any, num_rows: int):
        super().__init__(options, num_rows)
        self.draws = Draws(num_rows)

    def reset(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Starts a new episode in each of `rows`; see `BatchedRules.reset`."""
        fresh: dict[int, int] = {}
        for row, seed in zip(rows, seeds, strict=True):
            if seed is None and self.seeds[row] is None:
                seed = int(np.random.SeedSequence().generate_state(1)[0])
            if seed is not None:
                fresh[row] = self.seeds[row] = seed
                self.generators[row] = None
        if fresh:
            self.draws.seed(np.fromiter(fresh, dtype=np.int64), list(fresh.values()))
        self.go_on(np.array(rows, dtype=np.int64))

    def go_on(self, rows: npt.NDArray[np.int64]) -> None:
        """Starts the next episode in each of `rows`, at once."""
        chosen = slice(None) if len(rows) == self.num_rows else rows
        self.draws.advance(chosen)
        self.begin_rows(chosen)

    def begin(self, row: int, rng: np.random.Generator) -> None:
        """Puts one row at the start of a new episode; its own draws stand for `rng`."""
        self.begin_rows(np.array([row]))

    def generator(self, row: int) -> np.random.Generator:
        """A generator made from the row's seed, for wrappers that ask for one."""
        rng = self.generators[row]
        if rng is None:
            rng = self.generators[row] = np.random.default_rng(self.seeds[row])
        return rng

    @abstractmethod
    def begin_rows(self, rows: Rows) -> None:
        """Puts `rows` at the start of a new episode, drawing from `draws`."""


class FixedHorizonRules(DrawnRules):
    """Rules whose episodes all have the same number of steps.

    Which rows are at a given age is known without looking at every row: rows that begin together
    stay together. Most steps then cost no search at all.

    Args:
        options: The family's options, a frozen dataclass.
        num_rows: How many copies.
        horizon: Steps of every episode.
    """

    def __init__(self, options: Any, num_rows: int, horizon: int):
        super().__init__(options, num_rows)
        self.horizon = horizon
        self.now = 0  # steps of the whole batch
        self.start_B = np.full(num_rows, -horizon - 1)  # `now` at the row's first observation
        self.ended_B = np.ones(num_rows, dtype=np.bool_)
        self.success_B = np.zeros(num_rows, dtype=np.bool_)
        self._starts: set[int] = set()  # of rows that run or have just ended

    def begin_rows(self, rows: Rows) -> None:
        """Starts the clock of `rows`."""
        if isinstance(rows, slice):
            self._starts.clear()
        self._starts.add(self.now)
        self.start_B[rows] = self.now
        self.ended_B[rows] = False
        self.success_B[rows] = False

    def begin_earlier(self, rows: Rows, steps_R: npt.NDArray[np.int64]) -> None:
        """Sets the clock of rows that have just begun forward, so that fewer steps are left."""
        if not np.count_nonzero(steps_R):
            return
        self.start_B[rows] -= steps_R
        self._starts.update(np.unique(self.start_B[rows]).tolist())

    def tick(self) -> tuple[npt.NDArray[np.bool_], Rows | None]:
        """Advances the clock by a step and ends the rows whose last step it is.

        Returns:
            `terminated_B`, and the same rows as `at_age` gives them.
        """
        self.now += 1
        terminated_B = np.zeros(self.num_rows, dtype=np.bool_)
        last = self.at_age(self.horizon)
        if last is not None:
            terminated_B[last] = self.ended_B[last] = True
        self._starts.discard(self.now - self.horizon - 1)
        return terminated_B, last

    def at_age(self, age: int) -> Rows | None:
        """The rows that have taken `age` steps, or None where there is none."""
        if self.now - age not in self._starts:
            return None
        found_B = self.start_B == self.now - age
        count = np.count_nonzero(found_B)
        if count == self.num_rows:
            return slice(None)
        return np.flatnonzero(found_B) if count else None

    def present_ages(self) -> list[int]:
        """The ages that some rows may have."""
        return [self.now - start for start in self._starts]

    def ages(self) -> int | npt.NDArray[np.int64]:
        """Steps every row has taken: one number if all agree, as rows begun together do, else [B].

        For rows that have ended it goes on counting.
        """
        if len(self._starts) == 1 and not np.count_nonzero(self.ended_B):
            (start,) = self._starts
            return self.now - start
        return self.now - self.start_B

    def end_info(self) -> dict[str, Any]:
        """Whether the last step's reward was above 0."""
        return {"success": self.success_B}
