"""What recipes share; above all the sizes of every model for a task.

What a model needs to look back over a whole episode follows from the episode's length: the window
of those that read one, the cache of those that keep one, and segments of a third of it for those
that write a memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retain.core.errors import ConfigError
from retain.recipes import RECIPES

if TYPE_CHECKING:
    from retain.memory import ModelConfig
    from retain.training.config import RunConfig


def model_config(
    name: str,
    *,
    width: int,
    steps: int,
    tokens_per_step: int = 1,
    num_layers: int = 1,
    num_heads: int = 1,
    dropout: float | None = None,
) -> ModelConfig:
    """Returns the settings of a registered model.

    Of those that come with the library the sizes are chosen to be comparable. One of somebody
    else's keeps its own, but for what follows from the task: its width, and how far it looks back.

    Args:
        name: The model's name.
        width: Width D.
        steps: Observations of an episode, or of a training sequence.
        tokens_per_step: Tokens that make a step: one online, three offline.
        num_layers: Layers, of those that have any; RATE, RMT and ELMUR have two.
        num_heads: Attention heads; a divisor of the width.
        dropout: Dropout, of those that have any; None for their default.

    Raises:
        UnknownNameError: If there is no such model.
    """
    from retain.models import MODELS

    model = MODELS.get(name)
    config_class, segmented = model.Config, model.segmented
    known = {field.name for field in dataclasses.fields(config_class)}
    wanted: dict[str, Any] = {
        "context_length": -(-steps // 3) if segmented else steps,
        "cache_length": max(100, steps * tokens_per_step),
    }
    if not model.__module__.startswith("retain."):
        return config_class(width=width, **{k: v for k, v in wanted.items() if k in known})
    wanted |= {
        "num_layers": num_layers,
        "num_heads": num_heads,
        "head_width": width // num_heads,
        "memory_width": width,
    }
    if dropout is not None:
        wanted["dropout"] = dropout
    if segmented:
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


def variant_of(
    base: Callable[..., RunConfig], name: str
) -> Callable[[Callable[[RunConfig], RunConfig]], Callable[..., RunConfig]]:
    """Registers a recipe that takes the arguments of another one and changes its run.

    Args:
        base: The other recipe.
        name: The new recipe's name, which its run is given as well.

    Returns:
        A decorator for a function that takes the other's run and returns it changed.
    """

    def decorate(change: Callable[[RunConfig], RunConfig]) -> Callable[..., RunConfig]:
        # Name and text are its own; arguments are the other's, for the command line.
        @RECIPES.register(name)
        @functools.wraps(base, assigned=("__annotations__",))
        @functools.wraps(change)
        def build(**arguments: Any) -> RunConfig:
            return dataclasses.replace(change(base(**arguments)), recipe=name)

        return build

    return decorate


def with_model(run: RunConfig, model: ModelConfig) -> RunConfig:
    """Returns a run with another model, for which writing to memory costs nothing.

    Args:
        run: The run.
        model: The model's settings.
    """
    train = dataclasses.replace(run.train, memory_cost_warmup=0.0, memory_cost_start=0.0)
    return dataclasses.replace(run, model=model, train=train)


def with_plain_valve(run: RunConfig) -> RunConfig:
    """Returns a run of RATE with the paper's valve, which asks for nothing that could be dear.

    Args:
        run: The run.
    """
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    assert isinstance(run.model, RATEConfig)
    valve = ValveConfig(kind="cross_attention")
    return with_model(run, dataclasses.replace(run.model, valve=valve))


def with_elmur(run: RunConfig) -> RunConfig:
    """Returns a run of ELMUR, of RATE's sizes and with a slot for each of its memory tokens.

    Args:
        run: RATE's run.
    """
    from retain.models.elmur import ELMURConfig
    from retain.models.rate import RATEConfig

    rate = run.model
    assert isinstance(rate, RATEConfig)
    model = ELMURConfig(
        width=rate.width,
        num_layers=rate.num_layers,
        num_heads=rate.num_heads,
        head_width=rate.head_width,
        context_length=rate.context_length,
        num_slots=rate.num_memory_tokens,
    )
    return with_model(run, model)


def with_lstm(run: RunConfig) -> RunConfig:
    """Returns a run of an LSTM over the same tokens, twice as wide as they are.

    Args:
        run: A run of another model.
    """
    from retain.models.lstm import LSTMConfig

    width, context_length = run.model.width, run.model.context_length
    model = LSTMConfig(width=width, hidden=2 * width, context_length=context_length)
    return with_model(run, model)


def check_size(name: str, value: int) -> None:
    """Checks a size of the task that others are made of; the environment checks it further.

    Raises:
        ConfigError: If it is not positive.
    """
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, not {value}")
