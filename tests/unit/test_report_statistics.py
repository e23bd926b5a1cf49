"""Each statistic against a computation that is slow and obvious."""

from __future__ import annotations

import itertools
import statistics as stdlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from retain.core.errors import ConfigError
from retain.report.statistics import (
    bootstrap_interval,
    interquartile_mean,
    mean_score,
    mean_stderr,
    median_score,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)

number = st.floats(-10, 10, allow_nan=False, width=32)
score_arrays = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=7), elements=number)
few = settings(deadline=None, max_examples=50)


@few
@given(st.lists(number, min_size=2, max_size=20))
def test_mean_stderr(values: list[float]) -> None:
    mean, stderr = mean_stderr(values)
    assert mean == pytest.approx(stdlib.fmean(values), abs=1e-9)
    assert stderr == pytest.approx(stdlib.stdev(values) / len(values) ** 0.5, abs=1e-9)


def test_mean_stderr_of_one_and_of_none() -> None:
    mean, stderr = mean_stderr([3])
    assert mean == 3.0
    assert np.isnan(stderr)
    with pytest.raises(ConfigError, match="at least one value"):
        mean_stderr([])


@few
@given(score_arrays)
def test_aggregates(scores: np.ndarray) -> None:
    flat = sorted(scores.ravel().tolist())
    cut = len(flat) // 4
    assert interquartile_mean(scores) == pytest.approx(
        stdlib.fmean(flat[cut : len(flat) - cut]), abs=1e-9
    )
    assert mean_score(scores) == pytest.approx(stdlib.fmean(flat), abs=1e-9)
    tasks = [stdlib.fmean(column) for column in scores.T.tolist()]
    assert median_score(scores) == pytest.approx(stdlib.median(tasks), abs=1e-9)


@few
@given(score_arrays, st.floats(-5, 5))
def test_optimality_gap(scores: np.ndarray, target: float) -> None:
    expected = stdlib.fmean(max(target - score, 0.0) for score in scores.ravel().tolist())
    assert optimality_gap(scores, target) == pytest.approx(expected, abs=1e-6)


def test_optimality_gap_of_perfect_scores() -> None:
    assert optimality_gap([[1.0, 2.0]]) == 0.0
    assert optimality_gap([[0.5, 9.0]]) == 0.25


@few
@given(score_arrays, st.lists(number, min_size=1, max_size=6))
def test_performance_profile(scores: np.ndarray, thresholds: list[float]) -> None:
    profile = performance_profile(scores, thresholds)
    flat = scores.ravel().tolist()
    expected = [sum(s > threshold for s in flat) / len(flat) for threshold in thresholds]
    np.testing.assert_allclose(profile, expected, atol=1e-12)


def test_performance_profile_is_strict_and_can_be_over_tasks() -> None:
    scores = [[0.0, 1.0], [1.0, 1.0]]
    assert performance_profile(scores, [0.0, 1.0]).tolist() == [0.75, 0.0]
    assert performance_profile(scores, [0.4, 0.6], over="tasks").tolist() == [1.0, 0.5]
    with pytest.raises(ConfigError, match="over 'runs' or 'tasks'"):
        performance_profile(scores, [0.0], over="episodes")  # type: ignore[arg-type]


@few
@given(st.data())
def test_probability_of_improvement(data: Any) -> None:
    tasks = data.draw(st.integers(1, 3))
    values = st.sampled_from([0.0, 0.5, 1.0])  # many ties
    x = data.draw(arrays(np.float64, (data.draw(st.integers(1, 5)), tasks), elements=values))
    y = data.draw(arrays(np.float64, (data.draw(st.integers(1, 5)), tasks), elements=values))
    per_task = [
        stdlib.fmean((a > b) + 0.5 * (a == b) for a, b in itertools.product(x[:, n], y[:, n]))
        for n in range(tasks)
    ]
    assert probability_of_improvement(x, y) == pytest.approx(stdlib.fmean(per_task))
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)


