"""ReZero over relative attention with a cache.

    y = x + alpha * attention(x),  z = y + alpha * feed_forward(y)

No normalisation; alpha is one learned number a layer and starts at 0, so that a new model hands its
tokens on as they are (Bachlechner et al. 2021, arXiv 2003.04887). The cache is Transformer-XL's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.models.transformer_xl import TransformerXL, TransformerXLConfig


@dataclass(frozen=True, kw_only=True)
class ReZeroConfig(TransformerXLConfig):
    """ReZero over relative attention with a cache."""

    registered_name: ClassVar[str] = "rezero"

    block: Literal["rezero"] = "rezero"
    """Residuals scaled by a learned number, which makes it ReZero."""


@MODELS.register("rezero")
class ReZero(TransformerXL):
    """ReZero: the memory is invisible until alpha has moved.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense, or the block is another one.
    """

    Config: ClassVar[type[ModelConfig]] = ReZeroConfig
