"""No memory: the row of every table that says what a task gives away without any.

An output is the token itself. What the policy learns, it learns in its encoders and heads.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from retain.memory import MemoryState, ModelConfig, SequenceModel, clock
from retain.models import MODELS
from retain.nn.checks import check_positive, check_probability


@dataclass(frozen=True, kw_only=True)
class MemorylessConfig(ModelConfig):
    """No memory."""

    registered_name: ClassVar[str] = "memoryless"

    dropout: float = 0.0
    """Dropout of the outputs."""


@dataclass(frozen=True)
class MemorylessState(MemoryState):
    """Nothing but a count, since a state has rows."""

    clock_B: Tensor = clock()
    """Tokens of the episode so far; no output depends on it."""


@MODELS.register("memoryless")
class Memoryless(SequenceModel):
    """Hands the tokens on as they are; it has no parameters.

    With a policy of three tokens a step, an action is read at the observation's token, and so
    depends on the observation alone.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make a step; it makes no difference here.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = MemorylessConfig

    def __init__(self, config: MemorylessConfig, *, tokens_per_step: int):
        super().__init__()
        check_positive(config, "width", "context_length")
        check_probability(config, "dropout")
        self.dropout = nn.Dropout(config.dropout)
        # Without parameters, this alone knows which device the model is on.
        self.start: Tensor
        self.register_buffer("start", torch.zeros(1, dtype=torch.long), persistent=False)

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: the present token alone."""
        return 1

    def initial_state(self, batch_size: int) -> MemorylessState:
        """See `SequenceModel.initial_state`."""
        return MemorylessState(clock_B=self.start.repeat(batch_size))

    def forward(
        self,
        x_BLD: Tensor,
        state: MemorylessState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, MemorylessState]:
        """See `SequenceModel.forward`."""
        length = x_BLD.shape[1]
        clock_B = state.clock_B + length
        if reset_BL is not None:
            # Tokens from the last reset on; argmax finds the first of equals, hence the flip.
            since_B = reset_BL.flip(1).to(torch.uint8).argmax(1) + 1
            clock_B = torch.where(reset_BL.any(1), since_B, clock_B)
        return self.dropout(x_BLD), MemorylessState(clock_B=clock_B)
