"""The recipes of associative recall."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retain import api
from retain.core.errors import ConfigError
from retain.models.elmur import ELMURConfig
from retain.models.rate import RATEConfig
from retain.nn.valve import ValveConfig
from retain.recipes import RECIPES, recipe
from tiny_runs import tiny

NAMES = [name for name in RECIPES.names() if name.startswith("associative_recall/")]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_acts_and_is_named(name: str, tmp_path: Path) -> None:
    config = tiny(name, updates=2)
    assert config.recipe == name
    run = api.train(config, runs=tmp_path)
    assert [r["value"] for r in run.results()["evaluations"]] == [3, 12]
    assert run.results()["training"]["updates"] == 2
    assert inspect.getdoc(RECIPES.get(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"context_length": 30}, {"num_pairs": 8, "num_segments": 4}, {"replacements": 12}],
)
def test_the_longest_episode_is_a_training_sequence(name: str, arguments: dict[str, Any]) -> None:
    config = recipe(name, **arguments)
    assert config.data.collect is not None
    kwargs = config.data.collect.env_kwargs
    steps = config.model.context_length * config.data.num_segments
    assert kwargs["store_steps"] + kwargs["gap"] + kwargs["num_pairs"] == steps
    assert kwargs["store_steps"] >= kwargs["num_pairs"] + kwargs["replacements"]
    assert {**config.environment.kwargs, "min_gap": 0} == kwargs
    assert config.evaluation.parameter == "gap"
    # The first stage of the curriculum needs episodes that are over within a segment.
    shortest = kwargs["store_steps"] + kwargs["num_pairs"]
    assert config.train.curriculum == (shortest <= config.model.context_length)


def test_all_models_learn_from_the_same_data_alike() -> None:
    configs = [recipe(name) for name in NAMES]
    assert {config.recipe for config in configs} == set(NAMES)
    assert all(config.data == configs[0].data for config in configs)
    training = [
        replace(config.train, memory_cost_start=0.0, memory_cost_warmup=0.0) for config in configs
    ]
    assert all(train == training[0] for train in training)


def test_the_dear_valve_becomes_dear_slowly() -> None:
    config = recipe("associative_recall/rate")
    assert isinstance(config.model, RATEConfig)
    assert config.model.valve.cost == 0.3
    train = config.train
    assert train.curriculum
    # Stages are equal shares of the updates; in the first, a memory is of no use.
    assert train.memory_cost_start > 1 / config.data.num_segments
    assert train.memory_cost_start + train.memory_cost_warmup <= 1
    plain = recipe("associative_recall/rate-plain")
    assert isinstance(plain.model, RATEConfig)
    assert plain.model.valve == ValveConfig(kind="cross_attention")
    assert plain.train.memory_cost_start == plain.train.memory_cost_warmup == 0.0


def test_there_is_a_place_for_every_key() -> None:
    config, rival = (
        recipe(f"associative_recall/{name}", num_keys=12) for name in ("rate", "elmur")
    )
    assert isinstance(config.model, RATEConfig)
    assert isinstance(rival.model, ELMURConfig)
    assert config.model.num_memory_tokens == rival.model.num_slots == 14


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_segments": 1, "num_pairs": 12}, "1 segments of 20 steps are too few for"),
        ({"num_segments": 0}, "num_segments must be at least 1, not 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        recipe("associative_recall/rate", **arguments)
    assert "\n" not in str(caught.value)
