"""The demo, with tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retain.cli.main import main
from tiny_runs import tiny


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(name: str) -> Any:
        config = tiny(name, updates=50)
        if name == "tmaze/decision_transformer":
            config = replace(config, train=replace(config.train, evaluate_every=2))
        return config

    monkeypatch.setattr("retain.recipes.recipe", recipe)


def files(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file() and p.parent != folder
    }


def test_the_demo_from_data_to_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--updates", "3", "--lengths", "3", "9"]
    assert main([*command, "--episodes", "4"]) == 0
    output = capsys.readouterr().out
    assert "success by length of the corridor" in output
    results = json.loads((out / "results.json").read_text())
    assert list(results["models"]) == ["rate", "decision_transformer"]
    for model in results["models"].values():
        assert list(model) == ["3", "9"]
        for entry in model.values():
            assert entry.keys() == {"mean", "stderr", "episodes"}
            assert entry["episodes"] == 4
            assert 0 <= entry["mean"] <= 1
    assert (out / "success_vs_length.png").read_bytes().startswith(b"\x89PNG")

    # A second call does nothing anew in the runs' folders.
    before = files(out)
    assert main([*command, "--episodes", "4"]) == 0
    assert files(out) == before
    assert json.loads((out / "results.json").read_text())["models"] == results["models"]

    # Other lengths and other episodes are added; other settings of training are refused.
    assert main([*command, "5", "--episodes", "6"]) == 0
    models = json.loads((out / "results.json").read_text())["models"]
    assert [entry["episodes"] for entry in models["rate"].values()] == [6, 6, 6]
    capsys.readouterr()
    for other in (["--updates", "4"], ["--seed", "1", "--updates", "3"]):
        line = refused("demo", "--out", out, "--lengths", "3", *other)
        assert "rate was made with other settings; delete" in line


def test_a_demo_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retain.cli.display import TrainingDisplay

    def interrupt(self: Any, update: int, values: Any) -> None:
        if update == 2:
            raise KeyboardInterrupt

    out = tmp_path / "demo"
    command = ["demo", "--out", str(out), "--updates", "3", "--lengths", "3", "--episodes", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingDisplay, "__call__", interrupt)
        assert main(command) == 130
    assert not (out / "results.json").exists()
    assert main(command) == 0
    assert list(json.loads((out / "results.json").read_text())["models"]["rate"]) == ["3"]


def test_the_far_walk_is_for_models_that_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["demo", "--out", str(tmp_path / "demo"), "--updates", "3", "--lengths", "3"]
    command += ["--episodes", "4", "--far", "30"]
    monkeypatch.setattr("retain.cli.demo.LOST", 1.1)
    assert main(command) == 0
    output = capsys.readouterr().out
    assert output.count("has lost the hint and is not sent further") == 2
    assert "corridor of 30" not in output
    monkeypatch.setattr("retain.cli.demo.LOST", 0.0)
    assert main(command) == 0
    models = json.loads((tmp_path / "demo" / "results.json").read_text())["models"]
    assert [list(model) for model in models.values()] == [["3", "30"]] * 2


def test_what_the_demo_cannot_do(tmp_path: Path, refused: Callable[..., str]) -> None:
    for wrong in (["--lengths"], ["--episodes", "0"]):
        assert "at least one of" in refused("demo", "--out", tmp_path / "demo", *wrong)
    assert "train.updates must be at least 1" in refused("demo", "--updates", "0")
    assert "--far 9600 must be longer" in refused("demo", "--far", "9600")
    assert not (tmp_path / "demo").exists()
