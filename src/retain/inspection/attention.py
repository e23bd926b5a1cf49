"""Where the tokens of a segment look.

A policy keeps no attention weights. While an `AttentionRecorder` is open, it looks at the dropout
that the weights of every relative attention go through, and notes the weights and the place of the
queries. Acting without it costs nothing, and its presence changes no number.

Axes: B rows, H heads, L queries, S keys (places of the segment's buffer), M memory tokens, N
layers, T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from retain.agents.policy import Policy
from retain.inspection.changes import reread
from retain.inspection.recording import Floats, Window
from retain.nn.attention import RelativeAttention
from retain.nn.segments import SegmentRecurrence


@dataclass(frozen=True)
class Looks:
    """The weights of one call of one layer's attention."""

    layer: int
    start: int | Tensor
    """Place of the first query in the buffer."""
    weight_BHLS: Tensor


@dataclass
class AttentionRecorder:
    """Notes the weights of all relative attentions of a module while it is open.

    Args:
        module: The module.
    """

    module: nn.Module
    looks: list[Looks] = field(default_factory=list)
    """What was noted, in the order of the calls."""
    _undo: list[Callable[[], object]] = field(default_factory=list)
    _weights: list[Tensor] = field(default_factory=list)

    def __enter__(self) -> Self:
        found = [m for m in self.module.modules() if isinstance(m, RelativeAttention)]
        for layer, attention in enumerate(found):
            handle = attention.attention_dropout.register_forward_hook(self._see)
            self._undo.append(handle.remove)
            self._wrap(attention, layer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._undo:
            self._undo.pop()()

    def _see(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._weights.append(inputs[0].detach())

    def _wrap(self, attention: RelativeAttention, layer: int) -> None:
        attend = attention.attend

        def watched(
            query_BHLE: Tensor, *args: Any, start: int | Tensor, first: int = 0, **kwargs: Any
        ) -> Tensor:
            self._weights.clear()
            y_BLD = attend(query_BHLE, *args, start=start, first=first, **kwargs)
            weight_BHLS = torch.cat(self._weights)  # rows may be read a few at a time
            # Keys that were left out, since there is nothing in their places, have no weight.
            self.looks.append(Looks(layer, start, functional.pad(weight_BHLS, (first, 0))))
            return y_BLD

        attention.attend = watched  # type: ignore[method-assign]
        self._undo.append(lambda: delattr(attention, "attend"))


@dataclass(frozen=True)
class SegmentAttention:
    """Where the tokens of one segment look, averaged over heads."""

    start: int
    """The episode's step that the segment begins with."""
    tokens_per_step: int
    num_cached: int
    num_memory: int
    write_NMS: Floats
    """Of each layer's write tokens, by place: cached, read tokens, segment, write tokens."""
    to_memory_NT: Floats
    """Share of the weight that a step's tokens give to the read tokens, the mean of its tokens."""


def segment_model(policy: Policy) -> SegmentRecurrence | None:
    """Returns the policy's model if it reads segments between memory tokens."""
    for module in policy.modules():
        if isinstance(module, SegmentRecurrence) and module.num_memory_tokens:
            return module
    return None


def segment_attention(policy: Policy, window: Window) -> SegmentAttention | None:
    """Reads a window again and tells where its tokens look.

    Returns:
        None if the model has no read and write tokens, or the window is not a segment of it.
    """
    model = segment_model(policy)
    length = 0 if model is None else model.config.context_length
    if model is None or window.start % length or len(window.observations_T) != length + 1:
        return None
    with AttentionRecorder(model) as recorder:
        reread(policy, window, window.observations_T[None])
    end = model.buffer_length + model.num_memory_tokens
    layers = model.config.num_layers
    write_NMS = np.full((layers, model.num_memory_tokens, end), np.nan)
    to_memory_NS = np.full((layers, end), np.nan)
    memory = slice(model.cache_length, model.first_token)
    inside_NS, closed = None, False
    for looks in recorder.looks:
        weight_LS = looks.weight_BHLS[0].mean(dim=0).double().cpu().numpy()
        first = int(looks.start if isinstance(looks.start, int) else looks.start[0])
        for place, weight_S in enumerate(weight_LS, start=first):
            if place >= model.buffer_length:
                write_NMS[looks.layer, place - model.buffer_length] = weight_S
                closed = looks.layer == layers - 1 and place == end - 1
            elif place >= model.first_token:
                to_memory_NS[looks.layer, place] = weight_S[memory].sum()
        if closed:
            # The reading may close the segment before as well: the last one closed counts.
            inside_NS, closed = to_memory_NS[:, model.first_token : model.buffer_length], False
            to_memory_NS = np.full_like(to_memory_NS, np.nan)
    if inside_NS is None or np.isnan(inside_NS).any():
        return None
    tokens_per_step = model.segment_length // model.config.context_length
    return SegmentAttention(
        window.start,
        tokens_per_step,
        model.cache_length,
        model.num_memory_tokens,
        write_NMS,
        inside_NS.reshape(layers, -1, tokens_per_step).mean(axis=2),
    )
