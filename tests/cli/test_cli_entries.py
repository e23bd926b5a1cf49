"""Options of an environment that a recipe does not mention, as flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retain.cli.entries import with_new_entries
from retain.cli.main import main
from retain.core.errors import RetainError
from retain.recipes import recipe


def test_new_entries_are_taken_and_all_else_is_left() -> None:
    config = recipe("tmaze/rate")
    words = [
        *("--environment.kwargs.noise", "continuous", "--seed", "3"),
        *("--environment.kwargs.corridor-length", "7"),  # an entry that is there has its own flag
        *("--data.collect.env-kwargs.min_hint_step=-1", "--environment.kwargs.noise", "ternary"),
        *("--train.betas", "0.9", "0.99", "--model.zzz.x", "1", "stray"),
    ]
    changed, left = with_new_entries(config, words)
    assert left == [
        "--seed", "3", "--environment.kwargs.corridor-length", "7",
        "--train.betas", "0.9", "0.99", "--model.zzz.x", "1", "stray",
    ]  # fmt: skip
    kwargs = dict(config.environment.kwargs)
    assert changed.environment.kwargs == {**kwargs, "noise": "ternary"}  # the last one counts
    assert changed.data.collect.env_kwargs["min_hint_step"] == -1
    assert config.environment.kwargs == kwargs
    assert changed.model == config.model


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("True", True),
        ("false", False),
        ("per_episode", "per_episode"),
        ("", ""),
    ],
)
def test_values_are_read_as_what_they_look_like(text: str, value: object) -> None:
    changed, _ = with_new_entries(recipe("tmaze/rate"), ["--environment.kwargs.x", text])
    found = changed.environment.kwargs["x"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--environment.kwargs.x"], "kwargs.x needs a value"),
        (["--environment.kwargs.x", "--seed"], "kwargs.x needs a value"),
        (["--environment.kwargs.x", "[1]"], r"kwargs.x: '\[1\]' is not a number, True, False or a"),
        (["--environment.kwargs.x=null"], "'null' is not a number"),
    ],
)
def test_what_cannot_be_a_value_is_said(words: list[str], message: str) -> None:
    with pytest.raises(RetainError, match=message):
        with_new_entries(recipe("tmaze/rate"), words)


def test_a_run_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    short = ["--length", "3", "--train.episodes", "4", "--train.random-episodes", "1"]
    command = ["train", "passive_tmaze/dqn", *short, "--no-evaluation", "--name", "run"]
    new = [
        "--environment.kwargs.distract-reward=0.5",
        "--train.env-kwargs.min-corridor-length",
        "2",
    ]
    assert main([*command, *new]) == 0
    config = json.loads(Path("runs/run/config.json").read_text())
    assert config["environment"]["kwargs"] == {"corridor_length": 3, "distract_reward": 0.5}
    assert config["train"]["env_kwargs"] == {"min_corridor_length": 2}
    capsys.readouterr()
    wrong = ["--name", "other", "--environment.kwargs.min-coridor-length", "2"]
    assert main([*command, *wrong]) == 2
    assert "has no option 'min_coridor_length'; its options: corr" in capsys.readouterr().err
    assert not Path("runs/other").exists()
