"""T-Maze with many items: hints at different times, all asked for at the end.

Every hint has a name. It can be replaced by a later one, and hints that mean nothing can stand
between. Training begins with episodes of one segment, in which names are learned to be looked up;
then episodes get longer, and what is looked up has to be written first.

torch is imported inside the functions, so that listing the recipes costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from retain.core.errors import ConfigError
from retain.envs.noise import Noise
from retain.envs.tmaze import HintTime
from retain.recipes import RECIPES
from retain.recipes.presets import (
    check_size,
    variant_of,
    with_elmur,
    with_lstm,
    with_plain_valve,
)

if TYPE_CHECKING:
    from retain.memory import ModelConfig
    from retain.training.config import RunConfig

LENGTHS = (60, 300, 3000, 30_000)
SIZE: dict[str, Any] = {"width": 128, "num_layers": 2, "num_heads": 4, "head_width": 32}


@RECIPES.register("tmaze_items/rate")
def rate(
    *,
    context_length: int = 20,
    num_segments: int = 3,
    num_hints: int = 8,
    hint_time: HintTime = "random",
    replacements: int = 0,
    distractors: int = 0,
    noise: Noise = "discrete",
) -> RunConfig:
    """RATE with the retaining valve, and two memory tokens more than hints."""
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    model = RATEConfig(
        **SIZE,
        context_length=context_length,
        num_memory_tokens=num_hints + 2,
        # A cost of 1 outweighs the loss of the last few hints that are still written wrongly.
        valve=ValveConfig(kind="retaining", cost=0.3),
    )
    task = _task(num_hints, hint_time, replacements, distractors, noise)
    run = _run("tmaze_items/rate", model, num_segments, task)
    return replace(run, train=replace(run.train, memory_cost_warmup=0.6))


@variant_of(rate, "tmaze_items/rate-plain")
def rate_plain(run: RunConfig) -> RunConfig:
    """RATE with the paper's valve, otherwise the same."""
    return with_plain_valve(run)


@variant_of(rate, "tmaze_items/elmur")
def elmur(run: RunConfig) -> RunConfig:
    """ELMUR, with as many slots in each of its two layers as RATE has memory tokens."""
    return with_elmur(run)


@variant_of(rate, "tmaze_items/lstm")
def lstm(run: RunConfig) -> RunConfig:
    """An LSTM over the same tokens, twice as wide as they are."""
    return with_lstm(run)


def _task(
    num_hints: int, hint_time: HintTime, replacements: int, distractors: int, noise: Noise
) -> dict[str, Any]:
    check_size("num_hints", num_hints)
    return {
        "num_hints": num_hints,
        "hint_time": hint_time,
        "named_hints": True,
        "replacements": replacements,
        "distractors": distractors,
        "noise": noise,
    }


def _run(name: str, model: ModelConfig, num_segments: int, task: dict[str, Any]) -> RunConfig:
    from retain.collection import CollectConfig
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.training.config import RunConfig
    from retain.training.settings import DataConfig, TrainConfig

    check_size("context_length", model.context_length)
    check_size("num_segments", num_segments)
    longest = model.context_length * num_segments
    shortest = task["num_hints"] + task["replacements"] + task["distractors"] + 1
    if shortest > longest:
        raise ConfigError(
            f"{num_segments} segments of {model.context_length} steps are too few for a corridor "
            f"with {shortest - 1} hints, replacements and distractors; give more segments or "
            "longer ones"
        )
    env_id = "retain/TMaze-v0"
    kwargs = {**task, "corridor_length": longest}
    collect = CollectConfig(
        env_id=env_id,
        env_kwargs={**kwargs, "min_corridor_length": shortest},
        policy="expert",
        episodes=6000,
    )
    # The questions come after the corridor, one a step.
    answers = math.ceil(task["num_hints"] / model.context_length)
    return RunConfig(
        recipe=name,
        environment=EnvironmentConfig(id=env_id, kwargs=kwargs),
        data=DataConfig(collect=collect, num_segments=num_segments + answers),
        model=model,
        # One thread, as for the T-Maze with one hint.
        train=TrainConfig(
            updates=3000,
            batch_size=32,
            schedule="cosine",
            # It needs episodes that fit into one segment.
            curriculum=shortest + task["num_hints"] <= model.context_length,
            evaluate_every=500,
            num_threads=1,
        ),
        evaluation=EvaluationConfig(
            parameter="corridor_length",
            values=tuple(sorted({longest, *LENGTHS})),
            values_in_training=(longest, 5 * longest),
        ),
    )
