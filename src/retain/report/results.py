"""Result files: how they look, how they are read, and how runs are put together.

A run writes one `results.json`::

    {
      "format": 1,
      "run": "rate-seed0",             the run's name
      "recipe": "tmaze/rate",
      "model": "rate",
      "seed": 0,
      "label": "RATE, bptt 1",         optional: the name in plots and tables, else the recipe
      "config": {...},                 optional: the whole configuration
      "provenance": {...},             versions, commit, hardware, command, time
      "training": {
        "updates": 350,
        "seconds": 120.5,
        "length": 90                   optional: the longest episode trained on, as `value` below
      },
      "evaluations": [
        {
          "environment": "retain/TMaze-v0",
          "parameter": "corridor_length",     or null: the environment has no such setting
          "value": 90,                        of the parameter; or null
          "kwargs": {...},                    of the environment
          "step": 500,                        updates done when it was evaluated
          "episodes": 100,
          "seeds": [1000, 1099],              first and last
          "lookahead": 1,                     optional: steps taken at once where actions repeat
          "greedy": true,                     optional: the best actions of a policy that samples
          "target_return": 0.5,               optional: what was asked for, if not the run's own
          "metric": "success",
          "mean": 1.0,                        null stands for "not a number"
          "stderr": 0.0,                      over the episodes
          "return_mean": 1.0,                 optional: of the returns, whatever the metric is
          "return_stderr": 0.0,
          "returns": [...], "lengths": [...], "seconds": 1.2
        }
      ]
    }

Further keys are allowed everywhere; `retain.report.checks` says what must be there. Nothing here
knows who wrote the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from retain.core.config import load_json
from retain.core.errors import ConfigError, RunError
from retain.report.checks import Result, check_result
from retain.report.statistics import mean_stderr

FILE_NAME = "results.json"

Value = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation of one run."""

    label: str
    """The name of the run's group: runs of one label differ in the seed only."""
    run: str
    file: str
    """Where the run's result is; runs of several folders may have one name."""
    recipe: str
    model: str
    seed: int
    environment: str
    parameter: str | None
    value: Value
    metric: str
    step: int
    episodes: int
    mean: float
    stderr: float
    training_length: Value
    return_mean: float = math.nan
    """Mean of the returns, whatever the metric is."""
    return_stderr: float = math.nan
    """Its standard error over the episodes."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Evaluations of one setting, put together over the runs of one label."""

    label: str
    environment: str
    parameter: str | None
    value: Value
    metric: str
    mean: float
    stderr: float
    spread: Literal["runs", "episodes"]
    """What the standard error is over: the runs, or the episodes where there is only one run."""
    runs: int
    episodes: int
    """Of all runs together."""
    return_mean: float = math.nan
    """Of the returns, whatever the metric is."""
    return_stderr: float = math.nan
    """Over what `spread` says."""


