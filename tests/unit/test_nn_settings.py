"""Settings that make no sense are refused in one line that names the field."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from retain.core.errors import ConfigError
from retain.models import MODELS, build
from retain.nn.valve import ValveConfig

WRONG: list[tuple[str, dict[str, Any], str]] = [
    *[
        (model, {name: 0}, rf"model\.{name} must be at least 1, not 0")
        for model in ("rate", "rmt", "transformer_xl", "gtrxl", "rezero")
        for name in (
            "width",
            "context_length",
            "num_layers",
            "num_heads",
            "head_width",
            "feed_forward",
        )
    ],
    *[
        ("decision_transformer", {name: 0}, rf"model\.{name} must be at least 1, not 0")
        for name in ("width", "context_length", "num_layers", "num_heads", "max_timestep")
    ],
    *[
        (model, {name: 0}, rf"model\.{name} must be at least 1, not 0")
        for model in ("lstm", "gru")
        for name in ("width", "context_length", "num_layers", "hidden")
    ],
    *[
        (model, {"dropout": rate}, r"model\.dropout must be at least 0 and below 1")
        for model in MODELS.names()
        for rate in (-0.1, 1.0)
    ],
    ("transformer_xl", {"width": 15}, "must be even"),
    ("rate", {"attention_dropout": 1.5}, r"model\.attention_dropout"),
    ("rate", {"num_memory_tokens": -1}, "num_memory_tokens must not be negative"),
    ("rate", {"cache_length": -1}, "cache_length must not be negative"),
    (
        "rate",
        {"block": "gtrlx"},
        r"model\.block must be one of trxl, trxl_i, gtrxl, rezero, not 'gtrlx'",
    ),
    ("rate", {"valve": ValveConfig(num_heads=5)}, r"valve\.num_heads=5 does not divide .*=16"),
    ("rate", {"valve": ValveConfig(num_heads=0)}, r"model\.valve\.num_heads must be at least 1"),
    ("rate", {"valve": ValveConfig(kind="gte")}, r"model\.valve\.kind must be one of"),
    ("rate", {"valve": ValveConfig(activation="swish")}, r"model\.valve\.activation must be"),
    ("rate", {"valve": ValveConfig(dropout=1.0)}, r"model\.valve\.dropout must be"),
    ("rate", {"valve": ValveConfig(levels=1)}, r"model\.valve\.levels must be 0 .* not 1"),
    ("rate", {"valve": ValveConfig(dither=-0.1)}, r"model\.valve\.dither must not be negative"),
    ("rate", {"valve": ValveConfig(gate="wide")}, r"model\.valve\.gate must be one of"),
    ("decision_transformer", {"num_heads": 3}, "num_heads=3 does not divide model.width=16"),
    ("decision_transformer", {"activation": "tanh"}, r"model\.activation must be one of"),
]


@pytest.mark.parametrize(("model", "settings", "message"), WRONG)
def test_wrong_settings_are_refused(model: str, settings: dict[str, Any], message: str):
    config = MODELS.get(model).Config(**({"width": 16} | settings))
    with pytest.raises(ConfigError, match=message) as error:
        build(config, tokens_per_step=3)
    assert "\n" not in str(error.value)


def test_shared_initial_memory_starts_all_slots_alike():
    config = MODELS.get("rate").Config
    shared = build(config(width=16, shared_initial_memory=True), tokens_per_step=1)
    free = build(config(width=16), tokens_per_step=1)
    memory = shared.initial_state(2).memory_BMD
    assert memory.shape == (2, 5, 16)
    assert torch.equal(memory, memory[:1, :1].expand(2, 5, 16))
    assert not torch.equal(free.memory_MD[0], free.memory_MD[1])
    assert shared.memory_MD.is_contiguous()  # each slot may move on its own


def test_dropout_acts_in_training_only():
    config = MODELS.get("rate").Config(width=16, dropout=0.5, attention_dropout=0.5)
    model = build(config, tokens_per_step=1)
    x = torch.randn(1, 35, 16)
    with torch.no_grad():
        first, second = (model(x, model.initial_state(1))[0] for _ in range(2))
        assert not torch.equal(first, second)
        model.eval()
        first, second = (model(x, model.initial_state(1))[0] for _ in range(2))
        assert torch.equal(first, second)
