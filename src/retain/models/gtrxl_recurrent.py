"""A recurrent network behind attention: what a study of memory once published as "GTrXL".

Relative attention over a cache, and where GTrXL has gates between the residual stream and the
sublayers, two real GRUs over time, whose hidden states h1 and h2 live as long as the episode:

    y = LN(LN(x + attention(x)))
    y1, h1 = GRU1(x + y, h1)
    z, h2 = GRU2(y1 + feed_forward(LN(y1)), h2)

A last linear map has no bias. `gtrxl` is the model of that name with the gates of its paper.

Axes: B batch, L tokens, N layers, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from retain.memory import ModelConfig, carry
from retain.models import MODELS
from retain.nn.blocks import FeedForward
from retain.nn.checks import check_probability
from retain.nn.relative_window import RelativeWindowAttention
from retain.nn.scan import FusedGRU, scan
from retain.nn.window import Window, WindowMemory, WindowState, check_window


@dataclass(frozen=True, kw_only=True)
class GTrXLRecurrentConfig(ModelConfig):
    """GRUs over time behind attention with a cache."""

    registered_name: ClassVar[str] = "gtrxl_recurrent"

    cache_length: int = 100
    """Earlier tokens that each layer's attention sees; the GRUs have no such limit."""

    num_layers: int = 1
    """Layers."""

    num_heads: int = 1
    """Attention heads; a divisor of the width."""

    feed_forward: int = 32
    """Inner width of the feed-forward sublayers."""

    dropout: float = 0.0
    """Dropout of the feed-forward sublayers and of the attention weights."""


@dataclass(frozen=True)
class RecurrentWindowState(WindowState):
    """A window, and the hidden states of two GRUs a layer."""

    hidden_first_BND: Tensor = carry()
    """Of the GRU behind the attention, h1."""
    hidden_second_BND: Tensor = carry()
    """Of the GRU behind the feed-forward sublayer, h2."""


class RecurrentBlock(nn.Module):
    """One layer.

    Args:
        config: The model's settings.
    """

    def __init__(self, config: GTrXLRecurrentConfig):
        super().__init__()
        width = config.width
        self.attention = RelativeWindowAttention(width, config.num_heads, config.dropout)
        self.norm_attention = nn.LayerNorm(width)
        self.first = FusedGRU(width, width, batch_first=True)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, config.feed_forward, config.dropout)
        self.second = FusedGRU(width, width, batch_first=True)


@MODELS.register("gtrxl_recurrent")
class GTrXLRecurrent(WindowMemory):
    """GRUs over time behind attention with a cache.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment; it makes no difference here.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = GTrXLRecurrentConfig

    def __init__(self, config: GTrXLRecurrentConfig, *, tokens_per_step: int):
        check_window(config, "num_layers", "feed_forward", "cache_length", even=True)
        check_probability(config, "dropout")
        super().__init__(
            size=config.cache_length + 1,
            num_kept=config.num_layers,
            kept_width=2 * config.width,
        )
        self.config = config
        heads = (config.num_heads, config.width // config.num_heads)
        self.content_bias_HE = nn.Parameter(torch.zeros(heads))
        self.position_bias_HE = nn.Parameter(torch.zeros(heads))
        self.blocks = nn.ModuleList(RecurrentBlock(config) for _ in range(config.num_layers))
        self.out = nn.Linear(config.width, config.width, bias=False)

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: everything, through the GRUs."""
        return None

    def initial_state(self, batch_size: int) -> RecurrentWindowState:
        """See `SequenceModel.initial_state`: an empty window, and zeros."""
        shape = (batch_size, self.config.num_layers, self.config.width)
        zeros = self.out.weight.new_zeros(shape)
        hidden = {"hidden_first_BND": zeros, "hidden_second_BND": zeros.clone()}
        return self.empty(batch_size, RecurrentWindowState, **hidden)

    def piece(
        self, x_BLD: Tensor, state: RecurrentWindowState, window: Window
    ) -> tuple[Tensor, RecurrentWindowState]:
        """See `WindowMemory.piece`."""
        reset_BL = window.reset_BL
        biases = self.content_bias_HE, self.position_bias_HE
        x, firsts, seconds = x_BLD, [], []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, RecurrentBlock)
            query, new_BLC = block.attention.project(x)
            kept = window.extend(number, new_BLC)
            y = block.norm_attention(block.attention(x, query, kept, window, *biases))
            y, first = scan(block.first, x + y, state.hidden_first_BND[:, number], reset_BL)
            mixed = block.feed_forward(block.norm_feed_forward(y))
            x, second = scan(block.second, y + mixed, state.hidden_second_BND[:, number], reset_BL)
            firsts.append(first)
            seconds.append(second)
        after = window.after(
            RecurrentWindowState,
            hidden_first_BND=torch.stack(firsts, dim=1),
            hidden_second_BND=torch.stack(seconds, dim=1),
        )
        return self.out(x), after
