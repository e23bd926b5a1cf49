"""Learning curves: reading `metrics.jsonl` and putting several seeds on one axis.

Axes: S places of the common axis, N values of one run, R runs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from retain.core.config import load_json
from retain.core.errors import ConfigError, RunError
from retain.report.checks import check_result

Axis: TypeAlias = Literal["step", "updates", "env_steps", "episodes"]
Band: TypeAlias = Literal["confidence", "standard_error", "none"]

POINTS = 300
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric over several runs."""

    x_S: NDArray[np.float64]
    mean_S: NDArray[np.float64]
    low_S: NDArray[np.float64]
    """Lower end of the mean's band; NaN where only one run reaches, or none is wanted."""
    high_S: NDArray[np.float64]
    """Upper end."""
    count_S: NDArray[np.int64]
    """Runs that reach so far."""
    runs: int
    least: float
    """The least value of any run."""
    most: float
    """The largest."""


def load_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of metrics, one JSON object a line.

    A last line that is cut off, as a killed run leaves it, is left out.

    Args:
        path: The file, or the run folder that holds `metrics.jsonl`; or a results file, which has
            the evaluations in training.

    Raises:
        RunError: If the file is missing, or any other line is not a JSON object.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "metrics.jsonl"
    if path.suffix == ".json":
        return _history(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; name a run folder or its metrics.jsonl") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            record = None
        if not isinstance(record, dict):
            raise RunError(f"{path}, line {number}: not a JSON object; the file is damaged")
        records.append(record)
    return records


def _history(path: Path) -> list[dict[str, Any]]:
    """The evaluations in training that a results file keeps, as lines of metrics."""
    found = load_json(path)
    if not isinstance(found, dict):
        return []
    if "format" in found:  # files of other kinds may have evaluations too
        check_result(found, path)
    # What the mean is of is said by the evaluation at the end: success, or the return.
    metric = next((e.get("metric") for e in found.get("evaluations", [])), None) or "mean"
    records = []
    for entry in (found.get("training") or {}).get("history", []):
        record = {"step": entry.get("env_steps", entry.get("update")), **entry}
        record["eval/return"] = record.pop("return", None)
        record[f"eval/{metric}"] = record.pop("mean", None)
        records.append(record)
    return records


def has_metrics(run: Path) -> bool:
    """Whether a run's folder has lines of metrics; a run that has just begun has none."""
    path = run / "metrics.jsonl"
    return path.exists() and path.stat().st_size > 0


def series(
    path: str | Path, key: str, x: Axis = "step"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the places and values of one metric of one run, places rising.

    A place that is there twice, as after a resume, keeps its later value; values that are not
    numbers are left out.

    Args:
        path: The file, or the run folder.
        key: The metric.
        x: What the places count: the step that the line was logged under, updates, environment
            steps, or episodes. Lines that say no updates are of runs whose step counts them.

    Raises:
        RunError: If no line has the metric, and the message lists those that there are; or if none
            of those that have it says `x`.
    """
    records = load_metrics(path)
    having = [record for record in records if _is_number(record.get(key))]
    if not having:
        known = sorted({k for r in records for k, v in r.items() if k != "step" and _is_number(v)})
        raise RunError(f"{path} has no metric '{key}'; known: {', '.join(known) or 'none'}")
    values = {}
    for record in having:
        offline = "updates" not in record and "env_steps" not in record
        place = record.get("step" if x == "updates" and offline else x)
        if _is_number(place):
            values[float(place)] = float(record[key])
    if not values:
        hint = "" if x == "step" else "; runs on datasets count updates alone: --x updates"
        raise RunError(f"{path} does not say '{x}' where it has '{key}'{hint}")
    places = np.asarray(sorted(values))
    return places, np.asarray([values[place] for place in places])


def counts_of_steps(path: str | Path) -> Axis:
    """What the step of a run's metrics counts: updates, or environment steps if it acts to learn.

    Args:
        path: The file, or the run folder.
    """
    return "env_steps" if any("env_steps" in record for record in load_metrics(path)) else "updates"


def rolling_mean(values_N: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Returns the mean of each value and those before it, `window` at most."""
    total_N = np.concatenate([[0.0], np.cumsum(values_N)])
    stop_N = np.arange(1, values_N.size + 1)
    start_N = np.maximum(stop_N - window, 0)
    return (total_N[stop_N] - total_N[start_N]) / (stop_N - start_N)


def curve(
    paths: Sequence[str | Path],
    key: str,
    *,
    x: Axis = "step",
    smooth: int = 1,
    hold: bool = False,
    band: Band = "confidence",
) -> Curve:
    """Returns the mean of one metric over runs, with its 95 % confidence interval.

    The axis has 300 places from the first to the last at which any run has a value. Between its own
    places a run is interpolated; before its first and after its last it does not count. The
    interval is that of Student's t-distribution over the runs.

    Args:
        paths: One for each run.
        key: The metric.
        x: What the axis counts.
        smooth: Values of a run that are averaged, the latest ones, before it is interpolated.
        hold: Go on with a run's last value to the end, as of runs that end once they are solved.
        band: `standard_error` gives one standard error to both sides in place of the interval,
            which is far wider than the runs are where there are two or three; `none` gives NaN.

    Raises:
        RunError: If there are no paths, or one of them lacks the metric or the axis.
        ConfigError: If `smooth` is below 1.
    """
    from scipy.special import stdtrit  # Student's quantiles, without the slow scipy.stats

    if not paths:
        raise RunError(f"no runs are given for the metric '{key}'")
    if smooth < 1:
        raise ConfigError(f"smooth must be at least 1, not {smooth}")
    runs = [series(path, key, x) for path in paths]
    first, last = min(places[0] for places, _ in runs), max(places[-1] for places, _ in runs)
    x_S = np.linspace(first, last, POINTS) if first < last else np.asarray([first])
    # A run of a single value would else fall between two places.
    x_S = np.union1d(x_S, [places[0] for places, _ in runs if places.size == 1])
    smooth_runs = [(places, rolling_mean(values, smooth)) for places, values in runs]
    values_RS = np.stack(
        [
            np.interp(x_S, places, values, left=np.nan, right=values[-1] if hold else np.nan)
            for places, values in smooth_runs
        ]
    )
    count_S = np.isfinite(values_RS).sum(axis=0)
    kept = count_S > 0
    x_S, values_RS, count_S = x_S[kept], values_RS[:, kept], count_S[kept]
    mean_S = np.nansum(values_RS, axis=0) / count_S
    squares_S = np.nansum((values_RS - mean_S) ** 2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr_S = np.where(count_S > 1, np.sqrt(squares_S / (count_S - 1) / count_S), np.nan)
    width_S = np.full_like(stderr_S, np.nan) if band == "none" else stderr_S
    if band == "confidence":
        width_S = stderr_S * stdtrit(np.maximum(count_S - 1, 1), (1 + CONFIDENCE) / 2)
    return Curve(
        x_S=x_S,
        mean_S=mean_S,
        low_S=mean_S - width_S,
        high_S=mean_S + width_S,
        count_S=count_S,
        runs=len(runs),
        least=float(np.nanmin(values_RS)),
        most=float(np.nanmax(values_RS)),
    )


def curves_csv(curves: Mapping[str, Curve]) -> str:
    """Returns curves as CSV with a header, full precision; ends not known are empty.

    Args:
        curves: By the name of their group.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("x", "group", "mean", "low", "high", "runs"))
    for name, one in curves.items():
        columns = (one.x_S, one.mean_S, one.low_S, one.high_S, one.count_S)
        for x, *numbers, count in zip(*(column.tolist() for column in columns), strict=True):
            cells = ["" if np.isnan(value) else value for value in numbers]
            writer.writerow((x, name, *cells, count))
    return text.getvalue()


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
