from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from retain.core.config import dump_json
from retain.core.errors import ConfigError, RunError
from retain.report.results import (
    evaluations,
    labels,
    latest,
    load_results,
    merge,
    points,
    sort_key,
    training_length,
)

ENTRY: dict[str, Any] = {
    "environment": "retain/TMaze-v0",
    "parameter": "corridor_length",
    "value": 90,
    "step": 500,
    "episodes": 100,
    "metric": "success",
    "mean": 1.0,
    "stderr": 0.01,
}


def result(seed: int = 0, means: dict[Any, float] | None = None, **changes: Any) -> dict[str, Any]:
    means = {90: 1.0} if means is None else means
    return {
        "format": 1,
        "run": f"run{seed}",
        "recipe": "tmaze/rate",
        "model": "rate",
        "seed": seed,
        "training": {"updates": 5, "length": 90},
        "evaluations": [{**ENTRY, "value": value, "mean": mean} for value, mean in means.items()],
        **changes,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(3):
        dump_json(tmp_path / f"rate-{seed}" / "results.json", result(seed))
    dump_json(tmp_path / "other.json", result(7))
    (tmp_path / "empty").mkdir()
    return tmp_path


def seeds(loaded: list[dict[str, Any]]) -> list[int]:
    return [item["seed"] for item in loaded]


def test_files_folders_and_patterns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seeds(load_results(folder / "rate-1")) == [1]
    assert seeds(load_results(str(folder / "other.json"))) == [7]
    assert seeds(load_results(folder)) == [0, 1, 2]  # all below
    assert seeds(load_results(str(folder / "rate-*"))) == [0, 1, 2]
    assert seeds(load_results([folder / "rate-[12]" / "results.json"])) == [1, 2]
    assert seeds(load_results([folder / "rate-2", folder])) == [2, 0, 1]  # nothing twice
    monkeypatch.chdir(folder)
    assert seeds(load_results(["rate-?", "other.json"])) == [0, 1, 2, 7]
    (folder / "rate-2.log").write_text("what the run printed")
    assert seeds(load_results("rate-*")) == [0, 1, 2]


def test_a_folder_s_own_file_comes_before_those_below(folder: Path) -> None:
    dump_json(folder / "results.json", result(9))
    assert seeds(load_results(folder)) == [9]


def test_a_name_with_brackets_is_a_name(folder: Path) -> None:
    dump_json(folder / "run[1]" / "results.json", result(5))
    assert seeds(load_results(folder / "run[1]")) == [5]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing", "missing does not exist; name a run folder or a result file"),
        ("missing-*", "no results.json matches"),
        ("empty", "empty holds no results.json; evaluate the run first"),
        ("empt*", "no results.json matches"),
    ],
)
def test_nothing_to_load(folder: Path, path: str, message: str) -> None:
    with pytest.raises(RunError) as caught:
        load_results([folder / path])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_paths() -> None:
    with pytest.raises(RunError, match="no result files are given"):
        load_results([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("format"), "is not a result file: it has no 'format'"),
        (lambda r: r.update(format=2), "has format 2, and this version reads 1"),
        (lambda r: r.pop("seed"), "seed is missing"),
        (lambda r: r.update(seed="0"), "seed must be of type int"),
        (lambda r: r.update(seed=True), "seed must be of type int"),
        (lambda r: r.update(evaluations={}), "evaluations must be of type list"),
        (lambda r: r.update(evaluations=[3]), "evaluations.0 is not a dict"),
        (lambda r: r["evaluations"][0].pop("metric"), "evaluations.0.metric is missing"),
        (lambda r: r["evaluations"][0].pop("mean"), "evaluations.0.mean must be a number"),
        (lambda r: r["evaluations"][0].update(stderr="x"), "evaluations.0.stderr must be a number"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, change: Any, message: str) -> None:
    data = copy.deepcopy(result())
    change(data)
    dump_json(tmp_path / "results.json", data)
    with pytest.raises(RunError) as caught:
        load_results(tmp_path)
    assert message in str(caught.value)
    assert "results.json" in str(caught.value)


def test_a_file_that_is_no_dict_or_half_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(RunError, match="is not a result file"):
        load_results(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"format": 1,')
    with pytest.raises(RunError, match="half-written"):
        load_results(tmp_path / "a.json")


def test_rows_carry_the_run_and_the_setting() -> None:
    (row,) = evaluations([result(3)])
    assert (row.run, row.recipe, row.model, row.seed) == ("run3", "tmaze/rate", "rate", 3)
    assert (row.parameter, row.value, row.step) == ("corridor_length", 90, 500)
    assert row.training_length == 90
    assert training_length(result(training={})) is None
    assert training_length(result(training=None)) is None


def test_labels() -> None:
    assert labels([result(0), result(1)]) == ["tmaze/rate"] * 2
    assert labels([result(0, label="a"), result(0)]) == ["a", "tmaze/rate"]
    # Two runs of one recipe and one seed differ in something else: they are never mixed.
    assert labels([result(0, run="x"), result(0, run="y"), result(1, recipe="b")]) == [
        "tmaze/rate (x)",
        "tmaze/rate (y)",
        "b",
    ]
    rows = evaluations([result(0), result(0)], label=lambda item: item["model"])
    assert [row.label for row in rows] == ["rate", "rate"]


def test_the_last_step_counts() -> None:
    data = result()
    for step, mean in ((300, 0.3), (900, 0.9), (900, 0.95), (600, 0.6)):
        data["evaluations"].append({**ENTRY, "step": step, "mean": mean})
    (row,) = latest(evaluations([data]))
    assert (row.step, row.mean) == (900, 0.95)


def test_merge_over_seeds() -> None:
    merged = points([result(s, {90: 1.0, 900: v}) for s, v in enumerate((0.5, 0.7, 0.9))])
    short, long = merged
    assert (short.value, short.mean, short.stderr) == (90, 1.0, 0.0)
    assert long.mean == pytest.approx(0.7)
    assert long.stderr == pytest.approx(math.sqrt(0.04 / 3))
    assert (long.runs, long.episodes, long.spread) == (3, 300, "runs")


def test_one_run_keeps_the_error_over_its_episodes() -> None:
    (point,) = points([result()])
    assert (point.mean, point.stderr, point.spread, point.runs) == (1.0, 0.01, "episodes", 1)


def test_null_is_not_a_number() -> None:
    data = result()
    data["evaluations"][0].update(mean=None, stderr=None)
    (point,) = points([data])
    assert math.isnan(point.mean)
    assert math.isnan(point.stderr)


def test_order_and_groups() -> None:
    data = [
        result(0, {900: 1.0, 90: 1.0}, recipe="b"),
        result(1, {"long": 1.0, 30: 1.0, None: 1.0}, recipe="a"),
    ]
    merged = merge(evaluations(data))
    assert [(p.label, p.value) for p in merged] == [
        ("b", 90),
        ("b", 900),
        ("a", None),
        ("a", 30),
        ("a", "long"),
    ]
    assert sorted([3, None, "a", 1.5], key=sort_key) == [None, 1.5, 3, "a"]


def test_best_actions_are_kept_apart_from_sampled_ones() -> None:
    data = [result(seed) for seed in (0, 1)]
    for one in data:
        one["evaluations"].append({**one["evaluations"][0], "greedy": True, "mean": 0.25})
    found = {point.label: (point.mean, point.runs) for point in points(data)}
    (plain,) = {label for label in found if "greedy" not in label}
    assert found == {plain: (1.0, 2), f"{plain} (greedy)": (0.25, 2)}


def test_other_options_of_the_environment_are_kept_apart() -> None:
    own = {"id": "retain/TMaze-v0", "kwargs": {"corridor_length": 30, "noise": "normal"}}
    kwargs = {"corridor_length": 90, "noise": "normal"}
    data = [result(seed, config={"environment": own}) for seed in (0, 1)]
    for one in data:
        one["evaluations"][0]["kwargs"] = kwargs
    entry = data[0]["evaluations"][0]
    data[0]["evaluations"] += [
        {**entry, "kwargs": {**kwargs, "noise": "none"}, "mean": 0.5},
        {**entry, "kwargs": {**kwargs, "num_hints": 2}, "greedy": True, "mean": 0.25},
        {**entry, "environment": "retain/Other-v0", "kwargs": {"size": 3}, "mean": 0.75},
        {**entry, "environment": "retain/Others-v0", "kwargs": {"size": 3, "a": 0}, "mean": 0.1},
        {**entry, "environment": "retain/Others-v0", "kwargs": {"size": 5, "a": 0}, "mean": 0.2},
    ]
    found = {(p.label, p.environment): (p.mean, p.runs) for p in points(data)}
    maze = "retain/TMaze-v0"
    assert found == {
        ("tmaze/rate", maze): (1.0, 2),
        ("tmaze/rate (noise=none)", maze): (0.5, 1),
        ("tmaze/rate (greedy, num_hints=2)", maze): (0.25, 1),
        ("tmaze/rate", "retain/Other-v0"): (0.75, 1),
        ("tmaze/rate (size=3)", "retain/Others-v0"): (0.1, 1),
        ("tmaze/rate (size=5)", "retain/Others-v0"): (0.2, 1),
    }
    for one in data:  # what all have tells nothing apart
        one["evaluations"] = [{**entry, "kwargs": {**kwargs, "noise": "none"}}]
    assert {p.label for p in points(data)} == {"tmaze/rate"}


def test_runs_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for study, mean in (("a", 1.0), ("b", 0.5)):
        for seed in (0, 1):
            one = result(seed)
            one["run"] = f"rate-seed{seed}"
            one["evaluations"][0]["mean"] = mean
            dump_json(tmp_path / study / one["run"] / "results.json", one)
    data = load_results([tmp_path / "a", tmp_path / "b"])
    found = points(data)
    assert sorted(p.mean for p in found) == [0.5, 0.5, 1.0, 1.0]
    assert {p.runs for p in found} == {1}
    assert any(str(Path("a") / "rate-seed0)") in p.label for p in found)


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({}, 67),
        ({"evaluation": {"parameter": "corridor_length"}}, 67),
        ({"data": {"collect": {"env_kwargs": {"corridor_length": 60}}}}, 60),
        ({"data": {"collect": {"env_kwargs": {"corridor_length": 90}}}}, 67),
        ({"data": {"collect": None}, "environment": {"kwargs": {"corridor_length": 60}}}, 67),
        ({"environment": {"kwargs": {"corridor_length": 60}}}, 60),
        ({"environment": {"kwargs": {}}, "train": {"env_kwargs": {"corridor_length": 50}}}, 50),
    ],
)
def test_the_length_trained_on_is_in_what_evaluations_vary(
    config: dict[str, Any], length: int
) -> None:
    told = {"evaluation": {"parameter": "corridor_length"}, **config} if config else {}
    assert training_length(result(0, config=told, training={"length": 67})) == length


