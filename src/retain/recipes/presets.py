"""What recipes share; above all the sizes of every model for the online tasks.

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
    from retain.training.config import RunConfig


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
        # The memory tokens alone carry what is to be remembered.
        wanted |= {"cache_length": 0, "feed_forward": None}
    return config_class(width=width, **{k: v for k, v in wanted.items() if k in known})


def with_plain_valve(run: RunConfig, recipe: str) -> RunConfig:
    """Returns a recipe of RATE with the paper's valve, which asks for nothing that could be dear.

    Args:
        run: The recipe.
        recipe: The new one's name.
    """
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    assert isinstance(run.model, RATEConfig)
    return dataclasses.replace(
        run,
        recipe=recipe,
        model=dataclasses.replace(run.model, valve=ValveConfig(kind="cross_attention")),
        train=dataclasses.replace(run.train, memory_cost_warmup=0.0),
    )


def check_size(name: str, value: int) -> None:
    """Checks a size of the task that others are made of; the environment checks it further.

    Raises:
        ConfigError: If it is not positive.
    """
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}")
