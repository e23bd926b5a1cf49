"""An online run that is stopped and resumed gives the numbers of one that never was."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from retain import api
from retain.core.config import dump_json
from retain.core.errors import ConfigError, RunError
from retain.training import experience, online
from retain.training.config import config_to_dict
from retain.training.runs import Run
from tiny_runs import StoppedError, assert_same_runs, metrics, tiny_online, weights

#: Everything that draws random numbers or counts. Lines of metrics, evaluations and checkpoints
#: come at different steps, and a replay that is too small for the run.
OFTEN: dict[str, Any] = {
    "log_every": 41, "evaluate_every": 23, "checkpoint_every": 17, "replay_capacity": 60,
    "keep_checkpoints": 2,
}  # fmt: skip
MAZE: dict[str, Any] = {"corridor_length": 5, "min_corridor_length": 1}
CONFIGS = {
    "dqn gpt2": tiny_online("dqn", "gpt2", episodes=30, final_epsilon=0.1, **OFTEN),
    "dqn lstm poles": tiny_online(
        "dqn", "lstm", "CartPole-v1", {"max_episode_steps": 16},
        episodes=18, sequence_length=4, burn_in=3, gradient_clip=1.0,
        settings={"normalize_observations": True, "normalize_rewards": True}, **OFTEN,
    ),
    "sac_discrete rate": tiny_online(
        "sac_discrete", "rate", "retain/TMaze-v0", MAZE, episodes=27,
        settings={"learn_temperature": True, "sample_actions": True},
        evaluation={"parameter": "corridor_length", "values_in_training": (2, 5)}, **OFTEN,
    ),
    "dqn rate growing": tiny_online(
        "dqn", "rate", kwargs={"corridor_length": 9}, episodes=60, curriculum_from=2,
        curriculum_option="corridor_length", curriculum_score=0.2, random_episodes=30,
        evaluation={"episodes": 3, "parameter": "corridor_length", "values_in_training": (9,)},
        learning_rate=1e-2, **{**OFTEN, "evaluate_every": 9},
    ),
    "sac_discrete gpt2 poles": tiny_online(
        "sac_discrete", "gpt2", "CartPole-v1", {"max_episode_steps": 16}, episodes=None,
        env_steps=200, settings={"learn_temperature": True}, **OFTEN,
    ),
    "sac rate": tiny_online(
        "sac", "rate", "Pendulum-v1", {"max_episode_steps": 8}, episodes=24, **OFTEN
    ),
    "a2c gpt2": tiny_online(
        "a2c", "gpt2", "retain/MemoryLength-v0", {"memory_length": 3}, episodes=40,
        settings={"sample_actions": True}, **OFTEN,
    ),
    "a2c lstm steps": tiny_online(
        "a2c", "lstm", "retain/TMaze-v0", MAZE, episodes=30, dropout_in_collection=False,
        settings={"num_steps": 2, "normalize": "batch", "entropy_weight": 0.01}, **OFTEN,
    ),
    "a2c rate steps": tiny_online(
        "a2c", "rate", "CartPole-v1", {"max_episode_steps": 16}, episodes=16,
        settings={"num_steps": 5, "normalize": "none", "normalize_observations": True}, **OFTEN,
    ),
    "ppo rate": tiny_online(
        "ppo", "rate", "retain/TMaze-v0", MAZE, episodes=30, dropout_in_collection=False,
        settings={"epochs": 2, "minibatches": 3}, **OFTEN,
    ),
    "ppo gpt2 steps": tiny_online(
        "ppo", "gpt2", "CartPole-v1", {"max_episode_steps": 16}, episodes=16,
        settings={
            "num_steps": 5, "epochs": 2, "normalize_observations": True, "normalize_rewards": True,
        }, schedule="cosine", warmup_updates=3, **OFTEN,
    ),
}  # fmt: skip


class _Stop:
    """Stops a run at one of its reports."""

    def __init__(self, after: int):
        self.left = after

    def __call__(self, at: int, values: dict[str, float]) -> None:
        self.left -= 1
        if self.left <= 0:
            raise StoppedError


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = tmp_path_factory.mktemp("unbroken")
    return {
        name: api.train(config, runs=runs, name=name.replace(" ", "-")).folder
        for name, config in CONFIGS.items()
    }


def end_of(folder: Path) -> dict[str, Any]:
    """What the last checkpoint holds beside the weights, without what depends on the clock."""
    state: dict[str, Any] = torch.load(
        folder / "checkpoints" / "last" / "training.pt", weights_only=True
    )
    for name in ("seconds", "collecting"):
        del state["progress"][name]
    for entry in [*state["progress"]["history"], *state["progress"]["mastered"]]:
        del entry["seconds"]
    return state


def assert_same(one: Any, other: Any, where: str = "state") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{i}]")
    else:
        assert one == other, where


def assert_same_ends(one: Path, other: Path) -> None:
    assert_same_runs(one, other)
    assert_same(end_of(one), end_of(other))
    ends = []
    for folder in (one, other):
        links = [(folder / "checkpoints" / name).readlink() for name in ("last", "best")]
        training = Run(folder).results()["training"]
        for name in ("seconds", "seconds_collecting"):
            del training[name]
        for entry in [*training["history"], *training["curriculum"]]:
            del entry["seconds"]
        steps = sorted(p.name for p in (folder / "checkpoints").glob("step-*"))
        ends.append((links, training, steps))
    assert ends[0] == ends[1]


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "stops"),
    [*((name, (1, 5)) for name in CONFIGS), ("dqn gpt2", (4,)), ("a2c lstm steps", (4,))],
)
def test_a_stopped_run_goes_on_to_the_same_numbers(
    unbroken: dict[str, Path], tmp_path: Path, name: str, stops: tuple[int, ...]
) -> None:
    folder = tmp_path / "stopped"
    for life, after in enumerate(stops):
        torch.manual_seed(100 + life)  # another process has other generators
        live = partial(api.resume, folder)
        if life == 0:
            live = partial(api.train, CONFIGS[name], runs=tmp_path, name="stopped")
        with pytest.raises(StoppedError):
            live(report=_Stop(after))
    torch.manual_seed(99)
    api.resume(folder)
    assert_same_ends(folder, unbroken[name])


@pytest.mark.parametrize("name", ["dqn gpt2", "a2c lstm steps"])
def test_a_run_may_be_stopped_between_the_updates_of_a_round(
    unbroken: dict[str, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = online._Trainer._update

    def stopping(self: Any, *arguments: Any) -> None:
        if self.progress.updates == 15:
            raise StoppedError
        update(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(online._Trainer, "_update", stopping)
        with pytest.raises(StoppedError):
            api.train(CONFIGS[name], runs=tmp_path, name="stopped")
    api.resume(tmp_path / "stopped")
    assert_same_ends(tmp_path / "stopped", unbroken[name])


@pytest.mark.parametrize("name", ["dqn lstm poles", "a2c gpt2", "ppo gpt2 steps"])
@pytest.mark.parametrize("error", [StoppedError, RuntimeError, "signal"])
def test_a_round_that_is_left_costs_nothing_else(
    unbroken: dict[str, Path],
    tmp_path: Path,
    name: str,
    error: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An interrupt, or what breaks in an environment: the run is saved as before the round."""
    step, taken = experience._Round._step, 0

    def breaking(self: Any, donate: bool) -> Any:
        nonlocal taken
        taken += 1
        # In the first stretch of a round, before anything is learned from it.
        if self.read == 3 and taken > 20:
            if error != "signal":
                raise error
            signal.raise_signal(signal.SIGTERM)
            assert taken < 100, "a step follows the signal at most"
        return step(self, donate)

    with monkeypatch.context() as patch:
        patch.setattr(experience._Round, "_step", breaking)
        with pytest.raises(KeyboardInterrupt if error == "signal" else error):
            api.train(CONFIGS[name], runs=tmp_path, name="left")
    lines = metrics(tmp_path / "left")
    state = torch.load(tmp_path / "left/checkpoints/last/training.pt", weights_only=True)
    assert state["progress"]["env_steps"] >= lines[-1]["env_steps"] > 0
    api.resume(tmp_path / "left")
    assert_same_ends(tmp_path / "left", unbroken[name])


