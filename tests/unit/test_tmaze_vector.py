"""The batch of T-Mazes is the single T-Maze, row by row."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import envs
from retain.core.errors import ConfigError
from retain.envs.tmaze import TMazeEnv, TMazeVectorEnv

ID = "retain/TMaze-v0"
VARIANTS: list[dict[str, Any]] = [
    {"corridor_length": 3},
    {"corridor_length": 1, "noise": "continuous"},
    {"corridor_length": 6, "min_corridor_length": 2, "step_penalty": 0.1, "balanced_goals": True},
    {"corridor_length": 5, "num_hints": 2, "hint_time": "random", "wrong_reward": -1.0},
    {"corridor_length": 4, "max_episode_steps": 600, "noise": "none"},
]


def compare(ours: Any, theirs: Any) -> None:
    assert data_equivalence(ours, theirs, exact=True), f"{ours}\n{theirs}"


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("chosen", VARIANTS)
def test_it_equals_gymnasiums_batch_of_single_ones(
    chosen: dict[str, Any], mode: AutoresetMode
) -> None:
    # Observations, rewards, ends and infos, over many episodes without new seeds.
    ours = TMazeVectorEnv(5, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: TMazeEnv(**chosen)] * 5, autoreset_mode=mode)
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata == theirs.metadata
    compare(ours.reset(seed=[4, 9, 2, 2, 0]), theirs.reset(seed=[4, 9, 2, 2, 0]))
    rng = np.random.default_rng(0)
    episodes = 0
    for _ in range(60):
        # Mostly to the right, so that junctions are reached.
        actions_B = rng.choice(4, size=5, p=[0.7, 0.1, 0.1, 0.1])
        step = ours.step(actions_B)
        compare(step, theirs.step(actions_B))
        ended_B = step[2] | step[3]
        episodes += int(ended_B.sum())
        if mode is AutoresetMode.DISABLED and ended_B.any():
            seeds = [None if rng.random() < 0.5 else int(rng.integers(99)) for _ in range(5)]
            compare(
                ours.reset(seed=seeds, options={"reset_mask": ended_B}),
                theirs.reset(seed=seeds, options={"reset_mask": ended_B}),
            )
    assert episodes > 5


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=7), st.integers(0, 2**32))
def test_a_row_depends_on_its_own_seed_alone(seeds: list[int], luck: int) -> None:
    # Over block boundaries of the noise.
    chosen = {"corridor_length": 400, "max_episode_steps": 900}
    env = TMazeVectorEnv(len(seeds), **chosen)
    observations_BO, _ = env.reset(seed=seeds)
    row = luck % len(seeds)
    single = TMazeEnv(**chosen)
    np.testing.assert_array_equal(observations_BO[row], single.reset(seed=seeds[row])[0])
    rng = np.random.default_rng(luck)
    for _ in range(600):
        actions_B = np.where(rng.random(len(seeds)) < 0.9, 0, 2)
        observations_BO, *_ = env.step(actions_B)
        np.testing.assert_array_equal(observations_BO[row], single.step(actions_B[row])[0])


def test_it_is_deterministic_and_seeds_count_up() -> None:
    one, other = TMazeVectorEnv(4), TMazeVectorEnv(4)
    compare(one.reset(seed=3), other.reset(seed=[3, 4, 5, 6]))
    compare(one.reset(seed=np.int64(3))[0], other.reset(seed=np.arange(3, 7))[0])
    compare(one.reset(), other.reset())
    fresh = [TMazeVectorEnv(64, corridor_length=1).reset()[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_make_vec_chooses_the_right_class() -> None:
    env = envs.make_vec(ID, 3, corridor_length=4, autoreset_mode="same_step")
    assert isinstance(env, TMazeVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert isinstance(envs.make_vec(ID, 3, independent_rows=True), TMazeVectorEnv)
    assert not isinstance(envs.make_vec("CartPole-v1", 2), SyncVectorEnv)
    cart = envs.make_vec("CartPole-v1", 2, independent_rows=True, autoreset_mode="Disabled")
    assert isinstance(cart, SyncVectorEnv)
    assert cart.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert isinstance(envs.make_vec("Acrobot-v1", 2), SyncVectorEnv)
    assert gym.make_vec(ID, num_envs=2, corridor_length=7).num_envs == 2


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_envs"):
        envs.make_vec(ID, 0)
    with pytest.raises(ConfigError, match="num_envs"):
        TMazeVectorEnv(0)
    with pytest.raises(ConfigError, match="NextStep, SameStep, Disabled"):
        envs.make_vec(ID, 2, autoreset_mode="sometimes")
    env = TMazeVectorEnv(2, corridor_length=1, autoreset_mode="Disabled")
    with pytest.raises(gym.error.ResetNeeded):
        env.step([0, 0])
    with pytest.raises(gym.error.ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(ConfigError, match="3 seeds for 2 rows"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ConfigError, match="whole number"):
        env.reset(seed=1.5)
    env.reset(seed=0)
    for mask in (np.array([False, False]), np.array([True]), np.array([1, 0])):
        with pytest.raises(ConfigError, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    for actions in ([0, 4], [0, -1], [0], [0.0, 1.0]):
        with pytest.raises(gym.error.InvalidAction):
            env.step(actions)
    env.step([0, 1])
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[1\]"):
        env.step([0, 1])
