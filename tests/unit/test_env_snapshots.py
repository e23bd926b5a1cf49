"""Environments that are put back to where they were."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import envs
from retain.core.errors import ConfigError
from retain.envs.snapshots import Snapshot

OWN = sorted(id for id in gym.registry if id.startswith("retain/"))
SHORT: dict[str, dict[str, Any]] = {
    "retain/TMaze-v0": {
        "corridor_length": 6, "min_corridor_length": 2, "noise": "continuous",
        "hint_time": "random", "num_hints": 1,
    },
}  # fmt: skip


def make(id: str, rows: int) -> Any:
    return envs.make_vec(id, rows, independent_rows=True, **SHORT.get(id, {}))


def contents(item: Any) -> Any:
    """All that the rules hold, in a form that can be compared."""
    if isinstance(item, np.ndarray):
        return item.dtype.str, item.shape, item.tobytes()
    if isinstance(item, np.random.Generator):
        return repr(item.bit_generator.state)
    if isinstance(item, list | tuple):
        return [contents(part) for part in item]
    if isinstance(item, dict):
        return {key: contents(part) for key, part in item.items()}
    if hasattr(item, "__dict__") and not isinstance(item, gym.Space | type):
        return contents(vars(item))
    return item if isinstance(item, int | float | str | set | None) else repr(item)


def walk(env: Any, steps: int, seed: int) -> list[Any]:
    """Random steps; returns all that is shown."""
    draw = np.random.default_rng(seed)
    space = env.single_action_space
    shown = []
    for _ in range(steps):
        actions = draw.integers(space.n, size=env.num_envs) + int(space.start)
        shown.append(contents(list(env.step(actions))))
    return shown


@pytest.mark.parametrize("id", OWN)
@settings(deadline=None, max_examples=4)
@given(
    rows=st.integers(1, 4),
    before=st.integers(0, 40),
    away=st.integers(0, 100),
    seed=st.integers(0, 2**32),
)
def test_nothing_remembers_what_was_taken_back(
    id: str, rows: int, before: int, away: int, seed: int
) -> None:
    env = make(id, rows)
    env.reset(seed=seed)
    walk(env, before, seed)
    snapshot, held = env.snapshot(), contents(env.rules)
    shown = walk(env, 30, seed + 1)
    for _ in range(2):  # a snapshot can be used again
        env.restore(snapshot)
        assert contents(env.rules) == held
        walk(env, away, seed + 2)
        env.reset(seed=seed + 3)
        env.restore(snapshot)
        assert contents(env.rules) == held
        assert walk(env, 30, seed + 1) == shown


class Thing:
    def __init__(self) -> None:
        self.base = np.arange(6)
        self.view = self.base[2:4]
        self.parts: list[Any] = [{"a": np.zeros(2)}, {1, 2}]
        self.fixed = np.ones(2)
        self.fixed.flags.writeable = False
        self.number = 3


def test_views_stay_views_and_new_things_go() -> None:
    thing = Thing()
    base, view, snapshot = thing.base, thing.view, Snapshot(thing)
    thing.view[:] = 7
    thing.base = np.zeros(1)
    thing.parts[0]["a"] += 1
    thing.parts[0]["b"] = 1
    thing.parts[1].add(5)
    thing.parts.append(1)
    thing.number = 4
    thing.other = 5  # type: ignore[attr-defined]
    snapshot.restore()
    assert thing.base is base
    assert thing.view is view
    assert base.tolist() == [0, 1, 2, 3, 4, 5]
    assert not hasattr(thing, "other")
    assert contents(thing) == contents(Thing())
    thing.base[2] = 9
    assert thing.view[0] == 9


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(ConfigError, match="a deque cannot be kept in a snapshot"):
        Snapshot([deque()])
    with pytest.raises(ConfigError, match="an array of object cannot be kept"):
        Snapshot(np.array([None]))
