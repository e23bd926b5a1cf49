"""Learning-rate schedules."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core.errors import ConfigError
from retain.training import schedules
from retain.training.schedules import longest_episode, memory_cost_weight
from retain.training.settings import Schedule, TrainConfig


def config(schedule: Schedule, **rest: float) -> TrainConfig:
    settings = {"updates": 110, "warmup_updates": 10, "learning_rate": 2.0, **rest}
    return TrainConfig(schedule=schedule, **settings)


def learning_rate(told: TrainConfig, update: int) -> float:
    return schedules.learning_rate(told, update, schedules.spent_updates(told, update))


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warm_up_rises_linearly_and_never_starts_at_zero(schedule: Schedule) -> None:
    rates = [learning_rate(config(schedule), update) for update in range(11)]
    assert rates[:10] == pytest.approx([0.2 * n for n in range(1, 11)])
    assert rates[10] == 2.0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_no_warm_up_begins_at_the_peak(schedule: Schedule) -> None:
    assert learning_rate(config(schedule, warmup_updates=0), 0) == 2.0


def test_middle_and_end() -> None:
    assert learning_rate(config("constant"), 110) == 2.0
    assert learning_rate(config("linear"), 60) == pytest.approx(2.0 * 0.55)
    assert learning_rate(config("cosine"), 60) == pytest.approx(2.0 * 0.55)
    quarter = 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2
    assert learning_rate(config("cosine"), 35) == pytest.approx(2.0 * quarter)
    assert learning_rate(config("linear", final_learning_rate=0.0), 110) == 0.0


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_it_stays_at_its_end(schedule: Schedule) -> None:
    for update in (110, 111, 160, 210, 10_000):
        assert learning_rate(config(schedule), update) == pytest.approx(0.2)


@settings(max_examples=30)
@given(
    schedule=st.sampled_from(["linear", "cosine"]),
    warmup=st.integers(0, 20),
    updates=st.integers(1, 50),
)
def test_after_the_warm_up_it_never_rises(schedule: Schedule, warmup: int, updates: int) -> None:
    told = config(schedule, warmup_updates=warmup, updates=updates)
    rates = [learning_rate(told, update) for update in range(warmup, 120)]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rates))
    assert all(0.2 - 1e-12 <= rate <= 2.0 for rate in rates)


def test_the_weight_of_the_memory_cost_rises_and_stays():
    half = config("constant", memory_cost_warmup=0.5)
    weights = [memory_cost_weight(half, update) for update in range(110)]
    assert weights == sorted(weights)
    assert weights[0] == 0.0
    assert weights[11] == pytest.approx(0.2**3)
    assert weights[55:] == [1.0] * 55
    assert memory_cost_weight(config("constant"), 0) == 1.0


def test_before_its_start_the_memory_costs_nothing():
    late = config("constant", memory_cost_start=0.5, memory_cost_warmup=0.25, updates=80)
    weights = [memory_cost_weight(late, update) for update in range(80)]
    assert weights[:41] == [0.0] * 41
    assert weights[50] == pytest.approx(0.5**3)
    assert weights[60:] == [1.0] * 20
    sudden = config("constant", memory_cost_start=0.5, updates=80)
    assert [memory_cost_weight(sudden, update) for update in (0, 39, 40, 79)] == [0, 0, 1, 1]


def test_the_curricula_and_their_stages():
    def longest(updates: int, **settings: Any) -> list[int | None]:
        told = config("constant", updates=updates, **settings)
        return [longest_episode(told, update, 10, 3) for update in range(updates)]

    assert longest(4) == [None] * 4
    assert longest(6, curriculum=True) == [10, 10, 20, 20, None, None]
    assert longest(8, curriculum_from=8) == [8, 8, 16, 16, None, None, None, None]
    assert longest(6, curriculum_from=15) == [15] * 3 + [None] * 3
    assert longest(3, curriculum_from=30) == longest(3, curriculum_from=99) == [None] * 3
    with pytest.raises(ConfigError, match="exclude each other"):
        TrainConfig(curriculum=True, curriculum_from=5)
    with pytest.raises(ConfigError, match="curriculum_from must be at least 1, not 0"):
        TrainConfig(curriculum_from=0)


@pytest.mark.parametrize("name", ["memory_cost_warmup", "memory_cost_start"])
def test_a_share_beyond_the_training_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"{name} must be from 0 to 1, not 2"):
        TrainConfig(**{name: 2})
