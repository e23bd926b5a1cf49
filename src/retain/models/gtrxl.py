"""GTrXL (Parisotto et al. 2020, arXiv 1910.06764): Transformer-XL made stable for reinforcement.

Each sublayer reads normalised inputs, and a gate, a GRU cell over depth and not over time, mixes
what it gives into the stream. The gates start near the identity. The cache is Transformer-XL's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.models.transformer_xl import TransformerXL, TransformerXLConfig


@dataclass(frozen=True, kw_only=True)
class GTrXLConfig(TransformerXLConfig):
    """GTrXL."""

    registered_name: ClassVar[str] = "gtrxl"

    block: Literal["gtrxl"] = "gtrxl"
    """Identity-map reordering with gates, which makes it a GTrXL."""


@MODELS.register("gtrxl")
class GTrXL(TransformerXL):
    """GTrXL: the gates that its paper describes.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense, or the block is another one.
    """

    Config: ClassVar[type[ModelConfig]] = GTrXLConfig
