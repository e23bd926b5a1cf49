"""Recipes."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from retain import api
from retain.core.errors import ConfigError, UnknownNameError
from retain.models.decision_transformer import DecisionTransformerConfig
from retain.recipes import RECIPES, recipe
from tiny_runs import tiny

NAMES = [name for name in RECIPES.names() if name.startswith("tmaze/")]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_acts_and_is_named(name: str, tmp_path: Path) -> None:
    config = tiny(name, updates=2)
    assert config.recipe == name
    run = api.train(config, runs=tmp_path)
    assert [r["value"] for r in run.results()["evaluations"]] == [3, 12]
    assert run.results()["training"]["updates"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_no_episode_is_longer_than_a_training_sequence(name: str) -> None:
    for arguments in ({}, {"context_length": 7}, {"lengths": "fixed"}):
        config = recipe(name, **arguments)
        assert config.data.collect is not None
        kwargs = config.data.collect.env_kwargs
        steps = config.model.context_length * config.data.num_segments
        # A corridor of n cells takes n - 1 moves and a turn.
        assert kwargs["corridor_length"] == steps
        assert kwargs["min_corridor_length"] >= 1
        if arguments.get("lengths") == "fixed":
            assert kwargs["min_corridor_length"] == config.model.context_length
            assert kwargs["length_step"] == config.model.context_length
        assert config.environment.kwargs["corridor_length"] == steps


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(RECIPES.get(name))


def test_segments_can_be_chosen() -> None:
    config = recipe("tmaze/transformer_xl", context_length=5, num_segments=4)
    assert config.data.num_segments == 4
    assert config.model.cache_length == 3 * 5 * 4  # all of a training sequence


def test_long_corridors_are_learned_from_short_ones() -> None:
    short, long = (recipe("tmaze/rate", context_length=length).train for length in (100, 101))
    assert (short.curriculum_from, short.curriculum_score) == (None, None)
    assert short.memory_cost_start == 0.0
    assert long.curriculum_from is not None
    assert long.curriculum_score is not None
    assert 0.5 < long.memory_cost_start == 1 - long.memory_cost_warmup
    assert recipe("tmaze/lstm", context_length=200).train.curriculum_from == long.curriculum_from
    assert recipe("tmaze/lstm", context_length=200).train.memory_cost_start == 0.0
    fixed = recipe("tmaze/rate", context_length=200, lengths="fixed").train
    assert (fixed.curriculum_from, fixed.memory_cost_start) == (None, 0.0)


@pytest.mark.parametrize("name", ["tmaze/rate", "tmaze/gtrxl", "tmaze_items/rate-plain"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_that_were_given_are_the_ones_refused(name: str, value: int) -> None:
    for argument in ("context_length", "num_segments"):
        with pytest.raises(ConfigError, match=f"^{argument} must be at least 1, not {value}$"):
            recipe(name, **{argument: value})


def test_long_windows_have_two_layers() -> None:
    for length, layers in ((90, 1), (150, 2)):
        model = recipe("tmaze/decision_transformer", context_length=length).model
        assert isinstance(model, DecisionTransformerConfig)
        assert (model.context_length, model.num_layers) == (length, layers)


def test_the_published_recipe_detaches_and_steps_per_segment() -> None:
    for published_size in (False, True):
        config = recipe("tmaze/rate-paper", published_size=published_size)
        assert config.train.bptt_segments == 1
        assert config.train.update_per_segment
        assert config.model.twofold_residual
        assert config.model.shared_initial_memory
        assert config.model.num_layers == (10 if published_size else 2)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean tmaze/rate"):
        recipe("tmaze/rat")
    with pytest.raises(ConfigError, match=r"no argument 'segments'; it has .*num_segments"):
        recipe("tmaze/rate", segments=3)
