"""Recipes for a task of one's own: an environment by its id, or a dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain import api
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError, DatasetError, UnknownNameError
from retain.data.store import Episode, dataset_info, write_dataset
from retain.envs import make, make_vec
from retain.evaluation import EnvironmentConfig
from retain.models import MODELS
from retain.recipes import RECIPES, recipe
from retain.training.config import OnlineRunConfig, RunConfig, config_from_dict, config_to_dict
from retain.training.preparation import start, start_online
from retain.training.runs import Run, default_name
from tiny_runs import StoppedError, assert_same_weights

ONLINE = [name for name in RECIPES.names() if name.startswith("gymnasium/")]
OWN_MODELS = [name for name in MODELS.names() if MODELS.get(name).__module__.startswith("retain.")]


class Pair(gym.Env[Any, Any]):
    """Takes two numbers at once."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.MultiDiscrete([2, 3])


gym.register("tests/Pair-v0", entry_point=Pair, max_episode_steps=4)


def online(name: str, **arguments: Any) -> OnlineRunConfig:
    config = recipe(name, **arguments)
    assert isinstance(config, OnlineRunConfig)
    return config


def offline(**arguments: Any) -> RunConfig:
    config = recipe("minari/sequence_policy", **arguments)
    assert isinstance(config, RunConfig)
    return config


@pytest.fixture(scope="module")
def dataset() -> str:
    settings = CollectConfig(
        env_id="CartPole-v1", env_kwargs={"max_episode_steps": 12}, policy="random",
        episodes=20, num_envs=10, dataset_id="tests/own-task-v0",
    )  # fmt: skip
    return collect(settings)


def test_there_is_one_for_each_agent_that_acts() -> None:
    assert ONLINE == [
        "gymnasium/a2c", "gymnasium/dqn", "gymnasium/ppo", "gymnasium/sac",
        "gymnasium/sac_discrete",
    ]  # fmt: skip


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "model"),  # all pairs learn from given experience in test_agents_online.py
    [
        *(("gymnasium/dqn", model) for model in OWN_MODELS),
        *(
            (name, model)
            for name in ONLINE
            if name != "gymnasium/dqn"
            for model in ("lstm", "rate")
        ),
    ],
)
def test_every_model_and_agent_learns_in_an_environment(
    name: str, model: str, tmp_path: Path
) -> None:
    config = online(name, model=model, option={"max_episode_steps": 9})
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    train = replace(config.train, env_steps=20, num_envs=2, batch_size=2, evaluate_every=None)
    train = replace(train, random_episodes=2, tensorboard=False)
    run = api.train(replace(config, train=train), runs=tmp_path, final_evaluation=False)
    assert run.name == f"{config.environment.id}-{name.split('/')[1]}-9-{model}-seed0"
    assert run.results()["training"]["updates"] > 0
    assert run.results()["training"]["length"] <= 9


def test_sizes_follow_from_the_longest_episode() -> None:
    def window(**arguments: Any) -> int:
        return online("gymnasium/dqn", model="gpt2", **arguments).model.context_length

    assert window() == 501  # Gymnasium's own limit of CartPole, and the observation after it
    assert window(option={"max_episode_steps": 30}) == 31
    assert window(steps=12) == 13
    assert online("gymnasium/dqn", model="rate", steps=29).model.context_length == 10
    for name in ONLINE:
        with pytest.raises(ConfigError, match="TMaze-v0 can be is not known; give --steps NUMBER"):
            recipe(name, env="retain/TMaze-v0")
        with pytest.raises(ConfigError, match="steps must be at least 1, not 0"):
            recipe(name, steps=0)


def test_options_go_to_the_environment_and_one_can_be_varied(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_episode_steps": 40, "balanced_goals": True}
    config = online("gymnasium/dqn", env="retain/TMaze-v0", option=options, steps=4)
    assert config.environment.kwargs == options
    assert config.evaluation.parameter is None
    options = {"balanced_goals": True, "corridor_length": 3}
    config = online("gymnasium/dqn", env="retain/TMaze-v0", option=options, steps=4)
    assert config.evaluation.parameter == "corridor_length"
    assert default_name(config) == "retain-TMaze-v0-dqn-3-lstm-seed0"
    start_online(config, tmp_path / "run")


def test_an_option_that_a_run_cannot_keep_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"option sizes must be a number, .* not \[3, 4\]"):
        online("gymnasium/dqn", option={"max_episode_steps": 9, "sizes": [3, 4]})


