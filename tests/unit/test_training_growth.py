"""A curriculum by mastery: doubling, mastering several at once, and offline training by it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retain import api
from retain.core.errors import ConfigError
from retain.data.segments import SegmentSampler
from retain.training import offline
from retain.training.growth import Growth
from retain.training.schedules import memory_cost_weight
from tiny_runs import metrics, tiny

GROWING: dict[str, Any] = {
    "updates": 8, "curriculum_from": 3, "curriculum_score": 0.9, "evaluate_every": 2,
    "log_every": 1,
}  # fmt: skip


def test_a_number_doubles_for_as_long_as_it_is_mastered() -> None:
    growth = Growth(first=3, whole=13, score=0.9, mastered=[])
    assert growth.value == 3
    asked: list[int] = []

    def score(value: int) -> float:
        asked.append(value)
        return 0.9 if value < 12 else 0.8

    growth.go_on(score, {"update": 5})
    assert asked == [3, 6, 12]
    assert growth.value == 12
    assert growth.mastered == [{"value": 3, "update": 5}, {"value": 6, "update": 5}]
    growth.go_on(lambda _: 1.0, {"update": 7})
    assert growth.value is None
    growth.go_on(score, {"update": 9})
    assert asked == [3, 6, 12]
    assert growth.mastered[-1] == {"value": 12, "update": 7}


@pytest.mark.parametrize("first", [None, 13, 20])
def test_what_does_not_grow_is_whole_at_once(first: int | None) -> None:
    growth = Growth(first=first, whole=13, score=0.9, mastered=[])
    growth.go_on(lambda _: 1.0, {})
    assert growth.value is None
    assert growth.mastered == []


def test_memory_costs_nothing_while_episodes_grow() -> None:
    train = replace(tiny().train, updates=80, memory_cost_start=0.25, memory_cost_warmup=0.25)
    assert [memory_cost_weight(train, u, math.inf) for u in (0, 79)] == [0, 0]
    assert memory_cost_weight(train, 50, 40) == pytest.approx(0.5**3)
    assert memory_cost_weight(train, 75, 70) == pytest.approx(0.5**3)  # ten updates are left
    assert memory_cost_weight(train, 30, 10) == memory_cost_weight(
        train, 30
    )  # not before its start
    sudden = replace(train, memory_cost_warmup=0.0)
    assert [memory_cost_weight(sudden, u, 40) for u in (39, 40)] == [0, 1]


def test_episodes_grow_when_they_are_mastered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {3: [0.5, 0.9], 6: [0.95], 12: [0.7, 0.8, 0.6]}
    limits: list[int | None] = []
    sample = SegmentSampler.sample

    def watched(self: SegmentSampler) -> Any:
        limits.append(self.longest)
        return sample(self)

    def evaluate(*_: Any, parameter: str, value: int, **__: Any) -> dict[str, Any]:
        assert parameter == "corridor_length"
        return {"metric": "success", "mean": scores[value].pop(0)}

    monkeypatch.setattr(SegmentSampler, "sample", watched)
    monkeypatch.setattr(offline, "evaluate_policy", evaluate)
    config = tiny(**GROWING, memory_cost_warmup=0.5)  # 12 steps in all
    config = replace(config, evaluation=replace(config.evaluation, values_in_training=(12,)))
    run = api.train(config, runs=tmp_path, final_evaluation=False)
    assert limits == [3] * 4 + [None] * 4
    lines = metrics(run.folder)
    assert [line["eval/success/3"] for line in lines if "eval/success/3" in line] == [0.5, 0.9]
    costs = [line["train/memory_cost"] for line in lines if "train/memory_cost" in line]
    assert costs[:5] == [0] * 5
    assert all(cost > 0 for cost in costs[5:])
    training = run.results()["training"]
    assert [(row["value"], row["update"]) for row in training["curriculum"]] == [(3, 4), (6, 4)]
    # What is short tells nothing of where the run is going.
    whole = [(line["step"], line["eval/success/12"]) for line in lines if "eval/success/12" in line]
    assert whole == [(4, 0.7), (6, 0.8), (8, 0.6)]
    assert training["best"] == 0.8


def test_what_is_never_mastered_stays(tmp_path: Path) -> None:
    run = api.train(tiny(**GROWING), runs=tmp_path)
    results = run.results()
    assert results["training"]["curriculum"] == []
    assert results["training"]["best"] is None
    assert results["evaluations"]  # at the end it is judged where it should have got to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curriculum_from": None}, "curriculum_score needs train.curriculum_from: the steps"),
        ({"evaluate_every": None}, "curriculum_score needs train.evaluate_every: evaluations tell"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**{**GROWING, **change})


def test_a_length_must_be_an_option_of_the_environment(tmp_path: Path) -> None:
    config = tiny(**GROWING)
    bare = replace(config.evaluation, parameter=None, values=(), values_in_training=())
    with pytest.raises(ConfigError, match=r"curriculum_score needs evaluation\.parameter: the opt"):
        replace(config, evaluation=bare)
    kwargs = {"corridor_length": 12, "min_corridor_length": 4}
    narrow = replace(config, environment=replace(config.environment, kwargs=kwargs))
    with pytest.raises(
        ConfigError, match="min_corridor_length 4 is greater than corridor_length 3"
    ):
        api.train(narrow, runs=tmp_path, name="run")
    assert not (tmp_path / "run").exists()
