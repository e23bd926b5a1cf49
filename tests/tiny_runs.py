"""Runs small enough for tests, and what to compare of two runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from retain.recipes import recipe
from retain.training.config import RunConfig

#: Flags that make any recipe tiny; SIZE only those of transformers that read segments.
FLAGS = (
    "--train.batch-size=8",
    "--train.num-threads=1",
    "--train.no-tensorboard",
    "--data.collect.episodes=40",
    "--model.width=16",
    "--model.num-layers=1",
    "--evaluation.episodes=4",
)
SIZE = ("--context-length=4", "--model.num-heads=1", "--model.head-width=16")


def tiny(
    name: str = "tmaze/rate",
    *,
    model: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    **train: Any,
) -> RunConfig:
    """Returns a recipe made tiny: three segments of four steps, width 16, one layer."""
    size = {} if name == "tmaze/decision_transformer" else {"head_width": 16}
    config = recipe(name, context_length=4)
    assert config.data.collect is not None
    usual = {"updates": 6, "batch_size": 8, "num_threads": 1, "tensorboard": False, "log_every": 1}
    return replace(
        config,
        data=replace(config.data, collect=replace(config.data.collect, episodes=40)),
        model=replace(
            config.model, **{"width": 16, "num_layers": 1, "num_heads": 1, **size, **(model or {})}
        ),
        agent=replace(config.agent, **(agent or {})),
        train=replace(config.train, **{**usual, "evaluate_every": None, **train}),
        evaluation=replace(
            config.evaluation, episodes=4, values=(3, 12), values_in_training=(5, 12)
        ),
    )


def weights(run: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    """Returns the weights in a checkpoint."""
    return load_file(run / "checkpoints" / checkpoint / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    """Checks that two runs ended with the same weights, bit for bit."""
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics without what depends on the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k != "train/updates_per_second"}
        for line in lines
    ]


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Returns a run's evaluations without what depends on the clock."""
    records = json.loads((run / "results.json").read_text())["evaluations"]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def assert_same_runs(one: Path, other: Path) -> None:
    """Checks that two runs gave the same numbers."""
    assert_same_weights(one, other)
    assert metrics(one) == metrics(other)
    assert evaluations(one) == evaluations(other)


def poison(module: torch.nn.Module) -> None:
    """Makes one weight of a module not a number."""
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = np.nan