def test_an_environment_in_a_module_is_named_without_it() -> None:
    config = online("gymnasium/a2c", env="retain.envs:retain/PassiveTMaze-v0", steps=51)
    assert config.environment.id == "retain.envs:retain/PassiveTMaze-v0"
    assert config.recipe == "retain/PassiveTMaze-v0/a2c"


@pytest.mark.parametrize("name", ONLINE)
def test_an_environment_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown environment 'CartPole-v9'; did you mean"):
        recipe(name, env="CartPole-v9")
    words = "needs discrete actions|needs actions that are a box"
    with pytest.raises(ConfigError, match=words):
        start_online(online(name, env="tests/Pair-v0"), tmp_path / "run")


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["gymnasium/sac", "gymnasium/a2c", "gymnasium/ppo"])
@pytest.mark.parametrize("model", ["lstm", "rate"])
def test_continuous_actions_are_learned_and_taken_within_their_bounds(
    name: str, model: str, tmp_path: Path
) -> None:
    config = online(name, env="Pendulum-v1", option={"max_episode_steps": 7}, model=model)
    short = replace(
        config.train, env_steps=None, episodes=6, num_envs=2, log_every=1, tensorboard=False,
        random_episodes=2,
    )  # fmt: skip
    run = api.train(replace(config, train=short), runs=tmp_path, final_evaluation=False)
    # sac: 0.25 for each of 42 steps, rounded up.
    due = {"gymnasium/sac": 11, "gymnasium/a2c": 3, "gymnasium/ppo": 3 * 8}
    assert run.results()["training"]["updates"] == due[name]
    again = api.train(replace(config, train=replace(short, episodes=4)), runs=tmp_path / "other")
    api.resume(again, until=6)
    assert_same_weights(run.folder, again.folder)
    (record,) = api.evaluate(run, episodes=3)
    assert record["lengths"] == [7, 7, 7]
    agent, env = api.load(run), make("Pendulum-v1")
    action = agent.act(env.reset(seed=1)[0])
    assert action in env.action_space
    envs = make_vec("Pendulum-v1", 3)
    agent.reset()
    actions = agent.act(envs.reset(seed=1)[0])
    assert actions in envs.action_space


@pytest.mark.parametrize("model", OWN_MODELS)
def test_every_model_learns_from_a_dataset(model: str, dataset: str, tmp_path: Path) -> None:
    config = offline(dataset=dataset, model=model)
    longest = dataset_info(dataset).max_length
    steps = config.model.context_length * config.data.num_segments
    assert longest <= steps < longest + 3
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    train = replace(config.train, updates=1, evaluate_every=None, tensorboard=False, batch_size=2)
    run = api.train(replace(config, train=train), runs=tmp_path, final_evaluation=False)
    assert run.name == f"tests-own-task-v0-{model}-seed0"
    assert run.results()["training"]["updates"] == 1


def test_the_dataset_says_where_to_act_and_what_to_ask_for(dataset: str, tmp_path: Path) -> None:
    info = dataset_info(dataset)
    config = offline(dataset=dataset)
    assert (config.environment.id, config.data.start) == ("CartPole-v1", "episode")
    assert config.environment.kwargs == {"max_episode_steps": 12}
    assert config.agent.target_return == config.agent.return_scale == info.max_return
    varied = offline(dataset=dataset, option={"sutton_barto_reward": True, "max_episode_steps": 7})
    kwargs = {"max_episode_steps": 7, "sutton_barto_reward": True}
    assert (varied.environment.id, varied.environment.kwargs) == ("CartPole-v1", kwargs)
    other = offline(dataset=dataset, env="retain/TMaze-v0", option={"corridor_length": 4})
    assert other.environment.kwargs == {"corridor_length": 4}
    assert other.evaluation.parameter == "corridor_length"
    with pytest.raises(ConfigError, match=r"option sizes must be a number, .* not \[3\]"):
        offline(dataset=dataset, option={"sizes": [3]})
    parts = offline(dataset=dataset, steps=6, env="retain/TMaze-v0")
    assert (parts.data.start, parts.data.num_segments) == ("random", 3)
    assert (parts.environment.id, parts.environment.kwargs) == ("retain/TMaze-v0", {})
    with pytest.raises(ConfigError, match="dataset 'tests/own-task-v0' and retain/TMaze-v0"):
        start(parts, tmp_path / "run", dataset)


