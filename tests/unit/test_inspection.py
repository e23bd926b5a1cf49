"""What an inspection records of a memory, against the memory itself."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import envs
from retain.agents import AGENTS
from retain.agents.policy import Policy
from retain.core.errors import ConfigError
from retain.evaluation import EnvironmentConfig
from retain.inspection import recording as recording_module
from retain.inspection.changes import causes, reread, usual_observation
from retain.inspection.recording import Recording, memory_of, record
from retain.inspection.summary import inspect_policy
from retain.inspection.thinning import Thinned
from tiny_runs import tiny, tiny_online

MAZE = {"corridor_length": 14, "min_corridor_length": 9, "balanced_goals": True}
CHAIN = {"memory_length": 9}


def offline(name: str = "tmaze/rate", id: str = "retain/TMaze-v0", **model: Any) -> Policy:
    torch.manual_seed(2)
    config = tiny(name, model=model)
    env = envs.make_vec(id, num_envs=1)
    spaces = env.single_observation_space, env.single_action_space
    return AGENTS.get("sequence_policy")(config.agent, config.model, *spaces).eval()


def online(model: str, agent: str = "dqn") -> Policy:
    torch.manual_seed(2)
    config = tiny_online(agent, model)
    env = envs.make_vec("retain/MemoryLength-v0", num_envs=1)
    spaces = env.single_observation_space, env.single_action_space
    return AGENTS.get(agent)(config.agent, config.model, *spaces).eval()


class Kept(gym.vector.VectorWrapper):
    """Keeps what was seen and done."""

    def __init__(self, env: Any):
        super().__init__(env)
        self.steps: list[tuple[Any, ...]] = []

    def reset(self, **options: Any) -> Any:
        self.seen, info = super().reset(**options)
        self.reward = np.zeros(self.num_envs)
        return self.seen, info

    def step(self, actions: Any) -> Any:
        self.steps.append((self.seen.copy(), self.reward.copy(), np.array(actions)))
        result = super().step(actions)
        self.seen, self.reward = result[0], result[1]
        return result


def maze(rows: int, **options: Any) -> Kept:
    return Kept(
        envs.make_vec("retain/TMaze-v0", rows, independent_rows=True, **{**MAZE, **options})
    )


def chain(rows: int) -> Kept:
    return Kept(envs.make_vec("retain/MemoryLength-v0", rows, independent_rows=True, **CHAIN))


def memories(policy: Policy, env: Kept, row: int, length: int) -> np.ndarray:
    """The memory of an episode after each step, by a pass of its own."""
    state, found = policy.acting_state(1), []
    with torch.no_grad():
        for step in range(length):
            seen, reward, action = (part[row : row + 1] for part in env.steps[step])
            _, _, state = policy.act(
                torch.tensor(seen),
                torch.tensor(reward, dtype=torch.float32),
                torch.tensor([step == 0]),
                state,
            )
            state = replace(state, previous_action_B=torch.tensor(action))
            found.append(memory_of(state.memory)[0].numpy())
    return np.array(found)


POLICIES = [
    ("rate", lambda: offline(), maze),
    ("elmur", lambda: offline("tmaze/elmur", feed_forward=16), maze),
    ("rmt", lambda: offline("tmaze/rmt"), maze),
    ("online lstm", lambda: online("lstm"), chain),
    ("online rate", lambda: online("rate", "a2c"), chain),
]


@pytest.mark.parametrize(("name", "make", "world"), POLICIES, ids=[p[0] for p in POLICIES])
def test_the_recorder_sees_what_the_model_holds(name: str, make: Any, world: Any) -> None:
    policy, env, window = make(), world(3), 4
    found = record(policy, env, [5, 6, 7], window=window, shown=1)
    assert found.steps_R.tolist() == list(range(0, int(found.lengths_B.max()), window))
    for row in range(3):
        length = int(found.lengths_B[row])
        memory_TC = memories(policy, env, row, length)
        assert memory_TC.shape[1] == found.num_components
        alive_R = found.running_RB[:, row]
        assert alive_R.sum() == -(-length // window)
        np.testing.assert_allclose(
            found.memory_RBC[alive_R, row], memory_TC[::window], rtol=1e-4, atol=1e-5
        )
        if row == found.shown:
            sizes = np.sqrt((np.diff(memory_TC, axis=0) ** 2).mean(axis=1))
            np.testing.assert_allclose(found.change_size_T[1:], sizes, rtol=1e-3, atol=1e-5)
            assert len(found.observations_T) == length
    assert found.last_window is not None
    assert found.last_window.start == (int(found.lengths_B[1]) - 1) // window * window - window


def test_segments_read_at_once_give_the_recorded_memories() -> None:
    policy: Any = offline()
    env = maze(2, min_corridor_length=14)
    found = record(policy, env, [1, 2], window=4)
    segments = (int(found.lengths_B.min()) - 1) // 4
    steps = env.steps[: 4 * segments]
    reward_TB = np.array([reward for _, reward, _ in steps])
    batch = {
        "observation": torch.tensor(np.stack([seen for seen, _, _ in steps], axis=1)),
        "action": torch.tensor(np.stack([action for _, _, action in steps], axis=1)),
        "return_to_go": 1.0 - torch.tensor(reward_TB.cumsum(axis=0).T, dtype=torch.float32),
    }
    memory = policy.model.initial_state(2)
    with torch.no_grad():
        for number in range(segments):
            part = slice(4 * number, 4 * number + 4)
            _, memory = policy.predict({k: v[:, part] for k, v in batch.items()}, memory)
            np.testing.assert_allclose(
                found.memory_RBC[number + 1], memory_of(memory), rtol=1e-4, atol=1e-5
            )


def test_a_memory_that_is_constant_does_not_drift() -> None:
    policy: Any = offline()
    with torch.no_grad():  # a gate that never opens
        policy.model.valve.openness.weight.zero_()
        policy.model.valve.openness.bias.fill_(-50.0)
    found = record(policy, maze(3), [0, 1, 2], window=4)
    assert (found.last_change_B == -1).all()
    assert np.nanmax(found.to_previous_RB) == np.nanmax(found.to_first_RB) == 0.0
    assert (found.equal_B == found.pairs_B).all()
    assert (found.pairs_B == (found.lengths_B - 1) // 4).all()
    assert found.changed_RB.sum() == 0
    result = inspect_policy(
        policy, EnvironmentConfig(id="retain/TMaze-v0", kwargs=MAZE), window=4, episodes=16, seed=0
    )
    assert "never holds the goal" in result.record["verdict"]
    assert "the memory never changes" in result.record["verdict"]
    assert result.record["changes"] == []


def test_long_episodes_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = online("lstm")
    whole = record(policy, chain(2), [3, 4], window=1)
    monkeypatch.setattr(recording_module, "MOST_ENTRIES", 4)
    monkeypatch.setattr(recording_module, "MOST_STEPS", 4)
    thin = record(policy, chain(2), [3, 4], window=1)
    assert thin.steps_R.tolist() == [0, 4, 8]
    np.testing.assert_array_equal(thin.memory_RBC, whole.memory_RBC[::4])
    np.testing.assert_array_equal(thin.hidden["bit 0"], whole.hidden["bit 0"][::4])
    assert thin.to_previous_RB[1, 0] == whole.to_previous_RB[4:8, 0].max()
    np.testing.assert_array_equal(thin.pairs_B, whole.pairs_B)  # counted, not thinned
    assert len(thin.change_size_T) == len(thin.observations_T) == 3


@given(count=st.integers(0, 70), capacity=st.integers(2, 16))
@settings(max_examples=30)
def test_a_thinned_series(count: int, capacity: int) -> None:
    numbers = np.random.default_rng(count).normal(size=count)
    first, most = Thinned(capacity), Thinned(capacity, "max")
    for entry in numbers:
        first.push(entry)
        most.push(entry)
    assert first.count == count
    assert len(first.places()) <= capacity
    assert first.stride == most.stride
    np.testing.assert_array_equal(first.values(), numbers[first.places()])
    blocks = [numbers[at : at + most.stride].max() for at in most.places()]
    np.testing.assert_array_equal(most.values(), blocks)


def hinted() -> tuple[Policy, Recording]:
    policy = offline()
    return policy, record(policy, maze(4, noise="none"), [0, 1, 2, 3], window=4, shown=2)


@pytest.mark.parametrize(("name", "make", "world"), POLICIES, ids=[p[0] for p in POLICIES])
def test_reading_a_window_again_gives_its_memory(name: str, make: Any, world: Any) -> None:
    policy, env = make(), world(3)
    found = record(policy, env, [0, 1, 2], window=4, shown=2)
    assert found.windows
    for window in found.windows:
        again_VC = reread(policy, window, window.observations_T[None].repeat(2, axis=0))
        np.testing.assert_allclose(again_VC[0], window.after_C, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(again_VC[0], again_VC[1])


def test_only_what_was_unusual_is_a_cause() -> None:
    policy, found = hinted()
    usual = usual_observation(policy.observation_space, found.observations_T)
    assert usual.tolist() == [0.0, 0.0, 0.0, 0.0]
    why = causes(policy, found.windows[0], usual)
    assert [cause.step for cause in why] == [0, 1, 2, 3, 4]
    # The corridor looks the same all along but for the hint at its start.
    assert all(cause.moved == 0.0 for cause in why[1:])
    assert why[0].observation[1] in (-1.0, 1.0)


def test_long_windows_are_occluded_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    from retain.inspection import changes

    policy, found = hinted()
    monkeypatch.setattr(changes, "MOST_VERSIONS", 2)
    why = causes(policy, found.windows[0], np.zeros(4, dtype=np.float32))
    assert [(cause.step, cause.num_steps) for cause in why] == [(0, 3), (3, 2)]


def test_the_usual_observation_is_one_that_was_seen() -> None:
    box = gym.spaces.Box(0, 255, (1,), dtype=np.uint8)
    seen = np.array([[3], [9], [200], [10]], dtype=np.uint8)
    usual = usual_observation(box, seen)
    assert usual.dtype == np.uint8
    assert usual.tolist() == [9]
    assert usual_observation(gym.spaces.Discrete(5), np.array([4, 1, 4, 2])) == 4


def test_models_without_memory_are_refused() -> None:
    policy = offline("tmaze/decision_transformer")
    with pytest.raises(ConfigError, match="has no memory to look at"):
        record(policy, maze(1), [0], window=4)


def test_numbers_that_cannot_be() -> None:
    policy, maze_config = offline(), EnvironmentConfig(id="retain/TMaze-v0")
    for change, match in (
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"seed": -1}, "seed must be from 0 to"),
        ({"shown": 2}, "shown must be below the number of episodes, 2, not 2"),
    ):
        with pytest.raises(ConfigError, match=match):
            inspect_policy(policy, maze_config, **{"window": 4, "episodes": 2, "seed": 0, **change})


def test_one_episode_is_enough() -> None:
    result = inspect_policy(
        offline(),
        EnvironmentConfig(id="retain/TMaze-v0", kwargs=MAZE),
        window=4,
        episodes=1,
        seed=3,
    )
    assert math.isnan(result.record["stderr"])
    assert "is not known" in result.record["verdict"]


# -- what the environments say is hidden ---------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "options", "values"),
    [
        ("retain/TMaze-v0", {}, {"goal": {-1, 1}}),
        ("retain/TMaze-v0", {"num_hints": 2}, {"goal 1": {-1, 1}, "goal 2": {-1, 1}}),
        ("retain/PassiveTMaze-v0", {}, {"goal": {-1, 1}}),
        ("retain/ActiveTMaze-v0", {}, {"goal": {-1, 1}}),
        ("retain/MemoryLength-v0", {}, {"bit 0": {0, 1}}),
        ("retain/MemorySize-v0", {"num_bits": 2}, {"bit 0": {0, 1}, "bit 1": {0, 1}}),
        ("retain/DistributedMemory-v0", {"num_bits": 1}, {"majority": {0, 1}, "bit 0": {0, 1}}),
        ("retain/VisualMatch-v0", {}, {"colour": {0, 1, 2}}),
        ("retain/KeyToDoor-v0", {}, {"key": {0}}),
    ],
)
def test_environments_say_what_is_hidden(id: str, options: Any, values: Any) -> None:
    env: Any = envs.make_vec(id, 40, independent_rows=True, **options)
    _, info = env.reset(seed=1)
    hidden = env.hidden()
    assert {name: set(value_B.tolist()) for name, value_B in hidden.items()} == values
    assert all(value_B.shape == (40,) and value_B.dtype == np.int64 for value_B in hidden.values())
    assert not set(hidden) & set(info)  # players are not told


def test_other_environments_may_tell_it_in_their_info() -> None:
    told: dict[str, Any] = {}
    listen = recording_module._listen
    listen({"hidden": np.array([1, 2]), "_hidden": np.array([True, True])}, told, 2)
    assert told["hidden"].tolist() == [1, 2]
    listen({"hidden": np.array([7, 0]), "_hidden": np.array([True, False])}, told, 2)
    assert told["hidden"].tolist() == [7, 2]
    part = {"key": np.array([True, False]), "_key": np.array([True, True]), "word": "x"}
    listen({"hidden": part}, told, 2)
    assert told["key"].tolist() == [1, 0]
    assert set(told) == {"hidden", "key"}
