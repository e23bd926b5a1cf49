"""LSTM (Hochreiter and Schmidhuber 1997): the baseline that memory is measured against.

    i, f, o = s(W x + U h + b),  g = tanh(W x + U h + b),  c' = f * c + i * g,  h' = o * tanh(c')

Axes: B batch, N layers, H hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from retain.memory import MemoryState, ModelConfig, carry
from retain.models import MODELS
from retain.nn.recurrent import RecurrentConfig, RecurrentModel
from retain.nn.scan import FusedLSTM


@dataclass(frozen=True, kw_only=True)
class LSTMConfig(RecurrentConfig):
    """An LSTM."""

    registered_name: ClassVar[str] = "lstm"


@dataclass(frozen=True)
class LSTMState(MemoryState):
    """What an LSTM carries from token to token."""

    hidden_BNH: Tensor = carry()
    """Outputs h of the layers at the last token."""
    cell_BNH: Tensor = carry()
    """Cells c of the layers."""


@MODELS.register("lstm")
class LSTM(RecurrentModel):
    """An LSTM over tokens."""

    Config: ClassVar[type[ModelConfig]] = LSTMConfig
    Network = FusedLSTM
    Cell = staticmethod(torch.lstm_cell)
    State = LSTMState
    Keeps = ((1, 1.0), (0, -1.0))  # the forget gate stays open, the input gate shut
