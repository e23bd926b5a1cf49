"""What commands show where there is no terminal, and what `retain info` tells."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from retain.cli import display
from retain.cli.info import reflow
from retain.cli.main import main

LONG = "retain/a-name-that-alone-is-as-long-as-many-a-terminal-is-wide-and-then-some"


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "console", Console(highlight=False, width=40))


def test_a_terminal_shows_how_far_an_evaluation_is(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(display, "console", terminal)
    with display.acting("corridor_length") as report:
        assert report is not None
        report(9600, 3, 1200)
        report(9600, 4, 1300)  # too soon after the other to be shown
    assert "acting at corridor length 9600: 3 episodes ended, step 1,200" in out.getvalue()
    monkeypatch.setattr(display, "console", Console(file=out))
    with display.acting(None) as report:
        assert report is None


@pytest.mark.usefixtures("narrow")
def test_a_line_of_progress_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    shown = display.TrainingDisplay(LONG, 50, "step")
    shown(10, {"train/loss": 0.5})
    now += 20
    shown(30, {"train/loss": 0.25})
    shown(30, {"eval/return/9": 1.0})
    assert capsys.readouterr().out.splitlines() == [
        f"{LONG}  step 10/50  loss 0.5000",  # neither speed nor time is known yet
        f"{LONG}  step 30/50  loss 0.2500  1.0 steps/s  20 s left",
        f"{LONG}  step 30: return/9 1.00",
    ]


def test_names_of_environments_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        "environment": LONG, "parameter": None, "value": None, "metric": "return", "mean": 1.0,
        "stderr": 0.0, "episodes": 1, "lengths": [5], "seconds": 1.0, "kwargs": {},
    }  # fmt: skip
    table = display.evaluation_table("", [record])
    display.show(table)
    assert LONG in capsys.readouterr().out
    terminal = Console(width=40)
    with terminal.capture() as capture:
        terminal.print(table)
    assert "…" not in capture.get()


def test_docstrings_are_filled_anew() -> None:
    doc = """A title that is short.

A paragraph whose lines are longer than
the width that there is.
    left   what it is, in words that go
           on below it
    x = a formula
    y = another
Then on.

- an item that is long enough to
  go on
- another
"""
    assert (
        reflow(doc, 40)
        == """A title that is short.

A paragraph whose lines are longer than
the width that there is.
    left   what it is, in words that go
           on below it
    x = a formula
    y = another
Then on.

- an item that is long enough to go on
- another"""
    )
    wide = reflow(doc, 100).splitlines()
    assert "A paragraph whose lines are longer than the width that there is." in wide
    assert "    left   what it is, in words that go on below it" in wide


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "rate",
            ["--model.num-memory-tokens", "segment, m. (int; default 5)", "--model.valve.kind"],
        ),
        ("dqn", ["--agent.double", "Discount of rewards, gamma. (float; default 0.99)"]),
        ("passive_tmaze/dqn", ["--length  ", "steps over which to remember (default: 50)"]),
        ("minari/sequence_policy", ["--dataset  ", "needs --dataset ID"]),
    ],
)
def test_info_shows_what_is_typed(
    name: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", name]) == 0
    output = " ".join(capsys.readouterr().out.split())
    for part in parts:
        assert " ".join(part.split()) in output
    assert "<class" not in output


def test_info_knows_a_run_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["info", "runs/nope"]) == 2
    assert "run folder runs/nope does not exist" in capsys.readouterr().err
    assert main(["info", "qqqqqq"]) == 2
    line = capsys.readouterr().err
    assert "environment 'qqqqqq'; `retain list` lists what there is; one of your own has to" in line
    assert len(line) < 250


def test_info_imports_the_module_of_an_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "retain.envs:retain/MemorySize-v0"]) == 0
    assert "num_bits" in capsys.readouterr().out
    assert main(["info", "no_such_module:Thing-v0"]) == 2
    assert "module 'no_such_module' of 'no_such_module:Thing-v0'" in capsys.readouterr().err