@pytest.mark.parametrize(
    ("first", "episodes", "expected"),
    [(0, 20, 0), (-10, 20, 10), (90, 20, 110), (-15, 130, 115)],
)
def test_evaluations_play_no_episode_of_the_data(first: int, episodes: int, expected: int) -> None:
    million = 1_000_000  # where evaluations begin
    first, expected = first if first == 0 else million + first, million + expected
    settings = CollectConfig(
        env_id="CartPole-v1", env_kwargs={"max_episode_steps": 2}, policy="random", seed=first,
        episodes=episodes, num_envs=10, dataset_id=f"tests/seeds-{first}-v0",
    )  # fmt: skip
    assert offline(dataset=collect(settings, overwrite=True)).evaluation.seed == expected


def test_a_dataset_that_cannot_be_is_refused(dataset: str) -> None:
    with pytest.raises(ConfigError, match="needs --dataset ID; `retain list datasets` has those"):
        offline()
    with pytest.raises(DatasetError, match="tests/own-taks-v0"):
        offline(dataset="tests/own-taks-v0")
    with pytest.raises(ConfigError, match="steps must be at least 1, not -3"):
        offline(dataset=dataset, steps=-3)
    episode = Episode(np.zeros((4, 2), np.float32), np.zeros(3, np.int64), np.zeros(3), True, False)
    write_dataset(
        "tests/nowhere-v0", [episode], env_id=None, description="of no environment",
        observation_space=gym.spaces.Box(0, 1, (2,)), action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="dataset 'tests/nowhere-v0' names none; give --env ID"):
        offline(dataset="tests/nowhere-v0", option={"length": 3})
    assert offline(dataset="tests/nowhere-v0").environment is None
    assert offline(dataset="tests/nowhere-v0", env="CartPole-v1").acts_in.id == "CartPole-v1"


@pytest.fixture(scope="module")
def of_no_environment() -> str:
    rng = np.random.default_rng(0)
    write_dataset(
        "tests/of-no-environment-v0",
        [
            Episode(rng.normal(size=(7, 4)), rng.integers(2, size=6), np.ones(6), True, False)
            for _ in range(5)
        ],
        env_id=None, description="logs", overwrite=True,
        observation_space=gym.spaces.Box(-9, 9, (4,)), action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    return "tests/of-no-environment-v0"


def test_data_of_no_environment_are_trained_on_without_one(
    of_no_environment: str, tmp_path: Path
) -> None:
    config = offline(dataset=of_no_environment)
    assert (config.environment, config.train.evaluate_every) == (None, None)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    train = replace(config.train, updates=4, checkpoint_every=1, tensorboard=False, batch_size=2)
    config = replace(config, train=train)

    def stop(update: int, values: dict[str, float]) -> None:
        if (tmp_path / "run" / "checkpoints" / "step-000002").exists():
            raise StoppedError

    whole = api.train(config, runs=tmp_path, name="whole")
    short = replace(config, train=replace(train, log_every=1))
    with pytest.raises(StoppedError):
        api.train(short, runs=tmp_path, name="run", report=stop)
    run = api.resume(tmp_path / "run")
    assert_same_weights(run.folder, whole.folder)
    results = run.results()
    assert (results["training"]["updates"], results["evaluations"]) == (4, [])

    agent = api.load(run)  # a loop of one's own
    observation = np.zeros(4, np.float32)
    assert agent.act(observation) in (0, 1)
    assert agent.act(observation, reward=1.0) in (0, 1)

    for act in (api.evaluate, api.inspect):
        with pytest.raises(ConfigError, match="names no environment to act in; give --env ID, or"):
            act(run)
    cartpole = EnvironmentConfig(id="CartPole-v1", kwargs={"max_episode_steps": 20})
    (record,) = api.evaluate(run, environment=cartpole, episodes=2)
    assert (record["environment"], run.results()["evaluations"]) == ("CartPole-v1", [record])
    found = api.inspect(run, environment=cartpole, episodes=2)
    assert (found["environment"], found["kwargs"]) == ("CartPole-v1", {"max_episode_steps": 20})
    assert Run(run.folder).config.environment is None


def test_a_run_of_no_environment_cannot_be_told_to_evaluate(of_no_environment: str) -> None:
    config = offline(dataset=of_no_environment)
    for settings in ({"evaluate_every": 5}, {"curriculum_from": 2, "curriculum_score": 0.9}):
        train = replace(config.train, **{"evaluate_every": 5, **settings})
        with pytest.raises(
            ConfigError, match=r"train\.\w+ needs evaluations, and the run names no"
        ):
            replace(config, train=train)


def test_a_run_that_learns_by_acting_needs_an_environment() -> None:
    plain = config_to_dict(online("gymnasium/dqn"))
    with pytest.raises(ConfigError, match="environment: expected"):
        config_from_dict({**plain, "environment": None})
    del plain["environment"]
    with pytest.raises(ConfigError, match="environment: missing"):
        config_from_dict(plain)
