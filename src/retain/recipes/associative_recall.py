"""Associative recall: pairs of keys and values, a long gap, questions by key.

Training sequences are N segments of K steps; the data are the oracle's episodes, none longer than
N * K steps. The pairs are shown at random steps of the first K / 2, and the gap is drawn from 0 up,
so some episodes are over within a segment. The curriculum begins with these: to find a value by its
key is then learned by attention alone, and carrying it over segments after that. The models have
the sizes of those that keep many hints in the T-Maze.

torch is imported inside the functions, so that listing the recipes costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from retain.core.errors import ConfigError
from retain.recipes import RECIPES
from retain.recipes.presets import (
    check_size,
    variant_of,
    with_elmur,
    with_lstm,
    with_plain_valve,
)
from retain.recipes.tmaze_items import SIZE

if TYPE_CHECKING:
    from retain.memory import ModelConfig
    from retain.training.config import RunConfig

GAPS = (10, 100, 1000, 10000)


@RECIPES.register("associative_recall/rate")
def rate(
    *,
    context_length: int = 20,
    num_segments: int = 3,
    num_pairs: int = 2,
    num_keys: int = 8,
    num_values: int = 4,
    replacements: int = 0,
) -> RunConfig:
    """RATE with the retaining valve recalls values by their keys, over a gap."""
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    model = RATEConfig(
        **SIZE,
        context_length=context_length,
        # One for each key, so that what is to be written where does not depend on the rest.
        num_memory_tokens=num_keys + 2,
        # A higher cost outweighs the loss of what is still written wrongly; without commitment,
        # what is held leaks a little in every segment.
        valve=ValveConfig(kind="retaining", cost=0.3, commitment=0.5),
    )
    task = {"num_pairs": num_pairs, "num_keys": num_keys, "num_values": num_values}
    run = _run("associative_recall/rate", model, num_segments, task, replacements)
    # In the curriculum's first stage, a third of the training, nothing has to be carried on: any
    # cost closes the gates there, and what is closed hardly opens again.
    return replace(run, train=replace(run.train, memory_cost_start=0.5, memory_cost_warmup=0.4))


@variant_of(rate, "associative_recall/rate-plain")
def rate_plain(run: RunConfig) -> RunConfig:
    """RATE with the paper's valve, otherwise the same."""
    return with_plain_valve(run)


@variant_of(rate, "associative_recall/elmur")
def elmur(run: RunConfig) -> RunConfig:
    """ELMUR, with as many slots in each of its two layers as RATE has memory tokens."""
    return with_elmur(run)


@variant_of(rate, "associative_recall/lstm")
def lstm(run: RunConfig) -> RunConfig:
    """An LSTM over the same tokens, twice as wide as they are."""
    return with_lstm(run)


def _run(
    name: str, model: ModelConfig, num_segments: int, task: dict[str, Any], replacements: int
) -> RunConfig:
    from retain.collection import CollectConfig
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.training.config import RunConfig
    from retain.training.settings import DataConfig, TrainConfig

    for size, value in (("context_length", model.context_length), ("num_segments", num_segments)):
        check_size(size, value)
    pairs = task["num_pairs"]
    # Pairs that need more steps than half a segment has fill the first ones.
    store_steps = max(model.context_length // 2, pairs + replacements)
    longest = model.context_length * num_segments - store_steps - pairs
    if longest < 0:
        raise ConfigError(
            f"{num_segments} segments of {model.context_length} steps are too few for "
            f"{store_steps} steps that show pairs and {pairs} that ask for them; give more "
            "segments or longer ones"
        )
    kwargs = {**task, "replacements": replacements, "store_steps": store_steps, "gap": longest}
    env_id = "retain/AssociativeRecall-v0"
    collect = CollectConfig(
        env_id=env_id, env_kwargs={**kwargs, "min_gap": 0}, policy="expert", episodes=12_000
    )
    return RunConfig(
        recipe=name,
        environment=EnvironmentConfig(id=env_id, kwargs=kwargs),
        data=DataConfig(collect=collect, num_segments=num_segments),
        model=model,
        # One thread, as for the T-Maze.
        train=TrainConfig(
            updates=3000,
            batch_size=32,
            schedule="cosine",
            # It needs episodes that fit into one segment.
            curriculum=store_steps + pairs <= model.context_length,
            evaluate_every=500,
            num_threads=1,
        ),
        evaluation=EvaluationConfig(
            parameter="gap",
            values=tuple(sorted({longest, *GAPS})),
            values_in_training=(longest, 10 * longest + 10),
        ),
    )
