"""Figures of an inspection: the memory over time, its changes, drift, probes, attention.

They are drawn from arrays alone; how they look is in `drawing.py`.

Axes: R entries (moments), C components, T steps, N layers, M memory tokens, S places of a segment,
P panels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retain.report import drawing
from retain.report.drawing import GREY, colour, number, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

#: Components that a heat map shows at most, and variables with a line of their own.
MOST_COMPONENTS = 64
MOST_LINES = 7


@dataclass(frozen=True)
class Episode:
    """One episode's memory over time."""

    title: str
    memory_RC: Array


@dataclass(frozen=True)
class Change:
    """A stretch in which the memory changed, and what its observations did to it."""

    title: str
    steps_T: Array
    moved_T: Array
    """How far the memory would have moved without the observation of each step."""
    note: str
    """What the observation that mattered most was."""


@dataclass(frozen=True)
class Attention:
    """Where the write tokens of one segment look, and how much its steps look at the memory."""

    title: str
    write_NMS: Array
    groups: Sequence[tuple[str, Sequence[int]]]
    """What the places are: names, and the places in the order to be shown."""
    to_memory_NT: Array


def choose_components(memory_PRC: Sequence[Array]) -> tuple[Array, int]:
    """Chooses the components that a heat map shows, in their order.

    Those that vary the most are shown. They are sorted by how the first two episodes differ at the
    moment at which they differ the most (one episode: by its last memory), so that components that
    tell the episodes apart lie at the two edges.

    Returns:
        Their numbers, and how many vary at all.
    """
    spread_C = np.max([m.max(axis=0) for m in memory_PRC], axis=0)
    spread_C = spread_C - np.min([m.min(axis=0) for m in memory_PRC], axis=0)
    varying = int((spread_C > 0).sum())
    most = np.argsort(-spread_C, kind="stable")[: min(varying or len(spread_C), MOST_COMPONENTS)]
    key_C = memory_PRC[0][-1]
    if len(memory_PRC) > 1:
        difference_RC = memory_PRC[0] - memory_PRC[1]
        key_C = difference_RC[np.square(difference_RC).sum(axis=1).argmax()]
    # Ties in the order of the components, tokens one after the other.
    return most[np.lexsort((most, -key_C[most]))], varying


def memory_heatmap(
    path: str | Path,
    steps_R: Array,
    episodes: Sequence[Episode],
    *,
    change_places_T: Array,
    change_size_T: Array,
    marked: Sequence[int] = (),
) -> Path:
    """Draws the memory of some episodes over time, and how far it moved at each step of the first.

    Args:
        path: The file to write.
        steps_R: The step of each entry.
        episodes: The episodes.
        change_places_T: Steps of the first episode.
        change_size_T: How far its memory moved there.
        marked: Steps to be marked: those at which it moved the most.
    """
    chosen, varying = choose_components([episode.memory_RC for episode in episodes])
    shown = [episode.memory_RC[:, chosen].T for episode in episodes]
    bound = float(np.quantile(np.abs(np.concatenate(shown, axis=1)), 0.99)) or 1.0

    def draw(figure: Figure) -> None:
        ratios = [2.0] * len(shown) + [1.0]
        rows = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False, height_ratios=ratios)[
            :, 0
        ]
        edges = np.append(steps_R, 2 * steps_R[-1] - steps_R[-2] if len(steps_R) > 1 else 1)
        for axes, grid, episode in zip(rows, shown, episodes, strict=False):
            mesh = axes.pcolormesh(
                edges, np.arange(len(grid) + 1), grid, cmap="RdBu_r", vmin=-bound, vmax=bound,
                rasterized=True,
            )  # fmt: skip
            axes.grid(False)
            axes.invert_yaxis()
            axes.set_yticks([])
            axes.set_ylabel("Components")
            axes.set_title(episode.title, fontsize=10)
        figure.colorbar(mesh, ax=list(rows[:-1]), label="Value", shrink=0.8, pad=0.01)
        axes = rows[-1]
        axes.fill_between(change_places_T, change_size_T, step="post", color=colour(0), alpha=0.35)
        axes.plot(change_places_T, change_size_T, drawstyle="steps-post", color=colour(0), lw=1)
        top = float(np.max(change_size_T)) or 1.0
        axes.set_ylim(0, 1.35 * top)
        for step in marked:
            axes.plot([step], [1.18 * top], marker="v", color=colour(1), markersize=5)
        axes.set_xlabel("Step")
        axes.set_ylabel("Change")
        axes.set_title(
            "First episode: how far the memory moves at a step"
            + (" (triangles: the most)" if len(marked) else ""),
            fontsize=10,
        )
        _step_axis(axes, edges[-1])
        total = len(episodes[0].memory_RC[0])
        text = f"{len(chosen)} of the {varying} components that vary ({total} in all)"
        figure.suptitle(text if varying else "No component varies", fontsize=9, color=GREY)

    return drawing.save(path, draw, (7.6, 1.4 + 2.1 * len(shown)))


