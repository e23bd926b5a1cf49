"""The transformer of Vaswani et al. 2017 (arXiv 1706.03762) over a streaming window.

    x = sqrt(D) tokens + positions,  y = LN(x + attention(x)),  z = LN(y + feed_forward(y))

and a linear map of the last layer's z. Positions are sines and cosines of the place in the episode.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.checks import check_probability
from retain.nn.positions import sinusoids
from retain.nn.post_norm import PostNormBlock, initialise_xavier
from retain.nn.window import Window, WindowModel, attend, check_window


@dataclass(frozen=True, kw_only=True)
class CanonicalConfig(ModelConfig):
    """The first transformer, over a streaming window."""

    registered_name: ClassVar[str] = "canonical"

    context_length: int = 100
    """Steps that a token sees, itself included."""

    num_layers: int = 1
    """Layers."""

    num_heads: int = 1
    """Attention heads; a divisor of the width."""

    feed_forward: int = 32
    """Inner width of the feed-forward sublayers."""

    dropout: float = 0.0
    """Dropout of the feed-forward sublayers and of the attention weights."""


@MODELS.register("canonical")
class Canonical(WindowModel):
    """The first transformer: normalisation after each sublayer.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = CanonicalConfig

    def __init__(self, config: CanonicalConfig, *, tokens_per_step: int):
        check_window(config, "num_layers", "feed_forward", even=True)
        check_probability(config, "dropout")
        super().__init__(
            size=config.context_length * tokens_per_step,
            num_kept=config.num_layers,
            kept_width=2 * config.width,
        )
        self.config = config
        self.blocks = nn.ModuleList(
            PostNormBlock(config.width, config.feed_forward, config.dropout)
            for _ in range(config.num_layers)
        )
        self.out = nn.Linear(config.width, config.width)
        self.apply(initialise_xavier)

    def read(self, x_BLD: Tensor, window: Window) -> Tensor:
        """See `WindowModel.read`."""
        width = self.config.width
        x = math.sqrt(width) * x_BLD + sinusoids(window.position_BL, width, x_BLD.dtype)
        for number, block in enumerate(self.blocks):
            assert isinstance(block, PostNormBlock)
            query, new_BLC = block.project(x)
            x = block.add(x, self.attention(query, window.extend(number, new_BLC), window, number))
        return self.out(x)

    def attention(self, query_BLD: Tensor, kept_BSC: Tensor, window: Window, layer: int) -> Tensor:
        """Reads keys and values, [B, S, 2D], of a layer's window; returns [B, L, D]."""
        rate = self.config.dropout if self.training else 0.0
        heads = self.config.num_heads
        return attend(query_BLD, kept_BSC, window, num_heads=heads, dropout=rate)
