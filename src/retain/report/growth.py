"""Environments that grew in training: what was mastered, and after how many steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retain.core.errors import ConfigError
from retain.report import drawing
from retain.report.drawing import legend, words
from retain.report.final import Group, environment_of, name_of, short_name
from retain.report.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mastered(result: Result) -> tuple[str, list[tuple[int, int]]]:
    """Returns the option of the environment that grew in a run, and the values that were mastered.

    Args:
        result: As `load_results` gives it.

    Returns:
        The option's name; and pairs of environment steps and of the value mastered by then, the
        last of them that of the environment as it is, if the run got there.

    Raises:
        ConfigError: If nothing grew in the run.
    """
    training = result["training"]
    environment = environment_of(result)
    settings = result["config"].get("train", {})
    option = settings.get("curriculum_option")
    if settings.get("curriculum_from") is None or option is None:
        raise ConfigError(
            f"nothing grew in the run '{result['run']}': it was not trained with "
            "--train.curriculum-from"
        )
    pairs = [(int(row["env_steps"]), int(row["value"])) for row in training["curriculum"]]
    whole = whole_mastered(result)
    if whole is not None:
        pairs.append((int(whole["env_steps"]), int(environment[option])))
    return option, pairs


def whole_mastered(result: Result) -> dict[str, float] | None:
    """Returns the first evaluation in training that masters the environment as it is, or None.

    Args:
        result: As `load_results` gives it, of an online run.
    """
    needed = result["config"]["train"]["curriculum_score"]
    return next((h for h in result["training"]["history"] if h["mean"] >= needed), None)


def mastered_vs_steps(
    results: Sequence[Result],
    path: str | Path,
    *,
    group: Group | None = None,
    title: str | None = None,
) -> Path:
    """Draws what each run has mastered against the steps of the environment until then.

    One line a run, which rises where a value was found to be mastered; runs of one model have one
    colour.

    Args:
        results: As `load_results` gives them, of one environment that grew.
        path: The file to write; its ending (png, pdf, svg) chooses the format.
        group: What the colours are named after; None for the runs' labels, else their models.
        title: Above the plot.

    Returns:
        The path.

    Raises:
        ConfigError: If nothing grew, nothing was mastered, or unlike environments grew.
        RunError: If the file cannot be written.
    """
    grown = [(name_of(result, group), *mastered(result)) for result in results]
    kinds = {
        (environment_of(result)["id"], option)
        for result, (_, option, _) in zip(results, grown, strict=True)
    }
    if len(kinds) > 1:
        named = ", ".join(sorted(f"{option} of {short_name(id)}" for id, option in kinds))
        raise ConfigError(f"unlike things grew in these runs: {named}; name runs of one of them")
    values = sorted({value for *_, pairs in grown for _, value in pairs})
    if not values:
        raise ConfigError("no run has mastered anything: there is nothing to draw")
    names = list(dict.fromkeys(name for name, *_ in grown))
    all_steps = [steps for *_, pairs in grown for steps, _ in pairs]
    first, last = min(all_steps), max(all_steps)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        shown: set[str] = set()
        for name, _, pairs in grown:
            if not pairs:
                continue
            look = drawing.marked_line(names.index(name), linewidth=1.4, markersize=4.5)
            steps, heights = zip(*pairs, strict=True)
            label = name if name not in shown else None
            axes.step(steps, heights, where="post", label=label, **look)
            shown.add(name)
        axes.set_xlim(0.8 * first, 1.2 * last)
        for axis, ticks in ((axes.xaxis, _round(first, last)), (axes.yaxis, values)):
            axis.set_ticks(ticks, [drawing.number(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("Environment steps")
        axes.set_ylabel(f"{words(grown[0][1])} mastered")
        if title:
            axes.set_title(title, pad=10)
        legend(figure, axes)

    return drawing.save(path, draw, (6.4, 4.2))


def _round(first: int, last: int) -> list[int]:
    """Returns the numbers 1, 2 and 5 times a power of ten in a range, widened by a fifth."""
    powers = range(math.floor(math.log10(first)) - 1, math.ceil(math.log10(last)) + 1)
    ticks = (int(digit * 10.0**power) for power in powers for digit in (1, 2, 5))
    return [tick for tick in ticks if 0.8 * first <= tick <= 1.2 * last]
