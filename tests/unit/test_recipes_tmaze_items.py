"""The recipes of the T-Maze with many items."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retain import api
from retain.core.errors import ConfigError
from retain.recipes import RECIPES, recipe
from tiny_runs import tiny

NAMES = [name for name in RECIPES.names() if name.startswith("tmaze_items/")]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_acts_and_is_named(name: str, tmp_path: Path) -> None:
    config = tiny(name, updates=2)
    walks = replace(config.evaluation, values=(9, 12), values_in_training=(12,))
    assert config.recipe == name
    run = api.train(replace(config, evaluation=walks), runs=tmp_path)
    assert [r["value"] for r in run.results()["evaluations"]] == [9, 12]
    assert run.results()["training"]["updates"] == 2
    assert inspect.getdoc(RECIPES.get(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"num_hints": 2}, {"num_hints": 16, "context_length": 40}, {"replacements": 3}],
)
def test_the_longest_episode_fits_a_training_sequence(name: str, arguments: dict[str, Any]) -> None:
    config = recipe(name, **arguments)
    assert config.data.collect is not None
    kwargs = config.data.collect.env_kwargs
    steps = config.model.context_length * config.data.num_segments
    longest = kwargs["corridor_length"] - 1 + kwargs["num_hints"]
    assert longest <= steps < longest + 1 + config.model.context_length
    shown = kwargs["num_hints"] + kwargs["replacements"] + kwargs["distractors"]
    assert kwargs["min_corridor_length"] == shown + 1
    # The first stage of the curriculum needs episodes that are over within a segment.
    shortest = shown + kwargs["num_hints"]
    assert config.train.curriculum == (shortest < config.model.context_length)


def test_all_models_learn_from_the_same_data() -> None:
    assert len({str(recipe(name).data) for name in NAMES}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_hints": 0}, "num_hints must be at least 1, not 0"),
        ({"num_segments": 0}, "num_segments must be at least 1, not 0"),
        ({"context_length": 0}, "context_length must be at least 1, not 0"),
        ({"num_segments": 1, "num_hints": 20}, "1 segments of 20 steps are too few for"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        recipe("tmaze_items/rate", **arguments)
    assert "\n" not in str(caught.value)
