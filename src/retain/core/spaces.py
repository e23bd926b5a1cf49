"""Spaces in words, and observations of several parts as one array.

The same array comes of an environment and of a dataset.

Axes: T steps, D numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OneArray:
    """How observations of several parts become one array; called, it makes one of one.

    Parts stand side by side, those of a Dict by their names, discrete ones as zeros and a one, as
    Gymnasium flattens them where its space is in that order. Texts are left out, since no model
    reads them. What has a single part besides is that part, so an image stays an image.
    """

    parts: Space[Any]
    """The space of the observations."""
    space: Space[Any]
    """The space of the arrays."""
    left_out: tuple[str, ...]
    """The names of the texts; those within others have a path, as ``goal/text``."""

    @staticmethod
    def of(space: Space[Any]) -> OneArray | None:
        """Returns how, or None for a space that is one array, or that cannot be made one."""
        if not isinstance(space, Dict | Tuple | MultiBinary | MultiDiscrete):
            return None
        named = list(leaves(space))
        numbers = [leaf for _, leaf in named if not is_text(leaf)]
        if not numbers or not all(map(_is_numbers, numbers)):
            return None
        alone = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], Box | Discrete) else None
        flat = alone or gym.spaces.flatten_space(Tuple(numbers))
        return OneArray(space, flat, tuple(name for name, leaf in named if is_text(leaf)))

    def __call__(self, observation: Any) -> Any:
        """Maps one observation to one array."""
        return self._joined(list(_values(self.parts, observation)), lead=())

    def batch(self, observations: Any, steps: int) -> Array:
        """Maps observations whose parts are arrays of T steps to an array [T, ...].

        Args:
            observations: The parts, in dicts and tuples as the space has them.
            steps: T.

        Raises:
            KeyError: If a part is missing.
            ValueError: If a part does not fit its space.
        """
        return self._joined(list(_values(self.parts, observations)), lead=(steps,))

    def _joined(self, values: list[tuple[Space[Any], Any]], lead: tuple[int, ...]) -> Any:
        values = [(space, value) for space, value in values if not is_text(space)]
        if len(values) == 1 and values[0][0] is self.space:
            return values[0][1]
        flat = [_flat(space, np.asarray(value), lead) for space, value in values]
        return np.concatenate(flat, axis=-1).astype(self.space.dtype, copy=False)


def in_words(space: Any) -> str:
    """Returns a space on one short line, though each number may have bounds of its own."""
    text = " ".join(str(space).split())
    if len(text) > 100 and isinstance(space, Box):
        text = f"Box({space.low.min()} to {space.high.max()}, {space.shape}, {space.dtype})"
    return text


def leaves(space: Space[Any], path: str = "") -> Iterator[tuple[str, Space[Any]]]:
    """Yields the parts that have none themselves, with their names."""
    if isinstance(space, Dict | Tuple):
        for name, part in _parts(space):
            yield from leaves(part, f"{path}/{name}" if path else str(name))
    else:
        yield path, space


def _values(space: Space[Any], value: Any) -> Iterator[tuple[Space[Any], Any]]:
    """Yields the same parts, each with its value."""
    if isinstance(space, Dict | Tuple):
        for name, part in _parts(space):
            yield from _values(part, value[name])
    else:
        yield space, value


def _parts(space: Dict | Tuple) -> list[tuple[Any, Space[Any]]]:
    # Minari does not keep the order of a Dict whose parts were not given by their names' order.
    if isinstance(space, Dict):
        return sorted(space.items(), key=lambda part: str(part[0]))
    return list(enumerate(space.spaces))


def is_text(space: Space[Any]) -> bool:
    """Whether the points of a space are texts."""
    # Other packages have spaces of texts of their own.
    return space.dtype is not None and np.dtype(space.dtype).kind in "US"


def _is_numbers(space: Space[Any]) -> bool:
    return isinstance(space, Box | Discrete | MultiBinary | MultiDiscrete)


def _flat(space: Space[Any], value: Array, lead: tuple[int, ...]) -> Array:
    """Returns a part as numbers, [*lead, D]."""
    if value.shape != (*lead, *(space.shape or ())):
        raise ValueError(f"a part has shape {value.shape[len(lead) :]}, but its space is {space}")
    if isinstance(space, Discrete):
        return _one_hot(value - space.start, int(space.n)).astype(space.dtype)
    if isinstance(space, MultiDiscrete):
        places = np.asarray(value - space.start).reshape(*lead, -1)
        sizes = space.nvec.flatten().tolist()
        hot = [_one_hot(places[..., i], size) for i, size in enumerate(sizes)]
        return np.concatenate(hot, axis=-1).astype(space.dtype)
    return value.reshape(*lead, -1)


def _one_hot(place: Array, size: int) -> Array:
    place = np.asarray(place)
    if ((place < 0) | (place >= size)).any():
        raise ValueError(f"a part is outside of its {size} values")
    return np.equal.outer(place, np.arange(size))
