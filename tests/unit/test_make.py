"""Making environments: observations of several parts come as one array."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

import retain
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError, DatasetError, Note, note
from retain.core.spaces import OneArray
from retain.data.pack import open_pack
from retain.data.store import dataset_info, open_dataset
from retain.envs import make_vec
from retain.recipes import recipe
from retain.training.config import OnlineRunConfig, RunConfig

PARTS = gym.spaces.Dict(
    {"number": gym.spaces.Discrete(3), "place": gym.spaces.Box(-1, 1, (2,), np.float32)}
)


class Parts(gym.Env[Any, int]):
    """Shows samples of its space for four steps."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, *, lists: bool = False, texts: bool = False):
        self.observation_space: gym.Space[Any] = copy.deepcopy(PARTS)
        if lists:
            self.observation_space = gym.spaces.Sequence(PARTS)
        if texts:
            self.observation_space = gym.spaces.Dict({**PARTS, "task": gym.spaces.Text(5)})

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
    flat = gym.spaces.flatten_space(PARTS)
    np.testing.assert_array_equal(env.observation_space.low, flat.low)
    np.testing.assert_array_equal(env.observation_space.high, flat.high)
    assert (flat.dtype, env.observation_space.dtype) == (np.float64, np.float32)
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


def test_texts_are_left_out_of_environments_and_of_data_that_minari_has_written(
    tmp_path: Path,
) -> None:
    space = Parts(texts=True).observation_space
    space.seed(0)
    buffers = []
    for number in range(3):
        points = [space.sample() for _ in range(5)]
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations={name: [point[name] for point in points] for name in points[0]},
                actions=np.array([0, 1, 1, 0]),
                rewards=[0.0, 1.0, 1.0, 0.0],
                terminations=[False, False, False, True],
                truncations=[False] * 4,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's, of all that it is not told
        minari.create_dataset_from_buffers(
            "tests/parts-v0",
            buffers,
            observation_space=space,
            action_space=Parts.action_space,
            jpeg_encoding=False,
        )
    note.cache_clear()
    with pytest.warns(Note, match="dataset 'tests/parts-v0' have texts.* left out: task"):
        pack = open_pack("tests/parts-v0")
    with pytest.warns(Note, match="of tests/Parts-v0 have texts.* left out: task"):
        env = retain.make("tests/Parts-v0", texts=True)
    assert pack.observation_space == env.observation_space == OneArray.of(PARTS).space
    first = minari.load_dataset("tests/parts-v0")[0]
    wanted = gym.spaces.flatten(PARTS, {k: first.observations[k][0] for k in PARTS})
    np.testing.assert_array_equal(pack.observations[0], wanted)

    config = recipe("minari/sequence_policy", dataset="tests/parts-v0", env="tests/Parts-v0")
    assert isinstance(config, RunConfig)
    config = replace(config, train=replace(config.train, updates=2, evaluate_every=None))
    run = retain.train(config, runs=tmp_path, final_evaluation=False)
    shown = retain.EnvironmentConfig(id="tests/Parts-v0", kwargs={"texts": True})
    (record,) = retain.evaluate(run, episodes=2, environment=shown)
    assert record["lengths"] == [4, 4]


def test_what_has_no_length_is_refused() -> None:
    config = CollectConfig(env_id="tests/Parts-v0", env_kwargs={"lists": True}, policy="random")
    with pytest.raises(DatasetError, match="observation space of tests/Parts-v0 is Sequence"):
        collect(config)


def test_an_environment_is_given_by_its_id() -> None:
    with pytest.raises(ConfigError, match="by its id, not by an object"):
        retain.train("gymnasium/a2c", env=gym.make("CartPole-v1"))


def _wrapped(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("MountainCar-v0", **options)


@pytest.mark.parametrize("entry_point", [_wrapped, Parts])
def test_episodes_are_cut_whatever_options_an_environment_names(
    entry_point: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = gym.envs.registration.EnvSpec("tests/Cut-v0", entry_point)
    monkeypatch.setitem(gym.registry, "tests/Cut-v0", spec)
    for env in (
        retain.make("tests/Cut-v0", max_episode_steps=3),
        make_vec("tests/Cut-v0", 1, max_episode_steps=3).envs[0],  # type: ignore[attr-defined]
    ):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(3)] == [False, False, True]
