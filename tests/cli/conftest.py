"""A small run that the tests of the commands share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retain.cli.main import main
from tiny_runs import FLAGS, SIZE


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made by the command line; not to be changed."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = ["--runs", str(runs), "--name", "shared", "--seed=3", "--train.updates=12"]
    more = ["--train.evaluate-every=6", "--train.checkpoint-every=5", "--train.log-every=2"]
    values = ["--evaluation.values", "3", "12", "--evaluation.values-in-training", "12"]
    status = main(["train", "tmaze/rate", *SIZE, *FLAGS, *arguments, *more, *values])
    assert status == 0
    return runs / "shared"


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, in the present folder: `copy`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, tmp_path / "copy", symlinks=True)
    return Path("copy")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused in one line, and returns the line."""

    def call(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("retain: ")
        assert error.count("\n") == 1, error
        return error.strip()

    return call
