"""Associative recall."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from naive_tasks import NaiveRecall
from retain import envs
from retain.core.errors import ConfigError
from retain.envs.associative_recall import (
    AssociativeRecallEnv,
    AssociativeRecallOracle,
    AssociativeRecallVectorEnv,
)

ID = "retain/AssociativeRecall-v0"
quick = settings(deadline=None, max_examples=40)
VARIANTS: list[dict[str, Any]] = [
    {"gap": 3},
    {"num_pairs": 1, "num_keys": 1, "num_values": 2, "gap": 0},
    {"num_pairs": 4, "num_keys": 4, "store_steps": 9, "gap": 5, "min_gap": 0},
    {"num_pairs": 3, "replacements": 2, "num_queries": 2, "gap": 1, "noise": "continuous"},
]


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    num_pairs = draw(st.integers(1, 5))
    replacements, gap = draw(st.integers(0, 3)), draw(st.integers(0, 12))
    spare = draw(st.one_of(st.none(), st.integers(0, 5)))
    return {
        "num_pairs": num_pairs,
        "num_keys": num_pairs + draw(st.integers(0, 3)),
        "num_values": draw(st.integers(2, 5)),
        "replacements": replacements,
        "store_steps": None if spare is None else num_pairs + replacements + spare,
        "gap": gap,
        "min_gap": draw(st.one_of(st.none(), st.integers(0, gap))),
        "num_queries": draw(st.one_of(st.none(), st.integers(1, num_pairs))),
        "noise": "none",
    }


def hidden(rules: Any, row: int = 0) -> dict[str, Any]:
    """What a row's episode holds, in the words of the naive task."""
    first, questions = rules.options.first_phase, rules.options.questions
    keys, values = rules.key_BC[row].tolist(), rules.value_BC[row].tolist()
    shown = {t: (keys[t], values[t]) for t in range(first) if keys[t] >= 0}
    return {
        "shown": shown,
        "gap": int(rules.gap_B[row]),
        "asked": keys[first : first + questions],
    }


@quick
@given(options(), st.integers(0, 2**40), st.integers(0, 99))
def test_it_follows_its_rules(chosen: dict[str, Any], seed: int, luck: int) -> None:
    env = AssociativeRecallEnv(**chosen)
    first_phase = env.rules.options.first_phase
    naive = NaiveRecall(chosen["num_keys"], chosen["num_values"], first_phase)
    rng = np.random.default_rng(luck)
    observation, info = env.reset(seed=seed)
    for _ in range(2):
        expected, done, total, steps = naive.reset(**hidden(env.rules)), False, 0.0, 0
        assert info == {"gap": naive.first_question - first_phase}
        while not done:
            np.testing.assert_array_equal(observation, expected)
            assert observation in env.observation_space
            action = int(rng.integers(1 + chosen["num_values"]))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (gain, done, False)
            total, steps = total + gain, steps + 1
        np.testing.assert_array_equal(observation, expected)
        assert info["success"] == (total == pytest.approx(1))
        assert steps == first_phase + info["gap"] + env.rules.options.questions
        observation, info = env.reset()


@quick
@given(options(), st.integers(0, 2**40))
def test_the_oracle_is_always_right_and_waits_otherwise(chosen: dict[str, Any], seed: int) -> None:
    env = AssociativeRecallVectorEnv(9, **chosen, autoreset_mode="SameStep")
    oracle, total_B, ends_B = AssociativeRecallOracle(), np.zeros(9), np.zeros(9, dtype=int)
    observations_BO, _ = env.reset(seed=seed)
    reset_B = np.ones(9, dtype=bool)
    while ends_B.min() < 2:  # the second time it remembers another episode
        actions_B = oracle(observations_BO, reset_B)
        np.testing.assert_array_equal(actions_B > 0, observations_BO[:, -2] > 0)
        observations_BO, rewards_B, reset_B, cut_B, info = env.step(actions_B)
        assert not cut_B.any()
        total_B, ends_B = total_B + rewards_B, ends_B + reset_B
        if reset_B.any():
            assert info["final_info"]["success"][reset_B].all()
            np.testing.assert_allclose(total_B[reset_B], 1)
            total_B[reset_B] = 0
    assert isinstance(envs.expert(ID), AssociativeRecallOracle)


def test_the_oracle_forgets_with_the_episode() -> None:
    oracle = AssociativeRecallOracle()
    told = np.array([[0, 1, 1, 0, 0, 0.0]])  # two values, two keys, asking, noise
    asked = np.array([[0, 0, 1, 0, 1, 0.0]])
    again = np.array([True])
    assert oracle(told, again).tolist() == [0]
    assert oracle(asked, ~again).tolist() == [2]
    assert oracle(asked, again).tolist() == [0]


