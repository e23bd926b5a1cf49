"""Each agent that learns by acting really learns a small task that needs memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retain import api
from tiny_runs import tiny_online

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
}  # fmt: skip


@pytest.mark.parametrize("name", LEARNING)
def test_agents_learn_what_has_to_be_remembered(tmp_path: Path, name: str) -> None:
    config = replace(LEARNING[name], seed=1)
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    assert run.results()["training"]["episodes"] < 3000
    record = api.evaluate(run, episodes=200, seed=5000)[0]
    assert record["return_mean"] > 0.9  # luck alone gives 0.5 at most