def load_results(
    paths: str | Path | Iterable[str | Path], left_out: Callable[[Path], None] | None = None
) -> list[Result]:
    """Reads result files.

    Args:
        paths: Files, folders, and patterns such as `runs/rate-*`. A folder stands for its own
            `results.json`; where it has none, for every one below it; and where there is none
            either, for all its files that end in json. Runs that have no results yet are left out
            where a pattern names them.
        left_out: Told of each run that is left out.

    Returns:
        The results in the order of the paths; a file named twice is read once.

    Raises:
        RunError: If a path leads to no result file, or a file is broken or of another format.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    if not given:
        raise RunError("no result files are given; name run folders or result files")
    files: dict[Path, Path] = {}
    for path in given:
        for file in _find(path, left_out or (lambda folder: None)):
            files.setdefault(file.resolve(), file)
    return [_of(file, check_result(load_json(file), file)) for file in files.values()]


def _of(file: Path, result: Result) -> Result:
    """Notes where a result comes from: runs of several folders may have one name."""
    return {**result, "file": str(file.parent if file.name == FILE_NAME else file)}


def _find(path: str | Path, left_out: Callable[[Path], None]) -> list[Path]:
    path = Path(path)
    if not path.exists() and any(sign in str(path) for sign in "*?["):
        # pathlib matches only relative patterns
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        # Beside the runs there may be files of other kinds, such as logs.
        kept = [match for match in sorted(matches) if match.is_dir() or match.suffix == ".json"]
        for folder in filter(_unfinished, list(kept)):
            left_out(folder)
            kept.remove(folder)
        found = [file for match in kept for file in _in_folder(match)]
        if not found:
            raise RunError(f"no {FILE_NAME} matches {path}")
        return found
    if not path.exists():
        raise RunError(f"{path} does not exist; name a run folder or a result file")
    if _unfinished(path):
        raise RunError(f"{path} has no results yet; `retain resume {path}` goes on with it")
    found = _in_folder(path)
    if not found:
        raise RunError(f"{path} holds no {FILE_NAME}; evaluate the run first")
    return found


def _unfinished(path: Path) -> bool:
    """Whether a path is the folder of a run without results: one that trains, or was stopped."""
    return (path / "config.json").exists() and not (path / FILE_NAME).exists()


def _in_folder(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    own = path / FILE_NAME
    if own.exists():
        return [own]
    # Below it the results of its runs, or, if it is a collection of results, the files themselves.
    return sorted(path.rglob(FILE_NAME)) or sorted(path.glob("*.json"))


def labels(results: Sequence[Result]) -> list[str]:
    """Returns one label per result: its own, or its recipe.

    See `told_apart`.
    """
    return told_apart(
        [str(result.get("label") or result["recipe"]) for result in results],
        [result["seed"] for result in results],
        [result["run"] for result in results],
        [_identity(result) for result in results],
    )


def _identity(result: Result) -> str:
    """What tells a run from all others."""
    return str(result.get("file", result["run"]))


def told_apart(
    names: Sequence[str], seeds: Sequence[Any], runs: Sequence[str], files: Sequence[str]
) -> list[str]:
    """Returns names under which runs may be put together.

    Runs of one name must differ in the seed only. Where two of them share a seed, they must have
    differed in something else, and then each run stands alone as `name (run)`; or, where two of
    these are called alike, as `name (file)`.

    Args:
        names: A name for each run.
        seeds: Its seed; None if it is not known.
        runs: What it is called itself.
        files: Where it is.
    """
    own = list(zip(names, runs, strict=True))
    runs = [
        run if own.count((name, run)) == 1 else file
        for (name, run), file in zip(own, files, strict=True)
    ]
    known: dict[str, list[Any]] = {}
    for name, seed in zip(names, seeds, strict=True):
        if seed is not None:
            known.setdefault(name, []).append(seed)
    shared = {name for name, given in known.items() if len(set(given)) < len(given)}
    return [
        f"{name} ({run})" if name in shared else name for name, run in zip(names, runs, strict=True)
    ]


def training_length(result: Result) -> Value:
    """Returns the longest episode a run was trained on; None if its result does not say.

    In what the evaluations vary, such as the length of a corridor, if the configuration says how
    long that was; else in steps.
    """
    training = result.get("training")
    steps = training.get("length") if isinstance(training, dict) else None
    config = result.get("config")
    option = _option_trained_on(config) if isinstance(config, dict) else None
    if isinstance(steps, int) and isinstance(option, int):
        return min(steps, option)  # less, if not all of what was to be trained on was come to
    return steps


def _option_trained_on(config: dict[str, Any]) -> Any:
    """The value that training had of the option that evaluations vary."""
    told = [config.get(name) or {} for name in ("evaluation", "environment", "train", "data")]
    if not all(isinstance(part, dict) for part in told):
        return None
    evaluation, environment, train, data = told
    collected = (data.get("collect") or {}).get("env_kwargs") or {}
    acted = {**(environment.get("kwargs") or {}), **(train.get("env_kwargs") or {})}
    return (collected if data else acted).get(evaluation.get("parameter"))


def evaluations(
    results: Sequence[Result], label: Callable[[Result], str] | None = None
) -> list[Evaluation]:
    """Returns every evaluation of every result as one flat list.

    What is unlike the run's own follows the label: ` (greedy)` where a policy that samples was
    evaluated by its best actions, ` (asked for 0.5)` where it was asked for another return,
    ` (noise=none)` where the environment had another option than it
    has in the run's configuration, unless all evaluations in that environment had it.

    Args:
        results: As `load_results` gives them.
        label: Gives the label of a result; by default as `labels` does.
    """
    names = [label(result) for result in results] if label else labels(results)
    rows = [
        (name, result, entry, _unlike(result, entry))
        for name, result in zip(names, results, strict=True)
        for entry in result["evaluations"]
    ]
    shared = _shared(rows)

    def named(name: str, entry: dict[str, Any], unlike: dict[str, Any]) -> str:
        notes = acting_notes(entry)
        same = shared[entry["environment"]]
        notes += [f"{pair[0]}={pair[1]}" for pair in unlike.items() if pair not in same]
        return f"{name} ({', '.join(notes)})" if notes else name

    return [
        Evaluation(
            label=named(name, entry, unlike),
            run=result["run"],
            file=_identity(result),
            recipe=result["recipe"],
            model=result["model"],
            seed=result["seed"],
            environment=entry["environment"],
            parameter=entry.get("parameter"),
            value=entry.get("value"),
            metric=entry["metric"],
            step=entry["step"],
            episodes=entry["episodes"],
            mean=as_number(entry["mean"]),
            stderr=as_number(entry["stderr"]),
            training_length=training_length(result),
            **dict(zip(("return_mean", "return_stderr"), returns(entry), strict=True)),
        )
        for name, result, entry, unlike in rows
    ]


def _shared(rows: Sequence[tuple[str, Result, Any, dict[str, Any]]]) -> dict[str, list[Any]]:
    """By environment, what all evaluations in it have that is unlike their runs' own."""
    options: dict[str, list[list[Any]]] = {}
    for *_, entry, unlike in rows:
        options.setdefault(entry["environment"], []).append(list(unlike.items()))
    return {
        environment: [pair for pair in given[0] if all(pair in other for other in given)]
        for environment, given in options.items()
    }


