"""RMT, the Recurrent Memory Transformer (Bulatov et al. 2022, arXiv 2207.06881).

A segment is read between two copies of the memory tokens; the outputs at the second copy are the
next segment's memory. No cache, no valve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.segments import SegmentConfig, SegmentRecurrence


@dataclass(frozen=True, kw_only=True)
class RMTConfig(SegmentConfig):
    """RMT."""

    registered_name: ClassVar[str] = "rmt"

    num_memory_tokens: int = 10
    """Memory tokens at each end of a segment."""

    feed_forward: int | None = 64
    """Inner width of the feed-forward sublayers; None leaves them out."""


@MODELS.register("rmt")
class RMT(SegmentRecurrence):
    """RMT: memory tokens that each segment overwrites."""

    Config: ClassVar[type[ModelConfig]] = RMTConfig

    def __init__(self, config: RMTConfig, *, tokens_per_step: int):
        super().__init__(
            config,
            tokens_per_step=tokens_per_step,
            num_memory_tokens=config.num_memory_tokens,
            cache_length=0,
        )
        self.memory_MD = nn.Parameter(torch.randn(config.num_memory_tokens, config.width))

    def first_memory(self) -> Tensor:
        """See `SegmentRecurrence.first_memory`."""
        return self.memory_MD

    def next_memory(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `SegmentRecurrence.next_memory`."""
        return written_BMD, carry_BMQ
