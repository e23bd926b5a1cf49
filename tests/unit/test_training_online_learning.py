"""Each agent that learns by acting really learns a small task that needs memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain import api
from tiny_runs import tiny_online


class Echo(gym.Env[Any, Any]):
    """Shows a number at first; the action of the fourth step should be that number."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-2, 2, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.number = 0, self.np_random.uniform(0.5, 1) * self.np_random.choice([-1, 1])
        return np.array([self.number], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.time += 1
        over = self.time == 4
        reward = 1 - abs(float(action[0]) - self.number) if over else 0.0
        return np.zeros(1, dtype=np.float32), reward, over, False, {}


gym.register("tests/Echo-v0", entry_point=Echo)

CHAIN: dict[str, Any] = {
    "environment": "retain/MemoryLength-v0", "kwargs": {"memory_length": 3},
}  # fmt: skip
USUAL: dict[str, Any] = {
    "num_envs": 16, "evaluate_every": 200, "log_every": 1000, "evaluation": {"episodes": 50},
    "episodes": 3000, "stop_at_return": 0.95,
}  # fmt: skip
REPLAYED: dict[str, Any] = {
    **USUAL, "batch_size": 32, "updates_per_step": 0.2, "replay_capacity": 4000,
    "random_episodes": 32,
}  # fmt: skip
LEARNING = {
    "dqn": tiny_online(
        "dqn", learning_rate=1e-2, exploration_fraction=0.1,
        settings={"target_rate": 0.05, "hidden": ()}, **REPLAYED,
    ),
    "sac_discrete": tiny_online(
        "sac_discrete", learning_rate=5e-3, settings={"target_rate": 0.05}, **CHAIN, **REPLAYED
    ),
    "a2c": tiny_online("a2c", learning_rate=5e-3, **CHAIN, **USUAL),
    "a2c of steps": tiny_online(
        "a2c", learning_rate=5e-3, **CHAIN, **USUAL,
        settings={"num_steps": 4, "normalize": "none", "entropy_weight": 0.01},
    ),
    "ppo": tiny_online("ppo", learning_rate=3e-3, **CHAIN, **USUAL),
    "ppo of steps": tiny_online(
        "ppo", learning_rate=3e-3, **CHAIN, **USUAL, settings={"num_steps": 4}
    ),
    "sac": tiny_online(
        "sac", learning_rate=3e-3, environment="tests/Echo-v0", kwargs={},
        settings={"target_rate": 0.05, "learn_temperature": False, "temperature": 0.02},
        **{**REPLAYED, "stop_at_return": 0.85},
    ),
    "ppo of boxes": tiny_online(
        "ppo", learning_rate=3e-3, environment="tests/Echo-v0", kwargs={},
        **{**USUAL, "stop_at_return": 0.93},
    ),
}  # fmt: skip


@pytest.mark.no_cover
@pytest.mark.parametrize("name", LEARNING)
def test_agents_learn_what_has_to_be_remembered(tmp_path: Path, name: str) -> None:
    config = replace(LEARNING[name], seed=1)
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    assert run.results()["training"]["episodes"] < 3000
    record = api.evaluate(run, episodes=200, seed=5000)[0]
    assert record["return_mean"] > config.train.stop_at_return - 0.05  # luck gives 0.5 at most
