"""Every example runs from start to end, with the smallest settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {
    "own_environment.py": ["--delay", "5", "--episodes", "20", "--updates", "3"],
    "own_dataset.py": ["--episodes", "6", "--updates", "3", "--context-length", "5"],
    "hidden_velocity.py": ["--episodes", "3", "--updates-per-episode", "1"],
    "own_model.py": ["--context-length", "2", "--episodes", "20", "--updates", "3"],
}


def run(*command: str, folder: Path) -> str:
    """Runs Python on this checkout and returns what it printed."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    result = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr, result.stderr
    return result.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, tmp_path: Path) -> None:
    arguments = [*EXAMPLES[name], "--runs", str(tmp_path), "--name", "it"]
    output = run(str(ROOT / "examples" / name), *arguments, folder=tmp_path)
    assert output
    results = json.loads((tmp_path / "it" / "results.json").read_text())
    assert results["training"]["updates"] == 3
    assert results["evaluations"]
    for record in results["evaluations"]:
        assert len(record["returns"]) == record["episodes"]


def test_command_line_knows_the_plugin(tmp_path: Path) -> None:
    plugin = ["-m", "retain", "--plugin", str(ROOT / "examples" / "own_model.py")]
    small = ["--context-length", "2", "--train.updates", "2", "--data.collect.episodes", "10"]
    quick = ["--train.evaluate-every", "None", "--no-evaluation", "--name", "gru"]
    run(*plugin, "train", "example/gru", *small, *quick, folder=tmp_path)
    weights = tmp_path / "runs" / "gru" / "checkpoints" / "last" / "model.safetensors"
    assert weights.exists()

    target = tmp_path / "out.json"
    lengths = ["--corridor-lengths", "3", "--episodes", "2", "--json", str(target)]
    run(*plugin, "evaluate", "runs/gru", *lengths, folder=tmp_path)
    record = json.loads(target.read_text())["evaluations"][0]
    assert (record["value"], record["episodes"]) == (3, 2)
