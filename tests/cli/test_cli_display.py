"""What commands show where there is no terminal, and what `retain info` tells."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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
    now += 20
    shown(52, {})
    assert capsys.readouterr().out.splitlines() == [
        f"{LONG}  step 10/50  loss 0.5000",  # neither speed nor time is known yet
        f"{LONG}  step 30/50  loss 0.2500  1.0 steps/s  20 s left",
        f"{LONG}  step 30: return/9 1.00",
        f"{LONG}  step 52/50  1.1 steps/s  0 s left",  # a batch of episodes may lead past the end
    ]


def test_many_lengths_are_told_by_the_worst_and_the_best() -> None:
    few = {f"success/{length}": 0.5 for length in (9, 10, 11)}
    assert display.evaluated(few) == "success/9 0.50  success/10 0.50  success/11 0.50"
    many = {**few, "success/12": 1.0, "return": -0.25}
    assert display.evaluated(many) == "success 0.50 to 1.00 at 4 values  return -0.25"


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
        ("CartPole-v1", ["action space │ Discrete(2)", "cut after 500 steps", "render_mode=None"]),
        ("Blackjack-v1", ["0 Discrete(32), 1 Discrete(11), 2", "│ not cut by Gymnasium"]),
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


def test_square_brackets_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, recipe in (("a[red]", "x"), ("b", "[/bold]"), ("c:smile:", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"recipe": "{recipe}", "seed": 0}}')
    assert main(["list", "runs", "--runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    for text in ("a[red] ", "[/bold] seed 0", "c:smile: "):
        assert text in output
    record = {
        "environment": "[/x]", "parameter": None, "value": None, "metric": "[b]", "mean": 1.0,
        "stderr": 0.0, "episodes": 1, "lengths": [5], "seconds": 1.0, "kwargs": {},
    }  # fmt: skip
    display.show(display.evaluation_table("run [/y]", [record]))
    output = capsys.readouterr().out
    assert "[/x]" in output
    assert "[b]" in output
    assert "run [/y]" in output
    with display.TrainingDisplay("[/z]", 5):
        pass


@pytest.mark.parametrize(
    ("means", "line"),
    [
        ([1.0, 5.0, 5.0, None], "best 5.00 at step 81,002: --checkpoint best\n"),
        ([1.0, 5.0, 4.0], "best 5.00 at step 81,002: --checkpoint best\n"),
        ([1.0, 5.0, 5.0], ""),
        ([], ""),
    ],
)
def test_a_best_checkpoint_that_did_better_is_named(
    means: list[float | None], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Trained:
        name = "run"
        config = SimpleNamespace(environment="somewhere")

        def results(self) -> dict[str, Any]:
            history = [{"env_steps": 81_001 + i, "mean": mean} for i, mean in enumerate(means)]
            return {"evaluations": [], "training": {"history": history}}

    display.show_training(cast(Any, Trained()))
    assert capsys.readouterr().out == line


def test_help_may_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for words in (["--help", "tmaze/rate"], ["tmaze/rate", "--help"]):
        with pytest.raises(SystemExit):
            main(["train", *words])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert "--train.updates" in told[0]