def test_probability_of_improvement_is_the_mann_whitney_statistic() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    x, y = rng.normal(0.3, 1, (9, 1)), rng.normal(0, 1, (7, 1))
    u = mannwhitneyu(x[:, 0], y[:, 0], alternative="greater").statistic
    assert probability_of_improvement(x, y) == pytest.approx(u / (9 * 7))
    with pytest.raises(ConfigError, match="same tasks, but there are 1 and 2"):
        probability_of_improvement(x, np.zeros((7, 2)))


def naive_interval(scores: np.ndarray, repetitions: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    runs, tasks = scores.shape
    means = []
    for _ in range(repetitions):
        drawn = rng.integers(runs, size=(runs, tasks))
        total = 0.0
        for run in range(runs):
            for task in range(tasks):
                total += scores[drawn[run, task], task]
        means.append(total / (runs * tasks))
    return float(np.percentile(means, 5)), float(np.percentile(means, 95))


def test_bootstrap_against_loops() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 3))
    interval = bootstrap_interval(mean_score, scores, confidence=0.9, repetitions=200, seed=4)
    assert interval == pytest.approx(naive_interval(scores, 200, 4))


def test_bootstrap_resamples_each_task_on_its_own() -> None:
    # Every run has the same score in a task, so no resampling can change the mean ...
    stratified = np.tile([[0.0, 10.0]], (6, 1))
    assert bootstrap_interval(mean_score, stratified, repetitions=50) == (5.0, 5.0)
    # ... and runs of two tasks are not kept together: their opposite signs do not cancel.
    opposite = np.asarray([[1.0, -1.0], [-1.0, 1.0]] * 4)
    low, high = bootstrap_interval(mean_score, opposite, repetitions=200)
    assert low < -0.1 < 0.1 < high


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for trial in range(60):
        scores = rng.normal(size=(20, 2))
        low, high = bootstrap_interval(
            mean_score, scores, confidence=0.9, repetitions=150, seed=trial
        )
        hits += low <= 0.0 <= high
    assert 44 <= hits <= 60


def test_bootstrap_of_arrays_and_of_two_sets() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(1, 1, (6, 2)), rng.normal(0, 1, (4, 2))
    low, high = bootstrap_interval(
        lambda scores: performance_profile(scores, [-1.0, 0.0, 1.0]), x, repetitions=100
    )
    assert low.shape == high.shape == (3,)
    assert (low <= performance_profile(x, [-1.0, 0.0, 1.0])).all()
    low, high = bootstrap_interval(probability_of_improvement, x, y, repetitions=100)
    assert 0.5 < low <= probability_of_improvement(x, y) <= high <= 1.0
    again = bootstrap_interval(probability_of_improvement, x, y, repetitions=100)
    assert again == (low, high)  # the seed decides


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"confidence": 1.0}, "confidence must be between 0 and 1, not 1.0"),
        ({"repetitions": 0}, "repetitions must be at least 1, not 0"),
    ],
)
def test_bootstrap_bad_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval(mean_score, [[1.0]], **arguments)


def test_bootstrap_needs_scores() -> None:
    with pytest.raises(ConfigError, match="at least one array"):
        bootstrap_interval(mean_score)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"must have the shape \(runs, tasks\)"),
        (np.zeros((2, 2, 2)), r"must have the shape \(runs, tasks\), not \(2, 2, 2\)"),
        ([[1.0], [1.0, 2.0]], "same runs for every task"),
        (["a"], "must be numbers"),
        ([[1.0, np.nan]], "there is a NaN"),
    ],
)
def test_bad_scores(scores: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        interquartile_mean(scores)


def test_a_flat_list_is_one_task() -> None:
    assert interquartile_mean([0.0, 1.0, 2.0, 100.0]) == 1.5
    assert probability_of_improvement([1.0, 2.0], [0.0]) == 1.0
