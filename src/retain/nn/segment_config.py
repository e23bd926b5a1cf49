"""The settings of models that read segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args, get_type_hints

from retain.core.errors import ConfigError
from retain.memory import ModelConfig
from retain.nn.blocks import BlockKind
from retain.nn.checks import check_choice, check_positive, check_probability


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(ModelConfig):
    """The transformer that reads segments."""

    num_layers: int = 2
    """Layers."""

    num_heads: int = 4
    """Attention heads."""

    head_width: int = 16
    """Width of one attention head."""

    block: BlockKind = "trxl"
    """trxl: normalised after each sublayer; trxl_i: identity-map reordering; gtrxl: with gates;
    rezero: not normalised, residuals scaled by a learned number."""

    feed_forward: int | None = None
    """Inner width of the feed-forward sublayers; None leaves them out."""

    dropout: float = 0.0
    """Dropout of tokens, sublayers and outputs."""

    attention_dropout: float = 0.0
    """Dropout of the attention weights."""

    twofold_residual: bool = False
    """Add the attention's input twice, as the published RATE code does."""


def check_sizes(config: SegmentConfig, num_memory_tokens: int, cache_length: int) -> None:
    """Checks the numbers of a model.

    Raises:
        ConfigError: If one does not make sense.
    """
    positive = ("width", "context_length", "num_layers", "num_heads", "head_width", "feed_forward")
    check_positive(config, *positive)
    check_probability(config, "dropout", "attention_dropout")
    # A model of one kind of block narrows the field's type.
    check_choice(config, "block", get_args(get_type_hints(type(config))["block"]))
    if config.width % 2:
        raise ConfigError(f"model.width must be even for sinusoidal positions, not {config.width}")
    if num_memory_tokens < 0:
        raise ConfigError(f"model.num_memory_tokens must not be negative, not {num_memory_tokens}")
    if cache_length < 0:
        raise ConfigError(f"model.cache_length must not be negative, not {cache_length}")
