"""Training, resuming and evaluating on an accelerator.

The processor is among the devices, so that a machine without an accelerator tries the test itself.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from retain import api
from tiny_runs import (
    DEVICES,
    ONLINE_AGENTS,
    ONLINE_MODELS,
    StoppedError,
    metrics,
    tiny,
    tiny_online,
    weights,
)


def _stop(at: int, values: dict[str, float]) -> None:
    raise StoppedError


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", ONLINE_MODELS)
@pytest.mark.parametrize("agent", ONLINE_AGENTS)
def test_an_agent_learns_by_acting(tmp_path: Path, device: str, agent: str, model: str) -> None:
    config = tiny_online(agent, model, accelerator=device, evaluate_every=20)
    whole = api.train(config, runs=tmp_path, name="whole")
    losses = [line["train/loss"] for line in metrics(whole.folder) if "train/loss" in line]
    assert losses
    assert all(map(math.isfinite, losses))
    with pytest.raises(StoppedError):
        api.train(config, runs=tmp_path, name="stopped", report=_stop)
    resumed = api.resume(tmp_path / "stopped")
    # An accelerator may sum in another order from one call to the next.
    for name, tensor in weights(whole.folder).items():
        torch.testing.assert_close(weights(resumed.folder)[name], tensor, atol=1e-4, rtol=1e-3)
    (record,) = api.evaluate(resumed, episodes=3, device=device)
    assert record["episodes"] == 3


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
