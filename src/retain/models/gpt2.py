"""GPT-2 as a memory for online agents (Ni et al. 2023, arXiv 2307.03864).

    x = tokens + positions,  x = x + attention(LN(x)),  x = x + feed_forward(LN(x)),  y = LN(x)

Each layer keeps the keys and values of the latest W tokens, so that acting reads one token at a
time and training reads whole episodes at once.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

from torch import Tensor, nn

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.checks import check_choice, check_probability
from retain.nn.gpt import GPTBlock
from retain.nn.positions import sinusoids
from retain.nn.window import Window, WindowModel, attend, check_window

PositionKind: TypeAlias = Literal["sine", "learned", "none"]


@dataclass(frozen=True, kw_only=True)
class GPT2Config(ModelConfig):
    """GPT-2 over a streaming window."""

    registered_name: ClassVar[str] = "gpt2"

    context_length: int = 1502
    """Steps that a token sees, itself included. As long as the longest episode forgets nothing, and
    costs nothing in a shorter one."""

    num_layers: int = 1
    """Layers."""

    num_heads: int = 1
    """Attention heads; a divisor of the width."""

    dropout: float = 0.1
    """Dropout of tokens, sublayers and attention weights."""

    positions: PositionKind = "sine"
    """What is added to a token for its place in the episode: sines and cosines, a learned row (the
    last row for all later tokens), or nothing."""


@MODELS.register("gpt2")
class GPT2(WindowModel):
    """GPT-2: attention over the latest tokens of the episode.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = GPT2Config

    def __init__(self, config: GPT2Config, *, tokens_per_step: int):
        check_window(config, "num_layers", even=config.positions == "sine")
        check_probability(config, "dropout")
        check_choice(config, "positions", get_args(PositionKind))
        super().__init__(
            size=config.context_length * tokens_per_step,
            num_kept=config.num_layers,
            kept_width=2 * config.width,
        )
        self.config = config
        self.positions: nn.Embedding | None = None
        if config.positions == "learned":
            self.positions = nn.Embedding(self.window_size, config.width)
        self.blocks = nn.ModuleList(
            GPTBlock(config.width, config.num_heads, config.dropout, "gelu")
            for _ in range(config.num_layers)
        )
        self.norm_output = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(_initialise)

    def read(self, x_BLD: Tensor, window: Window) -> Tensor:
        """See `WindowModel.read`."""
        width, rate = self.config.width, self.config.dropout if self.training else 0.0
        x = self.dropout(self._placed(x_BLD, window.position_BL))
        for number, block in enumerate(self.blocks):
            assert isinstance(block, GPTBlock)
            query, new = block.qkv(block.norm_attention(x)).split([width, 2 * width], dim=-1)
            kept = window.extend(number, new)
            read = attend(query, kept, window, num_heads=self.config.num_heads, dropout=rate)
            x = block.add(x, read)
        return self.norm_output(x)

    def _placed(self, x_BLD: Tensor, position_BL: Tensor) -> Tensor:
        if self.positions is not None:
            return x_BLD + self.positions(position_BL.clamp(max=self.window_size - 1))
        if self.config.positions == "sine":
            return x_BLD + sinusoids(position_BL, self.config.width, x_BLD.dtype)
        return x_BLD


def _initialise(module: nn.Module) -> None:
    """GPT-2's initial weights."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
