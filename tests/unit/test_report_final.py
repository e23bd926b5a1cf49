"""Final scores, against an option of the environment and as bars, and where they come from."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from drawn_figures import texts
from online_runs import online_result
from retain.core.errors import ConfigError, RunError
from retain.report.final import (
    by_option,
    by_setting,
    final_scores,
    grouped,
    name_of,
    setting_names,
)
from retain.report.final_plots import score_bars, score_grid, score_vs_option
from retain.report.plots import success_vs_length
from retain.report.results import evaluations, load_results, merge, points


def runs(model: str, scores: dict[int, list[float]], **changes: Any) -> list[dict[str, Any]]:
    return [
        online_result(model, seed, score, options={"corridor_length": length}, **changes)
        for length, each in scores.items()
        for seed, score in enumerate(each)
    ]


TMAZE = [
    *runs("lstm", {1500: [0.5, 0.7], 50: [1.0, 1.0]}),
    *runs("gpt2", {50: [1.0]}),
]


def test_final_scores_against_an_option() -> None:
    points, metric = by_option(TMAZE, "corridor_length")
    assert metric == "return"
    found = [(p.label, p.value, p.mean, p.runs, p.spread) for p in points]
    assert found == [
        ("lstm", 50, 1.0, 2, "runs"),
        ("lstm", 1500, pytest.approx(0.6), 2, "runs"),
        ("gpt2", 50, 1.0, 1, "episodes"),
    ]
    assert points[1].stderr == pytest.approx(0.1)
    assert points[2].stderr == 0.05


def test_lines_have_the_names_asked_for() -> None:
    labelled = runs("lstm", {50: [1.0]}, label="LSTM, no penalty")

    def names(group: Any) -> set[str]:
        return {point.label for point in by_option(labelled, "corridor_length", None, group)[0]}

    assert names(None) == {"LSTM, no penalty"}
    assert names("model") == {"lstm"}
    assert names("recipe") == {"online/lstm"}


def test_only_evaluations_in_the_run_s_own_environment_count() -> None:
    result = online_result("lstm", 0, 0.25)
    last = result["evaluations"][-1]
    longer = {**last, "kwargs": {"corridor_length": 90}, "mean": 9.0, "step": 600}
    named = {**last, "kwargs": {}, "parameter": "corridor_length", "value": 90, "mean": 9.0}
    other = {**last, "environment": "else/where-v0", "mean": 9.0, "step": 700}
    result["evaluations"] += [longer, named, other]
    (score,), (options,), _ = final_scores([result], None)
    assert score.mean == 0.25
    assert options == {"id": "retain/PassiveTMaze-v0", "corridor_length": 50}
    again = {**last, "seeds": [5, 9], "mean": 0.75}
    same = {**last, "parameter": "corridor_length", "value": 50, "mean": 0.5}
    for entry in (again, same):  # of the same step: the one evaluated last
        result["evaluations"].append(entry)
        assert final_scores([result], None)[0][0].mean == entry["mean"]
    result["evaluations"] = [longer]
    with pytest.raises(ConfigError, match="'lstm-50-seed0' was not evaluated in the environment"):
        final_scores([result], None)


def test_the_metric_is_what_all_report_or_else_the_return() -> None:
    success = online_result("lstm", 0, 0.5, metric="success", returns=(21.0, 0.25))
    assert final_scores([success], None)[2] == "success"
    (score,), _, metric = final_scores([success], "return")
    assert (metric, score.mean, score.stderr) == ("return", 21.0, 0.25)
    both = [success, online_result("gru", 0, 7.0)]
    scores, _, metric = final_scores(both, None)
    assert metric == "return"
    assert [score.mean for score in scores] == [21.0, 7.0]
    with pytest.raises(ConfigError, match="'gru-50-seed0' has no 'success'; known: return"):
        final_scores(both, "success")
    bare = online_result("lstm", 0, 0.5, metric="success")
    with pytest.raises(ConfigError, match="'lstm-50-seed0' has no 'return'; known: success"):
        final_scores([bare], "return")


def test_returns_are_read_or_made_from_those_of_the_episodes(tmp_path: Path) -> None:
    new = online_result("a", 0, 0.5, metric="success", returns=(2.0, 0.5))
    old = online_result("b", 0, 0.5, metric="success")
    old["evaluations"][-1]["returns"] = [1.0, 3.0]
    older = online_result("c", 0, 0.5, metric="success")
    unknown = online_result("d", 0, 0.5, metric="success", returns=(None, None))  # type: ignore[arg-type]
    plain = online_result("e", 0, 0.5)
    for name, result in zip("abcde", (new, old, older, unknown, plain), strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(result))
    last = [row for row in evaluations(load_results(tmp_path)) if row.step == 500]
    means, errors = zip(*((row.return_mean, row.return_stderr) for row in last), strict=True)
    np.testing.assert_array_equal(means, [2.0, 2.0, math.nan, math.nan, 0.5])
    np.testing.assert_array_equal(errors, [0.5, 1.0, math.nan, math.nan, 0.05])
    (point,) = merge(row for row in last if row.run.startswith("a"))
    assert (point.return_mean, point.return_stderr) == (2.0, 0.5)
    new["evaluations"][0]["return_mean"] = "2"
    (tmp_path / "a.json").write_text(json.dumps(new))
    with pytest.raises(RunError, match=r"evaluations\.0\.return_mean must be a number or null"):
        load_results(tmp_path / "a.json")


def test_success_vs_length_of_returns(tmp_path: Path, drawn: list[Figure]) -> None:
    results = runs("rate", {9: [0.5]}, metric="success", returns=(21.0, 0.25))
    for result in results:
        for entry in result["evaluations"]:
            entry |= {"parameter": "corridor_length", "value": 9}
    success_vs_length(results, tmp_path / "a.png", metric="return")
    assert drawn[0].axes[0].get_lines()[0].get_ydata().tolist() == [21.0]
    with pytest.raises(ConfigError, match="have no 'length'; known: return, success"):
        success_vs_length(results, tmp_path / "a.png", metric="length")


@pytest.mark.parametrize(
    ("results", "match"),
    [
        ([], "no results are given"),
        ([online_result("a", 0, 1.0, config={})], "does not hold its configuration"),
        ([online_result("a", 0, 1.0, config={"environment": None})], "names no environment"),
        ([online_result("a", 0, 1.0, options={})], "not say the option 'corridor.*known: none"),
        ([online_result("a", 0, 1.0, options={"b": 1})], "'corridor_length'.*; known: b$"),
        ([online_result("a", 0, 1.0, options={"corridor_length": "x"})], "no number but 'x'"),
        ([online_result("a", 0, 1.0, options={"corridor_length": True})], "no number but True"),
        (
            [*TMAZE, online_result("a", 0, 1.0, environment="b/C-v0")],
            "of several environments: b/C",
        ),
        (
            [*TMAZE, online_result("gpt2", 0, 1.0, run="again")],
            "'gpt2-50-seed0' and 'again' are both of 'gpt2' with seed 0; group by what they differ",
        ),
    ],
)
def test_results_that_make_no_line(results: list[dict[str, Any]], match: str) -> None:
    with pytest.raises(ConfigError, match=match) as error:
        by_option(results, "corridor_length")
    assert "\n" not in str(error.value)


def test_settings_are_named_after_what_tells_them_apart() -> None:
    maze = {"id": "retain/TMaze-v0", "length": 5}
    assert setting_names([maze, {**maze, "length": 9}]) == (["5", "9"], "length")
    assert setting_names([maze, maze]) == (["TMaze", "TMaze"], "")
    door = {"id": "KeyToDoor", "apples": 3}
    assert setting_names([maze, door]) == (["TMaze", "KeyToDoor"], "")
    assert setting_names([maze, {**maze, "length": 9}, door])[0] == [
        "TMaze\nlength 5",
        "TMaze\nlength 9",
        "KeyToDoor",
    ]
    pair = {"id": "a/B-v1", "memory_length": 2, "num_bits": 3, "same": 0}
    assert setting_names([pair, {**pair, "num_bits": 5, "memory_length": 7}])[0] == [
        "memory length 2\nnum bits 3",
        "memory length 7\nnum bits 5",
    ]
    # An option that one of them leaves at its default.
    assert setting_names([maze, {"id": maze["id"]}])[0] == ["length 5", "TMaze"]


def test_settings_are_in_the_order_of_their_options() -> None:
    results = runs("lstm", {1500: [0.5], 50: [1.0, 0.8], 250: [1.0]})
    points, settings, metric = by_setting(results)
    assert settings == ["50", "250", "1500"]
    assert metric == "return"
    assert {point.value: point.runs for point in points} == {"50": 2, "250": 1, "1500": 1}
    assert {point.parameter for point in points} == {"corridor_length"}
    with pytest.raises(ConfigError, match="both of 'lstm' with seed 0"):
        by_setting([*results, online_result("lstm", 0, 1.0, run="again")])


def test_the_figure_of_final_scores(tmp_path: Path, drawn: list[Figure]) -> None:
    path = tmp_path / "new" / "a.png"
    assert (
        score_vs_option(
            TMAZE, "corridor_length", path, chance=0.5, log_x=True, title="Passive T-Maze"
        )
        == path
    )
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == "log"
    lstm = next(one for one in axes.containers if one.get_label() == "lstm")
    assert list(lstm.lines[0].get_xdata()) == [50, 1500]
    assert list(lstm.lines[0].get_ydata()) == [1.0, pytest.approx(0.6)]
    (bars,) = lstm.lines[2]
    assert list(bars.get_segments()[1][:, 1]) == [pytest.approx(0.5), pytest.approx(0.7)]
    shown = texts(drawn[0])
    for text in ("chance", "Passive T-Maze", "Corridor length", "Final return", "1\u2009500"):
        assert text in shown
    assert "Error bars: one standard error over runs (of one run: over episodes)" in shown


def test_one_point_and_a_length_of_zero_can_be_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    score_vs_option(runs("lstm", {0: [1.0]}), "corridor_length", tmp_path / "a.png", log_x=True)
    assert drawn[0].axes[0].get_xscale() == "linear"
    success = runs("lstm", {9: [1.0], 99: [0.5]}, metric="success")
    score_vs_option(success, "corridor_length", tmp_path / "b.png")
    assert drawn[1].axes[0].get_ylim() == (0.0, 1.0)
    for result in success:
        for entry in result["evaluations"]:
            entry["stderr"] = None
    score_vs_option(success, "corridor_length", tmp_path / "c.png")
    assert not any("Error bars" in text for text in texts(drawn[2]))


def test_the_bars_of_settings(tmp_path: Path, drawn: list[Figure]) -> None:
    negative = runs("rezero", {50: [-0.4]})
    score_bars([*TMAZE, *negative], tmp_path / "a.png", chance=0.5, title="T-Maze")
    axes = drawn[0].axes[0]
    heights = {
        one.get_label(): sorted(bar.get_height() for bar in one.patches)
        for one in axes.containers
        if hasattr(one, "patches")
    }
    assert heights == {"lstm": [pytest.approx(0.6), 1.0], "gpt2": [1.0], "rezero": [-0.4]}
    starts = [bar.get_x() for one in axes.containers if hasattr(one, "patches") for bar in one]
    assert len(set(starts)) == 4  # no bar hides another
    shown = texts(drawn[0])
    for text in ("50", "1500", "Corridor length", "Final return", "chance", "T-Maze"):
        assert text in shown


def test_bars_of_many_settings_fit(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        online_result(
            "lstm", 0, 0.5, environment="a/Memory-v0", options={"length": n, "bits": n % 5}
        )
        for n in range(40)
    ]
    score_bars(results, tmp_path / "a.png")
    (figure,) = drawn
    assert figure.get_size_inches()[0] <= 14
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))


def test_the_grid_of_models_and_tasks(tmp_path: Path, drawn: list[Figure]) -> None:
    chain = {"environment": "a/Memory-v0", "options": {"bits": 3}}
    others = [online_result("lstm", seed, 7.0 + 2 * seed, **chain) for seed in (0, 1)]
    others.append(online_result("elmur", 0, 4.0, **chain))
    assert score_grid([*TMAZE, *others], tmp_path / "a.png", title="All") == tmp_path / "a.png"
    (figure,) = drawn
    headings = [axes.get_xticklabels()[0].get_text() for axes in figure.axes]
    assert headings == [
        "PassiveTMaze\nCorridor length 50\nreturn",
        "PassiveTMaze\nCorridor length 1500\nreturn",
        "Memory\nreturn",
    ]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["lstm", "gpt2", "elmur"]
    cells = [{t.get_position()[1]: t.get_text() for t in axes.texts} for axes in figure.axes]
    assert cells[1][0] == "0.60 ± 0.10"
    assert cells[2] == {0: "8.00 ± 1.00", 2: "4.00"}  # nothing where a model has not been run
    assert [axes.images[0].get_clim() for axes in figure.axes[1:]] == [(0.0, 1.0), (4.0, 8.0)]


def test_runs_are_grouped_by_any_of_their_settings() -> None:
    data = []
    for rate in (0.1, 0.2):
        for seed in (0, 1):
            one = online_result("gru", seed, rate)
            one["config"] |= {"agent": {"name": "ppo"}, "train": {"learning_rate": rate}}
            data.append(one)
    assert {name_of(one, "agent, model") for one in data} == {"ppo, gru"}
    assert name_of(data[0], "train.learning-rate,recipe") == "learning rate 0.1, online/gru"
    assert name_of(data[0], "train.learning_rate,run") == "learning rate 0.1, gru-50-seed0"
    found, _, _ = by_setting(data, group="train.learning_rate")
    assert [(p.label, p.mean, p.runs) for p in found] == [
        ("learning rate 0.1", 0.1, 2), ("learning rate 0.2", 0.2, 2),
    ]  # fmt: skip
    assert [p.runs for p in points(grouped(data, "train.learning_rate"))] == [2, 2]
    assert grouped(data, None) == data
    for wrong in ("train.rate", "train.learning_rate.x", "agents", ""):
        with pytest.raises(ConfigError, match=f"has no setting '{wrong}' to be grouped by; give"):
            name_of(data[0], wrong)
