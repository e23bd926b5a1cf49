from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from drawn_figures import texts
from retain.core.errors import ConfigError, RunError
from retain.report import drawing
from retain.report.plots import length_heatmap, success_vs_length


def result(model: str, seed: int, means: dict[Any, float | None], **changes: Any) -> dict[str, Any]:
    entry = {
        "environment": "retain/TMaze-v0",
        "parameter": "corridor_length",
        "step": 1,
        "episodes": 100,
        "metric": "success",
        "stderr": 0.05,
    }
    return {
        "run": f"{model}-{seed}",
        "recipe": f"tmaze/{model}",
        "model": model,
        "seed": seed,
        "training": {"length": 90},
        "evaluations": [{**entry, "value": v, "mean": m} for v, m in means.items()],
        **changes,
    }


RESULTS = [
    result("rate", 0, {30: 1.0, 90: 1.0, 9600: 0.9}),
    result("rate", 1, {30: 1.0, 90: 1.0, 9600: 1.0}),
    result("decision_transformer", 0, {90: 1.0, 30: 1.0, 9600: 0.5}),
]


def test_success_vs_length(tmp_path: Path, drawn: list[Figure]) -> None:
    path = success_vs_length(RESULTS, tmp_path / "new" / "a.png", chance=0.5, title="T-Maze")
    assert path.read_bytes().startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_ylim() == (0.0, 1.0)
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_allclose(lines["tmaze/rate"].get_xdata(), [30, 90, 9600])
    np.testing.assert_allclose(lines["tmaze/rate"].get_ydata(), [1.0, 1.0, 0.95])
    np.testing.assert_allclose(lines["tmaze/decision_transformer"].get_ydata(), [1.0, 1.0, 0.5])
    assert lines["tmaze/rate"].get_color() != lines["tmaze/decision_transformer"].get_color()
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.95 - 0.05)  # the error over the two runs
    shown = texts(drawn[0])
    for text in ("chance", "trained: 90", "T-Maze", "Corridor length", "9\u2009600", "30", "90"):
        assert text in shown
    assert "Bands: one standard error over runs (of one run: over episodes)" in shown


def test_training_lengths_of_their_own(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        result("rate", 0, {90: 1.0}, training={"length": 30}),
        result("rmt", 0, {90: 1.0}, training={"length": 300}),
        result("lstm", 0, {90: 1.0}, training={}),
    ]
    success_vs_length(results, tmp_path / "a.svg")
    marks = {t.get_text(): t.get_color() for t in drawn[0].axes[0].texts}
    assert marks == {"trained: 30": drawing.colour(0), "trained: 300": drawing.colour(1)}
    low, high = drawn[0].axes[0].get_xlim()
    assert low < 30
    assert high > 300

    success_vs_length(results[2:], tmp_path / "b.png")  # one length, and no mark
    low, high = drawn[1].axes[0].get_xlim()
    assert low < 45
    assert high > 180


def test_another_metric_has_its_own_scale(tmp_path: Path, drawn: list[Figure]) -> None:
    data = result("rate", 0, {10: -3.0, 100: 7.0}, training={})
    for entry in data["evaluations"]:
        entry["metric"] = "episode_return"
    success_vs_length([data], tmp_path / "a.png", metric="episode_return")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < -3
    assert high > 7
    assert "Episode return" in texts(drawn[0])


