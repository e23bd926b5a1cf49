"""The rules of the T-Maze."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import envs
from retain.core.errors import ConfigError, UnknownNameError
from retain.envs.tmaze import DOWN, LEFT, RIGHT, UP, TMazeEnv, TMazeOracle, TMazeVectorEnv

ID = "retain/TMaze-v0"
quick = settings(deadline=None, max_examples=40)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    num_hints = draw(st.integers(1, 4))
    hint_time = draw(st.sampled_from(["start", "random"]))
    shortest = draw(st.integers(num_hints + (hint_time == "random"), 12))
    longest = draw(st.integers(shortest, shortest + 8))
    return {
        "corridor_length": longest,
        "min_corridor_length": draw(st.sampled_from([None, shortest])),
        "length_step": draw(st.integers(1, 3)),
        "num_hints": num_hints,
        "hint_time": hint_time,
        "goal_reward": draw(st.sampled_from([1.0, 5.0])),
        "wrong_reward": draw(st.sampled_from([0.0, -1.0])),
        "step_penalty": draw(st.sampled_from([0.0, 0.25])),
        "balanced_goals": draw(st.booleans()),
        "noise": draw(st.sampled_from(["discrete", "continuous", "none"])),
    }


def play(env: TMazeEnv, seed: int, *, spoil: int | None = None) -> tuple[list[float], dict]:
    """Plays an episode with the oracle; the answer number `spoil` is turned around."""
    oracle, reset, rewards = TMazeOracle(), True, []
    observation, info = env.reset(seed=seed)
    while True:
        assert observation in env.observation_space
        action = int(oracle(observation[None], np.array([reset]))[0])
        if observation[2] and observation[2] == spoil:
            action = {UP: DOWN, DOWN: UP}[action]
        observation, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        reset = False
        if terminated or truncated:
            assert terminated
            assert abs(observation[0]) == 1
            assert observation[2] == 0
            return rewards, info


@quick
@given(options(), st.integers(0, 2**40))
def test_the_oracle_always_wins_in_the_fewest_steps(chosen: dict[str, Any], seed: int) -> None:
    rewards, info = play(TMazeEnv(**chosen), seed)
    assert len(rewards) == info["corridor_length"] - 1 + chosen["num_hints"]
    assert rewards == [-chosen["step_penalty"]] * (len(rewards) - 1) + [chosen["goal_reward"]]
    assert info["success"] is True
    if chosen["min_corridor_length"] is None:
        assert info["corridor_length"] == chosen["corridor_length"]


@quick
@given(options(), st.integers(0, 2**40), st.data())
def test_one_wrong_turn_loses(chosen: dict[str, Any], seed: int, data: st.DataObject) -> None:
    spoil = data.draw(st.integers(1, chosen["num_hints"]))
    rewards, info = play(TMazeEnv(**chosen), seed, spoil=spoil)
    assert len(rewards) == info["corridor_length"] - 1 + chosen["num_hints"]
    assert rewards[-1] == chosen["wrong_reward"]
    assert info["success"] is False


@pytest.mark.parametrize("action", [UP, DOWN, LEFT])
def test_walls_do_nothing(action: int) -> None:
    env = TMazeEnv(corridor_length=3, max_episode_steps=9)
    env.reset(seed=0)
    observation, reward, *_ = env.step(action)
    assert (env.rules.x_B[0], env.rules.y_B[0], reward) == (0, 0, 0.0)
    for _ in range(4):  # two moves to the junction, then against its end
        observation, *_ = env.step(RIGHT)
    assert env.rules.x_B[0] == 2
    assert observation[2] == 1
    observation, *_ = env.step(LEFT)
    assert env.rules.x_B[0] == 1
    assert observation[2] == 0


def test_the_observation_has_hint_flag_and_side_at_the_right_time() -> None:
    env = TMazeEnv(corridor_length=4, noise="none")
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        side = observation[1]
        assert abs(side) == 1
        np.testing.assert_array_equal(observation, [0, side, 0, 0])
        for step in range(3):
            observation, *_ = env.step(RIGHT)
            np.testing.assert_array_equal(observation, [0, 0, step == 2, 0])
        observation, reward, terminated, truncated, _ = env.step(UP)
        np.testing.assert_array_equal(observation, [1, 0, 0, 0])
        assert (reward, terminated, truncated) == (float(side == 1), True, False)


def test_a_corridor_of_one_cell_shows_hint_and_flag_together() -> None:
    observation, _ = TMazeEnv(corridor_length=1).reset(seed=0)
    assert abs(observation[1]) == 1
    assert observation[2] == 1


def test_an_episode_is_cut_short_at_its_limit_without_reward() -> None:
    for limit, steps in ((None, 7), (20, 20)):
        env = TMazeEnv(
            corridor_length=5, max_episode_steps=limit, wrong_reward=-1.0, step_penalty=0.5
        )
        env.reset(seed=0)
        ends = [env.step(LEFT)[1:4] for _ in range(steps)]
        assert ends == [(-0.5, False, False)] * (steps - 1) + [(0.0, False, True)]
        with pytest.raises(gym.error.ResetNeeded):
            env.step(LEFT)


def test_a_right_turn_at_the_limit_counts() -> None:
    env = TMazeEnv(corridor_length=2, max_episode_steps=2)
    side = env.reset(seed=0)[0][1]
    env.step(RIGHT)
    _, reward, terminated, truncated, info = env.step(UP if side > 0 else DOWN)
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


@pytest.mark.parametrize("num_hints", [1, 2])
def test_balanced_goals_are_exactly_balanced(num_hints: int) -> None:
    env = TMazeVectorEnv(100, corridor_length=6, num_hints=num_hints, balanced_goals=True)
    observations_BO, _ = env.reset(seed=1000)
    seen = [observations_BO[:, 1]]
    if num_hints == 2:
        seen.append(env.step(np.zeros(100, dtype=int))[0][:, 1])
    _, counts = np.unique(np.stack(seen), axis=1, return_counts=True)
    assert counts.tolist() == [100 // 2**num_hints] * 2**num_hints
    # Without a seed the rows count on, so the next hundred are balanced too.
    single = TMazeEnv(balanced_goals=True)
    hints = [single.reset(seed=7)[0][1], *(single.reset()[0][1] for _ in range(3))]
    assert hints == [1, -1, 1, -1]


def test_every_one_of_many_balanced_goals_is_balanced_and_tells_nothing_of_another() -> None:
    env = TMazeVectorEnv(2000, corridor_length=20, num_hints=12, balanced_goals=True)
    env.reset(seed=0)
    goals_BN = env.rules.goals_BN
    assert (goals_BN.sum(axis=0) == 0).all()
    together_NN = np.abs(goals_BN.T @ goals_BN) / 2000 - np.eye(12)
    assert together_NN.max() < 0.1
    env = TMazeVectorEnv(100, corridor_length=20, num_hints=12, balanced_goals=True)
    env.reset(seed=1_000_000)
    assert np.abs(env.rules.goals_BN.sum(axis=0)).max() <= 4


@pytest.mark.parametrize("value", ["False", 1, None])
def test_a_switch_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigError, match="balanced_goals must be true or false"):
        TMazeEnv(balanced_goals=value)


def test_noise_is_what_was_asked_for() -> None:
    for kind in ("discrete", "continuous", "none"):
        env = TMazeEnv(corridor_length=900, noise=kind)
        values = [env.reset(seed=0)[0][3], *(env.step(RIGHT)[0][3] for _ in range(899))]
        distinct = len(set(values))
        assert distinct == {"discrete": 3, "none": 1}.get(kind, distinct)
        if kind == "continuous":
            assert distinct == 900  # no value is used twice
            assert abs(np.mean(values)) < 0.1
        if kind == "discrete":
            assert min(values.count(value) for value in (-1, 0, 1)) > 240


def test_lengths_are_drawn_from_the_steps_asked_for() -> None:
    env = TMazeVectorEnv(300, corridor_length=90, min_corridor_length=30, length_step=30)
    _, info = env.reset(seed=0)
    lengths, counts = np.unique(info["corridor_length"], return_counts=True)
    assert lengths.tolist() == [30, 60, 90]
    assert counts.min() > 70


def test_gymnasium_accepts_it() -> None:
    for kwargs in ({}, {"num_hints": 3, "hint_time": "random"}, {"corridor_length": 1}):
        check_env(gym.make(ID, render_mode="rgb_array", **kwargs).unwrapped)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"corridor_length": 0}, "corridor_length must be at least 1"),
        ({"corridor_length": "ten"}, "corridor_length must be a whole number"),
        ({"corridor_length": 5, "min_corridor_length": 6}, "greater than"),
        ({"corridor_length": 2, "num_hints": 3}, "num_hints 3 does not fit"),
        ({"corridor_length": 3, "num_hints": 3, "hint_time": "random"}, "2 at most"),
        ({"max_episode_steps": 9}, "needs 10 steps"),
        ({"goal_reward": math.nan}, "goal_reward must be a finite number, got nan"),
        ({"wrong_reward": "x"}, "wrong_reward must be a finite number, got 'x'"),
        ({"step_penalty": None}, "step_penalty must be a finite number, got None"),
        ({"noise": "loud"}, "noise 'loud' is not one of discrete, continuous, none"),
        ({"hint_time": "never"}, "not one of start, random"),
        ({"coridor": 3}, "has no option 'coridor'; its options: balanced_goals"),
    ],
)
def test_wrong_options_are_refused_in_one_line(kwargs: dict[str, Any], words: str) -> None:
    for build in (lambda: envs.make(ID, **kwargs), lambda: envs.make_vec(ID, 2, **kwargs)):
        with pytest.raises(ConfigError, match=words) as caught:
            build()
        assert "\n" not in str(caught.value)


def test_other_wrong_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean retain/TMaze-v0"):
        envs.make("retain/TMaze")
    with pytest.raises(UnknownNameError):
        envs.make_vec("retain/TMaze", 2)
    with pytest.raises(UnknownNameError, match="unknown expert"):
        envs.expert("CartPole-v1")
    with pytest.raises(ConfigError, match="cannot be imported"):
        envs.make("no_such_module:retain/TMaze-v0")
    with pytest.raises(ConfigError, match="has no option 'corridor'"):
        envs.make("CartPole-v1", corridor=3)
    with pytest.raises(ConfigError, match="render_mode"):
        TMazeEnv(render_mode="hologram")
    env = envs.make(ID)
    with pytest.raises(ConfigError, match="must be at least 0"):
        env.reset(seed=-1)
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction):
        env.unwrapped.step(4)


def test_make_gives_the_step_limit_to_whoever_takes_it() -> None:
    env = envs.make(ID, corridor_length=3, max_episode_steps=50)
    env.reset(seed=0)
    assert [env.step(LEFT)[3] for _ in range(50)] == [False] * 49 + [True]
    assert envs.make("CartPole-v1", max_episode_steps=7).spec.max_episode_steps == 7
    assert isinstance(envs.expert(ID), TMazeOracle)
    assert envs.make("retain.envs:retain/TMaze-v0").spec.id == ID


def test_pictures() -> None:
    env = TMazeEnv(corridor_length=60, render_mode="ansi")
    env.reset(seed=0)
    assert "hint up" in env.render() or "hint down" in env.render()
    assert "┐" not in env.render()  # the junction is out of sight
    for _ in range(59):
        env.step(RIGHT)
    assert "cell 60/60" in env.render()
    assert "G" in env.render()
    assert len({len(line) for line in env.render().splitlines()[:7]}) == 1
    env.step(UP)
    assert env.render().endswith(("right", "wrong"))

    env = TMazeEnv(corridor_length=4, num_hints=2, render_mode="rgb_array")
    env.reset(seed=0)
    frames = [env.render()]
    for action in (RIGHT, RIGHT, RIGHT, UP, UP):
        env.step(action)
        frames.append(env.render())
    assert {(frame.shape, frame.dtype) for frame in frames} == {((176, 192, 3), np.dtype("u1"))}
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert len(TMazeVectorEnv(3, render_mode="ansi").render()) == 3
    assert TMazeEnv(corridor_length=1, render_mode="ansi").render().count("│ A │") == 1


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, retain.envs as e; e.make('retain/TMaze-v0').reset(seed=0);"
        "e.make_vec('retain/TMaze-v0', 2).reset(seed=0); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
