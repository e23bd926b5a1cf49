"""RATE, the Recurrent Action Transformer with Memory (arXiv 2306.09459).

A segment is read between two copies of the memory tokens, beside the cached hidden states of
earlier segments; the Memory Retention Valve makes the next memory from the old one and from what
the write tokens have gathered. Unlike the published code, the memory is part of the graph: a
trainer that goes back through segments trains what is written and the valve that keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.checks import check_positive
from retain.nn.segment_state import SegmentState
from retain.nn.segments import SegmentConfig, SegmentRecurrence
from retain.nn.valve import Valve, ValveConfig


@dataclass(frozen=True, kw_only=True)
class RATEConfig(SegmentConfig):
    """RATE."""

    registered_name: ClassVar[str] = "rate"

    num_memory_tokens: int = 5
    """Memory tokens at each end of a segment, m."""

    cache_length: int = 0
    """Tokens of earlier segments whose hidden states are kept; (3K + 2m)N holds N segments."""

    valve: ValveConfig = field(default_factory=ValveConfig)
    """How the next memory is made."""

    shared_initial_memory: bool = False
    """Start all memory tokens from one row, as the published code does."""


@MODELS.register("rate")
class RATE(SegmentRecurrence):
    """RATE: memory tokens at both ends, cached hidden states, and a valve."""

    Config: ClassVar[type[ModelConfig]] = RATEConfig

    def __init__(self, config: RATEConfig, *, tokens_per_step: int):
        check_positive(config, "width")
        valve = Valve(config.valve, config.width) if config.num_memory_tokens else None
        super().__init__(
            config,
            tokens_per_step=tokens_per_step,
            num_memory_tokens=config.num_memory_tokens,
            cache_length=config.cache_length,
            carry_width=valve.carry_width if valve else 0,
        )
        self.valve = valve
        rows = 1 if config.shared_initial_memory else config.num_memory_tokens
        memory = torch.randn(rows, config.width).expand(config.num_memory_tokens, -1)
        self.memory_MD = nn.Parameter(memory.clone())

    def first_memory(self) -> Tensor:
        """See `SegmentRecurrence.first_memory`."""
        return self.valve.initial(self.memory_MD) if self.valve else self.memory_MD

    def next_memory(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `SegmentRecurrence.next_memory`."""
        assert self.valve is not None  # only called with memory tokens
        memory, carry = self.valve(memory_BMD, written_BMD, carry_BMQ)
        return memory, carry

    def regularizer(self, before: SegmentState, after: SegmentState) -> Tensor | None:
        """What the valve asks for, if it asks for anything."""
        if self.valve is None:
            return None
        return self.valve.regularizer(before.memory_BMD, after.written_BMD, after.memory_BMD)
