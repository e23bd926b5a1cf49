"""Episodes of flat arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain.core.errors import DatasetError
from retain.data.arrays import episodes_of
from retain.data.pack import open_pack
from retain.data.store import write_dataset

STEPS = 10
SEEN = np.arange(2.0 * STEPS, dtype=np.float32).reshape(STEPS, 2)
ENDS = {"terminals": np.isin(np.arange(STEPS), (2, 3)), "timeouts": np.arange(STEPS) == 7}


def flat(**changes: Any) -> dict[str, Any]:
    usual = {"observations": SEEN, "actions": np.arange(STEPS) % 2, "rewards": np.arange(STEPS)}
    return {**usual, **ENDS, **changes}


def test_episodes_end_at_terminals_timeouts_and_the_last_step() -> None:
    found = list(episodes_of(**flat(next_observations=SEEN + 1)))
    assert [len(episode) for episode in found] == [3, 1, 4, 2]
    assert [episode.terminated for episode in found] == [True, True, False, False]
    assert [episode.truncated for episode in found] == [False, False, True, True]
    np.testing.assert_array_equal(found[2].observations, [*SEEN[4:8], SEEN[7] + 1])
    np.testing.assert_array_equal(found[2].rewards, [4, 5, 6, 7])
    np.testing.assert_array_equal(found[2].actions, [0, 1, 0, 1])
    whole = list(episodes_of(**flat(terminals=np.zeros(STEPS), timeouts=None)))
    assert [len(episode) for episode in whole] == [STEPS]
    np.testing.assert_array_equal(whole[0].observations, [*SEEN, SEEN[-1]])
    exact = list(episodes_of(**flat(terminals=(np.arange(STEPS) == 9).astype(np.float32))))
    assert [len(episode) for episode in exact] == [8, 2]


def test_they_are_written_and_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_dataset(
        "tests/flat-v0", episodes_of(**flat()), env_id=None, description="flat",
        observation_space=gym.spaces.Box(0, 99, (2,)), action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    pack = open_pack("tests/flat-v0")
    np.testing.assert_array_equal(pack.observations, SEEN)
    assert pack.lengths.tolist() == [3, 1, 4, 2]
    assert pack.terminated.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"rewards": np.zeros(9)},
        {"timeouts": np.zeros(11)},
        {"actions": np.zeros(0)},
        {"observations": 3.0},
    ],
)
def test_arrays_that_do_not_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="must have a row for each step, at least one; they ha"):
        list(episodes_of(**flat(**changes)))
    with pytest.raises(DatasetError, match="must have one number for each step"):
        list(episodes_of(**flat(rewards=np.zeros((STEPS, 1)))))
