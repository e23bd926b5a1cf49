"""Recurrent networks under the memory contract: the machine under LSTM and GRU.

Torch's fused kernels read whole stretches of tokens. A stretch ends where some row begins an
episode; there its carry is set to zero and the other rows go on as they were.

Axes: B batch, L tokens, D width, N layers, H hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel
from retain.nn.checks import check_positive, check_probability
from retain.nn.scan import FusedGRU, FusedLSTM, stretches

#: Up to so many rows, one token is read faster by the cells than by the fused kernel (a third of
#: the time for one row of an LSTM, the same at 64 rows, a quarter more at 1024; one CPU thread).
CELL_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig(ModelConfig):
    """A recurrent network."""

    num_layers: int = 1
    """Layers."""

    hidden: int | None = None
    """Width of the recurrence, with a linear map from it to `width` behind; None: `width`, without
    the map."""

    dropout: float = 0.0
    """Dropout of the outputs."""

    chrono: int | None = None
    """Tokens over which units remember at first, up to: the biases of the gates that keep start so
    that the units' time constants are spread up to it (Tallec and Ollivier 2018, arXiv 1804.11188).
    About the length of the longest episode; None for biases of zero, which forget within a few
    tokens."""


class RecurrentModel(SequenceModel):
    """A recurrent network whose carry is the whole state.

    Weights start orthogonal, biases at zero (unless `chrono` is given), and so does the carry (Ni
    et al. 2023, arXiv 2307.03864, whose code does this for all matrices, those of the inputs
    included).

    A subclass names the torch module, the function of its cell, its state, whose fields are of
    the shape [B, N, H] and in the order in which torch takes them, and the gates that keep.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make a step; it makes no difference here.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Network: ClassVar[type[FusedLSTM] | type[FusedGRU]]
    Cell: ClassVar[Callable[..., Any]]
    State: ClassVar[type[MemoryState]]
    Keeps: ClassVar[tuple[tuple[int, float], ...]]
    """Places of gates in torch's weights, and the sign of the bias by which each keeps."""

    def __init__(self, config: RecurrentConfig, *, tokens_per_step: int):
        super().__init__()
        check_positive(config, "width", "context_length", "num_layers", "hidden")
        check_probability(config, "dropout")
        if config.chrono is not None and config.chrono < 3:
            raise ConfigError(f"model.chrono must be at least 3 tokens, not {config.chrono}")
        self.num_layers = config.num_layers
        self.hidden = config.width if config.hidden is None else config.hidden
        self.network = self.Network(config.width, self.hidden, config.num_layers, batch_first=True)
        for name, parameter in self.network.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            else:
                nn.init.orthogonal_(parameter)
        if config.chrono is not None:
            self._spread(config.chrono)
        self.out = nn.Identity() if config.hidden is None else nn.Linear(self.hidden, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def _spread(self, longest: int) -> None:
        """Gives the units time constants of 1 up to `longest` tokens: s(log t) = t / (1 + t)."""
        for layer in range(self.num_layers):
            span = torch.empty(self.hidden).uniform_(1.0, longest - 1.0).log()
            bias_GH = self._weights(layer)[2].data.view(-1, self.hidden)
            for gate, sign in self.Keeps:
                bias_GH[gate] = sign * span

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: everything."""
        return None

    def initial_state(self, batch_size: int) -> MemoryState:
        """See `SequenceModel.initial_state`: zeros."""
        shape = (batch_size, self.num_layers, self.hidden)
        weight = self._weights(0)[1]
        return self.State(*(weight.new_zeros(shape) for _ in fields(self.State)))

    def forward(
        self,
        x_BLD: Tensor,
        state: Any,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, Any]:
        """See `SequenceModel.forward`; every output is made, and nothing is worth donating."""
        # In mixed precision the recurrence keeps the precision of its weights.
        x_BLD = x_BLD.to(self._weights(0)[0].dtype)
        carried = tuple(getattr(state, field.name).transpose(0, 1) for field in fields(state))
        outputs = []
        for span, begins_B in stretches(x_BLD.shape[1], reset_BL):
            if begins_B is not None:
                carried = tuple(part.masked_fill(begins_B[:, None], 0.0) for part in carried)
            y_BLH, carried = self._stretch(x_BLD[:, span], carried)
            outputs.append(y_BLH)
        y_BLH = torch.cat(outputs, dim=1) if len(outputs) != 1 else outputs[0]
        after = self.State(*(part.transpose(0, 1) for part in carried))
        return self.dropout(self.out(y_BLH)), after

    def _stretch(
        self, x_BLD: Tensor, carried_NBH: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Reads tokens among which no episode begins."""
        batch, length, _ = x_BLD.shape
        if length == 1 and batch <= CELL_ROWS:
            return self._token(x_BLD[:, 0], carried_NBH)
        given = tuple(part.contiguous() for part in carried_NBH)
        with torch.autocast(x_BLD.device.type, enabled=False):
            y_BLH, last = self.network(x_BLD, given if len(given) > 1 else given[0])
        return y_BLH, last if len(given) > 1 else (last,)

    def _token(
        self, y: Tensor, carried_NBH: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Reads one token, cell by cell."""
        layers = []
        with torch.autocast(y.device.type, enabled=False):
            for layer in range(self.num_layers):
                given = tuple(part[layer] for part in carried_NBH)
                result = type(self).Cell(
                    y, given if len(given) > 1 else given[0], *self._weights(layer)
                )
                made = result if len(given) > 1 else (result,)
                layers.append(made)
                y = made[0]
        if self.num_layers == 1:
            return y[:, None], tuple(part[None] for part in layers[0])
        return y[:, None], tuple(torch.stack(parts) for parts in zip(*layers, strict=True))

    def _weights(self, layer: int) -> list[Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self.network, f"{name}_l{layer}") for name in names]
