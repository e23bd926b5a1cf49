"""Plots of final scores: against an option of the environment, as bars, and as a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from retain.report import drawing
from retain.report.checks import Result
from retain.report.drawing import colour, legend, words
from retain.report.final import Group, by_option, by_setting, environment_of, short_name
from retain.report.results import Point
from retain.report.statistics import with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def score_vs_option(
    results: Sequence[Result],
    parameter: str,
    path: str | Path,
    *,
    metric: str | None = None,
    group: Group | None = None,
    chance: float | None = None,
    log_x: bool = False,
    title: str | None = None,
) -> Path:
    """Draws final scores against an option of the environment that the runs were trained in.

    One line a model; the bars are one standard error to both sides, over runs, or over episodes
    where there is only one run.

    Args:
        results: As `load_results` gives them.
        parameter: The option, such as `corridor_length`.
        path: The file to write; its ending (png, pdf, svg) chooses the format.
        metric: `success` or `return`; None for the one that all runs report, else the return.
        group: What the lines are named after; None for the runs' labels, else their models.
        chance: Score of an agent that guesses, drawn as a dashed line.
        log_x: Whether the option's axis is logarithmic.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: See `retain.report.final.by_option`.
        RunError: If the file cannot be written.
    """
    points, metric = by_option(results, parameter, metric, group)
    lines = _by_label(points)
    places = sorted({_place(point) for point in points})
    # An axis that holds 0 or less cannot be logarithmic.
    log_x = log_x and places[0] > 0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if log_x:
            axes.set_xscale("log")
        if metric == "success":
            drawing.unit_axis(axes)
        for i, (name, line) in enumerate(lines.items()):
            axes.errorbar(
                [_place(point) for point in line],
                [point.mean for point in line],
                yerr=[point.stderr for point in line],
                label=name,
                capsize=3,
                elinewidth=1.2,
                clip_on=False,
                **drawing.marked_line(i),
            )
        drawing.length_ticks(axes, places, [], log=log_x)
        drawing.chance_line(axes, chance)
        axes.set_xlabel(words(parameter))
        axes.set_ylabel(f"Final {metric}")
        if title:
            axes.set_title(title, pad=10)
        legend(figure, axes, _note(points))

    return drawing.save(path, draw, (6.4, 4.2))


def score_bars(
    results: Sequence[Result],
    path: str | Path,
    *,
    metric: str | None = None,
    group: Group | None = None,
    chance: float | None = None,
    title: str | None = None,
) -> Path:
    """Draws final scores as bars: a cluster for each environment setting, a bar for each model.

    Args:
        results: As `load_results` gives them.
        path: The file to write.
        metric: `success` or `return`; None for the one that all runs report, else the return.
        group: What the bars are named after; None for the runs' labels, else their models.
        chance: Score of an agent that guesses, drawn as a dashed line.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: See `retain.report.final.by_setting`.
        RunError: If the file cannot be written.
    """
    points, settings, metric = by_setting(results, metric, group)
    bars = _by_label(points)
    place = {name: i for i, name in enumerate(settings)}
    width = 0.84 / len(bars)
    # In inches: what the longest line of a name needs, and a cluster of bars.
    needed = 0.1 + 0.085 * max(len(line) for name in settings for line in name.splitlines())
    size = 1.0 + len(settings) * max(needed, 0.35 + 0.1 * len(bars))
    size = min(max(6.4, size), 14.0)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if metric == "success":
            drawing.unit_axis(axes)
        axes.grid(visible=False, axis="x")
        for i, (name, group_of_points) in enumerate(bars.items()):
            middle = (i - (len(bars) - 1) / 2) * width
            axes.bar(
                [place[str(point.value)] + middle for point in group_of_points],
                [point.mean for point in group_of_points],
                0.9 * width,
                yerr=[point.stderr for point in group_of_points],
                color=colour(i),
                # Hatches tell bars apart when the colours begin anew.
                hatch=("", "//", "..", "xx")[i // len(drawing.COLOURS) % 4],
                edgecolor="white",
                linewidth=0,
                error_kw={
                    "elinewidth": 1.1,
                    "capsize": min(3.0, 20 * width),
                    "ecolor": "#999999" if colour(i) == "#000000" else "#333333",
                },
                label=name,
            )
        _zero_line(axes, points)
        drawing.chance_line(axes, chance)
        axes.set_xlim(-0.5, len(settings) - 0.5)
        axes.set_xticks(range(len(settings)), [name[:1].upper() + name[1:] for name in settings])
        axes.tick_params(axis="x", length=0)
        if len(settings) * needed > 1.05 * size:
            axes.tick_params(axis="x", rotation=90, labelsize=7.5)
        if points[0].parameter:
            axes.set_xlabel(words(points[0].parameter))
        axes.set_ylabel(f"Final {metric}")
        if title:
            axes.set_title(title, pad=10)
        legend(figure, axes, _note(points))

    return drawing.save(path, draw, (size, 4.2))


def score_grid(
    results: Sequence[Result],
    path: str | Path,
    *,
    metric: str | None = None,
    group: Group | None = None,
    title: str | None = None,
) -> Path:
    """Draws final scores as a table of colours: a row for each model, a column for each task.

    A column is coloured from 0 to 1 if its scores lie there or below, else from its lowest to its
    highest score. Cells hold the mean and, of several runs, the standard error over them.

    Args:
        results: As `load_results` gives them.
        path: The file to write.
        metric: `success` or `return`; None for what the runs of a task report, else their return.
        group: What the rows are named after; None for the runs' labels, else their models.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: See `retain.report.final.by_setting`.
        RunError: If the file cannot be written.
    """
    columns: dict[str, dict[str, Point]] = {}
    runs: dict[str, list[Result]] = {}
    for result in results:
        runs.setdefault(environment_of(result)["id"], []).append(result)
    # Where there are no results, `by_setting` says so.
    for environment, own in (runs or {"": []}).items():
        points, settings, kind = by_setting(own, metric, group)
        for name in settings:
            found = {point.label: point for point in points if point.value == name}
            columns[_heading(environment, name, points[0].parameter, kind)] = found
    rows = list(dict.fromkeys(label for found in columns.values() for label in found))
    headings = max(len(line) for name in columns for line in name.splitlines())
    width = 0.25 + max(1.05, 0.085 * headings)
    margin = 0.5 + 0.085 * max(map(len, rows))

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
        for panel, (heading, found) in zip(panels, columns.items(), strict=True):
            cells = [found.get(label) for label in rows]
            means = np.asarray([[math.nan if p is None else p.mean] for p in cells])
            low, high = float(np.nanmin(means)), float(np.nanmax(means))
            low, high = (0.0, 1.0) if high <= 1 else (low, high)
            drawing.heat_panel(panel, means, [[_cell(p)] for p in cells], low=low, high=high)
            panel.xaxis.tick_top()
            panel.set_xticks([0], [heading])
            panel.set_yticks(range(len(rows)), rows)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")

    size = (margin + width * len(columns), 1.1 + 0.3 * len(rows))
    return drawing.save(path, draw, size)


def _heading(environment: str, name: str, parameter: str | None, kind: str) -> str:
    """What stands above a column: the task, what tells it from others, and the metric."""
    short = short_name(environment)
    lines = [] if name == short else [f"{words(parameter)} {name}" if parameter else name]
    return "\n".join([short, *lines, kind])


def _cell(point: Point | None) -> str:
    if point is None:
        return ""
    return with_error(point.mean, point.stderr if point.spread == "runs" else None)


def _zero_line(axes: Axes, points: Sequence[Point]) -> None:
    if any(point.mean < 0 for point in points):
        axes.axhline(0.0, color="#444444", linewidth=0.8, zorder=2)


def _place(point: Point) -> float:
    assert isinstance(point.value, int | float)
    return float(point.value)


def _by_label(points: Sequence[Point]) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.label, []).append(point)
    return lines


def _note(points: Sequence[Point]) -> str:
    kinds = {point.spread for point in points}
    over = "runs" if kinds == {"runs"} else "episodes" if kinds == {"episodes"} else ""
    if all(math.isnan(point.stderr) for point in points):
        return ""
    return f"Error bars: one standard error over {over or 'runs (of one run: over episodes)'}"
