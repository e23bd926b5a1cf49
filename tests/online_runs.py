"""Folders that look like those of online runs, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def online_result(
    model: str,
    seed: int,
    score: float,
    *,
    environment: str = "retain/PassiveTMaze-v0",
    options: dict[str, Any] | None = None,
    metric: str = "return",
    returns: tuple[float, float] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Returns the results of a run with two evaluations, the later one with the score.

    Args:
        model: Its model.
        seed: Its seed.
        score: Mean of the metric at the end.
        environment: Id of the environment.
        options: Of the environment.
        metric: What the evaluations report.
        returns: Mean and standard error of the returns; None leaves them out.
        changes: Of the whole result.
    """
    options = {"corridor_length": 50} if options is None else options
    entry = {
        "environment": environment,
        "parameter": None,
        "value": None,
        "kwargs": options,
        "episodes": 20,
        "seeds": [1000, 1019],
        "metric": metric,
        "stderr": 0.05,
    }
    final = {**entry, "step": 500, "mean": score}
    if returns is not None:
        final |= {"return_mean": returns[0], "return_stderr": returns[1]}
    name = "-".join([model, *map(str, options.values()), f"seed{seed}"])
    return {
        "format": 1,
        "run": name,
        "recipe": f"online/{model}",
        "model": model,
        "seed": seed,
        "config": {"environment": {"id": environment, "kwargs": options}},
        "training": {"updates": 500},
        "evaluations": [{**entry, "step": 100, "mean": -1.0}, final],
        **changes,
    }


def online_metrics(
    scores: list[float], *, steps_per_score: int = 1000, updates: int = 10
) -> list[Line]:
    """Returns lines of training and of evaluation, one of each for a score."""
    lines = []
    for i, score in enumerate(scores):
        played = steps_per_score * i
        counts = {"step": played, "env_steps": played, "episodes": 5 * i, "updates": updates * i}
        lines.append({**counts, "train/return": score - 0.1, "train/loss": 1.0 / (i + 1)})
        lines.append({**counts, "eval/return": score, "eval/success": max(score, 0.0)})
    return lines


def write_run(folder: Path, result: dict[str, Any], lines: list[Line]) -> Path:
    """Writes a run's folder: configuration, metrics and results."""
    folder.mkdir(parents=True)
    config = {
        **result["config"],
        "recipe": result["recipe"],
        "model": {"name": result["model"]},
        "seed": result["seed"],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(result))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
