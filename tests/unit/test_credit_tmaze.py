"""The passive and the active T-Maze with fixed horizons."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from naive_tasks import NaiveTMaze
from retain import envs
from retain.core.errors import ConfigError
from retain.envs.credit_tmaze import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    ActiveTMazeEnv,
    ActiveTMazeVectorEnv,
    PassiveTMazeEnv,
    PassiveTMazeVectorEnv,
)

PASSIVE, ACTIVE = "retain/PassiveTMaze-v0", "retain/ActiveTMaze-v0"
CLASSES: list[tuple[type[Any], type[Any], dict[str, Any]]] = [
    (PassiveTMazeEnv, PassiveTMazeVectorEnv, {"corridor_length": 1}),
    (PassiveTMazeEnv, PassiveTMazeVectorEnv, {"corridor_length": 4, "distract_reward": 0.5}),
    (PassiveTMazeEnv, PassiveTMazeVectorEnv, {"corridor_length": 5, "min_corridor_length": 2}),
    (ActiveTMazeEnv, ActiveTMazeVectorEnv, {"corridor_length": 3}),
    (ActiveTMazeEnv, ActiveTMazeVectorEnv, {"corridor_length": 2, "oracle_distance": 3}),
    (ActiveTMazeEnv, ActiveTMazeVectorEnv, {"corridor_length": 4, "min_corridor_length": 1}),
]
quick = settings(deadline=None, max_examples=40)


def side_of(env: Any) -> int:
    """The hidden side of the goal."""
    return -1 if env.rules.state_B[0] < env.rules.states_per_goal else 1


def make(corridor: int, distance: int, distract: float = 0.0, rows: int = 0, **kwargs: Any) -> Any:
    options = {"corridor_length": corridor, "distract_reward": distract, **kwargs}
    if distance == 0:
        return PassiveTMazeVectorEnv(rows, **options) if rows else PassiveTMazeEnv(**options)
    options["oracle_distance"] = distance
    return ActiveTMazeVectorEnv(rows, **options) if rows else ActiveTMazeEnv(**options)


def play(env: Any, actions: list[int]) -> tuple[list[list[float]], list[float], dict[str, Any]]:
    """Plays on, and returns observations, rewards and the last info."""
    seen, rewards, info = [], [], {}
    for action in actions:
        observation, reward, *_, info = env.step(action)
        seen.append(observation.tolist())
        rewards.append(reward)
    return seen, rewards, info


@quick
@given(
    st.one_of(st.integers(1, 9), st.integers(60, 300)),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.25]),
    st.integers(0, 2**40),
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
)
def test_it_follows_its_rules(
    corridor: int, distance: int, distract: float, seed: int, weights: list[float]
) -> None:
    env, naive = make(corridor, distance, distract), NaiveTMaze(corridor, distance, distract)
    rng, chances = np.random.default_rng(seed), np.array(weights) / sum(weights)
    observation, info = env.reset(seed=seed)
    for _ in range(3):
        expected, done, steps = naive.reset(side_of(env)), False, 0
        assert info == {}
        while not done:
            np.testing.assert_array_equal(observation, expected)
            assert observation in env.observation_space
            action = int(rng.choice(4, p=chances))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (gain, done, False)
            steps += 1
        np.testing.assert_array_equal(observation, expected)
        assert steps == corridor + 2 * distance + 1
        assert info == {"success": gain > 0}
        observation, info = env.reset()


@quick
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.25]),
    st.integers(0, 2**40),
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
)
def test_a_corridor_of_drawn_length_follows_the_rules_of_that_length(
    one: int, other: int, distance: int, distract: float, seed: int, weights: list[float]
) -> None:
    shortest, longest = sorted((one, other))
    env = make(longest, distance, distract, min_corridor_length=shortest)
    rows = make(longest, distance, distract, rows=3, min_corridor_length=shortest)
    rng, chances = np.random.default_rng(seed), np.array(weights) / sum(weights)
    observation, info = env.reset(seed=seed)
    seen, _ = rows.reset(seed=[seed] * 3)
    for _ in range(4):
        length = info["corridor_length"]
        assert shortest <= length <= longest
        naive = NaiveTMaze(length, distance, distract)
        expected, done, steps = naive.reset(side_of(env)), False, 0
        while not done:
            np.testing.assert_array_equal(observation, expected)
            np.testing.assert_array_equal(seen, [expected] * 3)
            action = int(rng.choice(4, p=chances))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            seen, gains, ended, _, _ = rows.step(np.full(3, action))
            assert (reward, terminated, truncated) == (gain, done, False)
            assert gains.tolist() == [gain] * 3
            assert ended.tolist() == [done] * 3
            steps += 1
        np.testing.assert_array_equal(observation, expected)
        assert steps == length + 2 * distance + 1
        assert info == {"success": gain > 0, "corridor_length": length}
        observation, info = env.reset()
        seen, *_ = rows.step(np.zeros(3, dtype=np.int64))  # begins the next episode


def test_lengths_are_drawn_uniformly_and_the_goal_apart_from_them() -> None:
    rows = PassiveTMazeVectorEnv(6000, corridor_length=6, min_corridor_length=4)
    observation, info = rows.reset(seed=list(range(6000)))
    lengths, up = info["corridor_length"], observation[:, 1] > 0
    for length in (4, 5, 6):
        of_it = lengths == length
        assert abs(of_it.mean() - 1 / 3) < 0.03
        assert abs(up[of_it].mean() - 0.5) < 0.05
    # Rows of unequal length end at unequal times, each with its own best play.
    ended_at = np.zeros(6000, dtype=np.int64)
    side = observation[:, 1]
    for step in range(1, 8):
        there = observation[:, 0] > 0
        turn = np.where(side > 0, UP, DOWN)
        observation, reward, ended, _, _ = rows.step(np.where(there, turn, RIGHT))
        first = ended & (ended_at == 0)
        assert (reward[first] == 1).all()
        ended_at[first] = step
    np.testing.assert_array_equal(ended_at, lengths + 1)


def test_lengths_to_draw_must_make_sense() -> None:
    for shortest, message in ((0, "at least 1"), (6, "greater than corridor_length 5")):
        with pytest.raises(ConfigError, match=message):
            PassiveTMazeEnv(corridor_length=5, min_corridor_length=shortest)


def test_a_passive_episode_step_by_step() -> None:
    env = PassiveTMazeEnv(corridor_length=2)
    side = env.reset(seed=0)[0][1]
    assert abs(side) == 1
    turn = UP if side > 0 else DOWN
    seen, rewards, info = play(env, [RIGHT, RIGHT, turn])
    assert seen == [[0, 0], [1, 0], [1, side]]
    assert rewards == [0, 0, 1]
    assert info == {"success": True}
    # The hint is shown once; who stays behind pays 1/c a step, at the last step nothing.
    env.reset(seed=0)
    seen, rewards, info = play(env, [LEFT, RIGHT, LEFT])
    assert seen == [[0, 0], [0, 0], [0, 0]]
    assert rewards == [-0.5, -0.5, 0]
    assert info == {"success": False}


def test_an_active_episode_step_by_step() -> None:
    env = ActiveTMazeEnv(corridor_length=2, oracle_distance=1)
    assert env.reset(seed=3)[0].tolist() == [0, 0]
    side = side_of(env)
    seen, rewards, info = play(env, [LEFT, RIGHT, RIGHT, RIGHT, UP if side > 0 else DOWN])
    assert seen == [[0, side], [0, 0], [0, 0], [1, 0], [1, side]]
    assert rewards == [0, 0, 0, 0, 1]
    assert info == {"success": True}
    # Without the oracle: two steps to spare at the junction, and no penalty.
    env.reset(seed=3)
    seen, rewards, info = play(env, [RIGHT, RIGHT, RIGHT, RIGHT, UP if side < 0 else DOWN])
    assert seen == [[0, 0], [1, 0], [1, 0], [1, 0], [1, -side]]
    assert rewards == [0, 0, 0, 0, 0]
    assert info == {"success": False}


def test_an_arm_can_be_left_and_entered_again() -> None:
    env = ActiveTMazeEnv(corridor_length=1, oracle_distance=3)
    env.reset(seed=1)
    side = side_of(env)
    turn, back = (UP, DOWN) if side > 0 else (DOWN, UP)
    moves = [RIGHT, back, LEFT, RIGHT, back, turn, turn, turn]
    seen, rewards, info = play(env, moves)
    assert [y for _, y in seen] == [0, -side, -side, -side, -side, 0, side, side]
    assert rewards == [0] * 7 + [1]
    assert info == {"success": True}


@pytest.mark.parametrize(("id", "worst"), [(PASSIVE, -1.0), (ACTIVE, -1.05)])
def test_best_memoryless_and_worst_returns(id: str, worst: float) -> None:
    # What the pages say of them, at the default lengths.
    env = envs.make_vec(id, 400)
    horizon = env.unwrapped.rules.horizon

    def total(action_at: Any) -> float:
        env.reset(seed=0)
        return float(np.mean(sum(env.step(np.full(400, action_at(t)))[1] for t in range(horizon))))

    assert abs(total(lambda t: RIGHT if t < horizon - 1 else UP) - 0.5) < 0.1
    assert total(lambda t: LEFT) == pytest.approx(worst)


@pytest.mark.parametrize(
    ("id", "chosen", "steps"),
    [
        (PASSIVE, {}, 51),
        (PASSIVE, {"corridor_length": 1}, 2),
        (ACTIVE, {}, 23),
        (ACTIVE, {"corridor_length": 3, "oracle_distance": 4}, 12),
    ],
)
def test_the_expert_always_wins(id: str, chosen: dict[str, Any], steps: int) -> None:
    env, expert = envs.make_vec(id, 40, **chosen), envs.expert(id)
    for seed in (0, None):  # the second time it remembers another episode
        observations_BO, _ = env.reset(seed=seed)
        reset_B = np.ones(40, dtype=bool)
        for step in range(1, steps + 1):
            actions_B = expert(observations_BO, reset_B)
            observations_BO, rewards_B, terminated_B, _, info = env.step(actions_B)
            reset_B[:] = False
            assert (rewards_B == (step == steps)).all()
            assert (terminated_B == (step == steps)).all()
        assert info["success"].all()
    # Beyond the oracle without having been there, it finds the way back.
    lost_BO = np.float32([[1, 1], [1, -1], [1, 0]])
    assert expert(lost_BO, np.ones(3, dtype=bool)).tolist() == [DOWN, UP, LEFT]


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("single", "vector", "chosen"), CLASSES)
def test_the_batch_equals_gymnasiums_batch_of_single_ones(
    single: type[Any], vector: type[Any], chosen: dict[str, Any], mode: AutoresetMode
) -> None:
    ours = vector(5, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: single(**chosen)] * 5, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    assert ours.metadata == theirs.metadata
    seeds = [4, 2**80 + 9, 2, 2, 0]
    assert data_equivalence(ours.reset(seed=seeds), theirs.reset(seed=seeds), exact=True)
    rng, episodes = np.random.default_rng(0), 0
    for _ in range(50):
        actions_B = rng.choice(4, size=5, p=[0.5, 0.15, 0.2, 0.15])
        step = ours.step(actions_B)
        assert data_equivalence(step, theirs.step(actions_B), exact=True)
        episodes += int(step[2].sum())
        if mode is AutoresetMode.DISABLED:
            # Some are begun anew in the middle, so that the rows are at different ages.
            due_B = step[2] | (rng.random(5) < 0.1)
            if due_B.any():
                seeds = [None if rng.random() < 0.5 else int(rng.integers(99)) for _ in range(5)]
                # Gymnasium takes the mask out of the dict it is given.
                again = theirs.reset(seed=seeds, options={"reset_mask": due_B})
                mine = ours.reset(seed=seeds, options={"reset_mask": due_B})
                assert data_equivalence(mine, again, exact=True)
    assert episodes > 5


@quick
@given(st.lists(st.integers(0, 10**25), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_row_depends_on_its_own_seed_alone(seeds: list[int], luck: int) -> None:
    chosen = {"corridor_length": 2, "oracle_distance": 1}
    env, single = ActiveTMazeVectorEnv(len(seeds), **chosen), ActiveTMazeEnv(**chosen)
    row, rng = luck % len(seeds), np.random.default_rng(luck)
    observations_BO, _ = env.reset(seed=seeds)
    np.testing.assert_array_equal(observations_BO[row], single.reset(seed=seeds[row])[0])
    ended = False
    for _ in range(25):
        mask_B = rng.random(len(seeds)) < 0.3
        mask_B[row] = False
        if mask_B.any():
            env.reset(options={"reset_mask": mask_B})
        actions_B = rng.choice(4, size=len(seeds), p=[0.3, 0.2, 0.3, 0.2])
        observations_BO, _, terminated_B, *_ = env.step(actions_B)
        expected = single.reset() if ended else single.step(actions_B[row])
        np.testing.assert_array_equal(observations_BO[row], expected[0])
        ended = bool(terminated_B[row])


def test_sides_are_even_and_drawn_anew() -> None:
    env = PassiveTMazeVectorEnv(2000, corridor_length=1)
    first_B = env.reset(seed=0)[0][:, 1]
    assert abs(first_B.mean()) < 0.06
    second_B = env.reset()[0][:, 1]
    assert abs((first_B * second_B).mean()) < 0.06
    assert abs((first_B[1:] * second_B[:-1]).mean()) < 0.06
    np.testing.assert_array_equal(env.reset(seed=0)[0][:, 1], first_B)
    fresh = [PassiveTMazeVectorEnv(64).reset()[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_a_row_that_has_ended_stands_still() -> None:
    rules = PassiveTMazeEnv(corridor_length=1, distract_reward=1.0).rules
    rules.reset([0], [0])
    for action in (LEFT, LEFT):
        rules.step(np.array([action]))
    last = rules.observe()
    for action in (RIGHT, UP, LEFT):
        rewards_B, terminated_B, truncated_B = rules.step(np.array([action]))
        assert (rewards_B[0], terminated_B[0], truncated_B[0]) == (0, False, False)
        np.testing.assert_array_equal(rules.observe(), last)
        assert not rules.end_info()["success"].any()


def test_gymnasium_accepts_it() -> None:
    for id in (PASSIVE, ACTIVE):
        check_env(gym.make(id, render_mode="rgb_array").unwrapped)
    env = gym.make(PASSIVE, corridor_length=2)
    env.reset(seed=5)
    assert env.unwrapped.np_random_seed == 5
    assert env.unwrapped.np_random.random() == np.random.default_rng(5).random()
    assert gym.make_vec(ACTIVE, num_envs=2, corridor_length=7).num_envs == 2


def test_pictures() -> None:
    env = PassiveTMazeEnv(corridor_length=3, render_mode="ansi")
    env.reset(seed=0)
    assert "hint up" in env.render() or "hint down" in env.render()
    env.step(RIGHT)
    assert "hint -" in env.render()
    play(env, [RIGHT, RIGHT, UP])
    assert env.render().endswith(("right", "wrong"))
    assert "step 4  cell 4/4" in env.render()
    env = ActiveTMazeEnv(corridor_length=3, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    env.step(LEFT)
    assert before.shape == env.render().shape == (176, 224, 3)
    assert (before != env.render()).any()


@pytest.mark.parametrize(
    ("id", "kwargs", "words"),
    [
        (PASSIVE, {"corridor_length": 0}, "corridor_length must be at least 1, got 0"),
        (PASSIVE, {"corridor_length": "ten"}, "corridor_length must be a whole number, got 'ten'"),
        (PASSIVE, {"oracle_distance": 1}, "has no option 'oracle_distance'"),
        (PASSIVE, {"distract_reward": "much"}, "distract_reward must be a finite number"),
        (PASSIVE, {"distract_reward": float("nan")}, "distract_reward must be a finite number"),
        (ACTIVE, {"oracle_distance": 0}, "oracle_distance must be at least 1, got 0"),
        (ACTIVE, {"oracle_distance": 1.5}, "oracle_distance must be a whole number, got 1.5"),
    ],
)
def test_wrong_options_are_refused_in_one_line(id: str, kwargs: dict[str, Any], words: str) -> None:
    for build in (lambda: envs.make(id, **kwargs), lambda: envs.make_vec(id, 2, **kwargs)):
        with pytest.raises(ConfigError, match=words) as caught:
            build()
        assert "\n" not in str(caught.value)
