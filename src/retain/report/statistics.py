"""Statistics over runs and tasks, as the library rliable defines them.

Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
NeurIPS 2021. Axes: R runs, N tasks, P thresholds. Scores are of shape (R, N), where N may be 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retain.core.errors import ConfigError

Floats = NDArray[np.float64]
Statistic = Callable[..., Any]


def mean_stderr(values: ArrayLike) -> tuple[float, float]:
    """Returns the mean of some numbers and its standard error (with n - 1).

    One number alone has no known error: then the second is NaN.

    Raises:
        ConfigError: If there are no numbers.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0:
        raise ConfigError("a mean needs at least one value")
    if flat.size == 1:
        return float(flat[0]), float("nan")
    return float(flat.mean()), float(flat.std(ddof=1) / np.sqrt(flat.size))


def with_error(mean: float, stderr: float | None, digits: int = 2) -> str:
    """Returns `mean ± standard error`; the mean alone where the error is not known."""
    known = stderr is not None and not math.isnan(stderr)
    return f"{mean:.{digits}f}" + (f" ± {stderr:.{digits}f}" if known else "")


def mean_score(scores_RN: ArrayLike) -> float:
    """Returns the mean over all runs and tasks."""
    return float(_scores(scores_RN).mean())


def median_score(scores_RN: ArrayLike) -> float:
    """Returns the median over tasks of the mean over runs."""
    return float(np.median(_scores(scores_RN).mean(axis=0)))


def interquartile_mean(scores_RN: ArrayLike) -> float:
    """Returns the mean of the middle half of all scores of all runs and tasks.

    Of n scores, the n // 4 lowest and the n // 4 highest are left out.
    """
    from scipy.stats import trim_mean  # slow to import, and not needed by most reports

    return float(trim_mean(_scores(scores_RN), proportiontocut=0.25, axis=None))


def optimality_gap(scores_RN: ArrayLike, target: float = 1.0) -> float:
    """Returns by how much the scores miss a target on average; more than the target counts nothing.

    Args:
        scores_RN: The scores.
        target: The score that is good enough (gamma in the paper).
    """
    return float(target - np.minimum(_scores(scores_RN), target).mean())


def performance_profile(
    scores_RN: ArrayLike, thresholds_P: ArrayLike, over: Literal["runs", "tasks"] = "runs"
) -> Floats:
    """Returns the fraction of scores above each threshold.

    Args:
        scores_RN: The scores.
        thresholds_P: The thresholds.
        over: "runs" counts every run of every task (the paper's score distribution); "tasks"
            counts tasks by their mean over runs (the average-score distribution).

    Returns:
        One fraction per threshold, shape (P,).
    """
    scores = _scores(scores_RN)
    if over == "tasks":
        scores = scores.mean(axis=0)
    elif over != "runs":
        raise ConfigError(f"a profile is over 'runs' or 'tasks', not {over!r}")
    ordered = np.sort(scores, axis=None)
    thresholds = np.asarray(thresholds_P, dtype=np.float64).ravel()
    at_most_P = np.searchsorted(ordered, thresholds, side="right")
    return np.asarray(1.0 - at_most_P / ordered.size, dtype=np.float64)


def probability_of_improvement(scores_RN: ArrayLike, other_RN: ArrayLike) -> float:
    """Returns how likely a run of the first is better than a run of the other on a random task.

    A tie counts one half. The numbers of runs may differ, the tasks must be the same.
    """
    x_RN, y_RN = _scores(scores_RN), _scores(other_RN)
    if x_RN.shape[1] != y_RN.shape[1]:
        raise ConfigError(
            f"both must have the same tasks, but there are {x_RN.shape[1]} and {y_RN.shape[1]}"
        )
    better = x_RN[:, None] > y_RN[None]
    equal = x_RN[:, None] == y_RN[None]
    return float((better + 0.5 * equal).mean())


def bootstrap_interval(
    statistic: Statistic,
    *scores_RN: ArrayLike,
    confidence: float = 0.95,
    repetitions: int = 2000,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Returns the stratified bootstrap confidence interval of a statistic (percentile method).

    Runs are drawn with replacement for each task on its own, and for each set of scores on its own.

    Args:
        statistic: Takes as many score arrays as are given; returns a number or an array.
        *scores_RN: The scores; more than one for statistics that compare.
        confidence: The share of the resampled statistics inside the interval.
        repetitions: How often to resample. rliable takes 50 000 for numbers, 2000 for profiles.
        seed: Of the resampling.

    Returns:
        The lower and the upper end, numbers or arrays like the statistic's value.

    Raises:
        ConfigError: For a confidence outside (0, 1), fewer than one repetition, or no scores.
    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence must be between 0 and 1, not {confidence}")
    if repetitions < 1:
        raise ConfigError(f"repetitions must be at least 1, not {repetitions}")
    if not scores_RN:
        raise ConfigError("the bootstrap needs at least one array of scores")
    given = [_scores(scores) for scores in scores_RN]
    rng = np.random.default_rng(seed)
    values = np.asarray(
        [statistic(*(_resample(scores, rng) for scores in given)) for _ in range(repetitions)]
    )
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail], axis=0)
    return (float(low), float(high)) if values.ndim == 1 else (low, high)


def _resample(scores_RN: Floats, rng: np.random.Generator) -> Floats:
    rows_RN = rng.integers(scores_RN.shape[0], size=scores_RN.shape)
    return np.take_along_axis(scores_RN, rows_RN, axis=0)


def _scores(scores: ArrayLike | Sequence[Any]) -> Floats:
    """Checks scores; a flat list counts as the runs of one task."""
    try:
        array = np.asarray(scores, dtype=np.float64)
    except ValueError as error:
        raise ConfigError("scores must be numbers, with the same runs for every task") from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.size == 0:
        raise ConfigError(f"scores must have the shape (runs, tasks), not {array.shape}")
    if np.isnan(array).any():
        raise ConfigError("scores must be numbers, but there is a NaN among them")
    return array
