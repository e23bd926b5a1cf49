"""T-Mazes whose hints have names, are replaced, and stand among distractors."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from naive_tasks import NaiveShownTMaze
from retain import envs
from retain.core.errors import ConfigError
from retain.envs.tmaze import RIGHT, UP, TMazeEnv, TMazeOracle, TMazeVectorEnv

ID = "retain/TMaze-v0"
quick = settings(deadline=None, max_examples=40)


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    num_hints, distractors = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    named = draw(st.booleans())
    replacements = draw(st.integers(0, 4)) if named else 0
    hint_time = draw(st.sampled_from(["start", "random"]))
    # Unnamed hints at the start may fill all cells; nothing else may stand at the junction.
    room = named or hint_time == "random" or replacements + distractors > 0
    shortest = num_hints + replacements + distractors + room + draw(st.integers(0, 5))
    return {
        "corridor_length": shortest + draw(st.integers(0, 4)),
        "min_corridor_length": shortest,
        "num_hints": num_hints,
        "replacements": replacements,
        "distractors": distractors,
        "named_hints": named,
        "hint_time": hint_time,
        "balanced_goals": draw(st.booleans()),
        "noise": "none",
    }


def shown(rules: Any, row: int = 0) -> dict[int, tuple[int, int]]:
    """What a row shows: time -> (side, item)."""
    columns = [a[row].tolist() for a in (rules.times_BS, rules.sides_BS, rules.items_BS)]
    found = {time: (side, item) for time, side, item in zip(*columns, strict=True)}
    assert len(found) == rules.options.num_showings, "two at one time"
    return found


@quick
@given(options(), st.integers(0, 2**40), st.integers(0, 99))
def test_it_follows_its_rules(chosen: dict[str, Any], seed: int, luck: int) -> None:
    env = TMazeEnv(**chosen, max_episode_steps=1000)
    naive = NaiveShownTMaze(chosen["num_hints"], named=chosen["named_hints"])
    rng = np.random.default_rng(luck)
    observation, info = env.reset(seed=seed)
    for _ in range(2):
        expected, done = naive.reset(info["corridor_length"], shown(env.rules)), False
        goals = [naive.goals[item + 1] for item in range(chosen["num_hints"])]
        assert env.rules.goals_BN[0].tolist() == goals
        while not done:
            np.testing.assert_array_equal(observation, expected)
            assert observation in env.observation_space
            action = int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))
            expected, gain, done = naive.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert (reward, terminated, truncated) == (gain, done, False)
        np.testing.assert_array_equal(observation, expected)
        observation, info = env.reset()


@quick
@given(options(), st.integers(0, 2**40))
def test_the_oracle_always_wins_in_the_fewest_steps(chosen: dict[str, Any], seed: int) -> None:
    env, oracle = TMazeVectorEnv(9, **chosen, autoreset_mode="Disabled"), TMazeOracle()
    for first in (seed, None):  # the second time it remembers another episode
        observations_BO, info = env.reset(seed=first)
        left_B = info["corridor_length"] - 1 + chosen["num_hints"]
        reset_B, running_B = np.ones(9, dtype=bool), np.ones(9, dtype=bool)
        while running_B.any():
            actions_B = oracle(observations_BO, reset_B)
            # Rows that have ended are begun anew and play on.
            observations_BO, rewards_B, ended_B, cut_B, _ = env.step(actions_B)
            left_B -= 1
            assert not cut_B.any()
            np.testing.assert_array_equal(ended_B[running_B], (left_B == 0)[running_B])
            np.testing.assert_array_equal(rewards_B, ended_B)
            running_B &= ~ended_B
            reset_B = ended_B
            if ended_B.any():
                observations_BO, _ = env.reset(options={"reset_mask": ended_B.copy()})


@quick
@given(options(), st.integers(0, 2**40))
def test_hints_come_first_and_every_question_has_one(chosen: dict[str, Any], seed: int) -> None:
    env = TMazeEnv(**chosen)
    _, info = env.reset(seed=seed)
    told = sorted((t, item) for t, (_, item) in shown(env.rules).items() if item)
    items = [item for _, item in told]
    count = chosen["num_hints"]
    assert sorted(items[:count]) == list(range(1, count + 1))
    assert len(items) == count + chosen["replacements"]
    if not chosen["named_hints"]:
        assert items == sorted(items)
    if chosen["hint_time"] == "start":
        assert [t for t, _ in told[:count]] == list(range(count))
    full = len(shown(env.rules)) == info["corridor_length"]
    assert full or max(shown(env.rules)) < info["corridor_length"] - 1


def test_what_is_new_is_drawn_evenly() -> None:
    chosen = {"corridor_length": 40, "num_hints": 2, "replacements": 3, "distractors": 5}
    env = TMazeVectorEnv(2000, named_hints=True, **chosen)
    env.reset(seed=0)
    rules = env.rules
    assert np.abs(rules.sides_BS.mean(axis=0)).max() < 0.08
    assert abs(rules.goals_BN.mean()) < 0.08
    assert np.abs(rules.items_BS[:, :5].mean(axis=0) - 1.5).max() < 0.05
    assert not rules.items_BS[:, 5:].any()
    # Half of the replacements change the side; one that is never replaced keeps it.
    first_B = np.where(rules.items_BS[:, 0] == 1, rules.sides_BS[:, 0], rules.sides_BS[:, 1])
    replaced_B = (rules.items_BS[:, 2:5] == 1).any(axis=1)
    changed_B = first_B != rules.goals_BN[:, 0]
    assert abs(replaced_B.mean() - 7 / 8) < 0.03
    assert abs(changed_B[replaced_B].mean() - 0.5) < 0.04
    assert not changed_B[~replaced_B].any()
    # Distractors stand anywhere between the hints and the junction.
    assert rules.times_BS[:, 2:].min() == 2
    assert rules.times_BS[:, 2:].max() == 38
    assert abs(rules.times_BS[:, 5:].mean() - 20) < 0.5


def test_balanced_goals_are_what_the_last_hints_say() -> None:
    chosen = {"num_hints": 2, "replacements": 2, "named_hints": True, "balanced_goals": True}
    env = TMazeVectorEnv(100, corridor_length=9, **chosen)
    env.reset(seed=1000)
    _, counts = np.unique(env.rules.goals_BN, axis=0, return_counts=True)
    assert counts.tolist() == [25] * 4


def test_what_is_seen() -> None:
    chosen = {"num_hints": 2, "replacements": 1, "distractors": 1, "named_hints": True}
    env = TMazeEnv(corridor_length=5, noise="none", **chosen)
    np.testing.assert_array_equal(env.observation_space.low, [-1, -1, -1, -1, 0, 0])
    np.testing.assert_array_equal(env.observation_space.high, [1, 1, 2, 1, 1, 1])
    observation, _ = env.reset(seed=3)
    seen = [observation, *(env.step(RIGHT)[0] for _ in range(4))]
    hints, flags = (np.array(seen)[:, i].tolist() for i in (1, 2))
    names = np.array(seen)[:, 4:].tolist()
    assert np.abs(hints).tolist() == [1, 1, 1, 1, 0]
    assert sorted(flags) == [-1, 0, 0, 0, 1]
    assert sorted(names[:2]) == [[0, 1], [1, 0]]
    assert names[flags.index(-1)] == [0, 0]
    assert names[4] == [1, 0]  # the first question
    plain = TMazeEnv().observation_space
    np.testing.assert_array_equal(plain.low, [-1, -1, 0, -1])
    np.testing.assert_array_equal(TMazeEnv(distractors=1).observation_space.low, [-1] * 4)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_batch_equals_gymnasiums_batch_of_single_ones(mode: AutoresetMode) -> None:
    chosen: dict[str, Any] = {
        "corridor_length": 9,
        "min_corridor_length": 7,
        "num_hints": 2,
        "replacements": 2,
        "distractors": 2,
        "named_hints": True,
        "hint_time": "random",
    }
    ours = TMazeVectorEnv(4, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: TMazeEnv(**chosen)] * 4, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert data_equivalence(ours.reset(seed=5), theirs.reset(seed=5), exact=True)
    rng = np.random.default_rng(0)
    for _ in range(50):
        actions_B = rng.choice(4, size=4, p=[0.8, 0.1, 0.0, 0.1])
        step = ours.step(actions_B)
        assert data_equivalence(step, theirs.step(actions_B), exact=True)
        ended_B = step[2] | step[3]
        if mode is AutoresetMode.DISABLED and ended_B.any():
            mine = ours.reset(options={"reset_mask": ended_B.copy()})
            again = theirs.reset(options={"reset_mask": ended_B.copy()})
            assert data_equivalence(mine, again, exact=True)


def test_the_defaults_draw_what_they_always_drew() -> None:
    # Datasets and results were made with these numbers; a new option must not move them.
    digest = hashlib.sha256()
    for chosen in (
        {"corridor_length": 9},
        {"corridor_length": 9, "min_corridor_length": 2, "num_hints": 2, "balanced_goals": True},
        {"corridor_length": 300, "num_hints": 4, "hint_time": "random", "max_episode_steps": 900},
    ):
        env = TMazeVectorEnv(5, **chosen)
        observations_BO, _ = env.reset(seed=11)
        rng = np.random.default_rng(0)
        for _ in range(320):
            digest.update(observations_BO.astype("<f4").tobytes())
            actions_B = (rng.random(5) < 0.1).astype(int)
            observations_BO, *_ = env.step(actions_B)
    assert digest.hexdigest()[:16] == "03a97453a78d0ca6"


def test_gymnasium_accepts_it() -> None:
    chosen = {"num_hints": 2, "named_hints": True, "replacements": 2, "distractors": 2}
    check_env(envs.make(ID, render_mode="rgb_array", **chosen).unwrapped)


def test_pictures() -> None:
    chosen = {"num_hints": 2, "named_hints": True, "replacements": 1, "distractors": 1}
    env = TMazeEnv(corridor_length=5, render_mode="ansi", noise="none", **chosen)
    paint = TMazeEnv(corridor_length=5, render_mode="rgb_array", noise="none", **chosen)
    env.reset(seed=3)
    paint.reset(seed=3)
    lines, frames = [], []
    for action in (RIGHT, RIGHT, RIGHT, RIGHT, UP):
        lines.append(env.render().splitlines()[-1])
        frames.append(paint.render())
        env.step(action)
        paint.step(action)
    assert sum("(means nothing)" in line for line in lines) == 1
    assert {line.split(" for ")[1][0] for line in lines if " for " in line} == {"1", "2"}
    amber, dark = (
        [(frame[64:96] == colour).all(axis=-1).any() for frame in frames]
        for colour in ((245, 178, 48), (58, 64, 82))
    )
    assert amber.count(True) == 3  # hints and their replacement
    assert dark.count(True) == 1  # the distractor
    assert {frame.shape for frame in frames} == {(176, 224, 3)}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"replacements": -1}, "replacements must be at least 0, got -1"),
        ({"distractors": 1.5}, "distractors must be a whole number, got 1.5"),
        ({"replacements": 1}, "replacements 1 need named_hints"),
        ({"named_hints": 2}, "named_hints must be true or false, got 2"),
        ({"num_hints": 2, "replacements": 1}, "replacements 1 need named_hints"),
        (
            {"corridor_length": 4, "num_hints": 2, "distractors": 2},
            "num_hints 2, replacements 0 and distractors 2 do not fit a corridor of 4 cells: 3 at",
        ),
        (
            {"min_corridor_length": 3, "named_hints": True, "replacements": 2},
            "do not fit a corridor of 3 cells: 2 at most, all together",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_line(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        envs.make_vec(ID, 2, **kwargs)
    assert "\n" not in str(caught.value)
