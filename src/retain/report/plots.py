"""Plots from result files: success against length, learning curves, and the heat map of lengths.

They are drawn without a window; how they look is in `drawing.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retain.core.config import write_whole
from retain.core.errors import ConfigError
from retain.report import drawing, metrics
from retain.report.drawing import GREY, colour, dash, legend, number, words
from retain.report.results import (
    Evaluation,
    Point,
    Result,
    Value,
    evaluations,
    known_metrics,
    labels,
    latest,
    measured,
    merge,
    sort_key,
    training_length,
)
from retain.report.statistics import mean_stderr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_AXES = {
    "updates": "Updates",
    "env_steps": "Environment steps",
    "episodes": "Episodes",
}
_BANDS = {
    "confidence": " and its 95 % confidence band",
    "standard_error": " and its standard error",
    "none": "",
}


def success_vs_length(
    results: Sequence[Result],
    path: str | Path,
    *,
    environment: str | None = None,
    metric: str = "success",
    chance: float | None = None,
    title: str | None = None,
) -> Path:
    """Draws success against the length of the episode, one line a label.

    The band is one standard error to both sides: over runs, or over episodes where there is only
    one run. Lengths that the runs were trained on are marked where the results say them.

    Args:
        results: As `load_results` gives them.
        path: The file to write; its ending (png, pdf, svg) chooses the format.
        environment: Which one to draw, if the results have several.
        metric: Which one to draw.
        chance: Success of an agent that guesses, drawn as a dashed line.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: If there is nothing to draw, or the environment must be chosen.
        RunError: If the file cannot be written.
    """
    rows = _rows(results, environment, metric)
    merged = merge(rows)
    names = list(dict.fromkeys(point.label for point in merged))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        if metric == "success":
            drawing.unit_axis(axes)
        marked = _mark_training_lengths(axes, rows, names)
        for i, name in enumerate(names):
            line = [point for point in merged if point.label == name]
            _line_with_band(axes, i, len(names), line)
        lengths = sorted({float(row.value or 0) for row in rows})
        drawing.length_ticks(axes, lengths, marked)
        drawing.chance_line(axes, chance)
        axes.set_xlabel(words(merged[0].parameter or "length"))
        axes.set_ylabel(words(metric))
        if title:
            axes.set_title(title, pad=20 if marked else 10)
        legend(figure, axes, _band_note(merged))

    return drawing.save(path, draw, (6.4, 4.2))


def learning_curves(
    files: Mapping[str, Sequence[str | Path]] | Sequence[str | Path],
    key: str,
    path: str | Path,
    *,
    x: metrics.Axis = "step",
    smooth: int = 1,
    hold: bool = False,
    band: metrics.Band = "confidence",
    title: str | None = None,
    log_y: bool = False,
) -> Path:
    """Draws a logged metric over training: the mean over seeds and its 95 % confidence band.

    Args:
        files: For each label the `metrics.jsonl` files (or run folders) of its seeds; or one list
            of files, which makes one curve.
        key: The metric.
        path: The file to write; one that ends in csv gets the numbers.
        x: What the axis counts, see `metrics.series`.
        smooth: Values of a run that are averaged, see `metrics.curve`.
        hold: Go on with a run's last value where it ended early, see `metrics.curve`.
        band: What is drawn, or written, around the mean, see `metrics.curve`.
        title: Above the plot.
        log_y: Whether the metric's axis is logarithmic.

    Returns:
        The path.

    Raises:
        RunError: If a file is missing or damaged or lacks the metric, or the plot cannot be
            written.
        ConfigError: If no file is given, `smooth` is below 1, or the steps of some runs are updates
            and those of others steps of the environment.
    """
    groups = dict(files) if isinstance(files, Mapping) else {"": list(files)}
    counted: metrics.Axis = x
    if x == "step":
        kinds = {metrics.counts_of_steps(path) for paths in groups.values() for path in paths}
        if len(kinds) > 1:
            raise ConfigError(
                "the steps of some runs are updates and those of others are steps of the "
                "environment; choose what all have: --x updates"
            )
        counted = kinds.pop() if kinds else x
    curves = {
        name: metrics.curve(paths, key, x=x, smooth=smooth, hold=hold, band=band)
        for name, paths in groups.items()
    }
    if not curves:
        raise ConfigError("no metrics files are given; name run folders")
    if Path(path).suffix.lower() == ".csv":
        write_whole(Path(path), metrics.curves_csv(curves))
        return Path(path)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        unit = "success" in key and not log_y
        if log_y:
            axes.set_yscale("log")
        if unit:
            drawing.unit_axis(axes)
        elif not log_y:
            # As far as the runs go: the band of two or three is far wider than they are.
            least = min(curve.least for curve in curves.values())
            most = max(curve.most for curve in curves.values())
            margin = 0.05 * (most - least) or 0.5
            axes.set_ylim(least - margin, most + margin)
        alpha = min(0.2, 0.8 / len(curves))  # many bands on each other would hide the lines
        fewer = False
        for i, (name, curve) in enumerate(curves.items()):
            axes.fill_between(
                curve.x_S, curve.low_S, curve.high_S, color=colour(i), alpha=alpha, linewidth=0
            )
            runs = "1 run" if curve.runs == 1 else f"{curve.runs} runs"
            # The mean of those that go on is not that of all: it may fall, though no run does.
            whole_S = curve.count_S == curve.runs
            if not whole_S.all():
                fewer = True
                (dotted,) = axes.plot(curve.x_S, curve.mean_S, color=colour(i), clip_on=not unit)
                dotted.set(linestyle=":", linewidth=1.2)
            axes.plot(
                curve.x_S,
                np.where(whole_S, curve.mean_S, np.nan),
                color=colour(i),
                linestyle=dash(i),
                marker="o" if whole_S.sum() == 1 else None,
                label=f"{name} ({runs})" if name else runs,
                clip_on=not unit,
                zorder=3,
            )
        axes.margins(x=0.01)
        millions = max(curve.x_S[-1] for curve in curves.values()) >= 1e6
        unit_of_x = 1e6 if millions else 1.0
        axes.xaxis.set_major_formatter(lambda place, _: number(place / unit_of_x))
        axes.set_xlabel(_AXES[counted] + (" (millions)" if millions else ""))
        axes.set_ylabel(words(key))
        if title:
            axes.set_title(title, pad=10)
        several = any(curve.runs > 1 for curve in curves.values())
        told = f"Mean over runs{_BANDS[band]}" if several else ""
        legend(figure, axes, f"{told}; dotted: over fewer of them" if fewer else told)

    return drawing.save(path, draw, (6.4, 4.0))


def length_heatmap(
    results: Sequence[Result],
    path: str | Path,
    *,
    environment: str | None = None,
    metric: str = "success",
    title: str | None = None,
) -> Path:
    """Draws the mean over runs for each length trained on and each length tested on.

    There is one panel for runs that differ in seed and training length only, two on a line, and the
    value stands in each cell, in bold where both lengths are equal.

    Args:
        results: As `load_results` gives them; each must say `training.length`.
        path: The file to write.
        environment: Which one to draw, if the results have several.
        metric: Which one to draw; success has the fixed scale 0 to 1.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: If there is nothing to draw, or a result does not say its training length.
        RunError: If the file cannot be written.
    """
    rows = latest(_rows(results, environment, metric, _label_in_length(results)))
    for row in rows:
        if row.training_length is None:
            raise ConfigError(f"the result of the run '{row.run}' has no training.length")
    names = list(dict.fromkeys(row.label for row in rows))
    trained = sorted({row.training_length for row in rows}, key=sort_key)
    tested = sorted({row.value for row in rows}, key=sort_key)
    cells: dict[tuple[str, Value, Value], list[float]] = {}
    for row in rows:
        cells.setdefault((row.label, row.training_length, row.value), []).append(row.mean)
    grids = {
        name: np.asarray(
            [[mean_stderr(cells.get((name, a, b), [math.nan]))[0] for b in tested] for a in trained]
        )
        for name in names
    }
    parameter = words(rows[0].parameter or "length")
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()] or [np.zeros(0)])
    if finite.size == 0:
        raise ConfigError(f"the results hold no number for '{metric}'")
    low, high = (0.0, 1.0) if metric == "success" else (float(finite.min()), float(finite.max()))
    columns = min(2, len(names))
    lines = -(-len(names) // columns)
    width = 0.62 * len(tested) + 0.5
    height = 0.5 * len(trained) + 1.1

    def draw(figure: Figure) -> None:
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True).flatten()
        for place, (panel, (name, grid)) in enumerate(zip(panels, grids.items(), strict=False)):
            texts = [[f"{mean:.2f}" for mean in row] for row in grid]
            image = drawing.heat_panel(
                panel, grid, texts, low=low, high=high, bold=lambda i, j: trained[i] == tested[j]
            )
            panel.set_xticks(range(len(tested)), [number(value) for value in tested])
            panel.set_yticks(range(len(trained)), [number(value) for value in trained])
            panel.set_title(name, fontsize=11, fontweight="normal" if title else "bold")
            if place + columns >= len(names):
                panel.set_xlabel(f"Tested: {parameter.lower()}")
            if place % columns == 0:
                panel.set_ylabel(f"Trained: {parameter.lower()}")
        for panel in panels[len(names) :]:
            panel.remove()
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        shown = list(panels[: len(names)])
        bar = figure.colorbar(image, ax=shown, fraction=0.05, pad=0.02, aspect=15 * lines)
        bar.set_label(words(metric))
        bar.outline.set_visible(False)

    size = (max(4.0, width * columns + 1.6), max(2.6, height * lines + 0.5))
    return drawing.save(path, draw, size)


# --- parts --------------------------------------------------------------------------------------


def _label_in_length(results: Sequence[Result]) -> Callable[[Result], str]:
    """Returns what gives labels as `labels` does, where runs may differ in training length too."""
    of_length: dict[Value, list[Result]] = {}
    for result in results:
        of_length.setdefault(training_length(result), []).append(result)
    names = {
        id(result): name
        for group in of_length.values()
        for result, name in zip(group, labels(group), strict=True)
    }
    return lambda result: names[id(result)]


def _rows(
    results: Sequence[Result],
    environment: str | None,
    metric: str,
    label: Callable[[Result], str] | None = None,
) -> list[Evaluation]:
    """Returns the evaluations to draw: of one environment, one metric, with lengths above zero."""
    every = evaluations(results, label)
    rows = measured(every, metric)
    if not rows:
        raise ConfigError(f"the results have no '{metric}'; known: {known_metrics(every)}")
    known = sorted({row.environment for row in rows})
    if environment is None and len(known) > 1:
        raise ConfigError(
            f"the results have several environments; choose one (--environment): {', '.join(known)}"
        )
    rows = [row for row in rows if environment in (None, row.environment)]
    if not rows:
        raise ConfigError(f"the results have no '{environment}'; known: {', '.join(known)}")
    rows = [row for row in rows if isinstance(row.value, int | float) and row.value > 0]
    parameters = sorted({row.parameter or "" for row in rows})
    if not rows:
        raise ConfigError(f"the results of '{known[0]}' are not by length: there is no axis")
    if len(parameters) > 1:
        raise ConfigError(f"the results vary several parameters: {', '.join(parameters)}")
    return rows


def _line_with_band(axes: Axes, index: int, count: int, line: list[Point]) -> None:
    x = np.asarray([float(point.value or 0) for point in line])
    mean = np.asarray([point.mean for point in line])
    error = np.asarray([point.stderr for point in line])
    # Many lines lie on each other at 1.0: the ones below are drawn larger, so that all are seen.
    below = min(count - 1 - index, 3)
    axes.fill_between(x, mean - error, mean + error, color=colour(index), alpha=0.2, linewidth=0)
    look = drawing.marked_line(index, 2.0 + 0.4 * below, 6.0 + 1.5 * below)
    axes.plot(x, mean, label=line[0].label, clip_on=False, **look)


def _band_note(merged: list[Point]) -> str:
    kinds = {point.spread for point in merged}
    over = "runs" if kinds == {"runs"} else "episodes" if kinds == {"episodes"} else ""
    return f"Bands: one standard error over {over or 'runs (of one run: over episodes)'}"


def _mark_training_lengths(axes: Axes, rows: list[Evaluation], names: list[str]) -> list[float]:
    """Marks the lengths trained on and returns them."""
    by_length: dict[float, set[str]] = {}
    for row in rows:
        if isinstance(row.training_length, int | float) and row.training_length > 0:
            by_length.setdefault(float(row.training_length), set()).add(row.label)
    for length, lines in by_length.items():
        # A length that all share is a fact of the plot; others belong to their line.
        alone = len(lines) == 1 and len(by_length) > 1
        shade = colour(names.index(next(iter(lines)))) if alone else GREY
        axes.axvline(length, color=shade, linestyle=(0, (1, 2)), linewidth=1.4, zorder=1)
        axes.annotate(
            f"trained: {number(length)}",
            (length, 1.0),
            (0, 3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=shade,
            fontsize=9,
            ha="center",
            va="bottom",
        )
    return sorted(by_length)