def test_many_labels_stay_apart(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [result(f"model{i}", 0, {30: 1.0, 90: 0.1 * i}) for i in range(9)]
    success_vs_length(results, tmp_path / "a.png")
    lines = [line for line in drawn[0].axes[0].get_lines() if "model" in line.get_label()]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 9


def test_choices_that_must_be_made(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    other = result("rate", 5, {9: 1.0})
    other["evaluations"][0]["environment"] = "other"
    with pytest.raises(ConfigError, match=r"choose one \(--environment\): other, retain/TMaze"):
        success_vs_length([*RESULTS, other], path)
    success_vs_length([*RESULTS, other], path, environment="other")
    with pytest.raises(ConfigError, match="have no 'tmaze'; known: retain/TMaze-v0"):
        success_vs_length(RESULTS, path, environment="tmaze")
    with pytest.raises(ConfigError, match="have no 'reward'; known: success"):
        success_vs_length(RESULTS, path, metric="reward")
    with pytest.raises(ConfigError, match="have no 'success'; known: none"):
        success_vs_length([], path)
    with pytest.raises(ConfigError, match="not by length"):
        success_vs_length([result("rate", 0, {None: 1.0, "x": 1.0})], path)
    mixed = result("rate", 5, {9: 1.0})
    mixed["evaluations"][0]["parameter"] = "num_hints"
    with pytest.raises(ConfigError, match="several parameters: corridor_length, num_hints"):
        success_vs_length([*RESULTS, mixed], path)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written as 'a\.txt'; use \.png"):
        success_vs_length(RESULTS, tmp_path / "a.txt")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        success_vs_length(RESULTS, tmp_path / "b.png")


def test_a_plot_is_the_same_each_time_and_leaves_no_trace(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    success_vs_length(RESULTS, tmp_path / "a.png")
    success_vs_length(RESULTS, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules


def test_heatmap(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        {
            **result(model, seed, means, training={"length": length}),
            "run": f"{model}-{length}-{seed}",
        }
        for model in ("rate", "dt")
        for length, means in ((30, {30: 1.0, 900: 0.25}), (90, {30: 0.5}))
        for seed in (0, 1)
    ]
    results[1]["evaluations"][1]["mean"] = 0.75
    length_heatmap(results, tmp_path / "a.png", title="Lengths")
    left, right, _bar = drawn[0].axes
    assert (left.get_title(loc="left"), right.get_title(loc="left")) == ("tmaze/rate", "tmaze/dt")
    grid = left.images[0].get_array()
    np.testing.assert_allclose(np.ma.filled(grid, np.nan), [[1.0, 0.5], [0.5, np.nan]])
    written = {t.get_text(): t.get_fontweight() for t in right.texts}
    assert written == {"1.00": "bold", "0.25": "normal", "0.50": "normal"}
    assert left.images[0].get_clim() == (0.0, 1.0)
    assert "Trained: corridor length" in texts(drawn[0])
    assert "Lengths" in texts(drawn[0])


def test_a_heatmap_puts_together_only_what_was_repeated(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    def panels(results: list[dict[str, Any]]) -> dict[str, list[str]]:
        length_heatmap(results, tmp_path / "a.png")
        *grids, _bar = drawn.pop().axes
        return {g.get_title(loc="left"): [t.get_text() for t in g.texts] for g in grids}

    one, other = (result("rate", seed, {9: 1.0}, training={"length": 9}) for seed in (0, 1))
    greedy = {**one["evaluations"][0], "greedy": True, "mean": 0.0}
    one["evaluations"].append(greedy)
    assert panels([one, other]) == {"tmaze/rate": ["1.00"], "tmaze/rate (greedy)": ["0.00"]}
    # The same seed at the same length: they differ in something that the recipe does not tell.
    twin = {**result("rate", 0, {9: 0.5}, training={"length": 9}), "run": "twin"}
    longer = result("rate", 0, {9: 0.25}, training={"length": 30})
    assert panels([other, longer]) == {"tmaze/rate": ["1.00", "0.25"]}
    assert panels([result("rate", 0, {9: 1.0}, training={"length": 9}), twin]) == {
        "tmaze/rate (rate-0)": ["1.00"],
        "tmaze/rate (twin)": ["0.50"],
    }


def test_heatmap_bad_results(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the run 'rate-0' has no training\.length"):
        length_heatmap([result("rate", 0, {9: 1.0}, training={})], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="hold no number for 'success'"):
        length_heatmap([result("rate", 0, {9: None})], tmp_path / "a.png")


def test_numbers_and_words() -> None:
    assert drawing.number(9600) == "9\u2009600"
    assert drawing.number(90.0) == "90"
    assert drawing.number(0.25) == "0.25"
    assert drawing.number("long") == "long"
    assert drawing.words("evaluation/success_rate") == "Evaluation success rate"
    assert drawing.words("") == ""


def test_tick_numbers_never_collide() -> None:
    figure = Figure(figsize=(6.4, 4.2))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lengths = [float(x) for x in range(10, 3000, 40)]
    axes.set_xscale("log")
    drawing.length_ticks(axes, lengths, [330.0])
    figure.canvas.draw()
    boxes = sorted(
        (label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()),
        key=lambda box: box.x0,
    )
    assert len(boxes) > 4
    assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
    assert "330" in [label.get_text() for label in axes.get_xticklabels()]


def test_importing_reports_imports_no_plotting() -> None:
    code = (
        "import sys, retain.report.plots, retain.report.tables;"
        "print([m for m in ('matplotlib', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
