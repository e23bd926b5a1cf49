"""What grew in training as it was mastered: values, and how long it took to master them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retain.core.errors import ConfigError, RunError
from retain.report import drawing
from retain.report.checks import Result
from retain.report.drawing import legend, words
from retain.report.final import Group, environment_of, name_of, short_name
from retain.report.results import as_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mastered(result: Result) -> tuple[str, list[tuple[int, int]]]:
    """Returns the option of the environment that grew in a run, and the values that were mastered.

    Of an agent that learns by acting, the environment grew that it acts in; of a policy that learns
    from data, the episodes.

    Args:
        result: As `load_results` gives it.

    Returns:
        The option's name; and pairs of environment steps (updates, of a policy that learns from
        data) and of the value mastered by then, the last of them that of the environment as it is,
        or the one that is watched, if the run got there.

    Raises:
        ConfigError: If nothing grew in the run.
        RunError: If its results do not say when.
    """
    environment, config = environment_of(result), result["config"]
    settings, evaluation = config.get("train", {}), config.get("evaluation", {})
    by_acting = _by_acting(result)
    option = settings.get("curriculum_option") if by_acting else evaluation.get("parameter")
    needed = {
        "curriculum_from": "--train.curriculum-from",
        "curriculum_score": "--train.curriculum-score",
    }
    missing = [flag for name, flag in needed.items() if settings.get(name) is None]
    if option is None or missing:
        raise ConfigError(
            f"nothing grew in the run '{result['run']}': it was not trained with "
            f"{' and '.join(missing) or '--train.curriculum-option'}"
        )
    when = _unit(result)
    rows = result["training"].get("curriculum", [])
    if any(when not in row for row in [*rows, *result["training"].get("history", [])]):
        raise RunError(
            f"the results of '{result['run']}' lack '{when}' in training.curriculum or "
            "training.history: when was it mastered?"
        )
    pairs = [(int(row[when]), int(row["value"])) for row in rows]
    whole = whole_mastered(result)
    if whole is not None:
        watched = [] if by_acting else evaluation.get("values_in_training", [])
        pairs.append((int(whole[when]), int([environment[option], *watched][-1])))
    return option, pairs


def _by_acting(result: Result) -> bool:
    """Whether the run learned by acting: then an option of its environment grew."""
    return "curriculum_option" in result["config"].get("train", {})


def _unit(result: Result) -> str:
    """What the history of a run counts in: an agent that acts has steps, others updates."""
    return "env_steps" if _by_acting(result) else "update"


def whole_mastered(result: Result) -> dict[str, float] | None:
    """Returns the first evaluation in training that masters the environment as it is, or None.

    Args:
        result: As `load_results` gives it, of a run in which something grew.
    """
    needed = result["config"]["train"]["curriculum_score"]
    history = result["training"].get("history", [])
    return next((h for h in history if as_number(h["mean"]) >= needed), None)


def mastered_vs_steps(
    results: Sequence[Result],
    path: str | Path,
    *,
    group: Group | None = None,
    title: str | None = None,
) -> Path:
    """Draws what each run has mastered against the steps of the environment until then.

    Of policies that learn from data, against the updates. One line a run, which rises where a value
    was found to be mastered; runs of one model have one colour.

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
        (environment_of(result)["id"], option, _unit(result))
        for result, (_, option, _) in zip(results, grown, strict=True)
    }
    if len(kinds) > 1:
        named = ", ".join(
            sorted(
                f"{option} of {short_name(id)} by {unit.replace('_', ' ')}"
                for id, option, unit in kinds
            )
        )
        raise ConfigError(f"unlike things grew in these runs: {named}; name runs of one of them")
    ((_, _, unit),) = kinds
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
        axes.set_xlabel("Updates" if unit == "update" else "Environment steps")
        axes.set_ylabel(f"{words(grown[0][1])} mastered")
        if title:
            axes.set_title(title, pad=10)
        legend(figure, axes)

    return drawing.save(path, draw, (6.4, 4.2))


def _round(first: int, last: int) -> list[int]:
    """Returns the numbers 1, 2 and 5 times a power of ten in a range, widened by a fifth.

    Where there is none, the ends of the range.
    """
    powers = range(math.floor(math.log10(first)) - 1, math.ceil(math.log10(last)) + 1)
    ticks = (int(digit * 10.0**power) for power in powers for digit in (1, 2, 5))
    inside = [tick for tick in ticks if 0.8 * first <= tick <= 1.2 * last]
    return inside or sorted({first, last})
