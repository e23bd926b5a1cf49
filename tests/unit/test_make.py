"""Making environments: observations of several parts come as one array."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import retain
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError, DatasetError
from retain.data.store import dataset_info, open_dataset
from retain.envs import make_vec
from retain.recipes import recipe
from retain.training.config import OnlineRunConfig

PARTS = gym.spaces.Dict(
    {"number": gym.spaces.Discrete(3), "place": gym.spaces.Box(-1, 1, (2,), np.float32)}
)


class Parts(gym.Env[Any, int]):
    """Shows samples of its space for four steps."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, *, lists: bool = False):
        self.observation_space = gym.spaces.Sequence(PARTS) if lists else copy.deepcopy(PARTS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return self.observation_space.sample(), float(action), self.time == 4, False, {}


@pytest.fixture(autouse=True)
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    gym.register("tests/Parts-v0", entry_point=Parts, max_episode_steps=10)
    yield
    del gym.registry["tests/Parts-v0"]


def test_parts_come_as_one_array() -> None:
    env, plain = retain.make("tests/Parts-v0"), Parts()
    assert env.observation_space == gym.spaces.flatten_space(PARTS)
    seen, _ = env.reset(seed=3)
    parts, _ = plain.reset(seed=3)
    for _ in range(4):
        np.testing.assert_array_equal(seen, gym.spaces.flatten(PARTS, parts))
        seen, parts = env.step(1)[0], plain.step(1)[0]


def test_parts_in_a_batch() -> None:
    # Blackjack has a Tuple; CliffWalking a vector form of its own and one number, which stays one.
    for id, shape in (("tests/Parts-v0", (2, 5)), ("Blackjack-v1", (2, 45))):
        envs = make_vec(id, 2, autoreset_mode="Disabled", independent_rows=True)
        assert envs.reset(seed=[1, 2])[0].shape == shape
        envs.close()
    assert isinstance(retain.make("CliffWalking-v1").observation_space, gym.spaces.Discrete)


def test_they_are_collected_and_learned_from(tmp_path: Path) -> None:
    """Registered with a class, which cannot be written down: the data remember the id."""
    id = collect(CollectConfig(env_id="tests/Parts-v0", policy="random", episodes=6, num_envs=2))
    assert dataset_info(id).env_id == "tests/Parts-v0"
    assert open_dataset(id)[0].observations.shape == (5, 5)
    config = recipe("gymnasium/dqn", env="tests/Parts-v0", model="gru")
    assert isinstance(config, OnlineRunConfig)
    train = replace(config.train, env_steps=None, episodes=20, num_envs=2, random_episodes=2)
    run = retain.train(replace(config, train=train), runs=tmp_path, final_evaluation=False)
    agent, env = retain.load(run.folder), retain.make("tests/Parts-v0")
    assert agent.act(env.reset(seed=0)[0], 0.0) in (0, 1)


def test_what_has_no_length_is_refused() -> None:
    config = CollectConfig(env_id="tests/Parts-v0", env_kwargs={"lists": True}, policy="random")
    with pytest.raises(DatasetError, match="observation space of tests/Parts-v0 is Sequence"):
        collect(config)


def test_an_environment_is_given_by_its_id() -> None:
    with pytest.raises(ConfigError, match="by its id, not by an object"):
        retain.train("gymnasium/a2c", env=gym.make("CartPole-v1"))
