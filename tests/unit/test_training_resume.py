"""A run that is stopped and resumed gives the numbers of one that never was."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from retain import api
from retain.core.config import dump_json
from retain.core.errors import ConfigError, RunError
from retain.data.store import Episode, write_dataset
from retain.evaluation import EnvironmentConfig, EvaluationConfig
from retain.training.config import RunConfig, config_to_dict
from retain.training.runs import Run
from retain.training.settings import DataConfig
from tiny_runs import StoppedError, assert_same_runs, assert_same_weights, metrics, tiny

UPDATES = 20

#: Everything that draws random numbers or counts: dropout, dither, curriculum, evaluations that
#: sample, several updates a batch.
CONFIGS = {
    "through memory": tiny(
        model={"dropout": 0.1, "attention_dropout": 0.1},
        agent={"sample_actions": True},
        updates=UPDATES,
        curriculum=True,
        evaluate_every=7,
        checkpoint_every=5,
        schedule="cosine",
        warmup_updates=3,
    ),
    "doubling lengths": tiny(updates=UPDATES, curriculum_from=3, checkpoint_every=5),
    "by mastery": tiny(
        updates=UPDATES,
        learning_rate=0.01,
        batch_size=64,
        warmup_updates=1,
        curriculum_from=2,  # up to 4 by update 3, up to 8 by update 15
        curriculum_score=0.3,
        evaluate_every=3,
        checkpoint_every=5,
    ),
    "update per segment": tiny(
        "tmaze/rate-paper",
        model={"dropout": 0.1},
        agent={"label_smoothing": 0.1},
        updates=UPDATES,
        curriculum=True,
        evaluate_every=6,
        checkpoint_every=5,
    ),
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = tmp_path_factory.mktemp("unbroken")
    return {
        name: api.train(config, runs=runs, name=name.replace(" ", "-")).folder
        for name, config in CONFIGS.items()
    }


def stop_at(config: RunConfig, update: int, runs: Path) -> Path:
    """Trains until an update, and stops there by an exception."""

    def report(at: int, values: dict[str, float]) -> None:
        if at >= update:
            raise StoppedError

    with pytest.raises(StoppedError):
        api.train(config, runs=runs, name="stopped", report=report)
    return runs / "stopped"


@pytest.mark.no_cover
@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("update", [8, 13])
def test_a_stopped_run_goes_on_to_the_same_numbers(
    unbroken: dict[str, Path], tmp_path: Path, name: str, update: int
) -> None:
    folder = stop_at(CONFIGS[name], update, tmp_path)
    assert metrics(folder)[-1]["step"] >= update
    torch.manual_seed(123)  # another process has other generators
    api.resume(folder)
    assert_same_runs(folder, unbroken[name])


def test_a_run_may_be_stopped_twice_and_before_its_first_checkpoint(
    unbroken: dict[str, Path], tmp_path: Path
) -> None:
    name = "through memory"
    folder = stop_at(CONFIGS[name], 2, tmp_path)
    assert not (folder / "checkpoints").exists()

    def report(at: int, values: dict[str, float]) -> None:
        if at == 17:
            raise StoppedError

    with pytest.raises(StoppedError):
        api.resume(folder, report=report)
    api.resume(folder)
    assert_same_runs(folder, unbroken[name])


def test_a_killed_process_goes_on_to_the_same_numbers(
    unbroken: dict[str, Path], tmp_path: Path
) -> None:
    name = "through memory"
    dump_json(tmp_path / "config.json", config_to_dict(CONFIGS[name]))
    (tmp_path / "train.py").write_text(
        "import json, sys, time\n"
        "from retain import api\n"
        "from retain.training.config import config_from_dict\n"
        "def report(update, values):\n"
        "    if update >= 12:\n"
        "        time.sleep(600)\n"
        "config = config_from_dict(json.load(open(sys.argv[1] + '/config.json')))\n"
        "api.train(config, runs=sys.argv[1], name='killed', report=report)\n"
    )
    process = subprocess.Popen([sys.executable, str(tmp_path / "train.py"), str(tmp_path)])
    folder = tmp_path / "killed"
    try:
        for _ in range(3000):
            assert process.poll() is None, "the process ended by itself"
            path = folder / "metrics.jsonl"
            if path.exists() and '"step": 12' in path.read_text():
                break
            time.sleep(0.1)
        assert (folder / "checkpoints" / "last").exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    api.resume(folder)
    assert_same_runs(folder, unbroken[name])


def test_a_half_written_checkpoint_is_passed_over(
    unbroken: dict[str, Path], tmp_path: Path
) -> None:
    name = "through memory"
    folder = stop_at(CONFIGS[name], 13, tmp_path)
    checkpoints = folder / "checkpoints"
    # Killed while it wrote, and, in another life, before it set the link to what it had written.
    (checkpoints / ".step-000014.tmp").mkdir()
    (checkpoints / ".step-000014.tmp" / "model.safetensors").write_bytes(b"\x10")
    (checkpoints / "last").unlink()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "train/lo')
    api.resume(folder)
    assert_same_runs(folder, unbroken[name])
    assert not list(checkpoints.glob(".*"))


def test_a_checkpoint_that_is_there_without_its_link_is_taken_up(
    unbroken: dict[str, Path], tmp_path: Path
) -> None:
    name = "through memory"
    folder = tmp_path / "linked"
    shutil.copytree(unbroken[name], folder, symlinks=True)
    checkpoints = folder / "checkpoints"
    older = sorted(checkpoints.glob("step-*"))[-2]
    (checkpoints / "last").unlink()
    (checkpoints / "last").symlink_to(older.name)
    assert int(older.name[5:]) < UPDATES
    api.resume(folder)
    assert (checkpoints / "last").resolve().name == f"step-{UPDATES:06d}"
    assert_same_runs(folder, unbroken[name])


def test_resuming_a_finished_run_changes_nothing(unbroken: dict[str, Path], tmp_path: Path) -> None:
    for name, done in unbroken.items():
        folder = tmp_path / done.name
        shutil.copytree(done, folder, symlinks=True)
        before = Run(folder).results()["training"]
        api.resume(folder)
        assert_same_runs(folder, done)
        assert Run(folder).results()["training"] == before, name


def test_a_finished_run_can_train_further(tmp_path: Path) -> None:
    """To what it would have been, had it been told so at first: nothing goes by shares here."""
    even = {"schedule": "constant", "memory_cost_warmup": 0.0, "memory_cost_start": 0.0}
    whole = api.train(tiny(updates=UPDATES, **even), runs=tmp_path, name="whole")
    run = api.train(tiny(updates=8, **even), runs=tmp_path, name="longer")
    for until in (-1, 8):
        with pytest.raises(ConfigError, match=f"ends at update 8; .* end later, not at {until}"):
            api.resume(run.folder, until=until)
    api.resume(run.folder, until=UPDATES)
    assert_same_weights(run.folder, whole.folder)
    again = Run(run.folder)
    assert isinstance(again.config, RunConfig)
    assert again.config.train.updates == again.results()["training"]["updates"] == UPDATES


def test_evaluations_do_not_disturb_training(unbroken: dict[str, Path], tmp_path: Path) -> None:
    name = "through memory"
    config = CONFIGS[name]
    quiet = replace(config, train=replace(config.train, evaluate_every=None))
    folder = api.train(quiet, runs=tmp_path, name="quiet", final_evaluation=False).folder
    losses = [m for m in metrics(folder) if "train/loss" in m]
    assert losses == [m for m in metrics(unbroken[name]) if "train/loss" in m]


@pytest.mark.parametrize("damage", ["cut", "keys", "missing"])
def test_damaged_training_state_cannot_be_resumed_but_evaluated(
    unbroken: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(unbroken["through memory"], folder, symlinks=True)
    path = folder / "checkpoints" / "last" / "training.pt"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "keys":
        state = torch.load(path, weights_only=True)
        del state["progress"]
        torch.save(state, path)
    else:
        path.unlink()
    with pytest.raises(RunError, match=r"training\.pt"):
        api.resume(folder)
    assert api.evaluate(folder, values=[3])[0]["episodes"] == 4


def test_a_run_goes_on_with_the_data_that_it_began_with(tmp_path: Path) -> None:
    def episodes(seed: int) -> list[Episode]:
        rng = np.random.default_rng(seed)
        parts = [(rng.normal(size=(9, 4)), rng.integers(2, size=8)) for _ in range(6)]
        return [Episode(seen, done, np.ones(8), True, False) for seen, done in parts]

    def write(seed: int) -> None:
        write_dataset(
            "tests/changing-v0", episodes(seed), env_id="CartPole-v1", description="changes",
            observation_space=gym.spaces.Box(-9, 9, (4,)), action_space=gym.spaces.Discrete(2),
            overwrite=True,
        )  # fmt: skip

    write(0)
    config = tiny(updates=12, checkpoint_every=3)
    data = DataConfig(dataset="tests/changing-v0", num_segments=2)
    config = replace(config, data=data, environment=EnvironmentConfig(id="CartPole-v1"))
    config = replace(config, evaluation=EvaluationConfig(episodes=2))
    whole = api.train(config, runs=tmp_path, name="whole", final_evaluation=False).folder
    folder, early = stop_at(config, 7, tmp_path / "late"), stop_at(config, 2, tmp_path / "early")
    write(1)
    for run in (folder, early):
        with pytest.raises(
            RunError, match=r"'tests/changing-v0' has changed since the run .* anew"
        ):
            api.resume(run)
    write(0)  # the same data in other files
    for run in (folder, early):
        api.resume(run, final_evaluation=False)
        assert_same_weights(run, whole)

    # Runs of before have no hash on record.
    old = stop_at(config, 7, tmp_path / "old")
    spaces = json.loads((old / "spaces.json").read_text())
    del spaces["content"]
    dump_json(old / "spaces.json", spaces)
    api.resume(old, final_evaluation=False)
    assert_same_weights(old, whole)