def change_plot(
    path: str | Path, steps_R: Array, changed_R: Array, changes: Sequence[Change], title: str
) -> Path:
    """Draws how many components each segment changed, and which observations made it.

    Args:
        path: The file to write.
        steps_R: The step of each entry.
        changed_R: Components that differ from the entry before.
        changes: The segments to explain, one panel each.
        title: Of the first panel.
    """

    def draw(figure: Figure) -> None:
        rows = figure.subplots(1 + len(changes), 1, squeeze=False)[:, 0]
        # An entry stands for the segment that ends there.
        rows[0].stairs(changed_R[1:], steps_R, fill=True, color=colour(0), alpha=0.35)
        rows[0].stairs(changed_R[1:], steps_R, color=colour(0), lw=1.2)
        rows[0].set_ylim(0, None)
        rows[0].set_title(title, fontsize=10)
        rows[0].set_ylabel("Components")
        _step_axis(rows[0], steps_R[-1])
        rows[0].set_xlabel("Step")
        for axes, change in zip(rows[1:], changes, strict=True):
            axes.bar(
                change.steps_T, change.moved_T, width=0.8 * _gap(change.steps_T), color=colour(1)
            )
            axes.set_title(change.title, fontsize=10)
            axes.set_ylim(0, 1.3 * (float(np.nanmax(change.moved_T)) or 1.0))
            axes.set_ylabel("Effect")
            best = int(np.argmax(change.moved_T))
            right = best > len(change.steps_T) / 2
            axes.annotate(
                change.note,
                (float(change.steps_T[best]), float(change.moved_T[best])),
                (-6 if right else 6, 5),
                textcoords="offset points",
                ha="right" if right else "left",
                fontsize=9,
                color=GREY,
            )
        if changes:
            rows[-1].set_xlabel("Step whose observation is replaced by the usual one")

    return drawing.save(path, draw, (7.2, 2.3 + 1.6 * len(changes)))


def drift_plot(
    path: str | Path, steps_R: Array, to_previous_R: Array, to_first_R: Array, exact_R: Array
) -> Path:
    """Draws how far the memory is from the segment before and from the first, and exact copies.

    Args:
        path: The file to write.
        steps_R: The step of each entry.
        to_previous_R: Distance to the entry before, the mean over episodes.
        to_first_R: Distance to entry 1.
        exact_R: Share of the episodes in which no component changed.
    """

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
        above.plot(steps_R[1:], to_first_R[1:], color=colour(0), label="to the first segment's")
        above.plot(steps_R[1:], to_previous_R[1:], color=colour(1), label="to the segment before's")
        above.set_ylim(0, None)
        above.set_ylabel("Distance")
        above.set_title("Drift of the memory (root mean square over components)", fontsize=10)
        above.legend(loc="best")
        below.stairs(exact_R[1:], steps_R, baseline=None, color=colour(2), lw=2)
        below.set_ylim(-0.03, 1.03)
        below.set_ylabel("Share")
        below.set_title("Episodes whose memory was copied bit for bit", fontsize=10)
        below.set_xlabel("Step")
        _step_axis(below, steps_R[-1])

    return drawing.save(path, draw, (7.2, 4.6))


@dataclass(frozen=True)
class Reading:
    """What a probe reads of one hidden variable."""

    accuracy_R: Array
    stderr_R: Array
    chance_R: Array
    """What a guess gets."""
    between_R: Array
    """Distance between the mean memories of two values of the variable."""
    within_R: Array
    """Distance of a memory to the mean of its value."""


def probe_plot(
    path: str | Path,
    steps_R: Array,
    readings: Mapping[str, Reading],
    title: str,
) -> Path:
    """Draws what a linear probe reads from the memory, and how far memories lie apart.

    Args:
        path: The file to write.
        steps_R: The step of each entry.
        readings: For each hidden variable what was found.
        title: Above the plot.
    """
    lines = dict(readings)
    if len(lines) > MOST_LINES:
        lines = {f"mean of {len(readings)} variables": _mean(list(readings.values()))}

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
        drawing.unit_axis(above)
        for i, (name, found) in enumerate(lines.items()):
            low = found.accuracy_R - found.stderr_R
            high = np.minimum(found.accuracy_R + found.stderr_R, 1)
            above.fill_between(steps_R, low, high, color=colour(i), alpha=0.2, linewidth=0)
            above.plot(steps_R, found.accuracy_R, color=colour(i), label=words(name), clip_on=False)
            below.plot(steps_R, _above_zero(found.between_R), color=colour(i))
            below.plot(steps_R, _above_zero(found.within_R), color=colour(i), linestyle=":", lw=1.5)
        _chances(above, steps_R, [found.chance_R for found in lines.values()])
        above.set_ylabel("Accuracy of the probe")
        above.set_title(title, fontsize=10)
        _log_if_positive(below, [found.between_R for found in lines.values()])
        below.set_title(
            "Distance between memories of different values (dotted: of the same)", fontsize=10
        )
        below.set_ylabel("Distance")
        below.set_xlabel("Step")
        _step_axis(below, steps_R[-1])
        drawing.legend(figure, above, "Bands: one standard error over episodes")

    return drawing.save(path, draw, (7.2, 5.4))


