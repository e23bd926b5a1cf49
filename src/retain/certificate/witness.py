"""Ways from the beginning of an episode to a memory, and all that is seen on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from retain.certificate.beginnings import Kind

Array = npt.NDArray[Any]


class Trail:
    """Which memory leads to which, with one segment that shows it."""

    def __init__(self) -> None:
        self.leads_to: dict[int, set[int]] = defaultdict(set)
        self.between: dict[tuple[int, int], Array] = {}
        #: For a kind of beginning and a memory: one that ends in it.
        self.first: dict[tuple[Kind, int], Array] = {}

    def note(self, number: int, other: int, seen_T: Array) -> None:
        """Notes that a segment leads from one memory to another."""
        self.leads_to[number].add(other)
        self.between[number, other] = np.array(seen_T)

    def reachable(self, numbers: Iterable[int]) -> set[int]:
        """Returns the memories that can follow from some."""
        found, rest = set(numbers), list(numbers)
        while rest:
            for other in self.leads_to[rest.pop()] - found:
                found.add(other)
                rest.append(other)
        return found

    def witness(self, keys: list[Kind], number: int | None, **more: Any) -> dict[str, Any]:
        """How each of some kinds of episode can come to a memory, and what was read from it."""
        ways = [] if number is None else [w for key in keys if (w := self._way(key, number))]
        ways = ways if len(keys) < 3 else ways[:1]
        text = "it happens before the first memory is written"
        if ways:
            lengths = " and ".join(str(len(way["segments"])) for way in ways)
            steps = [sum(len(s["observations"]) for s in way["segments"]) for way in ways]
            text = f"{lengths} segments ({' and '.join(f'{n:,}' for n in steps)} steps) after a "
            text += "beginning; the JSON has them"
        return {"text": text, "memory": number, "ways": ways, **more}

    def _way(self, key: Kind, number: int) -> dict[str, Any] | None:
        """The shortest way from a kind of beginning to a memory: all that is seen on it."""
        starts = [start for kind, start in self.first if kind == key]
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
            observations = self.between[before, at].tolist()
            segments.append({"from": before, "to": at, "observations": observations})
            at = before
        return {"beginning": self.first[key, at].tolist(), "first": at, "segments": segments[::-1]}
