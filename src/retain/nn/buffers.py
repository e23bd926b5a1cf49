"""Buffers that a call writes into: in place where it may, into a copy where it must not.

Axes: B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Buffers:
    """The buffers of a state, one a layer under each name, while a call is at work on them.

    Args:
        batch_size: Rows B.
        donate: The state that they come from is given away, so that they may be written into.
        **buffers: The tensors of the layers by name; they become attributes, which are lists.
    """

    def __init__(self, batch_size: int, donate: bool, **buffers: Sequence[Tensor]):
        self._batch_size = batch_size
        self._in_place = torch.is_inference_mode_enabled() or not torch.is_grad_enabled()
        self._ours: set[tuple[str, int]] = set()
        for name, tensors in buffers.items():
            setattr(self, name, list(tensors))
            if donate and self._in_place:
                self._ours |= {(name, n) for n, tensor in enumerate(tensors) if _writable(tensor)}

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

    def let_go(self, *names: str) -> None:
        """Gives up what buffers hold, where they still are those of the state that came in.

        That state may be in use elsewhere, and whoever is given the new one may write into it.
        """
        for name in names:
            for layer, buffer in enumerate(getattr(self, name)):
                if (name, layer) not in self._ours:
                    getattr(self, name)[layer] = buffer.new_zeros(1).expand(buffer.shape)

    def pick(self, rows: list[int]) -> Callable[[Tensor], Tensor]:
        """Returns the function that takes the rows of a tensor."""
        every = len(rows) == self._batch_size
        return lambda tensor: tensor if every else tensor[rows]

    def put(self, rows: list[int]) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns the function that replaces the rows of a tensor, out of place."""
        every = len(rows) == self._batch_size

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
