"""Series of unknown length in bounded space."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
How: TypeAlias = Literal["first", "max"]


class Thinned:
    """A series that keeps every `stride`-th entry, with a stride that doubles when space runs out.

    Args:
        capacity: The most entries kept; even.
        how: What stands for `stride` entries: the first of them, or their elementwise maximum.
    """

    def __init__(self, capacity: int, how: How = "first"):
        self.capacity = max(2, capacity - capacity % 2)
        self.how = how
        self.stride = 1
        """Entries that one kept entry stands for."""
        self.count = 0
        """Entries seen."""
        self._kept: list[Array] = []

    def push(self, entry: Array | float) -> None:
        """Adds an entry; it is copied."""
        place = self.count % self.stride
        if place == 0:
            if len(self._kept) == self.capacity:
                self._halve()
                self.push(entry)
                return
            self._kept.append(np.array(entry))
        elif self.how == "max":
            self._kept[-1] = np.fmax(self._kept[-1], entry)
        self.count += 1

    def _halve(self) -> None:
        if self.how == "max":
            pairs = zip(self._kept[::2], self._kept[1::2], strict=True)
            self._kept = [np.fmax(one, other) for one, other in pairs]
        else:
            self._kept = self._kept[::2]
        self.stride *= 2

    def places(self) -> npt.NDArray[np.int64]:
        """The number of the first entry that each kept one stands for, shape [R]."""
        return np.arange(len(self._kept), dtype=np.int64) * self.stride

    def values(self) -> Array:
        """The kept entries, the oldest first, shape [R, ...]."""
        return np.stack(self._kept) if self._kept else np.zeros(0)
