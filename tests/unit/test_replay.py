"""The replay of whole episodes: what goes in comes out, wherever it lies in the ring."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core.errors import ConfigError
from retain.data import replay as replay_module
from retain.data.replay import EpisodeReplay

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = gym.spaces.Discrete(7)


def episode(number: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """An episode whose every number tells where it belongs: episode and step."""
    at = np.arange(steps + 1)
    observation = np.stack([np.full(steps + 1, number), at], axis=1).astype(np.float32)
    action = (number + at[:-1]) % 7
    reward = (number * 100 + at[:-1]).astype(np.float32)
    return observation, action, reward, number % 2 == 0


def replay_of(
    capacity: int,
    sequence_length: int | None = None,
    max_episodes: int | None = None,
    burn_in: int = 0,
) -> EpisodeReplay:
    return EpisodeReplay(capacity, OBSERVATIONS, ACTIONS, sequence_length, max_episodes, burn_in)


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    capacity=st.integers(10, 40),
    window=st.one_of(st.none(), st.integers(1, 4)),
    most=st.one_of(st.none(), st.integers(1, 6)),
    burn_in=st.integers(0, 3),
)
def test_every_row_is_a_piece_of_an_episode_that_is_kept(lengths, capacity, window, most, burn_in):
    burn_in = 0 if window is None else burn_in
    replay = replay_of(capacity, window, most, burn_in)
    kept: list[int] = []
    for number, steps in enumerate(lengths):
        replay.add(*episode(number, steps))
        kept.append(number)
        while sum(lengths[n] + 1 for n in kept) > capacity or len(kept) > (most or 30):
            kept.pop(0)
    assert replay.num_episodes == len(kept)
    assert replay.num_steps == sum(lengths[n] for n in kept)
    rng = np.random.default_rng(0)
    if window is not None and all(lengths[n] < window for n in kept):
        with pytest.raises(ConfigError, match="sequence-length"):
            replay.sample(5, rng)
        return
    batch = replay.sample(50, rng)
    seen = set()
    for row in range(50):
        number, start = (int(x) for x in batch.observation[row, 0])
        lead, learned = int(batch.mask[row].argmax()), int(batch.mask[row].sum())
        steps = lead + learned
        seen.add((number, start + lead))
        assert batch.mask[row, lead:steps].all()
        assert lead == burn_in or (lead < burn_in and start == 0)
        assert number in kept
        observation, action, reward, terminated = episode(number, lengths[number])
        end = start + steps
        assert learned == (lengths[number] if window is None else window)
        np.testing.assert_array_equal(
            batch.observation[row, : steps + 1], observation[start : end + 1]
        )
        np.testing.assert_array_equal(batch.action[row, :steps], action[start:end])
        np.testing.assert_array_equal(batch.reward[row, :steps], reward[start:end])
        last = end == lengths[number]
        assert batch.terminated[row].sum() == (last and terminated)
        assert bool(batch.begins[row]) == (start == 0)
        assert batch.previous_action[row] == (0 if start == 0 else action[start - 1])
        assert batch.previous_reward[row] == (0 if start == 0 else reward[start - 1])
        assert not batch.observation[row, steps + 1 :].any()
        assert not batch.reward[row, steps:].any()
    if window is None:
        assert all(start == 0 for _, start in seen)


def test_windows_are_drawn_with_equal_chance():
    replay = replay_of(100, 3)
    for number, steps in enumerate((3, 5, 2, 12)):
        replay.add(*episode(number, steps))
    batch = replay.sample(28_000, np.random.default_rng(1))
    places, counts = np.unique(batch.observation[:, 0], axis=0, return_counts=True)
    assert len(places) == 1 + 3 + 10  # the episode of 2 steps has no window
    assert abs(counts / 28_000 - 1 / 14).max() < 0.01


def test_a_replay_goes_on_from_its_state():
    one, other = replay_of(20), replay_of(20)
    for number in range(9):
        one.add(*episode(number, 1 + number % 5))
    other.load_state_dict(one.state_dict())
    for replay in (one, other):
        replay.add(*episode(9, 4))
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name], err_msg=name)
    assert other.num_episodes == one.num_episodes
    mine, theirs = (r.sample(16, np.random.default_rng(3)) for r in (one, other))
    for name in vars(mine):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name), err_msg=name)


def test_what_cannot_be_kept_or_drawn_is_said_in_one_line(monkeypatch):
    replay = replay_of(5)
    with pytest.raises(ConfigError, match="empty"):
        replay.sample(1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"raise --train\.replay-capacity"):
        replay.add(*episode(0, 5))
    with pytest.raises(ConfigError, match="burn_in needs sequence_length"):
        replay_of(9, burn_in=2)
    wrong = {"capacity": 1}, {"sequence_length": 0}, {"max_episodes": 0}, {"burn_in": -1}
    for arguments in wrong:
        with pytest.raises(ConfigError, match="at least"):
            replay_of(**{"capacity": 9, **arguments})
    monkeypatch.setattr(replay_module, "available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match=r"lower --train\.replay-capacity"):
        replay_of(1_000_000)
    # Where it is not known what is free, the machine says so itself.
    monkeypatch.setattr(replay_module, "available_memory", lambda: 2**62)
    with pytest.raises(ConfigError, match=r"they cannot be had; lower --train.replay-capacity"):
        replay_of(10**15)


def test_free_memory_is_known_or_taken_for_plenty(monkeypatch):
    assert replay_module.available_memory() > 2**20
    monkeypatch.setattr(replay_module, "Path", lambda name: Path("/nowhere/at/all"))
    assert replay_module.available_memory() == 2**62


@pytest.mark.parametrize("window", [None, 2])
def test_padding_is_a_number_that_the_space_has(window: int | None) -> None:
    spaces = gym.spaces.Discrete(4, start=3), gym.spaces.Discrete(2, start=5)
    replay = EpisodeReplay(40, *spaces, window)
    for steps in (2, 5):
        replay.add(np.full(steps + 1, 6), np.full(steps, 6), np.ones(steps, np.float32), True)
    batch = replay.sample(32, np.random.default_rng(0))
    assert (batch.previous_action[batch.begins] == 5).all()
    assert (batch.previous_action[~batch.begins] == 6).all()
    assert (batch.action[batch.mask] == 6).all()
    assert (batch.action[~batch.mask] == 5).all()
    assert set(np.unique(batch.observation)) <= {3, 6}
    assert (batch.observation[:, 0] == 6).all()
