"""Final scores: of each run the last evaluation in the environment that it was trained in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from retain.core.errors import ConfigError
from retain.report.results import (
    Evaluation,
    Point,
    Result,
    Value,
    acting_notes,
    evaluations,
    known_metrics,
    latest,
    measured,
    merge,
    sort_key,
)

Group: TypeAlias = str
"""Comma-separated: recipe, model, agent, run, or settings such as train.learning_rate."""


def final_scores(
    results: Sequence[Result], metric: str | None, group: Group | None = None
) -> tuple[list[Evaluation], list[dict[str, Any]], str]:
    """Returns the final score of each run.

    Args:
        results: As `load_results` gives them; each must hold the run's configuration.
        metric: Which one; None for the one that all runs report, and where they differ the return.
        group: What lines and bars are named after, see `Group`; None for the run's label, else its
            model.

    Returns:
        One evaluation a run; beside it the options of the run's environment, its id among them as
        `id`; and the metric.

    Raises:
        ConfigError: If a result has no configuration, or no evaluation in its own environment, or
            not the metric.
    """
    if not results:
        raise ConfigError("no results are given; name run folders or results files")
    own = [_own_evaluations(result) for result in results]
    if metric is None:
        reported = {row.metric for rows in own for row in rows}
        metric = reported.pop() if len(reported) == 1 else "return"
    scores = []
    for result, rows in zip(results, own, strict=True):
        kept = latest(measured(rows, metric))
        if not kept:
            raise ConfigError(
                f"the run '{result['run']}' has no '{metric}'; known: {known_metrics(rows)}"
            )
        last = max(row.step for row in kept)
        # Of several at one step, as with other seeds, the one evaluated last counts.
        final = [row for row in kept if row.step == last][-1]
        scores.append(dataclasses.replace(final, label=name_of(result, group)))
    return scores, [environment_of(result) for result in results], metric


def by_option(
    results: Sequence[Result], parameter: str, metric: str | None = None, group: Group | None = None
) -> tuple[list[Point], str]:
    """Returns final scores against an option of the environment that runs were trained in.

    Args:
        results: As `load_results` gives them.
        parameter: The option, such as `corridor_length`.
        metric: See `final_scores`.
        group: See `final_scores`.

    Returns:
        The points, over the runs that differ in the seed only, and the metric.

    Raises:
        ConfigError: As `final_scores`; or if a run does not say the option, or it is no number; or
            if two runs of one line and one value share a seed.
    """
    scores, options, metric = final_scores(results, metric, group)
    rows = []
    for row, given in zip(scores, options, strict=True):
        value = given.get(parameter)
        if parameter not in given or parameter == "id":
            known = ", ".join(sorted(set(given) - {"id"})) or "none"
            raise ConfigError(
                f"the run '{row.run}' does not say the option '{parameter}' of its environment; "
                f"known: {known}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(
                f"the option '{parameter}' of the run '{row.run}' is no number but {value!r}; "
                "draw bars instead"
            )
        rows.append(dataclasses.replace(row, parameter=parameter, value=value))
    environments = sorted({row.environment for row in rows})
    if len(environments) > 1:
        raise ConfigError(
            f"the runs are of several environments: {', '.join(environments)}; draw one at a time"
        )
    _check_seeds(rows)
    return merge(rows), metric


def by_setting(
    results: Sequence[Result], metric: str | None = None, group: Group | None = None
) -> tuple[list[Point], list[str], str]:
    """Returns final scores for each environment setting; a point's `value` is its name.

    A point's `parameter` is the option if it is the only one that varies, else empty.

    Args:
        results: As `load_results` gives them.
        metric: See `final_scores`.
        group: See `final_scores`.

    Returns:
        The points; the names of the settings in order; and the metric.

    Raises:
        ConfigError: As `final_scores`; or if two runs of one group and one setting share a seed.
    """
    scores, options, metric = final_scores(results, metric, group)
    names, parameter = setting_names(options)
    rows = [
        dataclasses.replace(row, environment="", parameter=parameter, value=name)
        for row, name in zip(scores, names, strict=True)
    ]
    _check_seeds(rows)
    varied = sorted({option for given in options for option in given if option != "id"})

    def place(i: int) -> tuple[Any, ...]:
        return (options[i]["id"], *(_sortable(options[i].get(option)) for option in varied))

    order = [names[i] for i in sorted(range(len(names)), key=place)]
    return merge(rows), list(dict.fromkeys(order)), metric


def setting_names(options: Sequence[Mapping[str, Any]]) -> tuple[list[str], str]:
    """Returns short names of environments, which say what tells them from the others.

    That is the environment, if there are several, and the options in which those of one
    environment differ.

    Args:
        options: Of each environment; its id among them as `id`.

    Returns:
        The names; and the option, if names are its values because nothing else varies, else "".
    """
    ids = list(dict.fromkeys(given["id"] for given in options))
    varied = sorted({key for given in options for key in given if _varies(key, options)})
    if len(varied) == 1 and len(ids) == 1 and all(varied[0] in given for given in options):
        return [str(given[varied[0]]) for given in options], varied[0]
    names = []
    for given in options:
        alike = [other for other in options if other["id"] == given["id"]]
        varied = sorted({key for other in alike for key in other if _varies(key, alike)})
        parts = [f"{key.replace('_', ' ')} {given[key]}" for key in varied if key in given]
        if len(ids) > 1 or not parts:
            parts.insert(0, short_name(given["id"]))
        names.append("\n".join(parts))
    return names, ""


def _varies(key: str, options: Sequence[Mapping[str, Any]]) -> bool:
    return any(given.get(key) != options[0].get(key) for given in options)


def short_name(environment: str) -> str:
    """`retain/TMaze-v0` as `TMaze`."""
    return environment.rpartition("/")[2].rpartition("-v")[0] or environment


def _sortable(value: Any) -> tuple[int, float, str]:
    simple: Value = value if isinstance(value, int | float | str | None) else str(value)
    return sort_key(simple)


def name_of(result: Result, group: Group | None) -> str:
    """Returns what a line is named after: the label if there is one, else the model.

    Args:
        result: As `load_results` gives it.
        group: What it is named after instead.

    Raises:
        ConfigError: If the run does not say what it is named after.
    """
    if group is None:
        return str(result.get("label") or result["model"])
    return ", ".join(_part_of_name(result, part.strip()) for part in group.split(","))


def _part_of_name(result: Result, asked: str) -> str:
    if asked in ("recipe", "model", "run") and asked in result:
        return str(result[asked])
    path = ["agent", "name"] if asked == "agent" else asked.replace("-", "_").split(".")
    place: Any = result.get("config")
    for name in path:
        if not isinstance(place, dict) or name not in place:
            raise ConfigError(
                f"the run '{result.get('run')}' has no setting '{asked}' to be grouped by; give "
                "recipe, model, agent, run, or settings such as train.learning_rate"
            )
        place = place[name]
    return str(place) if asked == "agent" else f"{path[-1].replace('_', ' ')} {place}"


def grouped(results: Sequence[Result], group: Group | None) -> list[Result]:
    """Returns results whose labels are what they are grouped by; None leaves them as they are."""
    if group is None:
        return list(results)
    return [{**result, "label": name_of(result, group)} for result in results]


def environment_of(result: Result) -> dict[str, Any]:
    """Returns the options of a run's environment, its id among them as `id`.

    Raises:
        ConfigError: If the result does not hold the run's configuration.
    """
    config = result.get("config")
    environment = config.get("environment") if isinstance(config, dict) else None
    if isinstance(config, dict) and "environment" in config and environment is None:
        raise ConfigError(f"the run '{result['run']}' names no environment: it has no final return")
    if not isinstance(environment, dict) or not isinstance(environment.get("id"), str):
        raise ConfigError(
            f"the result of the run '{result['run']}' does not hold its configuration"
        )
    return {**(environment.get("kwargs") or {}), "id": environment["id"]}


def _own_evaluations(result: Result) -> list[Evaluation]:
    """Returns the evaluations of a run in the very environment that it was trained in."""
    options = environment_of(result)

    def own(entry: Mapping[str, Any]) -> bool:
        given = {**(entry.get("kwargs") or {})}
        if entry.get("parameter") is not None:
            given[entry["parameter"]] = entry.get("value")
        if entry["environment"] != options["id"] or acting_notes(entry):
            return False
        if not set(given) <= set(options) | {entry.get("parameter")}:
            return False
        return all(given.get(key, value) == value for key, value in options.items() if key != "id")

    kept = [entry for entry in result["evaluations"] if own(entry)]
    if not kept:
        varied = {entry.get("parameter") for entry in result["evaluations"]} & set(options)
        at = "".join(f" with {name} {options[name]}" for name in sorted(varied))
        raise ConfigError(
            f"the run '{result['run']}' was not evaluated in the environment of its training; "
            f"evaluate it{at or ' there'}"
        )
    return evaluations([{**result, "evaluations": kept}], lambda result: str(result["run"]))


def _check_seeds(rows: Sequence[Evaluation]) -> None:
    """Runs of one line and place must differ in their seed: else they differ in something more."""
    found: dict[tuple[Any, ...], str] = {}
    for row in rows:
        other = found.setdefault((row.label, row.environment, row.value, row.seed), row.file)
        if other != row.file:
            raise ConfigError(
                f"the runs '{other}' and '{row.file}' are both of '{row.label}' with seed "
                f"{row.seed}; group by what they differ in, such as --group agent,model or "
                "--group train.learning_rate, or leave one out"
            )
