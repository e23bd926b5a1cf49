"""Snapshots: the state of an environment's rules, kept to be put back.

Axes: none; arrays of any shape are kept whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType, MethodType, NoneType
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError

_CONSTANT = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    range,
    slice,
    np.generic,
    np.dtype,
    type,
    FunctionType,
    MethodType,
    gym.Space,
)


class Snapshot:
    """What an object holds, as deep as it goes: arrays, generators, lists, dicts and sets.

    `restore` writes the old contents back into the same arrays and puts the same objects back into
    their places, so that views of an array stay views of it. Frozen dataclasses, spaces and numbers
    are taken to be constant.

    Args:
        *roots: The objects to keep.

    Raises:
        ConfigError: If something is found that cannot be kept.
    """

    def __init__(self, *roots: Any):
        self._arrays: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = []
        self._generators: list[tuple[Any, Any]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._groups: list[tuple[Any, Any]] = []  # dicts (also those of attributes) and sets
        seen: set[int] = set()
        stack: list[Any] = list(roots)
        while stack:
            item = stack.pop()
            if isinstance(item, _CONSTANT) or id(item) in seen:
                continue
            seen.add(id(item))
            stack.extend(self._keep(item))

    def restore(self) -> None:
        """Puts everything back; may be done any number of times."""
        for array, values in self._arrays:
            array[...] = values
        for bits, state in self._generators:
            bits.state = state
        for entries, before in self._lists:
            entries[:] = before
        for group, before in self._groups:
            group.clear()
            group.update(before)

    def _keep(self, item: Any) -> Iterable[Any]:
        """Keeps one thing; returns what is to be looked at inside it."""
        if isinstance(item, np.ndarray):
            if item.dtype.hasobject:
                raise ConfigError(f"an array of {item.dtype} cannot be kept in a snapshot")
            if item.flags.writeable:
                self._arrays.append((item, item.copy()))
            return ()
        if isinstance(item, np.random.Generator):
            self._generators.append((item.bit_generator, item.bit_generator.state))
            return ()
        if isinstance(item, list):
            self._lists.append((item, item.copy()))
            return item
        if isinstance(item, tuple | frozenset):
            return item
        if isinstance(item, set):
            self._groups.append((item, item.copy()))
            return item
        if isinstance(item, dict):
            self._groups.append((item, item.copy()))
            return item.values()
        settings: Any = getattr(type(item), "__dataclass_params__", None)
        if settings is not None and settings.frozen:
            return ()
        if not hasattr(item, "__dict__"):
            raise ConfigError(f"a {type(item).__name__} cannot be kept in a snapshot")
        return (vars(item),)
