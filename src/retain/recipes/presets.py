"""Sizes of every model for the online tasks, from the length of an episode.

What a model needs to look back over a whole episode follows from the episode's length: the window
of those that read one, the cache of those that keep one, and segments of a third of it for those
that write a memory.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from retain.core.errors import ConfigError

if TYPE_CHECKING:
    from retain.memory import ModelConfig


def model_config(
    name: str,
    *,
    width: int,
    steps: int,
    num_layers: int = 1,
    num_heads: int = 1,
    dropout: float | None = None,
) -> ModelConfig:
    """Returns the settings of a registered model.

    Args:
        name: The model's name.
        width: Width D.
        steps: Observations of an episode.
        num_layers: Layers, of those that have any; RATE, RMT and ELMUR have two.
        num_heads: Attention heads; a divisor of the width.
        dropout: Dropout, of those that have any; None for their default.

    Raises:
        UnknownNameError: If there is no such model.
    """
    from retain.models import MODELS

    config_class = MODELS.get(name).Config
    known = {field.name for field in dataclasses.fields(config_class)}
    segments = {"transformer_xl", "gtrxl", "rezero", "rmt", "rate", "elmur"}
    wanted: dict[str, Any] = {
        "context_length": -(-steps // 3) if name in segments else steps,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "head_width": width // num_heads,
        "cache_length": max(100, steps),
        "memory_width": width,
    }
    if dropout is not None:
        wanted["dropout"] = dropout
    if name in segments:
        wanted["feed_forward"] = 2 * width
    if name in ("rmt", "rate"):
        # What is written is the outputs of the last layer, and it must have read the segment.
        wanted |= {"num_layers": 2, "num_memory_tokens": 5}
    if name == "elmur":
        # Of three segments two are written and then read.
        wanted |= {"num_layers": 2, "num_slots": 2}
    if name == "rate":
        from retain.nn.valve import ValveConfig

        # The memory tokens alone carry what is to be remembered.
        valve = ValveConfig(kind="retaining", activation="identity")
        wanted |= {"cache_length": 0, "feed_forward": None, "valve": valve}
    return config_class(width=width, **{k: v for k, v in wanted.items() if k in known})


def check_size(name: str, value: int) -> None:
    """Checks a size of the task that others are made of; the environment checks it further.

    Raises:
        ConfigError: If it is not positive.
    """
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}")
