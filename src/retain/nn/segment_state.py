"""The state of segment-level recurrence, and how a call works on it.

Axes: B batch, D width, H heads, E head width, M memory tokens, C cached tokens, S buffer places, Q
width of the valve's carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from retain.memory import MemoryState, cache, carry, clock, slots


@dataclass(frozen=True)
class SegmentState(MemoryState):
    """Where a row is: its memory, what it has cached, and how far it is into the segment."""

    memory_BMD: Tensor = slots()
    """The memory that the present segment is read with."""
    carry_BMQ: Tensor = carry()
    """What the valve keeps besides (cells of an LSTM valve); mostly zero wide."""
    hidden_BCD: tuple[Tensor, ...] = cache()
    """Inputs of each layer in earlier segments, the latest last."""
    keys_BHSE: tuple[Tensor, ...] = cache()
    """Keys of each layer by buffer index; meaningful below cache + M + clock."""
    values_BHSE: tuple[Tensor, ...] = cache()
    """Values of each layer, likewise."""
    inputs_BSD: tuple[Tensor, ...] = cache()
    """Inputs of each layer in the present segment, read tokens first; kept if C > 0."""
    clock_B: Tensor = clock()
    """Tokens read in the present segment, 0 to S - 1."""
    hidden_length_B: Tensor = clock()
    """How many rows of ``hidden_BCD`` are filled, counted from the end."""


class Work:
    """The parts of a state while a call is at work on them."""

    def __init__(self, state: SegmentState, donate: bool):
        self.memory_BMD, self.carry_BMQ = state.memory_BMD, state.carry_BMQ
        self.clock_B, self.hidden_length_B = state.clock_B, state.hidden_length_B
        self.hidden_BCD = list(state.hidden_BCD)
        self.keys, self.values = list(state.keys_BHSE), list(state.values_BHSE)
        self.inputs = list(state.inputs_BSD)
        self._in_place = torch.is_inference_mode_enabled() or not torch.is_grad_enabled()
        self._ours: set[tuple[str, int]] = set()
        if donate and self._in_place:
            for name in ("keys", "values", "inputs"):
                tensors = enumerate(getattr(self, name))
                self._ours |= {(name, n) for n, tensor in tensors if _writable(tensor)}

    def state(self) -> SegmentState:
        """Returns the parts as a state again."""
        return SegmentState(
            memory_BMD=self.memory_BMD,
            carry_BMQ=self.carry_BMQ,
            hidden_BCD=tuple(self.hidden_BCD),
            keys_BHSE=tuple(self.keys),
            values_BHSE=tuple(self.values),
            inputs_BSD=tuple(self.inputs),
            clock_B=self.clock_B,
            hidden_length_B=self.hidden_length_B,
        )

    def write(
        self,
        name: str,
        layer: int,
        new: Tensor,
        start: int | Tensor,
        *,
        dim: int,
        rows: list[int] | None = None,
    ) -> Tensor:
        """Writes `new` into a buffer from index `start` on along `dim`; returns the buffer.

        With gradients every write makes a new tensor, since the graph keeps the old one.
        """
        buffers = getattr(self, name)
        if not self._in_place or (name, layer) not in self._ours:
            buffers[layer] = buffers[layer].clone(memory_format=torch.contiguous_format)
            self._ours.add((name, layer))
        buffer, length = buffers[layer], new.shape[dim]
        new = new.to(buffer.dtype)
        if isinstance(start, int):
            place = buffer.narrow(dim, start, length)
            if rows is None or len(rows) == buffer.shape[0]:
                place.copy_(new)
            else:
                place[rows] = new
        else:
            index = start[:, None] + torch.arange(length, device=start.device)
            row = torch.arange(buffer.shape[0], device=start.device)[:, None]
            # Move the written axis next to the rows, so that one index pair names the places.
            buffer.transpose(1, dim)[row, index] = new.transpose(1, dim)
        return buffer

    def pick(self, rows: list[int]) -> Callable[[Tensor], Tensor]:
        """Returns the function that takes the rows of a tensor."""
        every = len(rows) == self.clock_B.shape[0]
        return lambda tensor: tensor if every else tensor[rows]

    def put(self, rows: list[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns the function that replaces the rows of a tensor, out of place."""
        every = len(rows) == self.clock_B.shape[0]

        def replace(tensor: Tensor, new: Tensor) -> Tensor:
            new = new.to(tensor.dtype)
            if every:
                return new
            index = torch.tensor(rows, device=tensor.device)
            return tensor.index_copy(0, index, new)

        return replace


def _writable(tensor: Tensor) -> bool:
    # A buffer never written yet is a view of one zero, which must be copied first; and torch lets
    # nobody write to what inference mode has made, outside it.
    return 0 not in tensor.stride() and (
        torch.is_inference_mode_enabled() or not tensor.is_inference()
    )
