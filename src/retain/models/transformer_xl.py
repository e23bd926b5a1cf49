"""Transformer-XL (Dai et al. 2019, arXiv 1901.02860): segments with cached hidden states.

Each layer of a segment also sees the latest `cache_length` inputs that the layer had in earlier
segments. No memory tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.segments import SegmentConfig, SegmentRecurrence


@dataclass(frozen=True, kw_only=True)
class TransformerXLConfig(SegmentConfig):
    """Transformer-XL."""

    registered_name: ClassVar[str] = "transformer_xl"

    cache_length: int = 90
    """Tokens of earlier segments that each layer sees."""

    feed_forward: int | None = 64
    """Inner width of the feed-forward sublayers; None leaves them out."""


@MODELS.register("transformer_xl")
class TransformerXL(SegmentRecurrence):
    """Transformer-XL: a cache of the hidden states of earlier segments."""

    Config: ClassVar[type[ModelConfig]] = TransformerXLConfig

    def __init__(self, config: TransformerXLConfig, *, tokens_per_step: int):
        super().__init__(
            config,
            tokens_per_step=tokens_per_step,
            num_memory_tokens=0,
            cache_length=config.cache_length,
        )

    def first_memory(self) -> Tensor:
        """See `SegmentRecurrence.first_memory`: no rows."""
        return self.content_bias_HE.new_zeros(0, self.width)

    def next_memory(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Never called: there is nothing to write."""
        raise NotImplementedError