@quick
@given(options(), st.integers(0, 2**40))
def test_keys_differ_and_each_is_asked_for_once(chosen: dict[str, Any], seed: int) -> None:
    env = AssociativeRecallEnv(**chosen)
    env.reset(seed=seed)
    found = hidden(env.rules)
    keys = [key for _, (key, _) in sorted(found["shown"].items())]
    assert len(keys) == chosen["num_pairs"] + chosen["replacements"]
    assert len(set(keys)) == len(set(keys[: chosen["num_pairs"]])) == chosen["num_pairs"]
    assert len(found["asked"]) == len(set(found["asked"])) == env.rules.options.questions
    assert set(found["asked"]) <= set(keys)


def test_everything_is_drawn_evenly() -> None:
    env = AssociativeRecallVectorEnv(
        3000, num_pairs=2, num_keys=4, replacements=1, store_steps=6, gap=4, min_gap=2
    )
    env.reset(seed=0)
    rules = env.rules
    assert np.abs(np.bincount(rules.gap_B)[2:] / 3000 - 1 / 3).max() < 0.04
    shown_BC = rules.value_BC >= 0
    assert np.abs(shown_BC[:, :6].mean(axis=0) - 0.5).max() < 0.04
    assert not shown_BC[:, 6:].any()
    for drawn, count in ((rules.value_BC[shown_BC], 4), (rules.key_BC[:, 6], 4)):
        assert np.abs(np.bincount(drawn) / len(drawn) - 1 / count).max() < 0.04
    # The first question is as often for the pair shown first as for the other.
    first_B = rules.key_BC[np.arange(3000), shown_BC.argmax(axis=1)]
    assert abs((first_B == rules.key_BC[:, 6]).mean() - 0.5) < 0.04
    answers_B = rules.answer_BC[:, 6]
    assert np.abs(np.bincount(answers_B)[1:] / 3000 - 0.25).max() < 0.04


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("chosen", VARIANTS)
def test_the_batch_equals_gymnasiums_batch_of_single_ones(
    chosen: dict[str, Any], mode: AutoresetMode
) -> None:
    ours = AssociativeRecallVectorEnv(5, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: AssociativeRecallEnv(**chosen)] * 5, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    seeds = [4, 2**80 + 9, 2, 2, 0]
    assert data_equivalence(ours.reset(seed=seeds), theirs.reset(seed=seeds), exact=True)
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions_B = rng.integers(0, 3, size=5)
        step = ours.step(actions_B)
        assert data_equivalence(step, theirs.step(actions_B), exact=True)
        if mode is AutoresetMode.DISABLED:
            due_B = step[2] | (rng.random(5) < 0.2)  # some are begun anew in the middle
            if due_B.any():
                seeds = [None if rng.random() < 0.5 else int(rng.integers(99)) for _ in range(5)]
                mine = ours.reset(seed=seeds, options={"reset_mask": due_B.copy()})
                again = theirs.reset(seed=seeds, options={"reset_mask": due_B.copy()})
                assert data_equivalence(mine, again, exact=True)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_row_depends_on_its_own_seed_alone(seeds: list[int], luck: int) -> None:
    # Over a block boundary of the noise.
    chosen = {"gap": 300, "min_gap": 250}
    env, single = AssociativeRecallVectorEnv(len(seeds), **chosen), AssociativeRecallEnv(**chosen)
    observations_BO, _ = env.reset(seed=seeds)
    row, rng = luck % len(seeds), np.random.default_rng(luck)
    np.testing.assert_array_equal(observations_BO[row], single.reset(seed=seeds[row])[0])
    ended = False
    for _ in range(320):
        actions_B = rng.integers(0, 5, size=len(seeds))
        observations_BO, _, terminated_B, *_ = env.step(actions_B)
        expected = single.reset() if ended else single.step(actions_B[row])
        np.testing.assert_array_equal(observations_BO[row], expected[0])
        ended = bool(terminated_B[row])


def test_what_is_seen_and_paid() -> None:
    env = AssociativeRecallEnv(num_pairs=2, num_keys=3, num_values=2, gap=2, noise="none")
    observation, _ = env.reset(seed=0)
    assert observation.shape == (7,)
    seen, rewards = [observation], []
    told = {}
    for step in range(6):
        if step < 2:
            told[int(observation[2:5].argmax())] = 1 + int(observation[:2].argmax())
        # The first answer is wrong, the second right.
        right = told.get(int(observation[2:5].argmax()), 0)
        action = {4: 3 - right, 5: right}.get(step, 1)
        observation, reward, terminated, _, info = env.step(action)
        seen.append(observation)
        rewards.append(reward)
    assert rewards == [0, 0, 0, 0, 0, 0.5]
    assert terminated
    assert info == {"gap": 2, "success": False}
    sums = np.array(seen)
    assert sums[:, :2].sum(axis=1).tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert sums[:, 2:5].sum(axis=1).tolist() == [1, 1, 0, 0, 1, 1, 0]
    assert sums[:, 5].tolist() == [0, 0, 0, 0, 1, 1, 0]