def test_a_killed_process_goes_on_to_the_same_numbers(
    unbroken: dict[str, Path], tmp_path: Path
) -> None:
    name = "sac_discrete gpt2 poles"
    dump_json(tmp_path / "config.json", config_to_dict(CONFIGS[name]))
    (tmp_path / "train.py").write_text(
        "import json, sys, time\n"
        "from retain import api\n"
        "from retain.training.config import config_from_dict\n"
        "def report(step, values):\n"
        "    if step >= 100:\n"
        "        print('there', flush=True)\n"
        "        time.sleep(600)\n"
        "config = config_from_dict(json.load(open(sys.argv[1] + '/config.json')))\n"
        "api.train(config, runs=sys.argv[1], name='killed', report=report)\n"
    )
    command = [sys.executable, str(tmp_path / "train.py"), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n", "the process ended by itself"
        assert (tmp_path / "killed" / "checkpoints" / "last").exists()
        for until in (None, 1000):
            with pytest.raises(RunError, match="is being trained by another process; wait"):
                api.resume(tmp_path / "killed", until=until)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 114, "train/lo')
    api.resume(tmp_path / "killed")
    assert_same_ends(tmp_path / "killed", unbroken[name])


def test_resuming_a_finished_run_changes_nothing(unbroken: dict[str, Path], tmp_path: Path) -> None:
    for name, done in unbroken.items():
        folder = tmp_path / done.name
        shutil.copytree(done, folder, symlinks=True)
        before = Run(folder).results()["training"]
        api.resume(folder)
        assert_same_ends(folder, done)
        assert Run(folder).results()["training"] == before, name


@pytest.mark.parametrize("budget", [{"episodes": 8}, {"episodes": 99, "env_steps": 60}])
def test_a_finished_run_can_train_further(tmp_path: Path, budget: dict[str, int]) -> None:
    config = tiny_online("a2c", "lstm", "CartPole-v1", {"max_episode_steps": 16}, **budget)
    run = api.train(config, runs=tmp_path, name="longer")
    unit, done = run.config.train.unit, run.config.train.total
    before = weights(run.folder)
    api.resume(run.folder, until=2 * done)
    again = Run(run.folder)
    assert (again.config.train.unit, again.config.train.total) == (unit, 2 * done)
    told = again.results()["training"]
    assert told["env_steps" if unit == "step" else "episodes"] >= 2 * done
    after = weights(run.folder)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_was_stopped_by_its_return_stays_stopped(tmp_path: Path) -> None:
    config = tiny_online(evaluate_every=12, stop_at_return=-9.0)
    run = api.train(config, runs=tmp_path, name="stopped")
    assert run.results()["training"]["env_steps"] == 12
    before = metrics(run.folder)
    api.resume(run)
    assert metrics(run.folder) == before
    assert Run(run.folder).results()["training"]["env_steps"] == 12
    kept = (run.folder / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"ended at the return of .*begin with its weights"):
        api.resume(run, until=500)
    assert (run.folder / "config.json").read_bytes() == kept


def test_evaluations_do_not_disturb_training(unbroken: dict[str, Path], tmp_path: Path) -> None:
    for name in ("sac_discrete rate", "a2c gpt2"):
        changes = {"evaluate_every": None, "checkpoint_every": 1000}
        config = CONFIGS[name]
        quiet = type(config)(
            **{**vars(config), "train": type(config.train)(**{**vars(config.train), **changes})}
        )
        folder = api.train(quiet, runs=tmp_path, name=name, final_evaluation=False).folder
        losses = [m for m in metrics(folder) if "train/return" in m]
        assert losses == [m for m in metrics(unbroken[name]) if "train/return" in m]


@pytest.mark.parametrize("damage", ["cut", "progress", "replay", "averages", "missing"])
def test_damaged_training_state_cannot_be_resumed_but_evaluated(
    unbroken: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(unbroken["dqn gpt2"], folder, symlinks=True)
    path = folder / "checkpoints" / "last" / "training.pt"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "missing":
        path.unlink()
    else:
        state = torch.load(path, weights_only=True)
        if damage == "replay":
            state["replay"]["reward"] = state["replay"]["reward"][:-1]
        else:
            del state[damage]
        torch.save(state, path)
    with pytest.raises(RunError, match=r"training\.pt"):
        api.resume(folder)
    assert api.evaluate(folder)[0]["episodes"] == 4


def test_the_run_that_grows_does_grow(unbroken: dict[str, Path]) -> None:
    training = Run(unbroken["dqn rate growing"]).results()["training"]
    assert [row["value"] for row in training["curriculum"]] == [2, 4, 8]
    assert training["history"]