def test_no_evaluations() -> None:
    with pytest.raises(ConfigError, match="hold no evaluation"):
        points([result(0, {})])


def test_a_folder_of_result_files(tmp_path: Path) -> None:
    for seed in (2, 1):
        dump_json(tmp_path / "kept" / f"rate-seed{seed}.json", result(seed))
    assert seeds(load_results(tmp_path / "kept")) == [1, 2]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training": 3}, "training must be of type dict or null"),
        ({"training": {"history": 3}}, "training.history must be of type list or null"),
        ({"training": {"curriculum": [{"value": "x"}]}}, r"training.curriculum.0.value must be a"),
        ({"training": {"curriculum": [{"value": None}]}}, r"training.curriculum.0.value must be"),
        ({"evaluations": [{**ENTRY, "episodes": 0}]}, "evaluations.0.episodes must be at least 1"),
        ({"evaluations": [{**ENTRY, "lengths": 3}]}, "evaluations.0.lengths must be of type list"),
        ({"evaluations": [{**ENTRY, "lengths": ["x"]}]}, "evaluations.0.lengths must be a number"),
        ({"evaluations": [{**ENTRY, "kwargs": []}]}, "evaluations.0.kwargs must be of type dict"),
        ({"evaluations": [{**ENTRY, "parameter": 3}]}, "evaluations.0.parameter must be of type"),
        ({"evaluations": [{**ENTRY, "seconds": "x"}]}, "evaluations.0.seconds must be a number"),
        ({"evaluations": [{**ENTRY, "value": []}]}, "evaluations.0.value must be a number, a text"),
    ],
)
def test_fields_of_other_types_are_named(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    dump_json(tmp_path / "results.json", result(**changes))
    with pytest.raises(RunError, match=f"results.json: {told}"):
        load_results(tmp_path)


def test_fields_that_may_be_left_out(tmp_path: Path) -> None:
    dump_json(tmp_path / "results.json", result(training=None))
    assert load_results(tmp_path)[0]["training"] == {}


def test_curves_of_odd_files_are_refused_or_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from retain.cli.main import main

    file, out = tmp_path / "results.json", str(tmp_path / "curves.csv")
    curves = ["plot", "curves", str(file), "--key", "eval/success", "--out", out]
    dump_json(file, result(training={"history": ["x"]}))
    assert main(curves) == 2
    assert "training.history.0 is not a dict" in capsys.readouterr().err
    history = [{"update": step, "mean": 0.5} for step in (1, 2)]
    dump_json(file, result(training={"history": history}, config=None))
    assert main([*curves, "--group", "model"]) == 0
    assert ",rate," in Path(out).read_text()