def _unlike(result: Result, entry: dict[str, Any]) -> dict[str, Any]:
    """The options of the environment that an evaluation had and the run's configuration has not.

    All of them, if it was another environment; none, if the configuration is not known.
    """
    config = result.get("config")
    environment = config.get("environment") if isinstance(config, dict) else None
    if not isinstance(environment, dict):
        return {}
    if environment.get("id") != entry["environment"]:
        environment = {}
    own, varied = environment.get("kwargs") or {}, entry.get("parameter")
    return {
        name: value
        for name, value in sorted((entry.get("kwargs") or {}).items())
        if name != varied and (name not in own or own[name] != value)
    }


def returns(entry: dict[str, Any]) -> tuple[float, float]:
    """Returns the mean of an evaluation's returns and its standard error over the episodes.

    Files of older versions do not say them; they are made from the returns of the episodes, and
    are NaN where these are missing too.
    """
    if "return_mean" in entry:
        return as_number(entry["return_mean"]), as_number(entry.get("return_stderr"))
    if entry["metric"] == "return":
        return as_number(entry["mean"]), as_number(entry["stderr"])
    each = entry.get("returns")
    if not isinstance(each, list) or not each:
        return math.nan, math.nan
    return mean_stderr([as_number(value) for value in each])


def measured(rows: Iterable[Evaluation], metric: str) -> list[Evaluation]:
    """Keeps the evaluations that have a metric; one of success may have its returns too."""
    kept = []
    for row in rows:
        if row.metric == metric:
            kept.append(row)
        elif metric == "return" and not math.isnan(row.return_mean):
            mean, stderr = row.return_mean, row.return_stderr
            kept.append(replace(row, metric="return", mean=mean, stderr=stderr))
    return kept


def known_metrics(rows: Iterable[Evaluation]) -> str:
    """Returns the metrics that `measured` finds, for messages."""
    known = set()
    for row in rows:
        known |= {row.metric} if math.isnan(row.return_mean) else {row.metric, "return"}
    return ", ".join(sorted(known)) or "none"


def latest(rows: Iterable[Evaluation]) -> list[Evaluation]:
    """Keeps, of each run and setting, the evaluation at the last step.

    Of two at one step the later one in the file is kept.
    """
    kept: dict[tuple[Any, ...], Evaluation] = {}
    for row in rows:
        key = (row.label, row.file, row.seed, row.environment, row.parameter, row.value, row.metric)
        if key not in kept or row.step >= kept[key].step:
            kept[key] = row
    return list(kept.values())


def merge(rows: Iterable[Evaluation]) -> list[Point]:
    """Puts the runs of one label together, setting by setting.

    The mean is over the runs, and so is the standard error; where there is only one run, the
    standard error is over its episodes, and `spread` says so. Of each run, only the last step
    counts.

    Returns:
        Points in the order in which the labels appear, then by environment, metric and value.
    """
    groups: dict[tuple[Any, ...], list[Evaluation]] = {}
    for row in latest(rows):
        key = (row.label, row.environment, row.metric, row.parameter, row.value)
        groups.setdefault(key, []).append(row)
    order = {label: i for i, label in enumerate(dict.fromkeys(key[0] for key in groups))}
    points = []
    for (label, environment, metric, parameter, value), group in groups.items():
        mean, over_runs = mean_stderr([row.mean for row in group])
        return_mean, return_over_runs = mean_stderr([row.return_mean for row in group])
        alone = len(group) == 1
        points.append(
            Point(
                label=label,
                environment=environment,
                parameter=parameter,
                value=value,
                metric=metric,
                mean=mean,
                stderr=group[0].stderr if alone else over_runs,
                spread="episodes" if alone else "runs",
                runs=len(group),
                episodes=sum(row.episodes for row in group),
                return_mean=return_mean,
                return_stderr=group[0].return_stderr if alone else return_over_runs,
            )
        )

    def place(point: Point) -> tuple[Any, ...]:
        key = (point.environment, point.metric, point.parameter or "")
        return (order[point.label], *key, *sort_key(point.value))

    return sorted(points, key=place)


def points(results: Sequence[Result], label: Callable[[Result], str] | None = None) -> list[Point]:
    """Returns `merge(evaluations(results, label))`.

    Raises:
        ConfigError: If the results hold no evaluation.
    """
    merged = merge(evaluations(results, label))
    if not merged:
        raise ConfigError("the results hold no evaluation; run: retain evaluate RUN")
    return merged


def sort_key(value: Value) -> tuple[int, float, str]:
    """Orders the values of a parameter: none first, then numbers, then words."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, str):
        return (2, 0.0, value)
    return (1, float(value), "")


def acting_notes(entry: Mapping[str, Any]) -> list[str]:
    """Says how a policy acted in an evaluation, where not as its run's settings say."""
    notes = ["greedy"] if entry.get("greedy") else []
    if (target := entry.get("target_return")) is not None:
        notes.append(f"asked for {target:g}")
    return notes


def as_number(value: float | None) -> float:
    """Returns a number of a results file, where null stands for one that is not finite."""
    return math.nan if value is None else float(value)
