"""What all plots share: colours, style, words, and how a figure becomes a file.

Matplotlib is imported when the first plot is drawn. Figures are made without pyplot, so that
nothing global is changed and no figure stays in memory. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart; lines differ in their markers too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retain.core.errors import ConfigError, RunError
from retain.report.results import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#6E6E6E"
DPI = 200

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelcolor": "#222222",
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure everywhere
    "font.size": 10,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 6,
    "svg.hashsalt": "retain",
    "xtick.color": "#444444",
    "xtick.labelsize": 10,
    "ytick.color": "#444444",
    "ytick.labelsize": 10,
}


def colour(index: int) -> str:
    """Returns the colour of a line by its place."""
    return COLOURS[index % len(COLOURS)]


def dash(index: int) -> str:
    """Returns the line style: dashes tell lines apart when the colours begin anew."""
    return ("-", "--", ":", "-.")[index // len(COLOURS) % 4]


def marked_line(index: int, linewidth: float = 2.0, markersize: float = 6.0) -> dict[str, Any]:
    """Returns the look of a line with markers by its place."""
    return {
        "color": colour(index),
        "linestyle": dash(index),
        "linewidth": linewidth,
        # When the colours begin anew, they come with other markers.
        "marker": MARKERS[(index + 3 * (index // len(COLOURS))) % len(MARKERS)],
        "markersize": markersize,
        "markeredgecolor": "white",
        "markeredgewidth": 0.8,
        "zorder": 3 + 0.01 * index,
    }


def number(value: Value) -> str:
    """Writes a length: whole numbers without a point, thousands set apart by a thin space."""
    if isinstance(value, int | float):
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
        return text.replace(",", "\u2009")
    return str(value)


def words(name: str) -> str:
    """Writes a name of the code as words, the first with a capital letter."""
    text = " ".join(name.replace("_", " ").replace("/", " ").split())
    return text[:1].upper() + text[1:]


def unit_axis(axes: Axes) -> None:
    """Makes the vertical axis go from 0 to 1."""
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks(np.linspace(0.0, 1.0, 6))


def chance_line(axes: Axes, chance: float | None) -> None:
    """Draws a line where an agent that guesses would be; None for none."""
    if chance is None:
        return
    axes.axhline(chance, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
    axes.annotate(
        "chance",
        (1.0, chance),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=GREY,
        va="center",
    )


def length_ticks(
    axes: Axes, lengths: Sequence[float], important: Sequence[float], *, log: bool = True
) -> None:
    """Puts ticks at the lengths of an axis, and numbers at as many as fit.

    The axis is made to hold all of them.

    Args:
        axes: Where.
        lengths: All lengths, rising.
        important: Those whose numbers come first; they may lie outside of the others.
        log: Whether the axis is logarithmic.
    """
    from matplotlib.ticker import FixedLocator, NullFormatter

    every = [*lengths, *important]
    low, high = min(every), max(every)
    if low == high:
        low, high = (low / 2, high * 2) if log else (low - 1, high + 1)
    place, length_at = (math.log, math.exp) if log else (float, float)
    span = place(high) - place(low)
    axes.set_xlim(length_at(place(low) - 0.045 * span), length_at(place(high) + 0.045 * span))

    def room(a: float, b: float) -> bool:
        return abs(place(a) - place(b)) / span > _width(a, b)

    shown: list[float] = []
    for length in [*important, lengths[-1], lengths[0], *reversed(lengths)]:
        if length in lengths and all(room(length, other) for other in shown):
            shown.append(length)
    axes.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axes.xaxis.set_minor_locator(FixedLocator([x for x in lengths if x not in shown]))
    axes.xaxis.set_major_formatter(lambda length, _: number(length))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _width(a: float, b: float) -> float:
    """The share of the axis that two numbers need side by side, at 1/60 for a character."""
    return (len(number(a)) + len(number(b))) / 2 / 60 + 0.01


def heat_panel(
    axes: Axes,
    grid: np.ndarray,
    texts: Sequence[Sequence[str]],
    *,
    low: float,
    high: float,
    bold: Callable[[int, int], bool] = lambda row, column: False,
) -> AxesImage:
    """Paints a table of numbers, with a text in each cell that has one.

    Args:
        axes: Where.
        grid: The numbers, [rows, columns]; where one is not finite the cell is left empty.
        texts: What is written in the cells.
        low: The number of the darkest colour.
        high: The number of the lightest.
        bold: Whether the text of a cell, by row and column, is in bold.

    Returns:
        The image, for a colour bar.
    """
    image = axes.imshow(grid, vmin=low, vmax=high, cmap="viridis", aspect="auto")
    axes.grid(visible=False)
    axes.set_facecolor("#F0F0F0")
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    for edge in range(1, grid.shape[1]):
        axes.axvline(edge - 0.5, color="white", linewidth=1.5)
    for edge in range(1, grid.shape[0]):
        axes.axhline(edge - 0.5, color="white", linewidth=1.5)
    for i, j in np.ndindex(*grid.shape):
        if not math.isfinite(grid[i, j]):
            continue
        r, g, b, _ = image.cmap(image.norm(grid[i, j]))
        dark = 0.299 * r + 0.587 * g + 0.114 * b < 0.5
        text = axes.text(j, i, texts[i][j], ha="center", va="center", fontsize=9.5)
        text.set_color("white" if dark else "#111111")
        text.set_fontweight("bold" if bold(i, j) else "normal")
    return image


def legend(figure: Figure, axes: Axes, note: str = "") -> None:
    """Puts the legend below the plot, where it never hides a line, with a note on top of it."""
    handles, names = axes.get_legend_handles_labels()
    longest = max(map(len, names))
    columns = 1 if longest > 34 else 2 if longest > 18 else 3
    box = figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(columns, len(names)),
        title=note or None,
        title_fontsize=9,
    )
    box.get_title().set_color(GREY)


def _plain_where_broken(figure: Figure) -> None:
    """Draws a text as it stands where its dollar signs enclose what is no formula."""
    from matplotlib.mathtext import MathTextParser
    from matplotlib.text import Text

    parser = MathTextParser("path")
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        try:
            for line in text.get_text().splitlines():
                if "$" in line:
                    parser.parse(line)
        except ValueError:
            text.set_parse_math(False)


def save(path: str | Path, draw: Callable[[Figure], None], size: tuple[float, float]) -> Path:
    """Makes a figure, lets `draw` fill it, and writes it.

    Args:
        path: The file; its folder is made if it is missing.
        draw: Fills the figure.
        size: Width and height in inches.

    Raises:
        ConfigError: If the ending of the file is no format for plots.
        RunError: If the file cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        known = FigureCanvasAgg(figure).get_supported_filetypes()
        if path.suffix.lstrip(".").lower() not in known:
            raise ConfigError(f"a plot cannot be written as '{path.name}'; use .png, .pdf or .svg")
        draw(figure)
        _plain_where_broken(figure)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=DPI, facecolor="white")
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path
