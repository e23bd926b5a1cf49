"""Replay of whole episodes in flat arrays.

Every observation is stored once: an episode of T steps takes T + 1 places in a row, the last for
the observation after its last step. The arrays are a ring; an episode may lie across its end, and
the oldest episodes make room for new ones. No state of a memory is stored, since it would be one of
old weights.

Axes: B rows, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.data.padding import padding_of

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes, or windows of them, padded on the right with what `padding_of` says."""

    observation: Array
    """Shape [B, T + 1, ...]: with the observation after the last step."""
    action: Array
    """Shape [B, T, ...]."""
    reward: npt.NDArray[np.float32]
    """Shape [B, T]."""
    terminated: npt.NDArray[np.bool_]
    """Shape [B, T]: True where the episode ended for good."""
    mask: npt.NDArray[np.bool_]
    """Shape [B, T]: True where there is a step to learn from."""
    previous_action: Array
    """Shape [B, ...]: the action before the first step; zero where an episode begins."""
    previous_reward: npt.NDArray[np.float32]
    """Shape [B]: the reward before the first step; likewise."""
    begins: npt.NDArray[np.bool_]
    """Shape [B]: True where the first step is the first of its episode."""
    read_before: npt.NDArray[np.int64]
    """Shape [B]: steps that the memory has read before the first; the same in every row."""


