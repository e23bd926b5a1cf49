"""Recipes that learn by acting: every one gives a whole configuration with every model."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from retain.agents.a2c import A2CConfig
from retain.agents.dqn import DQNConfig
from retain.agents.sac_discrete import SACDiscreteConfig
from retain.core.errors import ConfigError, UnknownNameError
from retain.envs import make
from retain.evaluation import check_spaces
from retain.memory import ModelConfig
from retain.models import MODELS
from retain.models.rmt import RMT, RMTConfig
from retain.recipes import RECIPES, memory_chain, memory_rl, recipe
from retain.recipes.memory_rl import EPISODES, GROWING_FROM
from retain.recipes.presets import model_config
from retain.training.config import OnlineRunConfig, config_from_dict, config_to_dict
from retain.training.preparation import agent_of, start_online

NAMES = [
    name for name in RECIPES.names()
    if name.split("/")[-1] in ("dqn", "sac_discrete", "a2c", "ppo")
    and RECIPES.get(name).__module__ in (memory_chain.__name__, memory_rl.__name__)
]  # fmt: skip
#: Those of the published studies; PPO is ours.
PUBLISHED = [name for name in NAMES if not name.endswith("ppo")]
OWN_MODELS = [name for name in MODELS.names() if MODELS.get(name).__module__.startswith("retain.")]


def made(name: str, **arguments: Any) -> OnlineRunConfig:
    config = recipe(name, **arguments)
    assert isinstance(config, OnlineRunConfig)
    return config


def test_there_are_ten() -> None:
    assert (len(NAMES), len(PUBLISHED)) == (10, 7)
    assert all(inspect.getdoc(RECIPES.get(name)) for name in NAMES)


@pytest.mark.parametrize(
    ("name", "budget"),
    [*((name, None) for name in NAMES), *((name, "published") for name in PUBLISHED)],
)
def test_every_model_and_budget_gives_a_run_that_can_begin(
    name: str, budget: str | None, tmp_path: Path
) -> None:
    for model in OWN_MODELS:
        config = made(name, model=model, **({} if budget is None else {"budget": budget}))
        assert (config.recipe, config.model.registered_name) == (name, model)
        assert config_from_dict(config_to_dict(config)) == config
        if model in ("lstm", "gpt2", "rate"):
            start_online(config, tmp_path / model)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_run_is_evaluated_by_can_be_another_than_it_was_trained_at(name: str) -> None:
    config = made(name, model="gpt2")
    parameter, kwargs = config.evaluation.parameter, config.environment.kwargs
    if name.startswith("memory_size/"):  # another number of bits is another observation
        assert parameter is None
        return
    assert parameter is not None
    other = make(config.environment.id, **{**kwargs, parameter: kwargs[parameter] + 5})
    check_spaces(agent_of(config), other.observation_space, other.action_space)


@pytest.mark.parametrize("name", NAMES)
def test_models_look_back_over_the_whole_episode(name: str) -> None:
    """The steps that the sizes are made of are those of the environment's episodes."""
    for arguments in ({}, {"bits": 3} if "size" in name else {"length": 7}):
        config = made(name, model="gpt2", **arguments)
        env = make(config.environment.id, **config.environment.kwargs)
        env.reset(seed=0)
        steps, over = 0, False
        while not over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            steps, over = steps + 1, terminated or truncated
        env.close()
        assert config.model.context_length >= steps + 1  # with that after the last step
        assert config.model.context_length <= steps + 2
        in_segments: Any = made(name, model="rate", **arguments).model
        assert 2 <= -(-(steps + 1) // in_segments.context_length) <= 3
        in_cache: Any = made(name, model="transformer_xl", **arguments).model
        assert in_cache.cache_length >= steps + 1


def test_published_settings_are_those_of_the_authors() -> None:
    config = made("passive_tmaze/dqn", length=1500, budget="published")
    assert isinstance(config.agent, DQNConfig)
    assert config.train.episodes == 6_700 + 10
    assert config.train.replay_capacity == 1_500_000
    assert (config.train.num_envs, config.train.updates_per_step) == (1, 0.25)
    assert config.train.learning_rate == 3e-4
    assert config.model.width == 128
    depth = {"active_tmaze/dqn": 2, "passive_tmaze/dqn": 1, "key_to_door/sac_discrete": 2}
    for name, wanted in depth.items():
        length = next(iter(EPISODES[name.split("/")[0]]))
        model: Any = made(name, length=length, model="gpt2", budget="published").model
        assert (model.num_layers, model.num_heads) == (wanted, wanted)
        model = made(name, length=length, model="lstm", budget="published").model
        assert model.num_layers == 1
    assert isinstance(made("visual_match/sac_discrete").agent, SACDiscreteConfig)
    config = made("memory_length/a2c", budget="published")
    assert isinstance(config.agent, A2CConfig)
    assert (config.train.num_envs, config.train.episodes) == (1, 10_000)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.endswith("a2c")])
