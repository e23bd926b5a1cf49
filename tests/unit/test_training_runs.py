"""Run folders."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from retain.core.errors import ConfigError, RunError
from retain.recipes import RECIPES, recipe
from retain.training import locks
from retain.training.config import OnlineRunConfig, config_from_dict, config_to_dict
from retain.training.runs import Run, default_name
from retain.training.settings import TrainConfig
from tiny_runs import tiny

SPACES = (gym.spaces.Box(-1, 1, (4,), np.float32), gym.spaces.Discrete(4))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", tiny(), *SPACES)


def record(**changes: Any) -> dict[str, Any]:
    usual = {
        "environment": "retain/TMaze-v0",
        "parameter": "corridor_length",
        "value": 90,
        "kwargs": {"corridor_length": 90},
        "seeds": [1000, 1099],
        "step": 500,
        "episodes": 100,
        "metric": "success",
        "mean": 0.5,
        "stderr": 0.05,
    }
    return {**usual, **changes}


def test_a_record_takes_the_place_of_one_of_the_same_settings_only(run: Run) -> None:
    run.record([record(mean=0.1), record(value=300, mean=0.2), record(step=400, mean=0.3)])
    results = run.record([record(mean=0.9), record(seeds=[0, 99], mean=0.4)])
    assert [r["mean"] for r in results["evaluations"]] == [0.2, 0.3, 0.9, 0.4]
    assert results == run.results()
    assert results["training"] == {}
    assert run.record([], {"updates": 5})["training"] == {"updates": 5}
    assert run.record([])["training"] == {"updates": 5}
    assert len(run.results()["evaluations"]) == 4


def test_records_that_come_at_once_are_all_kept(run: Run) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda value: run.record([record(value=value)]), range(40)))
    assert sorted(r["value"] for r in run.results()["evaluations"]) == list(range(40))


def test_results_that_somebody_holds_are_not_waited_for_without_end(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    with locks.results(run.folder), pytest.raises(RunError, match="held by another process"):
        run.record([record()])
    run.record([record()])


def test_a_new_run_knows_where_it_comes_from(run: Run) -> None:
    results = run.results()
    assert (results["run"], results["recipe"], results["model"]) == ("run", "tmaze/rate", "rate")
    assert results["provenance"]["versions"]["torch"]
    assert not (run.folder / "results.json").exists()
    assert run.config == tiny()
    policy = run.policy()
    assert (policy.observation_space, policy.action_space) == SPACES


def test_a_folder_with_anything_in_it_is_not_taken(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="already exists; go on with it by `retain resume"):
        Run.create(run.folder, tiny(), *SPACES)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="already exists"):
        Run.create(tmp_path / "file", tiny(), *SPACES)
    (tmp_path / "empty").mkdir()
    Run.create(tmp_path / "empty", tiny(), *SPACES)


def test_a_folder_that_is_no_whole_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"does not exist; runs there: run$"):
        Run(tmp_path / "ran")
    with pytest.raises(RunError, match="there are no runs beside it"):
        Run(tmp_path / "nowhere" / "run")
    (run.folder / "spaces.json").rename(tmp_path / "kept.json")
    with pytest.raises(RunError, match=r"it has no spaces\.json"):
        Run(run.folder)
    for text in ("[]", "{}", '{"observation": {"type": "Nonsense"}, "action": 3}'):
        (run.folder / "spaces.json").write_text(text)
        with pytest.raises(RunError, match=r"spaces\.json is damaged"):
            Run(run.folder).policy()
    config = run.folder / "config.json"
    text = config.read_text()
    config.write_text(text[:200])
    with pytest.raises(RunError, match="half-written"):
        Run(run.folder)
    for other in ({**json.loads(text), "format": 0}, [], {}):
        config.write_text(json.dumps(other))
        with pytest.raises(RunError, match="has format"):
            Run(run.folder)
    config.write_text(json.dumps({**json.loads(text), "sead": 3}))
    told = r"config\.json: sead: .* did you mean seed\?; it may be of another version of retain"
    with pytest.raises(RunError, match=told):
        Run(run.folder)
    config.unlink()
    with pytest.raises(RunError, match=r"it has no config\.json"):
        Run(run.folder)


# Those of own tasks are in test_recipes_own_task.py.
FIXED = [name for name in RECIPES.names() if not name.startswith(("gymnasium/", "minari/"))]


@pytest.mark.parametrize("name", FIXED)
def test_every_recipe_goes_through_json(name: str) -> None:
    config = replace(recipe(name), seed=3)
    text = json.dumps(config_to_dict(config))
    assert config_from_dict(json.loads(text)) == config
    # A recipe that learns by acting leaves the task's length and the model open, so its runs are
    # named after those too.
    more = ""
    if isinstance(config, OnlineRunConfig):
        more = "".join(f"-{v}" for v in config.environment.kwargs.values())
        more += f"-{config.model.registered_name}"
    assert default_name(config) == f"{name.replace('/', '-')}{more}-seed3"


def test_runs_of_different_lengths_do_not_take_one_anothers_names() -> None:
    names = {default_name(recipe("passive_tmaze/dqn", length=n)) for n in (50, 100)}
    assert names == {"passive_tmaze-dqn-50-lstm-seed0", "passive_tmaze-dqn-100-lstm-seed0"}


def test_a_run_without_recipe_is_named_after_its_model() -> None:
    assert default_name(replace(tiny(), recipe="")) == "rate-seed0"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("updates", 0),
        ("batch_size", 0),
        ("checkpoint_every", 0),
        ("log_every", 0),
        ("devices", 0),
        ("bptt_segments", 0),
        ("evaluate_every", 0),
        ("keep_checkpoints", 0),
        ("num_threads", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("gradient_clip", 0.0),
        ("weight_decay", -1.0),
        ("warmup_updates", -1),
        ("final_learning_rate", -0.1),
        ("betas", (0.9, 1.0)),
    ],
)
def test_numbers_that_make_no_sense_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"train\.{field} must"):
        TrainConfig(**{field: value})


def test_settings_that_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="one device only"):
        TrainConfig(update_per_segment=True, devices=2)
    with pytest.raises(ConfigError, match="seed must be from 0 to"):
        replace(tiny(), seed=-1)
    with pytest.raises(ConfigError, match=r"need evaluation\.parameter"):
        replace(tiny().evaluation, parameter=None)
    for field in ("episodes", "num_envs", "lookahead"):
        with pytest.raises(ConfigError, match=rf"evaluation\.{field} must be at least"):
            replace(tiny().evaluation, **{field: -1})
