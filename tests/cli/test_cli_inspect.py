"""`retain inspect`, from end to end on tiny runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import retain
from retain import api
from retain.cli.main import main
from retain.inspection.summary import Inspection
from tiny_runs import tiny, tiny_online

Refused = Callable[..., str]
PNG = b"\x89PNG"
QUICK = ["--value", "14", "--episodes", "9"]


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retain.report.drawing.DPI", 30)


def test_an_offline_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in run.iterdir())
    assert main(["inspect", str(run), *QUICK, "--option", "noise=none"]) == 0
    output = capsys.readouterr().out
    for text in ("success", "copied exactly", "drift", "probe: goal", "-1, 0, 1", "The memory"):
        assert text in output
    folder = run / "inspection"
    names = ["memory", "changes", "drift", "probe", "attention"]
    record = json.loads((folder / "inspection.json").read_text())
    assert list(record["figures"]) == names
    assert all((folder / f"{name}.png").read_bytes().startswith(PNG) for name in names)
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "inspection"])
    assert (record["run"], record["model"], record["checkpoint"]) == ("copy", "rate", 12)
    assert record["kwargs"] == {"corridor_length": 14, "noise": "none", "balanced_goals": True}
    assert record["seeds"][1] - record["seeds"][0] == 8
    assert record["window"] == 4
    assert record["steps"] == list(range(0, max(record["lengths"]), 4))
    assert len(record["drift"]["to_first"]) == len(record["steps"])
    assert len(record["probe"]["goal"]["accuracy"]) == len(record["steps"])
    assert record["memory"]["levels"] == [-1, 0, 1]
    assert (folder / "inspection.json").stat().st_size < 20_000
    with np.load(folder / "inspection.npz") as arrays:
        assert arrays["memory_RBC"].shape == (len(record["steps"]), 9, 5 * 16)
        assert arrays["hidden/goal"].shape == (len(record["steps"]), 9)

    again = retain.inspect(run, value=14, episodes=9, kwargs={"noise": "none"}, output="here")
    assert (folder / "inspection.json").read_text() == Path("here/inspection.json").read_text()
    assert (folder / "memory.png").read_bytes() == Path("here/memory.png").read_bytes()
    assert again["verdict"] in " ".join(output.split())


@pytest.fixture
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(found: Inspection, folder: Path, about: dict[str, Any]) -> dict[str, Any]:
        return {**about, **found.record, "figures": {}, "folder": str(folder)}

    monkeypatch.setattr("retain.inspection.output.write", write)


@pytest.mark.usefixtures("_no_files")
def test_what_is_taken_from_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = retain.inspect(run, episodes=2, checkpoint="best")
    # By default, the last of the values evaluated during training.
    assert record["kwargs"]["corridor_length"] == 12
    assert record["checkpoint"] == 6
    assert record["folder"] == "copy/inspection"
    assert main(["inspect", str(run), "--value=3", "--episodes=2", "--output", "there"]) == 0
    output = capsys.readouterr().out
    assert "within two segments" in output
    assert "fewer than 8 episodes" in output
    assert "written: there" in output


@pytest.mark.parametrize(("agent", "model"), [("dqn", "lstm"), ("a2c", "rate")])
def test_an_online_run(
    agent: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_online(
        agent, model, "retain/MemorySize-v0", {"memory_length": 12, "num_bits": 2}, episodes=4
    )
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    assert main(["inspect", str(made.folder), "--episodes", "20"]) == 0
    output = capsys.readouterr().out
    assert "probe: bit 1" in output
    assert ("no figure of attention" in output) == (model == "lstm")
    assert (made.folder / "inspection" / "attention.png").exists() == (model == "rate")
    # A recurrence moves with every token, memory tokens once a segment.
    length = made.config.model.context_length
    record = json.loads((made.folder / "inspection" / "inspection.json").read_text())
    assert record["window"] == (max(1, length // 10) if model == "lstm" else length)
    assert main(["inspect", str(made.folder), "--episodes", "9", "--window", "6"]) == 0
    assert "2 of 6 steps" in capsys.readouterr().out


def test_an_environment_that_tells_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_online("dqn", "lstm", "CartPole-v1", {}, episodes=4)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    assert main(["inspect", str(made.folder), "--episodes", "3"]) == 0
    output = capsys.readouterr().out
    assert "no probe: the environment does not say" in output
    assert not (made.folder / "inspection" / "probe.png").exists()
    line = "was given, but the run's evaluations vary no option"
    with pytest.raises(retain.RetainError, match=line):
        retain.inspect(made, value=3)


def test_continuous_actions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    config = tiny_online("sac", "rate", episodes=4)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    assert main(["inspect", str(made.folder), "--episodes", "3"]) == 0
    assert "segment from 0" in capsys.readouterr().out
    told = refused("inspect", made.folder, "--episodes", "3", "--certify")
    assert "only discrete actions can be certified, but the actions are Box(-2.0, 2.0" in told


def test_what_cannot_be_inspected(run: Path, refused: Refused) -> None:
    for arguments, match in (
        (["--episodes", "0"], "episodes must be at least 1, not 0"),
        (["--window", "0"], "window must be at least 1, not 0"),
        (["--shown", "64"], "shown must be below the number of episodes, 64, not 64"),
        (["--seed", "-1"], "seed must be from 0 to 4294967295, not -1"),
        (["--value", "0"], "corridor_length must be at least 1"),
        (["--option", "noise"], "--option noise is not of the form NAME=VALUE"),
        (["--option", "sound=none"], "no option 'sound'"),
        (["--option", "corridor_length=5", "--option", "num_hints=9"], "num_hints 9"),
        (["--checkpoint", "worst"], "no whole checkpoint 'worst'"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
        (["--certify", "--certify-budget", "0"], "certify_budget must be at least 1, not 0"),
    ):
        assert match in refused("inspect", run, *arguments)
    assert not (run / "inspection").exists()
    assert "run folder nowhere does not exist" in refused("inspect", "nowhere")
    Path("file").touch()
    assert "cannot write to file" in refused("inspect", run, *QUICK, "--output", "file")


def test_a_model_without_memory(tmp_path: Path, refused: Refused) -> None:
    config = tiny("tmaze/decision_transformer", updates=1)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    assert "the run's model has no memory to look at" in refused("inspect", made.folder)
    assert not (made.folder / "inspection").exists()


def test_a_certificate(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--certify-budget", "100", "--certify-samples", "16"]
    typed = ["inspect", str(run), *QUICK, "--option", "noise=none", "--certify", *few]
    assert main(typed) == 0
    output = capsys.readouterr().out
    assert output.index("The memory") < output.index("CERTIFIED") < output.index("written:")
    record = json.loads((run / "inspection" / "inspection.json").read_text())
    assert record["verdict"]
    found = record["certificate"]
    assert found["verdict"] == "refused"  # so few updates teach nothing
    assert found["options"] == {"corridor_length": 14, "noise": "none", "balanced_goals": True}
    assert (found["episodes"], found["context_length"]) == (256, 4)
    assert found["reason"] in " ".join(output.split())


def test_an_agent_that_acts_is_certified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_online(
        "dqn", "lstm", "retain/PassiveTMaze-v0", {"corridor_length": 16}, episodes=4
    )
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    typed = ["inspect", str(made.folder), "--episodes", "9", "--certify"]
    assert main([*typed, "--certify-samples", "64"]) == 0
    assert "NOT CERTIFIED" in capsys.readouterr().out
    found = json.loads((made.folder / "inspection" / "inspection.json").read_text())["certificate"]
    assert (found["verdict"], found["signal"]) == ("refused", "reward before")


def test_a_policy_that_samples_is_certified_by_its_best_actions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    options = {"corridor_length": 16}
    config = tiny_online("a2c", kwargs=options, settings={"sample_actions": True}, episodes=4)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    typed = ["inspect", str(made.folder), "--episodes", "9", "--certify"]
    assert "with --greedy (greedy=True) its best actions can" in refused(*typed)
    assert main([*typed, "--certify-samples", "64", "--greedy"]) == 0
    assert "CERTIFIED" in capsys.readouterr().out
    found = json.loads((made.folder / "inspection" / "inspection.json").read_text())
    assert found["greedy"]


def test_what_cannot_be_certified(tmp_path: Path, run: Path, refused: Refused) -> None:
    refusal = refused("inspect", run, *QUICK, "--certify", "--certify-budget", "0")
    assert "budget must be at least 1, not 0" in refusal
    options = {"memory_length": 12, "num_bits": 2}
    config = tiny_online("dqn", "gpt2", "retain/MemorySize-v0", options, episodes=4)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    refusal = refused("inspect", made.folder, "--certify")
    assert "no memory to certify" in refusal
    assert not (made.folder / "inspection").exists()
