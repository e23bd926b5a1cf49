"""Environments that break Gymnasium's contract are told apart before anything is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain import api
from retain.collection import CollectConfig, collect
from retain.core.errors import ConfigError
from tiny_runs import tiny_online

GOOD = np.zeros(3, np.float32)
FIRST: dict[str, Any] = {"alone": GOOD, "shape": (np.zeros(4), {}), "none": (None, {})}
THEN: dict[str, Any] = {
    "four": (GOOD, 0.0, True, {}),
    "later": (np.zeros((2, 3), np.float32), 0.0, True, False, {}),
    "text": (GOOD, "x", True, False, {}),
    "rewards": (GOOD, np.ones(2), True, False, {}),
    "one": (GOOD, np.ones(1), True, False, {}),  # which a batch cannot take
    "nothing": None,
    "fine": (GOOD, np.float32(1), True, False, {}),
}


class Careless(gym.Env[Any, Any]):
    """Gives what it should not."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, what: str):
        self.what = what

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return FIRST.get(self.what, (GOOD, {}))

    def step(self, action: Any) -> Any:
        return copy.deepcopy(THEN[self.what])


gym.register("tests/Careless-v0", entry_point=Careless)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("alone", r"Careless-v0: reset\(\) must give an observation and a dict .* not a ndarray"),
        ("shape", r"Careless-v0: reset\(\) gave an observation of shape \(4,\), .* says \(3,\)"),
        ("none", r"reset\(\) gave an observation of shape \(\), but its space says \(3,\)"),
        ("four", r"step\(\) must give .*, not 4 values: ndarray, float, bool, dict"),
        ("nothing", r"step\(\) must give .*, not a NoneType"),
        ("later", r"step\(\) gave an observation of shape \(2, 3\), but its space says \(3,\)"),
        ("text", r"step\(\) gave the reward 'x', which is not a single number"),
        ("one", r"step\(\) gave the reward array\(\[1.\]\), which is not a single number"),
        ("rewards", r"step\(\) gave the reward array\(\[1., 1.\]\), which is not a single number"),
    ],
)
def test_what_breaks_the_contract_is_told_in_one_line(
    what: str, message: str, tmp_path: Path
) -> None:
    config = tiny_online("dqn", "lstm", "tests/Careless-v0", {"what": what})
    with pytest.raises(ConfigError, match=message) as refused:
        api.train(config, runs=tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_it_is_told_before_anything_is_collected() -> None:
    told = {"policy": "random", "episodes": 2, "env_kwargs": {"what": "one"}}
    with pytest.raises(ConfigError, match="which is not a single number"):
        collect(CollectConfig(env_id="tests/Careless-v0", **told))


def test_numbers_of_numpy_are_rewards(tmp_path: Path) -> None:
    config = tiny_online("dqn", "lstm", "tests/Careless-v0", {"what": "fine"})
    assert api.train(config, runs=tmp_path).results()["training"]["episodes"]
