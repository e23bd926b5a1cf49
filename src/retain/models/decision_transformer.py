"""The Decision Transformer (Chen et al. 2021, arXiv 2106.01345) as its authors built it.

GPT blocks over the latest K steps, with a learned embedding of the time step added to every token
of the step. Each token is read in the window that ends with its step, so nothing older than K steps
can matter, and acting costs a whole window a step: that is the price this library's other models
avoid.

Axes: B batch, L tokens, W window tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast, get_args

import torch
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel, cache, clock
from retain.models import MODELS
from retain.nn.checks import check_choice, check_positive, check_probability
from retain.nn.gpt import GPTActivation, GPTBlock


@dataclass(frozen=True, kw_only=True)
class DecisionTransformerConfig(ModelConfig):
    """The Decision Transformer."""

    registered_name: ClassVar[str] = "decision_transformer"

    context_length: int = 90
    """Steps in the window, K."""

    num_layers: int = 3
    """Layers."""

    num_heads: int = 1
    """Attention heads; a divisor of the width."""

    activation: GPTActivation = "relu"
    """Of the feed-forward sublayers."""

    dropout: float = 0.1
    """Dropout of tokens, sublayers and attention weights."""

    max_timestep: int = 4096
    """Rows of the time embedding; later steps share the last row."""


@dataclass(frozen=True)
class WindowState(MemoryState):
    """The latest tokens as they go into the first layer, and how many there have been."""

    window_BWD: Tensor = cache()
    """Embedded tokens, the latest last; not kept with a single layer."""
    keys_BWD: Tensor = cache()
    """Keys of a single layer, likewise; not kept with several."""
    values_BWD: Tensor = cache()
    """Values of a single layer, likewise."""
    clock_B: Tensor = clock()
    """Tokens that have been read of the episode."""
    missed_B: Tensor = clock()
    """Tokens of the episode before those, which have not been read."""


class _Window:
    """A window while a call adds tokens to it; what is too old goes at the end of the call."""

    def __init__(self, state: WindowState):
        self.tokens, self.keys, self.values = state.window_BWD, state.keys_BWD, state.values_BWD

    def state(self, clock_B: Tensor, missed_B: Tensor, reach: int) -> WindowState:
        return WindowState(
            window_BWD=self.tokens[:, -reach:],
            keys_BWD=self.keys[:, -reach:],
            values_BWD=self.values[:, -reach:],
            clock_B=clock_B,
            missed_B=missed_B,
        )


@MODELS.register("decision_transformer")
class DecisionTransformer(SequenceModel):
    """The Decision Transformer: a sliding window of K steps.

    Args:
        config: The model's settings.
        tokens_per_step: Tokens that make one step, and share a time embedding.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = DecisionTransformerConfig

    def __init__(self, config: DecisionTransformerConfig, *, tokens_per_step: int):
        super().__init__()
        positive = ("width", "context_length", "num_layers", "num_heads", "max_timestep")
        check_positive(config, *positive)
        check_probability(config, "dropout")
        check_choice(config, "activation", get_args(GPTActivation))
        if config.width % config.num_heads:
            raise ConfigError(
                f"model.num_heads={config.num_heads} does not divide model.width={config.width}; "
                "choose a divisor"
            )
        self.config = config
        self.tokens_per_step = tokens_per_step
        self.timestep = nn.Embedding(config.max_timestep, config.width)
        self.norm_input = nn.LayerNorm(config.width)
        self.blocks = nn.ModuleList(
            GPTBlock(config.width, config.num_heads, config.dropout, config.activation)
            for _ in range(config.num_layers)
        )
        self.norm_output = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(_initialise)

    @property
    def _single(self) -> bool:
        return len(self.blocks) == 1

    @property
    def _first(self) -> GPTBlock:
        return cast(GPTBlock, self.blocks[0])

    @property
    def reach(self) -> int:
        """See `SequenceModel.reach`: the window of K steps."""
        return self.config.context_length * self.tokens_per_step

    def initial_state(self, batch_size: int) -> WindowState:
        """See `SequenceModel.initial_state`: an empty window."""
        weight, single = self.timestep.weight, self._single
        kept = weight.new_zeros(batch_size, self.reach, self.config.width)
        none = torch.zeros(batch_size, dtype=torch.long, device=weight.device)
        return WindowState(
            window_BWD=kept[:, :0] if single else kept,
            keys_BWD=kept if single else kept[:, :0],
            values_BWD=kept if single else kept[:, :0],
            clock_B=none,
            missed_B=none.clone(),
        )

    def later_state(self, read_before_B: Tensor) -> WindowState:
        """See `SequenceModel.later_state`: an empty window, at a later time step."""
        return replace(self.initial_state(len(read_before_B)), missed_B=read_before_B.clone())

    def forward(
        self,
        x_BLD: Tensor,
        state: WindowState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, WindowState]:
        """See `SequenceModel.forward`."""
        length = x_BLD.shape[1]
        window, clocks, missed = _Window(state), state.clock_B, state.missed_B
        resets = [] if reset_BL is None else reset_BL.any(0).nonzero().flatten().tolist()
        outputs, at = [], 0
        while at < length:
            if reset_BL is not None and at in resets:
                clocks = clocks.masked_fill(reset_BL[:, at], 0)
                missed = missed.masked_fill(reset_BL[:, at], 0)
            stop = min(
                [at + self._room(clocks, length - at), *(c for c in resets if c > at)],
            )
            new = self._embed(x_BLD[:, at:stop], clocks + missed)
            self._extend(window, new)
            if read_L is None or any(read_L[at:stop]):
                outputs.append(self._read(window, new, clocks))
            else:
                outputs.append(torch.zeros_like(x_BLD[:, at:stop]))
            clocks = clocks + (stop - at)
            at = stop
        y_BLD = torch.cat(outputs, dim=1) if len(outputs) != 1 else outputs[0]
        return y_BLD, window.state(clocks, missed, self.reach)

    def _room(self, clock_B: Tensor, length: int) -> int:
        """How many tokens can be read before the window of some row starts to slide."""
        step = self.tokens_per_step
        clocks = clock_B.unique().tolist()
        # A row whose window is not full reads on to where it is; any other to its step's end.
        room = (self.reach - c if c < self.reach else step - c % step for c in clocks)
        return min(length, *room)

    def _embed(self, x_BLD: Tensor, age_B: Tensor) -> Tensor:
        token = age_B[:, None] + torch.arange(x_BLD.shape[1], device=x_BLD.device)
        step = (token // self.tokens_per_step).clamp(max=self.config.max_timestep - 1)
        return self.dropout(self.norm_input(x_BLD + self.timestep(step)))

    def _extend(self, window: _Window, new_BLD: Tensor) -> None:
        """Adds new tokens to the window."""
        if not self._single:
            window.tokens = torch.cat([window.tokens, new_BLD], dim=1)
            return
        # What a single layer makes of a token does not depend on where the window begins, so that
        # it need not be made anew; what deeper layers make of it does.
        key, value = self._first.project(new_BLD)
        window.keys = torch.cat([window.keys, key], dim=1)
        window.values = torch.cat([window.values, value], dim=1)

    def _read(self, window: _Window, new_BLD: Tensor, clock_B: Tensor) -> Tensor:
        """Reads new tokens, each with all of the window that its step still sees."""
        length = new_BLD.shape[1]
        # Tokens of the last K steps before the present one; what is older has slid out.
        seen_B = clock_B.clamp(max=self.reach)
        full = clock_B >= self.reach
        inside = clock_B % self.tokens_per_step
        seen_B = torch.where(full, self.reach - self.tokens_per_step + inside, seen_B)
        past = int(seen_B.max())
        span = past + length
        visible = None
        if past:
            column = torch.arange(span, device=new_BLD.device)
            row = column[span - length if self._single else 0 :, None]
            # Tokens in front of a row's window see themselves, so that no softmax is empty.
            known = (column >= past - seen_B[:, None])[:, None]
            visible = ((column <= row) & (known | (column == row)))[:, None]
        if self._single:
            kept = window.keys[:, -span:], window.values[:, -span:]
            return self.norm_output(self._first(new_BLD, visible, length, kept))
        x = window.tokens[:, -span:]
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1
            queries = length if last else x.shape[1]
            mask = visible[:, :, -queries:] if visible is not None else None
            x = block(x, mask, queries)
        return self.norm_output(x)


def _initialise(module: nn.Module) -> None:
    """GPT-2's initial weights."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
