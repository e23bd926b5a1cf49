"""GRU (Cho et al. 2014, arXiv 1406.1078): a recurrent network with two gates.

    r, z = s(W x + U h + b),  n = tanh(W x + b + r * (U h + b')),  h' = (1 - z) * n + z * h

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
from retain.nn.scan import FusedGRU


@dataclass(frozen=True, kw_only=True)
class GRUConfig(RecurrentConfig):
    """A GRU."""

    registered_name: ClassVar[str] = "gru"


@dataclass(frozen=True)
class GRUState(MemoryState):
    """What a GRU carries from token to token."""

    hidden_BNH: Tensor = carry()
    """Outputs h of the layers at the last token."""


@MODELS.register("gru")
class GRU(RecurrentModel):
    """A GRU over tokens."""

    Config: ClassVar[type[ModelConfig]] = GRUConfig
    Network = FusedGRU
    Cell = staticmethod(torch.gru_cell)
    State = GRUState
    Keeps = ((1, 1.0),)  # z, which keeps what was
