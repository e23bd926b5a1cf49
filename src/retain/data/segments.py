"""Sampling of training batches: windows of episodes, cut into segments of equal length.

Axes: B rows, T steps (a multiple of the context length), O observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.core.seeding import generator, generator_state, restore_generator
from retain.data.pack import Pack
from retain.data.padding import padding_of


@dataclass(frozen=True)
class SegmentBatch:
    """Windows of episodes, padded on the right to a common number of steps."""

    observations_BTO: npt.NDArray[Any]
    """Shape [B, T, ...]; after the end the last observation is repeated."""
    actions_BT: npt.NDArray[Any]
    """Shape [B, T] (discrete) or [B, T, ...]; after the end what `padding_of` says."""
    returns_to_go_BT: npt.NDArray[np.float32]
    """Shape [B, T]; after the end zeros."""
    mask_BT: npt.NDArray[np.bool_]
    """Shape [B, T]: True where there is a step."""
    offsets_B: npt.NDArray[np.int64]
    """Steps of the episode before the window."""


class SegmentSampler:
    """Draws batches of windows from a pack.

    An episode is drawn uniformly, then a window of at most `num_segments` segments of
    `context_length` steps. A batch is as long as its longest window needs, in whole segments.

    Args:
        pack: The data.
        context_length: Steps per segment.
        num_segments: Segments per window, at most.
        batch_size: Rows per batch.
        seed: Of the draws.
        start: Where windows begin: `episode`, at the episode's first step; `random`, anywhere, as
            if a window were put down at any place that touches the episode, and then pushed to its
            start if it begins before. So all steps are trained on about equally often, the first
            ones, where acting begins, a little more.

    Raises:
        ConfigError: If a number is not positive or the context is longer than every episode.
    """

    def __init__(
        self,
        pack: Pack,
        *,
        context_length: int,
        num_segments: int,
        batch_size: int,
        seed: int,
        start: Literal["episode", "random"] = "episode",
    ):
        for name, value in (
            ("context_length", context_length),
            ("num_segments", num_segments),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if start not in ("episode", "random"):
            raise ConfigError(f"start '{start}' is not one of episode, random")
        longest = int(pack.lengths.max())
        if context_length > longest:
            raise ConfigError(
                f"context_length {context_length} is longer than the longest episode "
                f"({longest} steps) of {pack.dataset_id}; choose at most {longest}"
            )
        self.pack = pack
        self.context_length = context_length
        self.num_segments = num_segments
        self.batch_size = batch_size
        self.start = start
        self._rng = generator(seed)
        # Plain views: indexing a memory map has a cost of its own.
        self._observations = pack.observations.view(np.ndarray)
        self._actions = pack.actions.view(np.ndarray)
        self._returns_to_go = pack.returns_to_go.view(np.ndarray)
        self._no_action = padding_of(pack.action_space)
        self._starts = np.array(pack.starts)
        self._lengths = np.array(pack.lengths)
        self.set_longest(None)

    @property
    def longest(self) -> int | None:
        """The present limit of the curriculum, in steps, or None."""
        return self._longest

    def set_longest(self, steps: int | None) -> None:
        """Draws from now on only episodes of at most so many steps; None: from all.

        Raises:
            ConfigError: If there is no such episode; the sampler then stays as it was.
        """
        fits = self._lengths <= (self._lengths.max() if steps is None else steps)
        if not fits.any():
            raise ConfigError(
                f"the curriculum begins with episodes of up to {steps} steps, and the shortest of "
                f"{self.pack.dataset_id} has {self._lengths.min()}; collect shorter ones, or train "
                "without a curriculum"
            )
        self._longest, self._eligible = steps, np.flatnonzero(fits)

    def sample(self) -> SegmentBatch:
        """Draws the next batch."""
        episodes_B = self._eligible[self._rng.integers(len(self._eligible), size=self.batch_size)]
        lengths_B = self._lengths[episodes_B]
        window = self.context_length * self.num_segments
        if self.start == "random":
            offsets_B = np.maximum(0, self._rng.integers(1 - window, lengths_B))
        else:
            offsets_B = np.zeros_like(lengths_B)
        real_B = np.minimum(lengths_B - offsets_B, window)
        segments = -(-int(real_B.max()) // self.context_length)
        steps_T = np.arange(segments * self.context_length)

        mask_BT = steps_T < real_B[:, None]
        first_B = self._starts[episodes_B] + offsets_B
        # Beyond the end the index stays at the last step: that repeats the last observation.
        index_BT = first_B[:, None] + np.minimum(steps_T, real_B[:, None] - 1)
        actions_BT = self._actions[index_BT]
        returns_to_go_BT = self._returns_to_go[index_BT]
        actions_BT[~mask_BT] = self._no_action
        returns_to_go_BT[~mask_BT] = 0
        return SegmentBatch(
            observations_BTO=self._observations[index_BT],
            actions_BT=actions_BT,
            returns_to_go_BT=returns_to_go_BT,
            mask_BT=mask_BT,
            offsets_B=offsets_B,
        )

    def state_dict(self) -> dict[str, Any]:
        """Where the sampling stands, fit for JSON."""
        return {"generator": generator_state(self._rng), "longest": self._longest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken, if pack and arguments are the same.

        Raises:
            ConfigError: If the state is not one of a sampler.
        """
        try:
            rng, longest = restore_generator(state["generator"]), state["longest"]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not the state of a segment sampler: {error!r}") from None
        self.set_longest(longest)
        self._rng = rng
