"""Sampling of segments."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core.errors import ConfigError
from retain.data.pack import Pack, pack_episodes
from retain.data.segments import SegmentBatch, SegmentSampler
from retain.data.store import Episode

quick = settings(deadline=None, max_examples=60)


def make(lengths: list[int], *, continuous: bool = False) -> tuple[Pack, list[Episode]]:
    # An observation is [episode, step]: a row of a batch tells where it is from.
    action: gym.Space[Any] = gym.spaces.Discrete(99)
    if continuous:
        action = gym.spaces.Box(-1e3, 1e3, (2,), np.float32)
    episodes = [
        Episode(
            observations=np.stack([np.full(n + 1, e), np.arange(n + 1)], 1).astype(np.float32),
            actions=(np.arange(1, n + 1)[:, None] * [1, -1]).astype(np.float32)
            if continuous
            else np.arange(1, n + 1) % 99,
            rewards=np.sin(np.arange(n) + e),
            terminated=True,
            truncated=False,
        )
        for e, n in enumerate(lengths)
    ]
    space = gym.spaces.Box(0, 1e6, (2,), np.float32)
    return pack_episodes(episodes, observation_space=space, action_space=action), episodes


def check(batch: SegmentBatch, episodes: list[Episode], context: int, segments: int) -> None:
    """Compares every entry with what a plain loop finds."""
    num_rows, steps = batch.mask_BT.shape
    assert steps % context == 0
    real_B = batch.mask_BT.sum(axis=1)
    # No longer than the longest row needs.
    assert steps // context == -(-int(real_B.max()) // context) <= segments
    for row in range(num_rows):
        episode = episodes[int(batch.observations_BTO[row, 0, 0])]
        offset = int(batch.observations_BTO[row, 0, 1])
        real = min(len(episode) - offset, context * segments)
        assert real_B[row] == real
        for step in range(steps):
            at = offset + min(step, real - 1)
            inside = step < real
            assert batch.mask_BT[row, step] == inside
            np.testing.assert_array_equal(
                batch.observations_BTO[row, step], episode.observations[at]
            )
            np.testing.assert_array_equal(batch.actions_BT[row, step], episode.actions[at] * inside)
            returns_to_go = sum(episode.rewards[at:]) if inside else 0.0
            assert batch.returns_to_go_BT[row, step] == pytest.approx(returns_to_go, abs=1e-5)


def same(one: SegmentBatch, other: SegmentBatch) -> bool:
    return all(
        np.array_equal(getattr(one, entry.name), getattr(other, entry.name))
        for entry in fields(SegmentBatch)
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    lengths = draw(st.lists(st.integers(1, 17), min_size=1, max_size=6))
    return lengths, {
        "context_length": draw(st.integers(1, max(lengths))),
        "num_segments": draw(st.integers(1, 4)),
        "batch_size": draw(st.sampled_from([1, 2, 7])),
        "seed": draw(st.integers(0, 2**32)),
        "start": draw(st.sampled_from(["episode", "random"])),
    }


@quick
@given(cases(), st.booleans())
def test_batches_equal_a_plain_loop(case: tuple[list[int], dict], continuous: bool) -> None:
    lengths, chosen = case
    pack, episodes = make(lengths, continuous=continuous)
    sampler = SegmentSampler(pack, **chosen)
    for _ in range(3):
        batch = sampler.sample()
        assert len(batch.mask_BT) == chosen["batch_size"]
        assert batch.returns_to_go_BT.dtype == np.float32
        assert batch.observations_BTO.dtype == np.float32
        if chosen["start"] == "episode":
            assert not batch.observations_BTO[:, 0, 1].any()
        check(batch, episodes, chosen["context_length"], chosen["num_segments"])


@quick
@given(cases(), st.integers(1, 20))
def test_the_curriculum_draws_short_episodes_whole(
    case: tuple[list[int], dict], limit: int
) -> None:
    lengths, chosen = case
    pack, episodes = make(lengths)
    context = chosen["context_length"]
    sampler = SegmentSampler(pack, **(chosen | {"start": "episode", "batch_size": 20}))
    fitting = {e for e, length in enumerate(lengths) if length <= limit}
    if not fitting:
        with pytest.raises(ConfigError, match=f"begins with episodes of up to {limit} steps"):
            sampler.set_longest(limit)
        assert sampler.longest is None
        return
    sampler.set_longest(limit)
    batch = sampler.sample()
    check(batch, episodes, context, chosen["num_segments"])
    drawn = batch.observations_BTO[:, 0, 0].astype(int)
    assert set(drawn) <= fitting
    most = context * chosen["num_segments"]
    assert batch.mask_BT.sum(axis=1).tolist() == [min(lengths[e], most) for e in drawn]
    sampler.set_longest(None)
    drawn = {e for _ in range(20) for e in sampler.sample().observations_BTO[:, 0, 0].astype(int)}
    assert drawn == set(range(len(lengths)))


def test_episodes_are_drawn_uniformly_and_so_are_windows_that_touch_them() -> None:
    pack, _ = make([1, 2, 5])
    sampler = SegmentSampler(
        pack, context_length=2, num_segments=1, batch_size=6000, seed=0, start="random"
    )
    batch = sampler.sample()
    episodes_B, starts_B = batch.observations_BTO[:, 0].astype(int).T
    np.testing.assert_allclose(np.bincount(episodes_B) / 6000, 1 / 3, atol=0.03)
    # Of the six places where two steps touch five, two begin with the episode.
    shares = np.bincount(starts_B[episodes_B == 2]) / 2000
    np.testing.assert_allclose(shares, np.array([2, 1, 1, 1, 1]) / 6, atol=0.03)
    np.testing.assert_array_equal(batch.offsets_B, starts_B)


def test_the_last_segment_may_be_partial() -> None:
    pack, episodes = make([7])
    sampler = SegmentSampler(pack, context_length=3, num_segments=9, batch_size=1, seed=0)
    batch = sampler.sample()
    assert batch.mask_BT.tolist() == [[True] * 7 + [False] * 2]
    check(batch, episodes, 3, 9)


@pytest.mark.parametrize("limit", [None, 8])
def test_sampling_goes_on_exactly_where_it_was(limit: int | None) -> None:
    pack, _ = make([3, 9, 4, 12])
    chosen = {"context_length": 4, "num_segments": 2, "batch_size": 5, "start": "random"}
    sampler = SegmentSampler(pack, seed=3, **chosen)
    sampler.sample()
    sampler.set_longest(limit)
    sampler.sample()
    state = json.loads(json.dumps(sampler.state_dict()))
    expected = [sampler.sample() for _ in range(4)]
    other = SegmentSampler(pack, seed=99, **chosen)
    other.load_state_dict(state)
    assert other.longest == limit
    assert all(same(batch, other.sample()) for batch in expected)
    assert not same(SegmentSampler(pack, seed=4, **chosen).sample(), expected[0])
    for broken in ({}, {"generator": {}}, {"generator": 3, "longest": None}):
        with pytest.raises(ConfigError, match="not the state of a segment sampler"):
            other.load_state_dict(broken)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {"context_length": 200},
            r"context_length 200 is longer than the longest episode \(90 steps\) of in memory",
        ),
        ({"context_length": 0}, "context_length must be at least 1"),
        ({"num_segments": 0}, "num_segments must be at least 1"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
        ({"start": "end"}, "start 'end' is not one of"),
    ],
)
def test_wrong_arguments_are_refused(kwargs: dict[str, Any], words: str) -> None:
    pack, _ = make([30, 90])
    usual = {"context_length": 30, "num_segments": 3, "batch_size": 2, "seed": 0}
    with pytest.raises(ConfigError, match=words):
        SegmentSampler(pack, **(usual | kwargs))


def test_sampling_is_fast() -> None:
    pack, _ = make([90] * 200)
    sampler = SegmentSampler(pack, context_length=30, num_segments=3, batch_size=64, seed=0)
    best = np.inf
    for _ in range(30):
        begin = time.perf_counter()
        sampler.sample()
        best = min(best, time.perf_counter() - begin)
    assert best < 5e-3  # usually below half a millisecond; the margin is for busy machines


def test_padding_is_an_action_that_the_space_has() -> None:
    steps = [Episode(
        observations=np.zeros((n + 1, 2), np.float32), actions=np.full(n, 4),
        rewards=np.ones(n), terminated=True, truncated=False,
    ) for n in (2, 5)]  # fmt: skip
    observation, action = gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(2, start=3)
    pack = pack_episodes(steps, observation_space=observation, action_space=action)
    batch = SegmentSampler(pack, context_length=3, num_segments=2, batch_size=9, seed=0).sample()
    assert not batch.mask_BT.all()
    assert (batch.actions_BT[batch.mask_BT] == 4).all()
    assert (batch.actions_BT[~batch.mask_BT] == 3).all()