class EpisodeReplay:
    """Keeps the latest episodes and draws batches of them.

    Args:
        capacity: Steps to keep. An episode takes one place more than it has steps.
        observation_space: Space of one observation.
        action_space: Space of one action.
        sequence_length: Steps of a window; None to draw whole episodes.
        max_episodes: Episodes to keep, however short they are; None for all that have room.
        burn_in: Steps before a window that come with it, as many as there are, to be read and not
            learned from (Kapturowski et al. 2019, "Recurrent experience replay in distributed
            reinforcement learning").

    Raises:
        ConfigError: If a number is not positive or the memory for so many steps cannot be had.
    """

    def __init__(
        self,
        capacity: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        sequence_length: int | None = None,
        max_episodes: int | None = None,
        burn_in: int = 0,
    ):
        if capacity < 2:
            raise ConfigError(f"replay_capacity must be at least 2 steps, not {capacity}")
        if sequence_length is not None and sequence_length < 1:
            raise ConfigError(f"sequence_length must be at least 1, not {sequence_length}")
        if max_episodes is not None and max_episodes < 1:
            raise ConfigError(f"replay_episodes must be at least 1, not {max_episodes}")
        if burn_in < 0:
            raise ConfigError(f"burn_in must be at least 0, not {burn_in}")
        if burn_in and sequence_length is None:
            raise ConfigError(
                "burn_in needs sequence_length: whole episodes are read from their first step on"
            )
        self.capacity, self.max_episodes, self.burn_in = capacity, max_episodes, burn_in
        self.sequence_length = sequence_length
        shapes = [(space.shape or (), space.dtype) for space in (observation_space, action_space)]
        # Beside them, a reward and a mark of the end.
        needed = capacity * (5 + sum(int(np.prod(s)) * np.dtype(d).itemsize for s, d in shapes))
        free = available_memory()
        try:
            if needed > free:
                raise MemoryError
            # Zeros are not given real memory before they are written to.
            self._observation, self._action = (
                np.zeros((capacity, *shape), dtype=dtype) for shape, dtype in shapes
            )
            self._reward = np.zeros(capacity, dtype=np.float32)
            self._terminated = np.zeros(capacity, dtype=np.bool_)
        except MemoryError:
            found = f"{free / 2**30:.1f} GiB are free" if needed > free else "they cannot be had"
            raise ConfigError(
                f"a replay of {capacity:,} steps needs {needed / 2**30:.1f} GiB, but {found}; "
                "lower --train.replay-capacity"
            ) from None
        self._no_observation = padding_of(observation_space)
        self._no_action = padding_of(action_space)
        self._episodes = _Queue()
        self._next = 0
        self._used = 0
        self._index: tuple[Array, Array] | None = None

    @property
    def num_episodes(self) -> int:
        """Episodes kept."""
        return len(self._episodes)

    @property
    def num_steps(self) -> int:
        """Steps kept."""
        return self._used - len(self._episodes)

    def add(self, observation: Array, action: Array, reward: Array, terminated: bool) -> None:
        """Adds an episode.

        Args:
            observation: Shape [T + 1, ...].
            action: Shape [T, ...].
            reward: Shape [T].
            terminated: Whether it ended for good, and was not cut.

        Raises:
            ConfigError: If it alone is longer than the replay.
        """
        steps = len(reward)
        if steps + 1 > self.capacity:
            raise ConfigError(
                f"an episode of {steps} steps does not fit into a replay of {self.capacity}; "
                "raise --train.replay-capacity"
            )
        while self._used + steps + 1 > self.capacity or self.num_episodes == self.max_episodes:
            self._used -= self._episodes.drop() + 1
        place = (self._next + np.arange(steps + 1)) % self.capacity
        self._observation[place] = observation
        # Never read, but kept in checkpoints: nothing of the episode that was there before.
        self._action[place[-1]], self._reward[place[-1]] = 0, 0
        self._action[place[:-1]] = action
        self._reward[place[:-1]] = reward
        self._terminated[place] = False
        self._terminated[place[-2]] = terminated
        self._episodes.add(self._next, steps)
        self._next = int(place[-1] + 1) % self.capacity
        self._used += steps + 1
        self._index = None

    def sample(self, batch_size: int, rng: np.random.Generator) -> EpisodeBatch:
        """Draws episodes, all with equal chance; or windows, all with equal chance.

        Args:
            batch_size: Rows.
            rng: What the draws come from.

        Raises:
            ConfigError: If no episode is as long as a window.
        """
        if not len(self._episodes):
            raise ConfigError("the replay is empty; collect episodes first")
        firsts, lengths = self._episodes.table()
        if self.sequence_length is None:
            chosen_B = rng.integers(len(firsts), size=batch_size)
            offset_B = np.zeros(batch_size, dtype=np.int64)
            length_B = lengths[chosen_B]
        else:
            windows, ends = self._windows(lengths)
            if ends[-1] == 0:
                raise ConfigError(
                    f"no episode in the replay has {self.sequence_length} steps, the longest has "
                    f"{lengths.max()}; lower --train.sequence-length, or give none for whole "
                    "episodes"
                )
            drawn_B = rng.integers(ends[-1], size=batch_size)
            chosen_B = np.searchsorted(ends, drawn_B, side="right")
            offset_B = drawn_B - (ends[chosen_B] - windows[chosen_B])
            length_B = np.full(batch_size, self.sequence_length)
        lead_B = np.minimum(offset_B, self.burn_in)
        start_B = offset_B - lead_B
        return self._gather(firsts[chosen_B] + start_B, lead_B + length_B, start_B == 0, lead_B)

    def _windows(self, lengths: Array) -> tuple[Array, Array]:
        """How many windows each episode has, and their sums up to it."""
        if self._index is None:
            windows = np.maximum(lengths - (self.sequence_length or 0) + 1, 0)
            self._index = windows, np.cumsum(windows)
        return self._index

    def _gather(
        self, first_B: Array, real_B: Array, begins_B: Array, lead_B: Array
    ) -> EpisodeBatch:
        """Makes a batch of so many steps each, of which the first few are not learned from."""
        steps = int(real_B.max())
        step_L = np.arange(steps + 1)
        seen_BL = step_L <= real_B[:, None]
        place_BL = (first_B[:, None] + step_L) % self.capacity
        real_BT = step_L[:-1] < real_B[:, None]
        before_B = (first_B - 1) % self.capacity
        return EpisodeBatch(
            observation=_where(seen_BL, self._observation[place_BL], self._no_observation),
            action=_where(real_BT, self._action[place_BL[:, :-1]], self._no_action),
            reward=_where(real_BT, self._reward[place_BL[:, :-1]]),
            terminated=self._terminated[place_BL[:, :-1]] & real_BT,
            mask=real_BT & (step_L[:-1] >= lead_B[:, None]),
            previous_action=_where(~begins_B, self._action[before_B], self._no_action),
            previous_reward=_where(~begins_B, self._reward[before_B]),
            begins=begins_B,
            read_before=np.zeros_like(first_B),
        )

    def state_dict(self) -> dict[str, Any]:
        """What is stored, as arrays and numbers."""
        used = self._places()
        return {
            "episodes": np.stack(self._episodes.table(), axis=1).tolist(),
            "next": self._next,
            "observation": self._observation[used],
            "action": self._action[used],
            "reward": self._reward[used],
            "terminated": self._terminated[used],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken, if the arguments are the same."""
        self._episodes = _Queue()
        for first, steps in state["episodes"]:
            self._episodes.add(int(first), int(steps))
        self._next = int(state["next"])
        self._used = int((self._episodes.table()[1] + 1).sum())
        used = self._places()
        for name in ("observation", "action", "reward", "terminated"):
            getattr(self, f"_{name}")[used] = np.asarray(state[name])
        self._index = None

    def _places(self) -> Array:
        """The places in use, from the oldest on."""
        return (self._next - self._used + np.arange(self._used)) % self.capacity


class _Queue:
    """First places and lengths of episodes, the oldest first, as arrays at any time.

    They lie one after another in a larger array. What is left moves to its beginning when its end
    is reached, so that on average an episode is moved once.
    """

    def __init__(self) -> None:
        self._rows = np.zeros((2, 64), dtype=np.int64)
        self._start = self._stop = 0

    def __len__(self) -> int:
        return self._stop - self._start

    def add(self, first: int, steps: int) -> None:
        """Adds an episode at the end."""
        if self._stop == self._rows.shape[1]:
            kept = self._rows[:, self._start : self._stop].copy()
            if 2 * len(self) > self._rows.shape[1]:
                self._rows = np.zeros((2, 2 * self._rows.shape[1]), dtype=np.int64)
            self._start, self._stop = 0, kept.shape[1]
            self._rows[:, : self._stop] = kept
        self._rows[:, self._stop] = first, steps
        self._stop += 1

    def drop(self) -> int:
        """Takes the oldest episode out and returns its number of steps."""
        self._start += 1
        return int(self._rows[1, self._start - 1])

    def table(self) -> tuple[Array, Array]:
        """Returns first places and lengths, of shape [E]."""
        firsts, lengths = self._rows[:, self._start : self._stop]
        return firsts, lengths


def _where(mask: Array, values: Array, fill: int = 0) -> Array:
    """Fills in where the mask, which has the leading axes of `values`, is false."""
    if mask.all():
        return values
    shape = mask.shape + (1,) * (values.ndim - mask.ndim)
    return np.where(mask.reshape(shape), values, np.asarray(fill, dtype=values.dtype))


def available_memory() -> int:
    """Returns the bytes of memory that are free on this machine; a large number if unknown."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**62
