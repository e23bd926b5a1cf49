"""Adaptive computation time over relative attention, with ReZero's scalar and with gates.

One block is applied to a token until it has thought enough (`retain.nn.ponder`). It sees what the
latest tokens were in the same ponder step. With c = alpha LN(state + attention(state)) and one
learned alpha that starts at 0:

    y = gate1(state, c),  state <- gate2(y, alpha feed_forward(y))

and a linear map of the output. The gates are one of two things:

- ``gate``: GTrXL's (Parisotto et al. 2020, arXiv 1910.06764). State in, state out; no recurrence.
- ``recurrent``: GRUs over time, of state + c and y + alpha feed_forward(y), whose hidden states h1
  and h2 go on from ponder step to ponder step and then from token to token. Tokens are then read
  one by one in training too.

Axes: B batch, L tokens, D width, Q width of the carry (D, or 0 without recurrence).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from retain.memory import ModelConfig, carry
from retain.models import MODELS
from retain.nn.blocks import FeedForward, Gate
from retain.nn.checks import check_choice, check_probability
from retain.nn.ponder import ActKind, Finish, Ponder
from retain.nn.relative_window import RelativeWindowAttention
from retain.nn.window import Window, WindowMemory, WindowState, check_window

GatingKind: TypeAlias = Literal["gate", "recurrent"]


@dataclass(frozen=True, kw_only=True)
class IntegratedConfig(ModelConfig):
    """Adaptive computation time over relative attention, with gates."""

    registered_name: ClassVar[str] = "integrated"

    cache_length: int = 100
    """Earlier tokens that the attention sees in each ponder step."""

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

    gating: GatingKind = "gate"
    """gate: those of GTrXL; recurrent: GRUs over time."""


@dataclass(frozen=True, kw_only=True)
class IntegratedRecurrentConfig(IntegratedConfig):
    """Adaptive computation time over relative attention, with GRUs over time."""

    registered_name: ClassVar[str] = "integrated_recurrent"

    gating: GatingKind = "recurrent"
    """gate: those of GTrXL; recurrent: GRUs over time."""


@dataclass(frozen=True)
class IntegratedState(WindowState):
    """A window a ponder step, and the hidden states of the GRUs if there are any."""

    hidden_first_BQ: Tensor = carry()
    """Of the GRU behind the attention, h1."""
    hidden_second_BQ: Tensor = carry()
    """Of the GRU behind the feed-forward sublayer, h2."""


@MODELS.register("integrated")
class Integrated(WindowMemory):
    """Adaptive computation time over relative attention, with ReZero's scalar and with gates.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment; it makes no difference here.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = IntegratedConfig

    def __init__(self, config: IntegratedConfig, *, tokens_per_step: int):
        check_window(config, "feed_forward", "cache_length", "max_ponder", even=True)
        check_probability(config, "dropout", "threshold")
        check_choice(config, "act", get_args(ActKind))
        check_choice(config, "gating", get_args(GatingKind))
        width = config.width
        super().__init__(
            size=config.cache_length + 1, num_kept=config.max_ponder, kept_width=2 * width
        )
        self.config = config
        self.recurrent = config.gating == "recurrent"
        heads = (config.num_heads, width // config.num_heads)
        self.content_bias_HE = nn.Parameter(torch.zeros(heads))
        self.position_bias_HE = nn.Parameter(torch.zeros(heads))
        self.attention = RelativeWindowAttention(width, config.num_heads, config.dropout)
        self.feed_forward = FeedForward(width, config.feed_forward, config.dropout)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.first: nn.Module = nn.GRUCell(width, width) if self.recurrent else Gate(width)
        self.second: nn.Module = nn.GRUCell(width, width) if self.recurrent else Gate(width)
        self.ponder = Ponder(width, config.max_ponder, config.threshold, config.act)
        self.out = nn.Linear(width, width)

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: everything if there are GRUs."""
        return None if self.recurrent else super().reach

    def initial_state(self, batch_size: int) -> IntegratedState:
        """See `SequenceModel.initial_state`: an empty window, and zeros."""
        width = self.config.width if self.recurrent else 0
        zeros = self.out.weight.new_zeros(batch_size, width)
        hidden = {"hidden_first_BQ": zeros, "hidden_second_BQ": zeros.clone()}
        return self.empty(batch_size, IntegratedState, **hidden)

    @property
    def piece_length(self) -> int:
        """See `WindowMemory.piece_length`: GRUs that go on from token to token allow one only."""
        return 1 if self.recurrent else super().piece_length

    def piece(
        self, x_BLD: Tensor, state: IntegratedState, window: Window
    ) -> tuple[Tensor, IntegratedState]:
        """See `WindowMemory.piece`."""
        hidden = _Hidden(state.hidden_first_BQ, state.hidden_second_BQ)
        if window.reset_BL is not None and self.recurrent:
            hidden.reset(window.reset_BL)
        y_BLD = self.ponder(x_BLD, lambda number, s: self._step(number, s, window, hidden))
        after = window.after(
            IntegratedState, hidden_first_BQ=hidden.first, hidden_second_BQ=hidden.second
        )
        return self.out(y_BLD), after

    def _step(
        self, number: int, state_BLD: Tensor, window: Window, hidden: _Hidden
    ) -> tuple[Tensor, Finish]:
        """Does one ponder step; see `Ponder`."""
        query, new_BLC = self.attention.project(state_BLD)
        kept = window.extend(number, new_BLC)

        def finish(running_BL1: Tensor) -> Tensor:
            biases = self.content_bias_HE, self.position_bias_HE
            c = self.alpha * self.attention(state_BLD, query, kept, window, *biases)
            if not self.recurrent:
                y = self.first(state_BLD, c)
                return self.second(y, self.alpha * self.feed_forward(y))
            running = running_BL1[:, 0]
            y = self.first((state_BLD + c)[:, 0], hidden.first)
            hidden.first = torch.where(running, y, hidden.first)
            z = self.second(y + self.alpha * self.feed_forward(y), hidden.second)
            hidden.second = torch.where(running, z, hidden.second)
            return z[:, None]

        return state_BLD, finish


@MODELS.register("integrated_recurrent")
class IntegratedRecurrent(Integrated):
    """The same with GRUs over time in the place of gates."""

    Config: ClassVar[type[ModelConfig]] = IntegratedRecurrentConfig


class _Hidden:
    """The hidden states of the two GRUs while a token is read."""

    def __init__(self, first_BQ: Tensor, second_BQ: Tensor):
        self.first, self.second = first_BQ, second_BQ

    def reset(self, reset_B1: Tensor) -> None:
        self.first = self.first.masked_fill(reset_B1, 0.0)
        self.second = self.second.masked_fill(reset_B1, 0.0)
