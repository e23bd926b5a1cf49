"""Whole segments read from given memories: the map from one memory to the next.

A memory is what a model's state keeps when a segment has ended: its slots, its carries and its
clocks. Its caches are filled with NaN before the next segment is read, so that a model that looks
at them does not pass for one whose memory is all it has.

Axes: B rows, T steps, N memories, F numbers of a memory.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from retain.certificate.record import Refusal
from retain.certificate.subject import KEPT, Subject, kept, memory
from retain.memory import MemoryState

Array = npt.NDArray[Any]


def numbers(state: MemoryState) -> npt.NDArray[np.float64]:
    """Returns what slots and carries hold, [B, F]."""
    parts = [t.detach().double().flatten(1).cpu().numpy() for t in memory(state)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((state.batch_size, 0))


def alike(a: MemoryState, b: MemoryState) -> npt.NDArray[np.bool_]:
    """Returns in which rows two states keep the same memory, [B]."""
    pairs = zip(kept(a), kept(b), strict=True)
    same = [_flat(x == y).all(dim=1).cpu().numpy() for x, y in pairs]
    return np.asarray(np.logical_and.reduce(same))


class Memories:
    """Different memories, numbered in the order in which they were found.

    Args:
        subject: Gives the shape of a state.
        most: More than this are refused.
    """

    def __init__(self, subject: Subject, most: int):
        self.subject, self.most = subject, most
        self.numbers_of: dict[bytes, int] = {}
        self.parts: list[list[Tensor]] = []

    def __len__(self) -> int:
        return len(self.numbers_of)

    def add(self, state: MemoryState) -> npt.NDArray[np.int64]:
        """Returns the numbers of the rows' memories, [B]; gives new ones a number.

        Raises:
            Refusal: If there are too many.
        """
        # Adding makes -0.0 the 0.0 that it equals.
        tensors = [t + 0 if t.is_floating_point() else t for t in kept(state)]
        rows = np.concatenate([_bytes(tensor) for tensor in tensors], axis=1)
        found = np.empty(len(rows), dtype=np.int64)
        latest, number = b"", -1
        for row, content in enumerate(rows):
            key = content.tobytes()
            if key == latest:  # most segments copy
                found[row] = number
                continue
            if key not in self.numbers_of:
                if len(self) == self.most:
                    raise Refusal(
                        f"the memory entered no finite set: more than {self.most} reached"
                    )
                self.numbers_of[key] = len(self)
                self.parts.append([tensor[row].clone() for tensor in tensors])
            latest, number = key, self.numbers_of[key]
            found[row] = number
        return found

    def state(self, which: npt.NDArray[np.int64]) -> MemoryState:
        """Returns a state with these memories; its caches and traces hold nothing."""
        with torch.inference_mode():
            empty = self.subject.initial_state(len(which))
        columns = iter(range(len(self.parts[0])))

        def filled(kind: str, value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(filled(kind, tensor) for tensor in value)
            if kind in KEPT or not value.is_floating_point():
                column = next(columns)
                return torch.stack([self.parts[number][column] for number in which])
            nan = torch.full((1,), torch.nan, dtype=value.dtype, device=value.device)
            return nan.expand(value.shape)

        changed = {
            field.name: filled(field.metadata["kind"], getattr(empty, field.name))
            for field in dataclasses.fields(empty)
        }
        return dataclasses.replace(empty, **changed)


def _bytes(tensor: Tensor) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(_flat(tensor).cpu().numpy()).view(np.uint8)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))


@dataclasses.dataclass(frozen=True)
class Read:
    """What came of reading steps."""

    action_BT: Array
    """The actions that the policy takes there, given its own earlier ones."""
    gap: float
    """The smallest lead of the best action over the second best."""
    after: MemoryState


class Reader:
    """Reads steps as the policy would live them, and keeps count.

    Args:
        subject: Who reads.
    """

    def __init__(self, subject: Subject):
        self.subject = subject
        weight = next(subject.policy.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.margin: float | None = None
        """The smallest distance to an edge of rounding so far; None: no valve says."""

    @torch.inference_mode()
    def read(
        self,
        state: MemoryState,
        observation_BT: Array,
        signal_BT: Array,
        action_BT: Array,
        *,
        given: int = 0,
        pieces: int | None = None,
    ) -> Read:
        """Reads steps in which the policy takes its own actions.

        Args:
            state: The memories to start from.
            observation_BT: What is seen.
            signal_BT: What is told beside it.
            action_BT: A guess at the actions, corrected until the policy agrees.
            given: How many actions at the end are as given, whatever the policy would do.
            pieces: Steps of a call; None: all at once.
        """
        observation, signal = self._floats(observation_BT), self._floats(signal_BT)
        action = torch.as_tensor(action_BT, device=self.device)
        length = action.shape[1]
        own = length - given
        # A wrong guess can mislead later steps alone, so every pass mends one step at least.
        for _ in range(length + 1):
            prediction, after = self._pass(state, observation, signal, action, pieces or length)
            chosen = self.subject.choose(prediction)
            if torch.equal(chosen[:, :own], action[:, :own]):
                break
            action = torch.cat([chosen[:, :own], action[:, own:]], dim=1)
        return Read(chosen.cpu().numpy(), lead(prediction), after)

    def _pass(
        self, state: MemoryState, observation: Tensor, signal: Tensor, action: Tensor, pieces: int
    ) -> tuple[Tensor, MemoryState]:
        predictions = []
        for start in range(0, action.shape[1], pieces):
            span = slice(start, start + pieces)
            prediction, state = self.subject.predict(
                state, observation[:, span], signal[:, span], action[:, span]
            )
            predictions.append(prediction)
        return torch.cat(predictions, dim=1), state

    def tensors(self, *arrays: Array) -> list[Tensor]:
        """Returns arrays as tensors, numbers in the policy's own precision."""
        return [self._floats(array) for array in arrays]

    def _floats(self, array: Array) -> Tensor:
        tensor = torch.as_tensor(np.ascontiguousarray(array), device=self.device)
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Notes how near the valve came to an edge of rounding, where it says so.

        A module may have a method ``edge_distance``, called with what its ``forward`` was called
        with, that returns the distance of the nearest value to an edge for each row, [B], or None.
        """

        def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            distance = module.edge_distance(*arguments)  # type: ignore[operator]
            if distance is not None:
                least = float(distance.min())
                self.margin = least if self.margin is None else min(self.margin, least)

        modules = [
            m for m in self.subject.policy.modules() if callable(getattr(m, "edge_distance", None))
        ]
        handles = [module.register_forward_pre_hook(note) for module in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def lead(prediction: Tensor) -> float:
    """Returns the smallest lead of the best action over the second best."""
    if prediction.shape[-1] < 2:
        return float("inf")
    best = prediction.topk(2, dim=-1).values
    return float((best[..., 0] - best[..., 1]).min())
