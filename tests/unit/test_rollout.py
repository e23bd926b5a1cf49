"""Acting in batches, against acting in one environment at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from retain import api, envs
from retain.agents.sequence_policy import SequencePolicy
from retain.core.errors import ConfigError
from retain.rollout import Actor, play
from tiny_runs import tiny, tiny_online

MAZE = {"corridor_length": 11, "min_corridor_length": 1}


def policy_for(env: Any, name: str = "tmaze/rate", **agent: Any) -> SequencePolicy:
    torch.manual_seed(1)
    config = tiny(name, agent=agent)
    policy = SequencePolicy(
        config.agent, config.model, env.single_observation_space, env.single_action_space
    )
    with torch.no_grad():  # so that actions depend on what is seen, and differ
        for parameter in policy.parameters():
            parameter.mul_(2.0)
    return policy.eval()


class Recorder(gym.vector.VectorWrapper):
    """Keeps the actions that each row took."""

    def __init__(self, env: Any):
        super().__init__(env)
        self.taken: list[np.ndarray] = []

    def step(self, actions: Any) -> Any:
        self.taken.append(np.array(actions))
        return super().step(actions)


def one_by_one(
    policy: SequencePolicy, make: Callable[[], gym.Env[Any, Any]], seeds: list[int]
) -> list[tuple[list[int], float, Any]]:
    """Actions, return and success of each episode, played alone and written out by hand."""
    episodes = []
    for seed in seeds:
        env = make()
        observation, _ = env.reset(seed=seed)
        state = policy.acting_state(1)
        reward, total, actions, begins, ended = 0.0, 0.0, [], True, False
        info: dict[str, Any] = {}
        while not ended:
            with torch.inference_mode():
                action, _, state = policy.act(
                    torch.as_tensor(observation)[None],
                    torch.tensor([reward], dtype=torch.float32),
                    torch.tensor([begins]),
                    state,
                )
            begins = False
            actions.append(int(action))
            observation, reward, terminated, truncated, info = env.step(int(action))
            total += reward
            ended = terminated or truncated
        env.close()
        episodes.append((actions, total, info.get("success")))
    return episodes


def check(policy: SequencePolicy, env: Any, make: Callable[[], Any], seeds: list[int]) -> None:
    recorder = Recorder(env)
    found = play(policy, recorder, seeds)
    alone = one_by_one(policy, make, seeds)
    env.close()
    assert found.length_B.tolist() == [len(actions) for actions, _, _ in alone]
    np.testing.assert_allclose(found.return_B, [total for _, total, _ in alone])
    told = [math.nan if success is None else float(success) for _, _, success in alone]
    np.testing.assert_equal(found.success_B, np.array(told))
    for row, (actions, _, _) in enumerate(alone):
        assert [step[row] for step in recorder.taken[: len(actions)]] == actions


@pytest.mark.parametrize("name", ["tmaze/rate", "tmaze/decision_transformer", "tmaze/gtrxl"])
def test_a_batch_of_mazes_is_many_mazes(name: str) -> None:
    seeds = list(range(100, 113))
    env = envs.make_vec("retain/TMaze-v0", len(seeds), independent_rows=True, **MAZE)
    policy = policy_for(env, name)
    found = play(policy, env, seeds)
    assert len(set(found.length_B.tolist())) > 4  # rows end at different times
    assert found.success_B is not None
    check(policy, env, lambda: envs.make("retain/TMaze-v0", **MAZE), seeds)


def test_rewards_reach_the_policy() -> None:
    # With a step penalty the return-to-go changes at every step.
    options = {**MAZE, "step_penalty": 0.3}
    env = envs.make_vec("retain/TMaze-v0", 6, independent_rows=True, **options)
    policy = policy_for(env)
    check(policy, env, lambda: envs.make("retain/TMaze-v0", **options), list(range(6)))


def test_other_environments_work_too() -> None:
    seeds = list(range(7))
    env = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * len(seeds))
    policy = policy_for(env)
    assert np.isnan(play(policy, env, seeds).success_B).all()
    check(policy, env, lambda: gym.make("CartPole-v1"), seeds)


def test_rows_that_have_ended_are_no_longer_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    act = Actor.act

    def watched(self: Actor, observation_B: Any, reward_B: Any, reset_B: Any) -> Any:
        sizes.append(len(observation_B))
        assert self.num_rows == len(observation_B) == len(reward_B) == len(reset_B)
        return act(self, observation_B, reward_B, reset_B)

    monkeypatch.setattr(Actor, "act", watched)
    env = envs.make_vec("retain/TMaze-v0", 16, independent_rows=True, **MAZE)
    found = play(policy_for(env), env, list(range(16)))
    assert sizes[0] == 16
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] <= 2
    running = [(found.length_B > step).sum() for step in range(len(sizes))]
    assert all(
        alive <= size < 2 * alive or size == alive
        for alive, size in zip(running, sizes, strict=True)
    )


def test_the_memory_of_a_row_does_not_grow() -> None:
    env = envs.make_vec("retain/TMaze-v0", 2, corridor_length=50)
    policy = policy_for(env)
    actor = Actor(policy, 2)
    observation, _ = env.reset(seed=0)
    bytes_used = set()
    for step in range(20):
        actor.act(observation, np.zeros(2), np.full(2, step == 0))
        bytes_used.add(actor.state.memory.num_bytes())
    assert len(bytes_used) == 1


def test_continuous_actions() -> None:
    env = gym.vector.SyncVectorEnv([lambda: gym.make("Pendulum-v1", max_episode_steps=9)] * 3)
    config = tiny()
    policy = SequencePolicy(
        config.agent, config.model, env.single_observation_space, env.single_action_space
    )
    recorder = Recorder(env)
    found = play(policy, recorder, [1, 2, 3])
    assert found.length_B.tolist() == [9, 9, 9]
    assert all(taken.shape == (3, 1) and taken.dtype == np.float32 for taken in recorder.taken)
    assert (found.return_B < 0).all()


class Broken(gym.ObservationWrapper):
    """CartPole with a sensor that breaks, after the first three observations or so."""

    def __init__(self, *, after: int = 3, **options: Any):
        super().__init__(gym.make("CartPole-v1", **options))
        self.steps, self.after = 0, after

    def observation(self, observation: Any) -> Any:
        self.steps += 1
        return observation if self.steps <= self.after else observation * np.nan


@pytest.mark.parametrize("after", [0, 3])
def test_what_is_no_number_is_the_environments_fault(
    after: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = gym.envs.registration.EnvSpec(
        "tests/Broken-v0", Broken, max_episode_steps=50, disable_env_checker=True
    )
    monkeypatch.setitem(gym.registry, "tests/Broken-v0", spec)
    words = "the environment gave an observation that is not a finite number"
    env = envs.make_vec("tests/Broken-v0", num_envs=2, independent_rows=True, after=after)
    with pytest.raises(ConfigError, match=words):
        play(policy_for(env), env, [0, 1])
    config = tiny_online("a2c", "lstm", "tests/Broken-v0", {"after": after}, episodes=4)
    with pytest.raises(ConfigError, match=words):
        api.train(config, runs=tmp_path)
    agent = api.Agent(policy_for(env))
    with pytest.raises(ConfigError, match=words):
        agent.act(np.full(4, np.inf, dtype=np.float32))
    with pytest.raises(ConfigError, match="reward must be finite, not nan"):
        agent.act(np.zeros(4, dtype=np.float32), math.nan)
