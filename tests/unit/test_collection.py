"""Collecting datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain import collection
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError, DatasetError, UnknownNameError
from retain.data.pack import open_pack
from retain.data.store import dataset_info, list_datasets, open_dataset
from retain.envs.tmaze import TMazeEnv, TMazeOracle

ID = "retain/TMaze-v0"
VARIED = {"corridor_length": 9, "min_corridor_length": 2}


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))


def arrays(dataset_id: str) -> list[np.ndarray]:
    pack = open_pack(dataset_id)
    return [pack.observations, pack.actions, pack.rewards, pack.lengths, pack.terminated]


def test_the_expert_is_kept_as_it_plays() -> None:
    seen = []
    config = CollectConfig(env_id=ID, env_kwargs=VARIED, episodes=7, num_envs=3, seed=5)
    dataset_id = collect(config, progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 7) for done in range(1, 8)]
    dataset = open_dataset(dataset_id)
    # Episode e is the single environment's with seed 5 + e, played by the expert.
    for number, episode in enumerate(dataset):
        env, oracle = TMazeEnv(**VARIED), TMazeOracle()
        observation, _ = env.reset(seed=5 + number)
        np.testing.assert_array_equal(episode.observations[0], observation)
        for step, action in enumerate(episode.actions):
            assert action == oracle(observation[None], np.array([step == 0]))[0]
            observation, reward, terminated, *_ = env.step(action)
            np.testing.assert_array_equal(episode.observations[step + 1], observation)
            assert episode.rewards[step] == reward
            assert episode.terminations[step] == terminated
        assert terminated
        assert not episode.truncations.any()
    info = dataset_info(dataset_id)
    assert (info.episodes, info.min_return, info.env_id) == (7, 1.0, ID)
    assert info.env_kwargs == VARIED
    assert info.description == "7 episodes of retain/TMaze-v0, expert policy, seed 5"


@pytest.mark.parametrize("policy", ["expert", "random"])
def test_the_data_do_not_depend_on_the_batch(policy: str) -> None:
    ids = [
        collect(
            CollectConfig(
                env_id=ID,
                env_kwargs=VARIED,
                policy=policy,
                episodes=11,
                num_envs=num_envs,
                dataset_id=f"test/from-{num_envs}-v0",
            )
        )
        for num_envs in (1, 4, 50)
    ]
    one, *others = [arrays(dataset_id) for dataset_id in ids]
    for other in others:
        for expected, array in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert len(set(open_pack(ids[0]).lengths.tolist())) > 2


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1"])
def test_any_environment_can_be_collected_from(env_id: str) -> None:
    # Box and Discrete observations, Discrete and Box actions; the first has its own batch form,
    # whose rows cannot be seeded apart.
    kwargs = {"max_episode_steps": 12}
    config = CollectConfig(env_id=env_id, env_kwargs=kwargs, policy="random", episodes=4)
    dataset_id = collect(config)
    env = gym.make(env_id, **kwargs)
    for number, episode in enumerate(open_dataset(dataset_id)):
        observation, _ = env.reset(seed=number)
        np.testing.assert_array_equal(episode.observations[0], observation)
        for step, action in enumerate(episode.actions):
            observation, _, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(episode.observations[step + 1], observation)
        assert terminated == episode.terminations[-1]
        assert truncated == episode.truncations[-1]
    actions = open_pack(dataset_id).actions
    assert len(np.unique(actions)) > 1
    assert dataset_info(dataset_id).max_length <= 12


def test_names_say_what_is_in_them() -> None:
    config = CollectConfig(env_id=ID, env_kwargs=VARIED)
    name = config.resolved_id()
    assert name.startswith("retain/tmaze-expert-")
    assert name.endswith("-v0")
    assert name == CollectConfig(env_id=ID, env_kwargs=VARIED, num_envs=3).resolved_id()
    others = [
        CollectConfig(env_id=ID),
        CollectConfig(env_id=ID, env_kwargs=VARIED, policy="random"),
        CollectConfig(env_id=ID, env_kwargs=VARIED, seed=1),
        CollectConfig(env_id=ID, env_kwargs=VARIED, episodes=3),
    ]
    assert len({name, *(other.resolved_id() for other in others)}) == 5
    assert (
        CollectConfig(env_id="x:ALE/Ms_Pac.Man-v5")
        .resolved_id()
        .startswith("retain/ms-pac-man-expert-")
    )


def test_the_same_is_not_collected_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    config = CollectConfig(env_id=ID, env_kwargs=VARIED, episodes=3)
    dataset_id = collect(config)
    play = collection._play
    monkeypatch.setattr(collection, "_play", None)  # nobody may play
    assert collect(config) == dataset_id
    with pytest.raises(DatasetError, match="exists"):
        collect(config, reuse=False)
    other = CollectConfig(env_id=ID, env_kwargs=VARIED, episodes=4, dataset_id=dataset_id)
    with pytest.raises(DatasetError, match="has episodes 3, not 4; choose another id"):
        collect(other)
    monkeypatch.setattr(collection, "_play", play)
    collect(other, overwrite=True)
    assert dataset_info(dataset_id).episodes == 4


def test_two_that_collect_the_same_at_once_both_get_it() -> None:
    config = CollectConfig(env_id=ID, episodes=2)
    nested = []

    def meanwhile(done: int, total: int) -> None:
        if done == 1 and not nested:
            nested.append(1)
            collect(config)

    dataset_id = collect(config, progress=meanwhile)
    assert nested
    assert dataset_info(dataset_id).episodes == 2


def test_a_behaviour_of_ones_own() -> None:
    resets = []

    def upwards(observations_BO: np.ndarray, reset_B: np.ndarray) -> np.ndarray:
        resets.append(reset_B)
        return np.ones(len(observations_BO), dtype=int)

    config = CollectConfig(
        env_id=ID, env_kwargs={"corridor_length": 1}, episodes=4, num_envs=2, dataset_id="me/up-v0"
    )
    assert collect(config, behaviour=upwards) == "me/up-v0"
    assert (open_pack("me/up-v0").actions == 1).all()
    assert np.stack(resets).all()  # every episode has one step
    with pytest.raises(DatasetError, match="exists"):
        collect(config, behaviour=upwards)
    with pytest.raises(DatasetError, match="has policy 'custom', not 'expert'"):
        collect(config)
    with pytest.raises(ConfigError, match="give a dataset_id"):
        collect(CollectConfig(env_id=ID), behaviour=upwards)
    with pytest.raises(ConfigError, match=r"actions of shape \(1,\) for 2 rows"):
        collect(config, behaviour=lambda o, r: np.ones(1, dtype=int), overwrite=True)
    assert dataset_info("me/up-v0").episodes == 4  # still the old one


class Adder(gym.Env[Any, Any]):
    """The reward is the action, a number."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(0, 9, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), float(action[0]), False, False, {}


