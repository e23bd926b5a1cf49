"""The memory chain and the distributed memory task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from naive_tasks import NaiveChain, NaiveDistributed
from retain import envs
from retain.core.errors import ConfigError
from retain.envs.memory_chain import (
    DistributedMemoryEnv,
    DistributedMemoryVectorEnv,
    MemoryLengthEnv,
    MemoryLengthVectorEnv,
    MemorySizeEnv,
    MemorySizeVectorEnv,
)

RECORD = Path(__file__).parents[1] / "data" / "bsuite_memory_chain.json"
LENGTH, SIZE, SPREAD = (
    f"retain/{n}-v0" for n in ("MemoryLength", "MemorySize", "DistributedMemory")
)
CLASSES: list[tuple[type[Any], type[Any], dict[str, Any]]] = [
    (MemoryLengthEnv, MemoryLengthVectorEnv, {"memory_length": 3}),
    (MemorySizeEnv, MemorySizeVectorEnv, {"num_bits": 33}),
    (MemoryLengthEnv, MemoryLengthVectorEnv, {"memory_length": 1, "num_bits": 3}),
    (DistributedMemoryEnv, DistributedMemoryVectorEnv, {"memory_length": 6}),
    (DistributedMemoryEnv, DistributedMemoryVectorEnv, {"memory_length": 1, "num_bits": 1}),
]
quick = settings(deadline=None, max_examples=25)


def give(rules: Any, row: int, bits: list[int], query: int = 0) -> None:
    """Makes a row's next episodes have these hidden numbers, by standing in for the draws."""

    def draw(rows: Any) -> None:
        rules.bits_BN[row], rules.query_B[row] = bits, query
        rules.answer_B[row] = bits[query]

    rules.draw = draw


@quick
@given(st.integers(1, 9), st.integers(1, 70), st.integers(0, 2**70), st.integers(0, 99))
def test_the_chain_follows_its_rules(length: int, count: int, seed: int, luck: int) -> None:
    env, naive = MemoryLengthEnv(memory_length=length, num_bits=count), NaiveChain(length, count)
    rng = np.random.default_rng(luck)
    observation, _ = env.reset(seed=seed)
    for _ in range(3):
        expected = naive.reset(env.rules.bits_BN[0].tolist(), int(env.rules.query_B[0]))
        done = False
        while not done:
            np.testing.assert_array_equal(observation, expected)
            assert observation in env.observation_space
            action = int(rng.integers(2))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (gain, done, False)
        np.testing.assert_array_equal(observation, expected)
        assert info == {"success": gain > 0}
        observation, info = env.reset()
        assert info == {}