def test_a_row_that_has_ended_stands_still() -> None:
    rules = AssociativeRecallEnv(gap=1).rules
    rules.reset([0], [0])
    for _ in range(5):
        rules.step(np.array([1]))
    last, info = rules.observe(), rules.end_info()["success"].copy()
    for action in range(5):
        assert not np.concatenate(rules.step(np.array([action]))).any()
        np.testing.assert_array_equal(rules.observe(), last)
        np.testing.assert_array_equal(rules.end_info()["success"], info)


def test_it_is_deterministic_and_seeds_count_up() -> None:
    one, other = AssociativeRecallVectorEnv(4), AssociativeRecallVectorEnv(4)
    assert data_equivalence(one.reset(seed=3), other.reset(seed=[3, 4, 5, 6]), exact=True)
    assert data_equivalence(one.reset(), other.reset(), exact=True)
    fresh = [AssociativeRecallVectorEnv(64).reset()[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_gymnasium_accepts_it() -> None:
    for chosen in VARIANTS:
        check_env(gym.make(ID, render_mode="rgb_array", **chosen).unwrapped)
    assert gym.make_vec(ID, num_envs=2, gap=7).num_envs == 2
    assert isinstance(envs.make_vec(ID, 3, independent_rows=True), AssociativeRecallVectorEnv)


def test_pictures() -> None:
    chosen = {"num_pairs": 1, "num_keys": 30, "num_values": 3, "gap": 1, "noise": "none"}
    env = AssociativeRecallEnv(render_mode="ansi", **chosen)
    paint = AssociativeRecallEnv(render_mode="rgb_array", **chosen)
    observation, _ = env.reset(seed=0)
    paint.reset(seed=0)
    value, key = int(observation[:3].argmax()), int(observation[3:33].argmax())
    lines, frames = [env.render()], [paint.render()]
    for action in (0, 0, value + 1):
        env.step(action)
        paint.step(action)
        lines.append(env.render())
        frames.append(paint.render())
    assert lines == [
        f"step 0/3  store  key {key} = {value + 1}  right 0/1",
        "step 1/3  gap  right 0/1",
        f"step 2/3  ask  key {key} = ?  right 0/1",
        "step 3/3  end  right 1/1",
    ]
    assert {(frame.shape, frame.dtype) for frame in frames} == {((192, 832, 3), np.dtype("u1"))}
    assert all((frames[i] != frames[i + 1]).any() for i in range(3))
    tiny = AssociativeRecallVectorEnv(2, num_pairs=1, num_keys=1, gap=0, render_mode="rgb_array")
    tiny.reset(seed=0)
    assert tiny.render()[0].shape == (192, 192, 3)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"num_pairs": 0}, "num_pairs must be at least 1, got 0"),
        ({"num_values": 1}, "num_values must be at least 2, got 1"),
        ({"gap": -1}, "gap must be at least 0, got -1"),
        ({"gap": 2.5}, "gap must be a whole number, got 2.5"),
        ({"gap": 3, "min_gap": 4}, "min_gap 4 is greater than gap 3"),
        ({"num_pairs": 9}, "num_pairs 9 is greater than num_keys 8"),
        ({"num_queries": 3}, "num_queries 3 is greater than num_pairs 2"),
        ({"replacements": -2}, "replacements must be at least 0"),
        (
            {"replacements": 2, "store_steps": 3},
            "store_steps 3 is too small for num_pairs 2 and replacements 2: at least 4",
        ),
        ({"noise": "loud"}, "noise 'loud' is not one of discrete, continuous, none"),
        ({"keys": 3}, "has no option 'keys'; its options: .*num_keys"),
        ({"render_mode": "hologram"}, "render_mode 'hologram' is not one of ansi, rgb_array"),
    ],
)
def test_wrong_options_are_refused_in_one_line(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        envs.make_vec(ID, 2, **kwargs)
    assert "\n" not in str(caught.value)


def test_what_has_to_be_remembered() -> None:
    options = {"num_pairs": 3, "num_keys": 5, "replacements": 2, "store_steps": 7, "gap": 4}
    env = AssociativeRecallVectorEnv(6, **options)
    values, keys = 4, 5
    observation, _ = env.reset(seed=0)
    hidden = {name: value.copy() for name, value in env.rules.hidden().items()}
    assert list(hidden) == ["pair 1", "pair 2", "pair 3"]
    last: list[dict[int, int]] = [{} for _ in range(6)]  # dicts keep the order of first showing
    for _ in range(7):
        for row, seen in enumerate(observation):
            if seen[:values].any():
                last[row][int(seen[values : values + keys].argmax())] = int(seen[:values].argmax())
        observation = env.step(np.zeros(6, dtype=np.int64))[0]
    assert [list(shown.values()) for shown in last] == np.stack(list(hidden.values()), 1).tolist()
