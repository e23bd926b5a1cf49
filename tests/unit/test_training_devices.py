"""Training, resuming and evaluating on an accelerator.

The processor is among the devices, so that a machine without an accelerator tries the test itself.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from retain import api
from retain.training.config import OnlineRunConfig, RunConfig
from retain.training.runs import Run
from tiny_runs import (
    DEVICES,
    ONLINE_AGENTS,
    ONLINE_MODELS,
    StoppedError,
    metrics,
    on_devices,
    tiny,
    tiny_online,
    weights,
)


def _resumed(config: RunConfig | OnlineRunConfig, runs: Path) -> Run:
    """Trains, stops behind the first checkpoint, and goes on from there."""

    def stop(at: int, values: dict[str, float]) -> None:
        if any((runs / "stopped" / "checkpoints").glob("step-*")):
            raise StoppedError

    with pytest.raises(StoppedError):
        api.train(config, runs=runs, name="stopped", report=stop)
    return api.resume(runs / "stopped")


def _check_alike(one: Run, other: Run) -> None:
    # An accelerator may sum in another order from one call to the next.
    for name, tensor in weights(one.folder).items():
        torch.testing.assert_close(weights(other.folder)[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("device", "model"), on_devices(ONLINE_MODELS, ["rate"]))
@pytest.mark.parametrize("agent", ONLINE_AGENTS)
def test_an_agent_learns_by_acting(tmp_path: Path, device: str, agent: str, model: str) -> None:
    config = tiny_online(
        agent, model, accelerator=device, episodes=12, evaluate_every=20, checkpoint_every=20
    )
    whole = api.train(config, runs=tmp_path, name="whole")
    losses = [line["train/loss"] for line in metrics(whole.folder) if "train/loss" in line]
    assert losses
    assert all(map(math.isfinite, losses))
    resumed = _resumed(config, tmp_path)
    _check_alike(whole, resumed)
    (record,) = api.evaluate(resumed, episodes=3, device=device)
    assert record["episodes"] == 3


@pytest.mark.parametrize(("device", "model"), on_devices(ONLINE_MODELS, ["rate"]))
@pytest.mark.parametrize("agent", ONLINE_AGENTS)
def test_an_agent_learns_in_half_precision(
    tmp_path: Path, device: str, agent: str, model: str
) -> None:
    run = api.train(
        tiny_online(agent, model, accelerator=device, episodes=12, precision="bf16-mixed"),
        runs=tmp_path,
    )
    losses = [line["train/loss"] for line in metrics(run.folder) if "train/loss" in line]
    assert losses
    assert all(map(math.isfinite, losses))
    assert all(tensor.dtype == torch.float32 for tensor in weights(run.folder).values())


@pytest.mark.parametrize("device", DEVICES)
def test_training_from_data_is_resumed(tmp_path: Path, device: str) -> None:
    config = tiny(accelerator=device, checkpoint_every=2)
    _check_alike(api.train(config, runs=tmp_path, name="whole"), _resumed(config, tmp_path))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_sequence_model_learns_from_data(tmp_path: Path, device: str, precision: str) -> None:
    before = api.train(tiny(accelerator=device, precision=precision, updates=1), runs=tmp_path)
    after = api.train(tiny(accelerator=device, precision=precision), runs=tmp_path, name="after")
    losses = [line["train/loss"] for line in metrics(after.folder) if "train/loss" in line]
    assert len(losses) == 6
    assert all(map(math.isfinite, losses))
    moved = [
        not torch.equal(t, weights(after.folder)[n]) for n, t in weights(before.folder).items()
    ]
    assert any(moved)
    (record,) = api.evaluate(after, values=[9], episodes=3, device=device)
    assert record["episodes"] == 3
