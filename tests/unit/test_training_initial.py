"""Training that begins with the weights of another run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain import api
from retain.core.errors import RunError
from retain.data.store import Episode, write_dataset
from retain.recipes import recipe
from retain.training.config import AnyRunConfig
from tiny_runs import StoppedError, assert_same_weights, tiny, tiny_online, weights

#: Steps so small that nothing moves.
STILL: dict[str, Any] = {"learning_rate": 1e-30, "weight_decay": 0.0}


def beginning_with(config: AnyRunConfig, initial: Path, **train: Any) -> AnyRunConfig:
    changed: Any = replace(config.train, **train)
    return replace(config, seed=5, initial_weights=str(initial), train=changed)


@pytest.mark.parametrize("agent", [None, "dqn", "sac_discrete", "sac", "a2c", "ppo"])
def test_training_begins_with_the_weights_of_a_run(agent: str | None, tmp_path: Path):
    config: AnyRunConfig = tiny() if agent is None else tiny_online(agent)
    first = api.train(config, runs=tmp_path, name="first", final_evaluation=False)
    again = beginning_with(config, first.folder, **STILL)
    second = api.train(again, runs=tmp_path, name="second", final_evaluation=False)
    mine, theirs = weights(first.folder), weights(second.folder)
    assert mine.keys() == theirs.keys()
    for name in mine:  # targets go on following
        assert name.startswith("target") or mine[name].equal(theirs[name]), name
    assert second.results()["config"]["initial_weights"] == str(first.folder)


def test_a_checkpoint_can_be_given(tmp_path: Path):
    config = tiny(checkpoint_every=2, keep_checkpoints=9)
    first = api.train(config, runs=tmp_path, name="first", final_evaluation=False)
    second = api.train(
        beginning_with(config, first.folder / "checkpoints" / "step-000002", **STILL),
        runs=tmp_path, name="second", final_evaluation=False,
    )  # fmt: skip
    mine, theirs = weights(first.folder, "step-000002"), weights(second.folder)
    assert all(mine[name].equal(theirs[name]) for name in mine)


@pytest.mark.parametrize("agent", [None, "dqn"])
def test_it_goes_on_without_the_run_that_it_began_with(agent: str | None, tmp_path: Path):
    config: AnyRunConfig = tiny() if agent is None else tiny_online(agent)
    first = api.train(config, runs=tmp_path, name="first", final_evaluation=False)
    again = beginning_with(config, first.folder)
    unbroken = api.train(again, runs=tmp_path, name="unbroken", final_evaluation=False)

    def stop(at: int, values: dict[str, float]) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):  # before the first checkpoint
        api.train(again, runs=tmp_path, name="stopped", report=stop)
    shutil.rmtree(tmp_path / "stopped" / "checkpoints", ignore_errors=True)
    shutil.rmtree(first.folder)
    resumed = api.resume(tmp_path / "stopped", final_evaluation=False)
    assert_same_weights(unbroken.folder, resumed.folder)


def test_what_is_not_there_or_does_not_fit_is_refused_before_there_is_a_folder(tmp_path: Path):
    config = tiny()
    first = api.train(config, runs=tmp_path, name="first", final_evaluation=False)
    wider = tiny(model={"width": 32})
    for other, initial, why in (
        (config, tmp_path / "none", "none does not exist; give the folder of a run or of a"),
        (config, tmp_path, "holds no checkpoint; give the folder of a run or of a checkpoint"),
        (config, first.folder / "config.json", "config.json is a file; give the folder of a run"),
        (wider, first.folder, r"does not fit the run's model: it has '.*' of shape"),
        (tiny_online(), first.folder, "does not fit the run's model: it lacks"),
    ):
        with pytest.raises(RunError, match=why):
            api.train(beginning_with(other, initial), runs=tmp_path, name="second")
        assert not (tmp_path / "second").exists()


def test_a_run_without_the_weights_that_it_began_with_does_not_go_on(tmp_path: Path):
    config = tiny()
    first = api.train(config, runs=tmp_path, name="first", final_evaluation=False)
    second = api.train(beginning_with(config, first.folder), runs=tmp_path, name="second")
    shutil.rmtree(second.folder / "checkpoints")
    shutil.rmtree(second.folder / "initial")
    with pytest.raises(RunError, match=r"initial/model\.safetensors cannot be read"):
        api.resume(second)


def test_observations_are_normalised_as_the_weights_learned_them(tmp_path: Path):
    rng = np.random.default_rng(0)

    def trained(name: str, scale: float, initial: Path | None = None) -> Path:
        write_dataset(
            "tests/scales-v0",
            [
                Episode(seen * scale, rng.integers(2, size=4), np.ones(4), True, False)
                for seen in rng.normal(size=(6, 5, 3))
            ],
            env_id=None, description="of one scale or another", overwrite=True,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
            action_space=gym.spaces.Discrete(2),
        )  # fmt: skip
        config = recipe("minari/sequence_policy", dataset="tests/scales-v0")
        train: Any = replace(config.train, updates=2, batch_size=2, tensorboard=False)
        config = replace(config, initial_weights=initial and str(initial), train=train)
        return api.train(config, runs=tmp_path, name=name).folder

    first = trained("first", scale=1)
    where = "tokens.observation.standardize.deviation"
    expected = weights(first)[where]
    assert weights(trained("second", scale=1000, initial=first))[where].equal(expected)
    assert weights(trained("fresh", scale=1000))[where].min() > 100 * expected.max()
