"""Learning curves: reading `metrics.jsonl` and putting several seeds on one axis.

Axes: S steps of the common axis, R runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retain.core.errors import RunError


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric against the step, over several runs."""

    steps_S: NDArray[np.float64]
    mean_S: NDArray[np.float64]
    stderr_S: NDArray[np.float64]
    """NaN where only one run reaches."""
    runs: int


def load_metrics(path: str | Path) -> list[dict[str, Any]]:
    """Reads a file of metrics, one JSON object a line.

    A last line that is cut off, as a killed run leaves it, is left out.

    Args:
        path: The file, or the run folder that holds `metrics.jsonl`.

    Raises:
        RunError: If the file is missing, or any other line is not a JSON object.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "metrics.jsonl"
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


def series(path: str | Path, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the steps and values of one metric of one run, steps rising.

    A step that is there twice, as after a resume, keeps its later value; values that are not
    numbers are left out.

    Raises:
        RunError: If no line has the metric; the message lists those that there are.
    """
    records = load_metrics(path)
    values: dict[float, float] = {}
    for record in records:
        step, value = record.get("step"), record.get(key)
        if isinstance(step, int | float) and _is_number(step) and _is_number(value):
            values[float(step)] = float(record[key])
    if not values:
        known = sorted({k for r in records for k, v in r.items() if k != "step" and _is_number(v)})
        raise RunError(f"{path} has no metric '{key}'; known: {', '.join(known) or 'none'}")
    steps = np.asarray(sorted(values))
    return steps, np.asarray([values[step] for step in steps])


def curve(paths: Sequence[str | Path], key: str) -> Curve:
    """Returns the mean of one metric over runs, with its standard error.

    The axis has every step at which any run has a value. Between its own steps a run is
    interpolated; before its first and after its last it does not count.

    Raises:
        RunError: If there are no paths, or one of them lacks the metric.
    """
    if not paths:
        raise RunError(f"no runs are given for the metric '{key}'")
    runs = [series(path, key) for path in paths]
    steps_S = np.unique(np.concatenate([steps for steps, _ in runs]))
    values_RS = np.stack(
        [np.interp(steps_S, steps, v, left=np.nan, right=np.nan) for steps, v in runs]
    )
    count_S = np.isfinite(values_RS).sum(axis=0)
    kept = count_S > 0
    steps_S, values_RS, count_S = steps_S[kept], values_RS[:, kept], count_S[kept]
    mean_S = np.nansum(values_RS, axis=0) / count_S
    squares_S = np.nansum((values_RS - mean_S) ** 2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr_S = np.where(count_S > 1, np.sqrt(squares_S / (count_S - 1) / count_S), np.nan)
    return Curve(steps_S=steps_S, mean_S=mean_S, stderr_S=stderr_S, runs=len(runs))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