def test_a_published_budget_of_an_unknown_length_is_refused(name: str) -> None:
    task = name.split("/")[0]
    with pytest.raises(ConfigError, match=f"no published budget for {task} of length 7, only for"):
        recipe(name, length=7, budget="published")
    for length in EPISODES[task]:
        episodes = made(name, length=length, budget="published").train.episodes
        assert episodes == EPISODES[task][length] + 10


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'lsmt'; did you mean"):
        recipe(name, model="lsmt")
    if "size" not in name:
        for length in (0, -5):
            with pytest.raises(ConfigError, match=f"length must be at least 1, not {length}"):
                recipe(name, length=length)


def test_short_corridors_train_at_any_length_and_are_judged_at_their_own(tmp_path: Path) -> None:
    config = made("passive_tmaze/short_corridors", length=6)
    assert config.environment.kwargs == {"corridor_length": 6}
    trained_in = config.training_environment
    assert trained_in.kwargs == {"corridor_length": 6, "min_corridor_length": 1}
    assert config.evaluation.values == (6, 60, 1500)
    assert config_from_dict(config_to_dict(config)) == config
    for model in OWN_MODELS:
        start_online(made("passive_tmaze/short_corridors", model=model), tmp_path / model)


@pytest.mark.parametrize("length", [*range(1, 12), 29, 100])
@pytest.mark.parametrize("task", ["passive_tmaze", "active_tmaze"])
def test_short_corridors_are_left_once_every_step_of_a_segment_is_asked(
    task: str, length: int
) -> None:
    config = made(f"{task}/short_corridors", length=length)
    segment = config.model.context_length
    asked = config.evaluation.values_in_training
    # Soon, and when the memory has settled.
    for last in (length, 10 * length):
        watched = [at for at in asked if last - 2 * segment < at <= last]
        assert watched == list(range(watched[0], last + 1))
        assert min(last, segment) <= len(watched) <= segment + 2
    assert min(asked) >= 1
    assert len(set(asked)) == len(asked)


GROWING = {"passive_tmaze": 1500, "active_tmaze": 500, "visual_match": 1000, "key_to_door": 500}


@pytest.mark.parametrize("task", GROWING)
def test_what_grows_begins_short_and_ends_where_the_authors_do(task: str, tmp_path: Path) -> None:
    for model in OWN_MODELS:
        config = made(f"{task}/growing", model=model)
        option = config.train.curriculum_option
        assert config.environment.kwargs == {option: GROWING[task]}
        assert GROWING[task] == max(EPISODES[task]) == config.grown
        assert config.train.curriculum_from == GROWING_FROM[task]
        assert config_from_dict(config_to_dict(config)) == config
        start_online(config, tmp_path / model)
    short: Any = made(f"{task}/growing", model="rate", length=60).model
    window: Any = made(f"{task}/growing", model="gpt2", length=60).model
    assert short.context_length == 10  # several segments in the first corridors as well
    assert window.context_length > 60


def test_a_span_that_grows() -> None:
    config = made("memory_length/growing", model="gru", length=60)
    assert config.environment.kwargs == {"memory_length": 60, "num_bits": 1}
    assert (config.train.curriculum_option, config.grown) == ("memory_length", 60)
    assert config.recipe == "memory_length/growing"


def test_rooms_that_grow_are_given_steps_and_corridors_episodes() -> None:
    assert made("visual_match/growing", length=100).train.env_steps == 240_000
    assert made("visual_match/growing", length=100).train.episodes is None
    assert made("passive_tmaze/growing").train.env_steps is None
    assert made("active_tmaze/growing").train.stop_at_return is not None


def test_sizes_go_to_the_models_that_have_them() -> None:
    every = {name: model_config(name, width=24, steps=40, num_heads=2) for name in OWN_MODELS}
    assert all(config.width == 24 for config in every.values())
    for config in every.values():
        assert getattr(config, "num_heads", 2) == 2
        assert getattr(config, "head_width", 12) == 12
    assert every["rate"].context_length == 14
    assert every["gpt2"].context_length == 40


def test_a_model_of_ones_own_keeps_its_sizes_and_has_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class OwnConfig(RMTConfig):
        registered_name: ClassVar[str] = "my_rmt"
        num_layers: int = 3
        num_memory_tokens: int = 7

    class Own(RMT):
        Config: ClassVar[type[ModelConfig]] = OwnConfig

    Own.__module__ = "mine"
    MODELS.names()  # everything is there
    monkeypatch.setitem(MODELS._entries, "my_rmt", Own)
    own: Any = model_config("my_rmt", width=24, steps=40, num_heads=2)
    rmt: Any = model_config("rmt", width=24, steps=40, num_heads=2)
    assert (own.num_layers, own.num_memory_tokens, own.num_heads) == (3, 7, OwnConfig().num_heads)
    assert (own.width, own.context_length) == (rmt.width, rmt.context_length) == (24, 14)
    grown: Any = recipe("passive_tmaze/growing", length=60, model="my_rmt").model
    assert (
        grown.context_length
        == recipe("passive_tmaze/growing", length=60, model="rmt").model.context_length
    )
