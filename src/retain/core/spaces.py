"""Spaces in words, and observations of several parts as one array.

The same array comes of an environment and of a dataset.

Axes: T steps, D numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

from retain.core.errors import note

Array = npt.NDArray[Any]
#: What leads from an observation to a part of it: names and places, outermost first.
Path = tuple[Any, ...]


@dataclass(frozen=True)
class OneArray:
    """How observations of several parts become one array; called, it makes one of one.

    Parts stand side by side, those of a Dict by their names, discrete ones as zeros and a one, as
    Gymnasium flattens them where its space is in that order. Texts are left out, since no model
    reads them. What has a single part besides is that part, so an image stays an image.
    """

    parts: tuple[tuple[Path, Space[Any]], ...]
    """Where each part is in an observation, and its space, in the order of the array."""
    space: Space[Any]
    """The space of the arrays."""
    left_out: tuple[str, ...]
    """The names of the texts; those within others have a path, as ``goal/text``."""

    @staticmethod
    def of(space: Space[Any]) -> OneArray | None:
        """Returns how, or None for a space that is one array, or that cannot be made one."""
        if not isinstance(space, Dict | Tuple | MultiBinary | MultiDiscrete):
            return None
        leaves = list(_leaves(space))
        parts = tuple((path, leaf) for path, leaf in leaves if not _is_text(leaf))
        numbers = [leaf for _, leaf in parts]
        if not numbers or not all(map(_is_numbers, numbers)):
            return None
        alone = numbers[0] if len(numbers) == 1 and isinstance(numbers[0], Box | Discrete) else None
        flat = alone or _no_wider_than_needed(gym.spaces.flatten_space(Tuple(numbers)), numbers)
        return OneArray(
            parts, flat, tuple(in_path(path) for path, leaf in leaves if _is_text(leaf))
        )

    def tell(self, whose: str) -> None:
        """Gives a note if something is left out, or an image is no longer one.

        Args:
            whose: What the observations are of.
        """
        images = [in_path(path) for path, part in self.parts if _is_image(part)]
        if images and len(self.parts) > 1:
            note(
                f"observations of {whose} have images beside other parts ({', '.join(images)}); "
                "all are read as one row of numbers, without convolutions. Alone an image is one"
            )
        if self.left_out:
            note(
                f"observations of {whose} have texts, which models do not read; left out: "
                f"{', '.join(self.left_out)}"
            )

    def __call__(self, observation: Any) -> Any:
        """Maps one observation to one array."""
        return self._joined(observation, lead=())

    def batch(self, observations: Any, steps: int) -> Array:
        """Maps observations whose parts are arrays of T steps to an array [T, ...].

        Args:
            observations: The parts, in dicts and tuples as the space has them.
            steps: T.

        Raises:
            LookupError: If a part is missing.
            ValueError: If a part does not fit its space.
        """
        return self._joined(observations, lead=(steps,))

    def _joined(self, observation: Any, lead: tuple[int, ...]) -> Any:
        values = [reduce(getitem, path, observation) for path, _ in self.parts]
        if self.parts[0][1] is self.space:
            return values[0]
        spaces = [space for _, space in self.parts]
        flat = [_flat(s, np.asarray(v), lead) for s, v in zip(spaces, values, strict=True)]
        return np.concatenate(flat, axis=-1).astype(self.space.dtype, copy=False)


def _no_wider_than_needed(flat: Space[Any], parts: list[Space[Any]]) -> Space[Any]:
    """Returns the space in single precision, unless a part has numbers that need more.

    Zeros and ones are counted as 64 bits wide, and would make all beside them so: images of bytes
    would take eight times their room.
    """
    fits = all(np.can_cast(part.dtype, np.float32) for part in parts if isinstance(part, Box))
    if not fits or not isinstance(flat, Box) or flat.dtype.itemsize <= 4:
        return flat
    return Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def in_words(space: Any) -> str:
    """Returns a space on one short line, though each number may have bounds of its own."""
    text = " ".join(str(space).split())
    if len(text) > 100 and isinstance(space, Box):
        text = f"Box({space.low.min()} to {space.high.max()}, {space.shape}, {space.dtype})"
    return text


def in_path(path: Path) -> str:
    """Returns the name of a part."""
    return "/".join(map(str, path))


def _leaves(space: Space[Any], path: Path = ()) -> Iterator[tuple[Path, Space[Any]]]:
    """Yields the parts that have none themselves, with where they are."""
    if isinstance(space, Dict):
        # By name: Minari does not keep another order.
        for name, part in sorted(space.items(), key=lambda part: str(part[0])):
            yield from _leaves(part, (*path, name))
    elif isinstance(space, Tuple):
        for place, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, place))
    else:
        yield path, space


def _is_image(space: Space[Any]) -> bool:
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3, 4)


def _is_text(space: Space[Any]) -> bool:
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
