"""Stable Hadamard Memory (Le et al. 2025, arXiv 2410.10132): a matrix, calibrated cell by cell.

    M <- M * C + eta v k^T,  C = 1 + tanh(theta v_c^T),  h = M q

The cells of the matrix do not mix: each is scaled by a number between 0 and 2 and added to. theta
is one of a table's rows, another at every token, so that what the calibrations of a long episode
multiply to stays bounded. The paper draws the row at random; here the draw is a fixed function of
the token's place in the episode, so that an output depends on the tokens alone.

Axes: B batch, L tokens, D width, H memory width, I and J the axes of a matrix (both H), N rows of
the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel, carry, clock
from retain.models import MODELS
from retain.nn.checks import check_choice, check_positive, check_probability

Calibration: TypeAlias = Literal["varied", "single"]

#: Odd, and below 2^30, so that the product with 32 bits fits a signed number of 64.
MULTIPLIER = 0x278DDE6F
MASK = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class StableHadamardConfig(ModelConfig):
    """Stable Hadamard Memory."""

    registered_name: ClassVar[str] = "stable_hadamard"

    memory_width: int = 72
    """Width H of the matrix, which has H * H cells."""

    num_calibrations: int = 128
    """Rows of the table of calibrations."""

    calibration: Calibration = "varied"
    """varied: another row of the table at every token, as the paper has it; single: always the
    first, as the code published for POPGym in fact does."""

    limit: float | None = 100.0
    """Bound of the cells on both sides; None: none."""

    dropout: float = 0.0
    """Dropout of the outputs."""


@dataclass(frozen=True)
class StableHadamardState(MemoryState):
    """The matrix, and how far the episode has come."""

    memory_BIJ: Tensor = carry()
    """The matrix: values by keys."""
    position_B: Tensor = clock()
    """Tokens read since the episode began."""


@MODELS.register("stable_hadamard")
class StableHadamard(SequenceModel):
    """A matrix memory that is scaled cell by cell.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make a step; it makes no difference here.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = StableHadamardConfig

    def __init__(self, config: StableHadamardConfig, *, tokens_per_step: int):
        super().__init__()
        check_positive(config, "width", "context_length", "memory_width", "num_calibrations")
        check_probability(config, "dropout")
        check_choice(config, "calibration", get_args(Calibration))
        if config.limit is not None and not config.limit > 0:
            raise ConfigError(f"model.limit must be above 0 or None, not {config.limit}")
        self.config = config
        width, inner = config.width, config.memory_width
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, inner, bias=False)
        self.query = nn.Linear(width, inner, bias=False)
        self.value = nn.Linear(width, inner, bias=False)
        self.strength = nn.Linear(width, 1, bias=False)
        self.calibration = nn.Linear(width, inner, bias=False)
        rows = config.num_calibrations if config.calibration == "varied" else 1
        # As wide as a whole table's would start, also where one row is kept.
        bound = (6 / (config.num_calibrations + inner)) ** 0.5
        self.theta_NH = nn.Parameter(torch.empty(rows, inner).uniform_(-bound, bound))
        self.shortcut = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.dropout = nn.Dropout(config.dropout)

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: everything."""
        return None

    def initial_state(self, batch_size: int) -> StableHadamardState:
        """See `SequenceModel.initial_state`: zeros."""
        inner = self.config.memory_width
        position = torch.zeros(batch_size, dtype=torch.long, device=self.theta_NH.device)
        return StableHadamardState(self.theta_NH.new_zeros(batch_size, inner, inner), position)

    def forward(
        self,
        x_BLD: Tensor,
        state: StableHadamardState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, StableHadamardState]:
        """See `SequenceModel.forward`; every output is made, and nothing is worth donating."""
        memory_BIJ, kind = state.memory_BIJ, state.memory_BIJ.dtype
        length = x_BLD.shape[1]
        x_BLD = self.norm(x_BLD)
        position_BL = _positions(state.position_B, length, reset_BL)
        # In mixed precision the recurrence keeps the precision of the matrix.
        theta_BLI = self.theta_NH[self._rows(position_BL)].to(kind)
        with_BLJ = self.calibration(x_BLD).to(kind)
        value_BLI = (torch.sigmoid(self.strength(x_BLD)) * self.value(x_BLD)).to(kind)
        key_BLJ = _shares(self.key(x_BLD).to(kind))
        query_BLJ = _shares(self.query(x_BLD).to(kind))
        begins = [] if reset_BL is None else reset_BL.any(0).tolist()
        limit, reads = self.config.limit, []
        for at in range(length):
            if reset_BL is not None and begins[at]:
                memory_BIJ = memory_BIJ.masked_fill(reset_BL[:, at, None, None], 0.0)
            scale_BIJ = 1 + torch.tanh(theta_BLI[:, at, :, None] * with_BLJ[:, at, None])
            update_BIJ = value_BLI[:, at, :, None] * key_BLJ[:, at, None]
            memory_BIJ = torch.addcmul(update_BIJ, memory_BIJ, scale_BIJ)
            if limit is not None:
                memory_BIJ = memory_BIJ.clamp(-limit, limit)
            reads.append((memory_BIJ @ query_BLJ[:, at, :, None])[:, :, 0])
        y_BLD = self.dropout(self.out(torch.stack(reads, dim=1) + self.shortcut(x_BLD)))
        return y_BLD, StableHadamardState(memory_BIJ, position_BL[:, -1] + 1)

    def _rows(self, position_BL: Tensor) -> Tensor:
        """Returns which row of the table each token is calibrated with."""
        if self.config.calibration == "single":
            return torch.zeros_like(position_BL)
        return draw(position_BL) % self.config.num_calibrations


def draw(position: Tensor) -> Tensor:
    """Returns a number of 32 bits for each position, as if drawn at random, and always the same."""
    bits = (position + 1) & MASK
    for _ in range(2):
        bits = (bits * MULTIPLIER) & MASK
        bits = bits ^ (bits >> 15)
    return bits


def _positions(before_B: Tensor, length: int, reset_BL: Tensor | None) -> Tensor:
    """Returns each token's place in its episode."""
    steps = torch.arange(length, device=before_B.device)
    position_BL = before_B[:, None] + steps
    if reset_BL is None:
        return position_BL
    begun_BL = torch.where(reset_BL, steps, -1).cummax(dim=1).values
    return torch.where(begun_BL < 0, position_BL, steps - begun_BL)


def _shares(x: Tensor) -> Tensor:
    """Returns positive parts as shares of their sum."""
    x = torch.relu(x)
    return x / (1e-5 + x.sum(-1, keepdim=True))
