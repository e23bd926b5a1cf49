"""Learning curves: reading metrics, the mean over runs, its band, and the figure."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from drawn_figures import texts
from online_runs import online_metrics
from retain.core.errors import ConfigError, RunError
from retain.report.metrics import curve, load_metrics, rolling_mean, series
from retain.report.plots import learning_curves


def write(path: Path, records: list[Any], end: str = "\n") -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records) + end)
    return path


def test_load_metrics(tmp_path: Path) -> None:
    path = write(tmp_path / "metrics.jsonl", [{"step": 1}, {"step": 2}], '\n\n{"step": 3, "lo')
    assert load_metrics(path) == load_metrics(tmp_path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 1: not a JSON object"):
        load_metrics(path)
    path.write_text("[1]\n")
    with pytest.raises(RunError, match="line 1: not a JSON object"):
        load_metrics(path)
    with pytest.raises(RunError, match=r"gone\.jsonl does not exist"):
        load_metrics(tmp_path / "gone.jsonl")
    (tmp_path / "x" / "metrics.jsonl").mkdir(parents=True)
    with pytest.raises(RunError, match="cannot read"):
        load_metrics(tmp_path / "x")


def test_series_keeps_the_later_value_and_drops_what_is_no_number(tmp_path: Path) -> None:
    records: list[Any] = [
        {"step": 20, "loss": 2.0},
        {"step": 10, "loss": 9.0},
        {"step": 10, "loss": 1.0},
        {"step": 30, "loss": None},
        {"step": 40, "loss": float("nan")},
        {"step": 50, "loss": True},
        {"step": 60, "speed": 3, "note": "x"},
        {"loss": 7.0},
    ]
    path = write(tmp_path / "a.jsonl", records)
    steps, values = series(path, "loss")
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [1.0, 2.0]
    with pytest.raises(RunError, match="has no metric 'los'; known: loss, speed"):
        series(path, "los")
    with pytest.raises(RunError, match="known: none"):
        series(write(tmp_path / "b.jsonl", []), "loss")


def test_series_against_what_an_online_run_has_played(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", online_metrics([0.0, 0.5, 1.0]))
    for x, places in (
        ("step", [0, 1000, 2000]),
        ("updates", [0, 10, 20]),
        ("env_steps", [0, 1000, 2000]),
        ("episodes", [0, 5, 10]),
    ):
        found, values = series(path, "eval/return", x)  # type: ignore[arg-type]
        assert found.tolist() == places
        assert values.tolist() == [0.0, 0.5, 1.0]
    offline = write(tmp_path / "b.jsonl", [{"step": 1, "loss": 2.0}])
    with pytest.raises(
        RunError, match="does not say 'env_steps' where it has 'loss'; runs on data"
    ):
        series(offline, "loss", "env_steps")
    assert series(offline, "loss", "updates")[0].tolist() == [1]
    with pytest.raises(RunError, match=r"does not say 'step' where it has 'loss'$"):
        series(write(tmp_path / "c.jsonl", [{"loss": 2.0}]), "loss")


def test_rolling_mean_begins_with_what_there_is() -> None:
    values = np.asarray([1.0, 3.0, 5.0, 7.0])
    assert rolling_mean(values, 1).tolist() == [1, 3, 5, 7]
    assert rolling_mean(values, 2).tolist() == [1, 2, 4, 6]
    assert rolling_mean(values, 99).tolist() == [1, 2, 3, 4]


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    st.integers(1, 40),
)
@settings(max_examples=30, deadline=None)
def test_rolling_mean_is_the_mean_of_the_latest(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, i + 1 - window) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(rolling_mean(np.asarray(values), window), expected, atol=1e-9)


def test_curve_over_runs(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [{"step": s, "loss": float(s)} for s in (0, 13, 299)])
    b = write(tmp_path / "b.jsonl", [{"step": s, "loss": s + 2.0} for s in (0, 200)])
    both = curve([a, b], "loss")
    assert both.runs == 2
    assert both.x_S.tolist() == list(range(300))
    assert both.count_S.tolist() == [2] * 201 + [1] * 99  # b ends at 200
    np.testing.assert_allclose(both.mean_S, [s + (s <= 200) for s in range(300)])
    # Two values 2 apart have the standard error 1; 12.7 is Student's quantile at one degree.
    quantile = stats.t.ppf(0.975, 1)
    assert quantile == pytest.approx(12.706, abs=1e-3)
    np.testing.assert_allclose(both.high_S[:201], both.mean_S[:201] + quantile)
    np.testing.assert_allclose(both.low_S[:201], both.mean_S[:201] - quantile)
    assert np.isnan(both.low_S[201:]).all()
    assert np.isnan(both.high_S[201:]).all()
    narrow = curve([a, b], "loss", band="standard_error")
    np.testing.assert_allclose(narrow.high_S[:201] - narrow.mean_S[:201], 1.0)
    np.testing.assert_allclose(narrow.mean_S[:201] - narrow.low_S[:201], 1.0)
    bare = curve([a, b], "loss", band="none")
    np.testing.assert_array_equal(bare.mean_S, both.mean_S)
    assert np.isnan(bare.low_S).all()
    assert np.isnan(bare.high_S).all()
    with pytest.raises(RunError, match="no runs are given for the metric 'loss'"):
        curve([], "loss")
    with pytest.raises(ConfigError, match="smooth must be at least 1, not 0"):
        curve([a], "loss", smooth=0)


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).standard_normal((2000, 4))
    error = draws.std(axis=1, ddof=1) / 2
    covered = np.abs(draws.mean(axis=1)) <= stats.t.ppf(0.975, 3) * error
    assert covered.mean() == pytest.approx(0.95, abs=0.015)


def test_curves_are_smoothed_before_they_are_interpolated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"step": s, "loss": float(s % 2)} for s in range(4)])
    one = curve([path], "loss", smooth=2)
    np.testing.assert_allclose(one.mean_S[[0, -1]], [0.0, 0.5])
    assert one.mean_S.max() == pytest.approx(0.5)


def test_curve_with_a_gap_between_runs(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", [{"step": 0, "loss": 1.0}])
    b = write(tmp_path / "b.jsonl", [{"step": 9, "loss": 2.0}])
    both = curve([a, b], "loss")
    assert both.x_S.tolist() == [0.0, 9.0]
    assert both.mean_S.tolist() == [1.0, 2.0]
    assert np.isnan(both.low_S).all()


def test_learning_curves(tmp_path: Path, drawn: list[Figure]) -> None:
    files = [
        write(tmp_path / f"{i}.jsonl", [{"step": s, "success": 0.1 * i} for s in (0, 10)])
        for i in range(3)
    ]
    groups: dict[str, Any] = {"rate": files[:2], "rmt": files[2:]}
    learning_curves(groups, "success", tmp_path / "a.png", title="T")
    axes = drawn[0].axes[0]
    assert axes.get_ylim() == (0.0, 1.0)
    lines = {line.get_label(): line.get_ydata()[[0, -1]] for line in axes.get_lines()}
    np.testing.assert_allclose(lines["rate (2 runs)"], [0.05, 0.05])
    np.testing.assert_allclose(lines["rmt (1 run)"], [0.2, 0.2])
    assert "Mean over runs and its 95 % confidence band" in texts(drawn[0])

    learning_curves(files[1:], "success", tmp_path / "b.png", log_y=True)
    assert drawn[1].axes[0].get_yscale() == "log"
    assert [line.get_label() for line in drawn[1].axes[0].get_lines()] == ["2 runs"]

    learning_curves(files[1:], "success", tmp_path / "b.png", band="standard_error")
    assert "Mean over runs and its standard error" in texts(drawn[2])
    learning_curves(files[1:], "success", tmp_path / "b.png", band="none")
    assert "Mean over runs" in texts(drawn[3])

    one = write(tmp_path / "one.jsonl", [{"step": 5, "loss": 1.0}])
    learning_curves([one], "loss", tmp_path / "c.png")
    assert drawn[4].axes[0].get_lines()[0].get_marker() == "o"


def test_learning_curves_without_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no metrics files are given"):
        learning_curves({}, "loss", tmp_path / "a.png")
    with pytest.raises(RunError, match="no runs are given"):
        learning_curves([], "loss", tmp_path / "a.png")


def test_learning_curves_over_environment_steps(tmp_path: Path, drawn: list[Figure]) -> None:
    files = [
        write(tmp_path / f"{i}.jsonl", online_metrics([0.0, 0.4, 0.8 + 0.1 * i], steps_per_score=k))
        for i, k in enumerate((700_000, 800_000))
    ]
    learning_curves(files, "eval/return", tmp_path / "a.png", x="env_steps", smooth=2)
    axes = drawn[0].axes[0]
    assert axes.get_xlabel() == "Environment steps (millions)"
    assert axes.xaxis.get_major_formatter()(1_600_000, 0) == "1.6"
    dotted, line = axes.get_lines()
    assert dotted.get_xdata()[-1] == 1_600_000
    assert dotted.get_ydata()[-1] == pytest.approx((0.4 + 0.9) / 2)
    # From where on one run goes on alone.
    assert line.get_xdata()[np.isfinite(line.get_ydata())][-1] == pytest.approx(1.4e6, abs=6000)
    assert "dotted: over fewer of them" in " ".join(texts(drawn[0]))
    learning_curves(files[:1], "eval/return", tmp_path / "b.png", x="episodes")
    assert drawn[1].axes[0].get_xlabel() == "Episodes"


def test_curves_as_numbers(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{i}.jsonl", online_metrics([0.0, i + 1.0])) for i in range(3)]
    groups: dict[str, Any] = {"a, b": files[:2], "alone": files[2:]}
    path = learning_curves(groups, "eval/return", tmp_path / "new" / "a.csv", x="env_steps")
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["x", "group", "mean", "low", "high", "runs"]
    assert len(rows) == 600
    last, alone = rows[299], rows[-1]
    assert (float(last["x"]), last["group"], float(last["mean"]), last["runs"]) == (
        1000, "a, b", 1.5, "2",
    )  # fmt: skip
    assert float(last["high"]) == pytest.approx(1.5 + stats.t.ppf(0.975, 1) * 0.5)
    assert (alone["mean"], alone["low"], alone["high"], alone["runs"]) == ("3.0", "", "", "1")


def test_a_results_file_has_a_curve_too(tmp_path: Path) -> None:
    history = [
        {"env_steps": 100, "updates": 5, "seconds": 1.0, "mean": 0.5, "return": 0.25},
        {"env_steps": 200, "updates": 9, "seconds": 2.0, "mean": 1.0, "return": 0.75},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"training": {"history": history}}))
    x, y = series(path, "eval/return", "env_steps")
    assert x.tolist() == [100, 200]
    assert y.tolist() == [0.25, 0.75]
    assert series(path, "eval/mean", "updates")[0].tolist() == [5, 9]
    ends = [{"metric": "success", "mean": 1.0}]
    path.write_text(json.dumps({"training": {"history": history}, "evaluations": ends}))
    assert series(path, "eval/success", "updates")[1].tolist() == [0.5, 1.0]
    on_data = [{"update": 50, "seconds": 1.0, "mean": 0.5}]
    path.write_text(json.dumps({"training": {"history": on_data}, "evaluations": ends}))
    assert [values.tolist() for values in series(path, "eval/success", "step")] == [[50], [0.5]]
    assert series(path, "eval/success", "updates")[0].tolist() == [50]
    path.write_text("[]")
    assert load_metrics(path) == []


def test_a_solved_run_is_held_to_the_end(tmp_path: Path) -> None:
    paths = []
    for name, values in (("short", [0.0, 1.0]), ("long", [0.0, 0.0, 0.0, 0.5])):
        paths.append(tmp_path / f"{name}.jsonl")
        lines = [json.dumps({"step": 10 * i, "v": v}) for i, v in enumerate(values)]
        paths[-1].write_text("\n".join(lines))
    dropped, held = curve(paths, "v"), curve(paths, "v", hold=True)
    assert (dropped.mean_S[-1], dropped.count_S[-1]) == (0.5, 1)
    assert (held.mean_S[-1], held.count_S[-1]) == (0.75, 2)
    assert (held.least, held.most) == (0.0, 1.0)
