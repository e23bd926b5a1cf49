"""Ctrl-C while training: saved first, and gone on with from there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from retain import api
from retain.training import checkpoints
from retain.training.config import AnyRunConfig
from retain.training.interrupts import Interrupts
from tiny_runs import assert_same_runs, tiny, tiny_online

CONFIGS: dict[str, AnyRunConfig] = {
    "offline": tiny(updates=12, checkpoint_every=10),
    "online": tiny_online("dqn", "lstm", episodes=30, log_every=1, checkpoint_every=10_000),
    "of its own": tiny_online("a2c", "lstm", episodes=30, log_every=1, checkpoint_every=10_000),
}


@pytest.fixture(autouse=True)
def _usual_handler() -> Iterator[None]:
    """What a program has that a terminal started; what a shell's background inherits ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


class Presses:
    """Presses Ctrl-C when training reports for the third time."""

    def __init__(self) -> None:
        self.reports: list[int] = []

    def __call__(self, at: int, values: dict[str, float]) -> None:
        self.reports.append(at)
        if len(self.reports) == 3:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_was_learned_is_saved(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = api.train(CONFIGS[name], runs=tmp_path, name="whole")
    presses = Presses()
    with pytest.raises(KeyboardInterrupt):
        api.train(CONFIGS[name], runs=tmp_path, name="stopped", report=presses)
    assert "Ctrl-C again stops at once" in capsys.readouterr().err
    saved = checkpoints.step_of(checkpoints.find(tmp_path / "stopped"))
    assert len(presses.reports) == 3
    assert 0 < saved < checkpoints.step_of(checkpoints.find(whole.folder))
    api.resume(tmp_path / "stopped")
    assert_same_runs(tmp_path / "stopped", whole.folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_stops_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        signal.raise_signal(number)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGTERM) is before


def test_somebody_elses_handler_is_left_alone() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGINT]
    assert not interrupts.asked
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_thread_has_none() -> None:
    done: list[bool] = []

    def body() -> None:
        with Interrupts() as interrupts:
            done.append(interrupts.asked)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [False]