def test_a_behaviour_may_write_into_the_same_array_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("tests/Adder-v0", Adder, max_episode_steps=5)
    monkeypatch.setitem(gym.registry, "tests/Adder-v0", spec)
    actions_BA = np.zeros((1, 1))

    def counting(observations_BO: np.ndarray, reset_B: np.ndarray) -> np.ndarray:
        actions_BA[:] += 1
        return actions_BA

    config = CollectConfig(env_id="tests/Adder-v0", episodes=1, dataset_id="me/adder-v0")
    pack = open_pack(collect(config, behaviour=counting))
    assert pack.actions[:, 0].tolist() == pack.rewards.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"episodes": 0}, ConfigError, "episodes must be at least 1"),
        ({"num_envs": 0}, ConfigError, "num_envs must be at least 1"),
        ({"seed": -1}, ConfigError, "seed must be from 0 to 4294967295"),
        ({"policy": "wise"}, ConfigError, "policy 'wise' is not one of expert, random"),
        ({"env_id": "retain/TMaz-v0"}, UnknownNameError, "did you mean retain/TMaze-v0"),
        ({"env_id": "CartPole-v1"}, UnknownNameError, "unknown expert for environment"),
        ({"env_kwargs": {"length": 3}}, ConfigError, "has no option 'length'"),
        ({"env_kwargs": {"noise": print}}, ConfigError, "do not fit JSON"),
        ({"dataset_id": "x"}, DatasetError, "not a dataset id"),
    ],
)
def test_wrong_settings_are_refused(kwargs: dict[str, Any], error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        collect(CollectConfig(**({"env_id": ID, "episodes": 2} | kwargs)))
    assert list_datasets() == []
