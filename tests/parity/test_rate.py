"""RATE against the naive implementation: three segments, at once and token by token."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from parity.naive_rate import NaiveRATE
from retain.contract.trials import expect_same, run
from retain.models.rate import RATE, RATEConfig
from retain.nn.valve import ValveConfig

WIDTH, CONTEXT, STEP = 8, 2, 3
SEGMENT = CONTEXT * STEP

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "feed-forward": {"feed_forward": 12},
    "twofold": {"twofold_residual": True},
    "cache": {"cache_length": 4},
    "cache of several segments": {"cache_length": 17, "twofold_residual": True},
    "trxl_i": {"block": "trxl_i", "cache_length": 4},
    "trxl_i, feed-forward, twofold": {
        "block": "trxl_i",
        "feed_forward": 12,
        "twofold_residual": True,
    },
    "gtrxl": {"block": "gtrxl", "feed_forward": 12, "cache_length": 11},
    "gtrxl without feed-forward, twofold": {"block": "gtrxl", "twofold_residual": True},
    "one memory token": {"num_memory_tokens": 1, "cache_length": 3},
}


def _model(settings: dict[str, Any]) -> tuple[RATE, NaiveRATE]:
    config = RATEConfig(
        width=WIDTH,
        context_length=CONTEXT,
        valve=ValveConfig(kind="cross_attention", num_heads=2),
        **({"num_heads": 2, "head_width": 5, "num_memory_tokens": 3} | settings),
    )
    torch.manual_seed(0)
    model = RATE(config, tokens_per_step=STEP).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    naive = NaiveRATE(
        weights={name: tensor.numpy().copy() for name, tensor in model.state_dict().items()},
        block=config.block,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        head_width=config.head_width,
        cache_length=config.cache_length,
        valve_heads=config.valve.num_heads,
        feed_forward=config.feed_forward is not None,
        twofold_residual=config.twofold_residual,
    )
    return model, naive


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_three_segments_are_as_the_equations_say(settings: dict[str, Any]):
    model, naive = _model(settings)
    x = torch.randn(2, 3 * SEGMENT, WIDTH)
    rows = []
    for row in x.numpy():
        alone = dataclasses.replace(naive)
        rows.append([alone.read_segment(part) for part in np.split(row, 3)])
    expected = torch.from_numpy(np.array(rows)).flatten(1, 2)
    memory = torch.from_numpy(np.array(alone.memory))
    with torch.no_grad():
        for cuts in ([], range(1, 3 * SEGMENT), [4, SEGMENT + 1]):
            y, state = run(model, x, model.initial_state(2), cuts=cuts)
            expect_same(y, expected, f"outputs, cut at {list(cuts)}")
            expect_same(state.memory_BMD[1], memory, f"memory, cut at {list(cuts)}")