def _chances(axes: Axes, steps_R: Array, chances: Sequence[Array]) -> None:
    """Draws what a guess gets: a line over the axis, or curves where it changes."""
    known = [np.round(chance_R[np.isfinite(chance_R)], 3) for chance_R in chances]
    values = set(np.concatenate(known).tolist())
    if len(values) == 1:
        drawing.chance_line(axes, values.pop())
        return
    for i, chance_R in enumerate(chances):
        same = all(np.array_equal(chance_R, other, equal_nan=True) for other in chances)
        tone = drawing.GREY if same else colour(i)
        label = "Chance" if same else None
        axes.plot(steps_R, chance_R, color=tone, linestyle=(0, (4, 3)), lw=1.2, label=label)
        if same:
            return


def _mean(readings: Sequence[Reading]) -> Reading:
    names = ("accuracy_R", "stderr_R", "chance_R", "between_R", "within_R")
    return Reading(*(np.mean([getattr(r, name) for r in readings], axis=0) for name in names))


def _above_zero(values_R: Array) -> Array:
    """Leaves out zeros, which have no place on a logarithmic axis, unless all are."""
    return np.where(values_R > 0, values_R, np.nan) if np.nanmax(values_R) > 0 else values_R


def _log_if_positive(axes: Axes, values: Sequence[Array]) -> None:
    """Makes the vertical axis logarithmic if what is drawn spans a decade above 0."""
    seen = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in values])
    if seen.size and seen.max() > 10 * seen.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, None)


def attention_plot(path: str | Path, segments: Sequence[Attention]) -> Path:
    """Draws where write tokens look, a panel a layer, and how much steps look at the memory.

    Args:
        path: The file to write.
        segments: One column each.
    """
    layers = len(segments[0].write_NMS)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(layers + 1, len(segments), squeeze=False, sharey="row")
        top = max(float(np.quantile(s.write_NMS, 0.995)) for s in segments)
        for column, segment in enumerate(segments):
            order = [place for _, places in segment.groups for place in places]
            for layer in range(layers):
                axes = grid[layer, column]
                image = axes.imshow(
                    segment.write_NMS[layer][:, order],
                    aspect="auto", cmap="Blues", vmin=0, vmax=top, interpolation="nearest",
                )  # fmt: skip
                axes.grid(False)
                axes.set_yticks(range(segment.write_NMS.shape[1]))
                _group_ticks(axes, segment, layer)
                if column == 0:
                    axes.set_ylabel(f"Layer {layer + 1}\nwrite token")
                if layer == 0:
                    axes.set_title(segment.title, fontsize=10)
            axes = grid[layers, column]
            for layer, share_T in enumerate(segment.to_memory_NT):
                axes.plot(
                    np.arange(len(share_T)), share_T, color=colour(layer),
                    marker="o" if len(share_T) == 1 else None, label=f"Layer {layer + 1}",
                )  # fmt: skip
            axes.set_ylim(0, 1)
            axes.set_xlabel("Step of the segment")
            if column == 0:
                axes.set_ylabel("Share")
                axes.legend(loc="upper right")
            axes.set_title("What a step's tokens give to the read tokens", fontsize=10)
        figure.suptitle(
            "Where the write tokens look: kinds of tokens side by side, each in the order of steps",
            fontsize=9,
            color=GREY,
        )
        figure.colorbar(image, ax=grid[:layers].ravel().tolist(), label="Weight", pad=0.01)

    size = (1.2 + 4.6 * len(segments), 2.0 + 1.9 * layers)
    return drawing.save(path, draw, size)


def _group_ticks(axes: Axes, segment: Attention, layer: int) -> None:
    """Names the groups of places below a panel, with the share that each gets."""
    start, middles, names = 0, [], []
    for name, places in segment.groups:
        share = float(segment.write_NMS[layer][:, list(places)].sum(axis=1).mean())
        middles.append(start + len(places) / 2 - 0.5)
        names.append(f"{name}\n{share:.0%}")
        start += len(places)
        axes.axvline(start - 0.5, color="#444444", linewidth=0.8)
    axes.set_xticks(middles, names, fontsize=8)
    axes.tick_params(axis="x", length=0)


def _step_axis(axes: Axes, last: float) -> None:
    axes.set_xlim(0, max(1, float(last)))
    axes.locator_params(axis="x", integer=True)
    axes.xaxis.set_major_formatter(lambda step, _: number(step))


def _gap(steps_T: Array) -> float:
    return float(steps_T[1] - steps_T[0]) if len(steps_T) > 1 else 1.0
