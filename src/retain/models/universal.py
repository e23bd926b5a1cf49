"""Universal Transformer (Dehghani et al. 2019, arXiv 1807.03819) over a streaming window.

One block of the `canonical` transformer is applied to a token again and again, until the token has
thought enough (adaptive computation time, `retain.nn.ponder`). In ponder step n:

    s = state + positions + timing(n),  p = sigmoid(w . s + b),
    state <- block(s; the s of the window's tokens in step n)

A token that has halted keeps its state, and later tokens see that state in the remaining steps.
So what a token sees never depends on how long others think.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.nn.checks import check_choice, check_probability
from retain.nn.ponder import ActKind, Finish, Ponder
from retain.nn.positions import sinusoids
from retain.nn.post_norm import PostNormBlock, initialise_xavier
from retain.nn.window import Window, WindowModel, attend, check_window


@dataclass(frozen=True, kw_only=True)
class UniversalConfig(ModelConfig):
    """Universal Transformer over a streaming window."""

    registered_name: ClassVar[str] = "universal"

    context_length: int = 100
    """Steps that a token sees in each ponder step, itself included."""

    num_heads: int = 1
    """Attention heads; a divisor of the width."""

    feed_forward: int = 32
    """Inner width of the feed-forward sublayer."""

    dropout: float = 0.0
    """Dropout of the feed-forward sublayer and of the attention weights."""

    max_ponder: int = 6
    """Ponder steps after which every token stops."""

    threshold: float = 0.9
    """Sum of halting probabilities at which a token stops."""

    act: ActKind = "t2t"
    """How the output is made of the states: t2t, as in tensor2tensor; or weighted, their sum."""


@MODELS.register("universal")
class Universal(WindowModel):
    """Universal Transformer: one block, as many times as a token wants.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = UniversalConfig

    def __init__(self, config: UniversalConfig, *, tokens_per_step: int):
        check_window(config, "feed_forward", "max_ponder", even=True)
        check_probability(config, "dropout", "threshold")
        check_choice(config, "act", get_args(ActKind))
        super().__init__(
            size=config.context_length * tokens_per_step,
            num_kept=config.max_ponder,
            kept_width=2 * config.width,
        )
        self.config = config
        self.block = PostNormBlock(config.width, config.feed_forward, config.dropout)
        self.ponder = Ponder(config.width, config.max_ponder, config.threshold, config.act)
        self.apply(initialise_xavier)

    def read(self, x_BLD: Tensor, window: Window) -> Tensor:
        """See `WindowModel.read`."""
        config, block = self.config, self.block
        rate = config.dropout if self.training else 0.0
        number_P = torch.arange(config.max_ponder, device=x_BLD.device)
        timing_PD = sinusoids(number_P, config.width, x_BLD.dtype)
        place_BLD = sinusoids(window.position_BL, config.width, x_BLD.dtype)

        def step(number: int, state_BLD: Tensor) -> tuple[Tensor, Finish]:
            seen = state_BLD + (place_BLD + timing_PD[number])
            query, new_BLC = block.project(seen)
            kept = window.extend(number, new_BLC)

            def finish(running_BL1: Tensor) -> Tensor:
                read = attend(query, kept, window, num_heads=config.num_heads, dropout=rate)
                return block.add(seen, read)

            return seen, finish

        return self.ponder(x_BLD, step)
