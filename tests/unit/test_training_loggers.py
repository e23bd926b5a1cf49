"""Loggers: lines of JSON, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retain.core.errors import MissingExtraError
from retain.training.loggers import JsonLines, Loggers, TensorBoard, WeightsAndBiases


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_there_at_once_and_not_finite_numbers_are_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    logger = JsonLines(path)
    logger.log(1, {"a": 1.5, "b": math.nan, "c": math.inf})
    assert json.loads(path.read_text()) == {"step": 1, "a": 1.5, "b": None, "c": None}
    logger.close()


def test_later_steps_and_a_cut_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 2, "eval": 1}\n{"step": 3}\n{"step": 4, "a')
    logger = JsonLines(path, last_step=2)
    logger.log(3, {"a": 1.0})
    logger.close()
    assert steps(path) == [1, 2, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl"]


def test_a_run_that_begins_anew_keeps_no_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    JsonLines(path).close()
    assert path.read_text() == ""
    JsonLines(tmp_path / "other.jsonl", last_step=5).close()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once(tmp_path: Path) -> None:
    logger = TensorBoard(tmp_path)
    for step in (1, 2, 3):
        logger.log(step, {"train/loss": step / 2})
    logger.close()
    assert scalars(tmp_path, "train/loss") == [(1, 0.5), (2, 1.0), (3, 1.5)]
    resumed = TensorBoard(tmp_path, last_step=2)
    resumed.log(3, {"train/loss": 9.0})
    resumed.close()
    assert scalars(tmp_path, "train/loss")[-1] == (3, 9.0)


class FakeWandb(types.ModuleType):
    """Stands for the package; remembers what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.told: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **told: Any) -> FakeWandb:
        self.told = told
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


def test_weights_and_biases_gets_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    logger = Loggers([WeightsAndBiases("project", "run", {"seed": 0})])
    logger.log(5, {"train/loss": 0.5})
    logger.close()
    expected = {"project": "project", "name": "run", "id": "run", "config": {"seed": 0}}
    assert fake.told == {**expected, "resume": "allow"}
    assert fake.logged == [(5, {"train/loss": 0.5})]
    assert fake.finished == 1


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'retain\[wandb\]'"):
        WeightsAndBiases("project", "run", {})