@quick
@given(st.data(), st.integers(1, 12), st.integers(0, 2**40), st.integers(0, 99))
def test_the_distributed_task_follows_its_rules(
    data: st.DataObject, length: int, seed: int, layout: int
) -> None:
    count = 2 * data.draw(st.integers(0, (length - 1) // 2)) + 1
    env = DistributedMemoryEnv(memory_length=length, num_bits=count, layout_seed=layout)
    naive = NaiveDistributed(length, env.rules.options.times)
    rng = np.random.default_rng(layout)
    observation, _ = env.reset(seed=seed)
    for _ in range(3):
        expected, done = naive.reset(env.rules.bits_BN[0].tolist()), False
        while not done:
            np.testing.assert_array_equal(observation, expected)
            assert observation in env.observation_space
            action = int(rng.integers(2))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (gain, done, False)
        np.testing.assert_array_equal(observation, expected)
        assert info == {"success": gain > 0}
        observation, _ = env.reset()


def test_the_chain_does_what_bsuite_does() -> None:
    # bsuite draws from a generator of its own kind, one number at a time; ours are computed for
    # many rows at once. So its bits and query are given to our rules, not its seed.
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert recorded["version"] == "0.3.6"
    steps = 0
    for setting in recorded["settings"]:
        chosen = {name: setting[name] for name in ("memory_length", "num_bits")}
        for episode in setting["episodes"]:
            env = MemorySizeVectorEnv(1, **chosen)
            give(env.rules, 0, episode["bits"], episode["query"])
            observations_BO, _ = env.reset(seed=0)
            seen, rewards, ends = [observations_BO[0]], [], []
            for action in episode["actions"]:
                observations_BO, rewards_B, terminated_B, *_ = env.step(np.array([action]))
                seen.append(observations_BO[0])
                rewards.append(rewards_B[0])
                ends.append(terminated_B[0])
            np.testing.assert_array_equal(seen, np.float32(episode["observations"]))
            assert rewards == episode["rewards"]
            assert ends == [False] * (len(ends) - 1) + [True]
            steps += len(ends)
    assert steps > 100


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("single", "vector", "chosen"), CLASSES)
def test_the_batch_equals_gymnasiums_batch_of_single_ones(
    single: type[Any], vector: type[Any], chosen: dict[str, Any], mode: AutoresetMode
) -> None:
    ours = vector(5, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: single(**chosen)] * 5, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    seeds = [4, 2**80 + 9, 2, 2, 0]
    assert data_equivalence(ours.reset(seed=seeds), theirs.reset(seed=seeds), exact=True)
    rng = np.random.default_rng(0)
    for _ in range(40):
        actions_B = rng.integers(0, 2, size=5)
        step = ours.step(actions_B)
        assert data_equivalence(step, theirs.step(actions_B), exact=True)
        if mode is AutoresetMode.DISABLED:
            # Some are begun anew in the middle, so that the rows are at different ages.
            due_B = step[2] | step[3] | (rng.random(5) < 0.2)
            if due_B.any():
                seeds = [None if rng.random() < 0.5 else int(rng.integers(99)) for _ in range(5)]
                # Gymnasium takes the mask out of the dict it is given.
                again = theirs.reset(seed=seeds, options={"reset_mask": due_B})
                mine = ours.reset(seed=seeds, options={"reset_mask": due_B})
                assert data_equivalence(mine, again, exact=True)


@quick
@given(st.lists(st.integers(0, 10**25), min_size=1, max_size=6), st.integers(0, 2**32))
def test_a_row_depends_on_its_own_seed_alone(seeds: list[int], luck: int) -> None:
    env, rng = MemoryLengthVectorEnv(len(seeds), memory_length=2, num_bits=4), None
    observations_BO, _ = env.reset(seed=seeds)
    row, rng = luck % len(seeds), np.random.default_rng(luck)
    single = MemoryLengthEnv(memory_length=2, num_bits=4)
    np.testing.assert_array_equal(observations_BO[row], single.reset(seed=seeds[row])[0])
    ended = False
    for _ in range(20):
        # The other rows are disturbed; this one only goes on.
        mask_B = rng.random(len(seeds)) < 0.3
        mask_B[row] = False
        if mask_B.any():
            env.reset(options={"reset_mask": mask_B})
        actions_B = rng.integers(0, 2, size=len(seeds))
        observations_BO, _, terminated_B, *_ = env.step(actions_B)
        expected = single.reset() if ended else single.step(actions_B[row])
        np.testing.assert_array_equal(observations_BO[row], expected[0])
        ended = bool(terminated_B[row])


def test_what_is_hidden_is_drawn_evenly_and_anew() -> None:
    env = MemorySizeVectorEnv(2000, num_bits=5)
    env.reset(seed=0)
    first_BN, first_B = env.rules.bits_BN.copy(), env.rules.query_B.copy()
    assert np.abs(first_BN.mean(axis=0) - 0.5).max() < 0.05
    assert np.abs(np.bincount(first_B, minlength=5) / 2000 - 0.2).max() < 0.04
    assert np.abs(np.corrcoef(first_BN.T) - np.eye(5)).max() < 0.1
    env.reset()
    assert abs((env.rules.bits_BN == first_BN).mean() - 0.5) < 0.02
    # The second episode of one seed is not the first of the next.
    assert abs((env.rules.bits_BN[:-1] == first_BN[1:]).mean() - 0.5) < 0.02
    env.reset(seed=0)
    np.testing.assert_array_equal(env.rules.bits_BN, first_BN)
    fresh = [MemorySizeVectorEnv(64).reset()[0] for _ in range(2)]
    assert (fresh[0] != fresh[1]).any()


def test_the_layout_is_the_same_for_all_and_chosen_by_its_seed() -> None:
    times = DistributedMemoryEnv(memory_length=30, num_bits=5).rules.options.times
    assert times == DistributedMemoryEnv(memory_length=30, num_bits=5).rules.options.times
    assert len(set(times)) == 5
    assert times == tuple(sorted(times))
    other = DistributedMemoryEnv(memory_length=30, num_bits=5, layout_seed=1)
    assert other.rules.options.times != times
    assert DistributedMemoryEnv(memory_length=3, num_bits=3).rules.options.times == (0, 1, 2)


@pytest.mark.parametrize(
    ("id", "chosen", "steps"),
    [
        (LENGTH, {}, 11),
        (LENGTH, {"memory_length": 1}, 2),
        (SIZE, {}, 3),
        (SIZE, {"memory_length": 4, "num_bits": 40}, 5),
        (SPREAD, {}, 10),
        (SPREAD, {"memory_length": 5, "num_bits": 5}, 5),
    ],
)
def test_the_expert_always_wins(id: str, chosen: dict[str, Any], steps: int) -> None:
    env, expert = envs.make_vec(id, 60, **chosen), envs.expert(id)
    for seed in (0, None):  # the second time it remembers another episode
        observations_BO, _ = env.reset(seed=seed)
        reset_B = np.ones(60, dtype=bool)
        for step in range(1, steps + 1):
            actions_B = expert(observations_BO, reset_B)
            observations_BO, rewards_B, terminated_B, _, info = env.step(actions_B)
            reset_B[:] = False
            assert (rewards_B == (step == steps)).all()
            assert (terminated_B == (step == steps)).all()
        assert info["success"].all()


def test_gymnasium_accepts_it() -> None:
    for id in (LENGTH, SIZE, SPREAD):
        check_env(gym.make(id, render_mode="ansi").unwrapped)
    assert gym.make_vec(SPREAD, num_envs=2, memory_length=7).num_envs == 2


def test_an_episode_can_be_read() -> None:
    env = MemorySizeEnv(memory_length=2, num_bits=3, render_mode="ansi")
    env.reset(seed=0)
    line = env.render()
    assert line.startswith("step 0/3  clock 1.00  query 0  bits ")
    assert set(line.split()[-1]) <= {"+", "-"}
    for _ in range(3):
        *_, info = env.step(0)
    assert env.render().startswith("step 3/3  clock 0.00  query 0  bits ...")
    assert env.render().endswith("right" if info["success"] else "wrong")


def test_a_row_that_has_ended_stands_still() -> None:
    rules = MemoryLengthEnv(memory_length=2).rules
    rules.reset([0], [0])
    for _ in range(3):
        rules.step(np.array([0]))
    last, info = rules.observe(), rules.end_info()["success"].copy()
    for _ in range(5):
        rewards_B, terminated_B, truncated_B = rules.step(np.array([1]))
        assert not rewards_B.any()
        assert not terminated_B.any()
        assert not truncated_B.any()
        np.testing.assert_array_equal(rules.observe(), last)
        np.testing.assert_array_equal(rules.end_info()["success"], info)


@pytest.mark.parametrize(
    ("id", "kwargs", "words"),
    [
        (LENGTH, {"memory_length": 0}, "memory_length must be at least 1, got 0"),
        (SIZE, {"num_bits": 2.5}, "num_bits must be a whole number, got 2.5"),
        (SIZE, {"bits": 3}, "has no option 'bits'; its options: .*memory_length, num_bits"),
        (SPREAD, {"num_bits": 4}, "num_bits must be odd to have a majority, got 4"),
        (SPREAD, {"memory_length": 3}, "num_bits 5 does not fit memory_length 3"),
        (SPREAD, {"layout_seed": -1}, "layout_seed must be at least 0, got -1"),
        (SPREAD, {"layout_seed": "x"}, "layout_seed must be a whole number, got 'x'"),
        (LENGTH, {"render_mode": "rgb_array"}, "render_mode 'rgb_array' is not one of ansi"),
    ],
)
def test_wrong_options_are_refused_in_one_line(id: str, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        envs.make_vec(id, 2, **kwargs)
    assert "\n" not in str(caught.value)
