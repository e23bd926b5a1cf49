"""The streaming sliding window: growth, reuse, mixing of rows, long calls, settings."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

import retain.nn.window as module
from retain.contract.laws import LAWS
from retain.contract.trials import Subject, expect_same, random_resets, run
from retain.core.errors import ConfigError
from retain.memory import SequenceModel
from retain.models import MODELS, build
from retain.nn.window import Window, WindowState

WIDTH = 4
NAMES = [
    "gpt2",
    "canonical",
    "linformer",
    "universal",
    "integrated",
    "integrated_recurrent",
    "gtrxl_recurrent",
]
#: Laws that have to do with what is kept and where.
ABOUT_KEEPING = [
    "chunk_invariance",
    "execution_modes",
    "states_are_values",
    "reset_is_fresh_start",
    "rows_are_independent",
    "gradients_of_pieces",
]


def _model(name: str, window: int = 30, **options: Any) -> SequenceModel:
    config = MODELS.get(name).Config
    cached = "cache_length" in config.__dataclass_fields__
    size = {"cache_length": window - 1} if cached else {"context_length": window}
    if "max_ponder" in config.__dataclass_fields__:
        options = {"max_ponder": 2} | options
    return build(config(width=WIDTH, **size, **options), tokens_per_step=1)


@pytest.mark.no_cover
@pytest.mark.parametrize("law", ABOUT_KEEPING)
@pytest.mark.parametrize("name", ["gpt2", "linformer", "integrated", "integrated_recurrent"])
def test_the_laws_hold_while_buffers_grow(name: str, law: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FIRST_PLACES", 2)
    LAWS[law](Subject(lambda: _model(name, 11), WIDTH, segment=6))


@pytest.mark.no_cover
@pytest.mark.parametrize("law", ABOUT_KEEPING)
@pytest.mark.parametrize("name", ["canonical", "gtrxl_recurrent", "universal"])
def test_the_laws_hold_where_long_calls_are_read_in_pieces(
    name: str, law: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SHORTEST_PIECE", 1)
    LAWS[law](Subject(lambda: _model(name, 2), WIDTH, segment=6))


@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_small_at_first_and_grows_to_little_more_than_the_window(name: str):
    model, window = _model(name, 200).eval(), 200
    sizes = []
    with torch.inference_mode():
        state = model.initial_state(2)
        for _ in range(3 * window):
            _, state = model(torch.randn(2, 1, WIDTH), state, donate=True)
            sizes.append(state.kept_BSC[0].shape[1])
    assert sizes[0] == module.FIRST_PLACES
    assert sorted(sizes) == sizes
    assert sizes[-1] <= 1.25 * window + 8


def test_a_donated_state_is_written_in_place_without_copies():
    model = _model("gpt2", 100).eval()
    places = []
    with torch.inference_mode():
        state = model.initial_state(2)
        for _ in range(400):
            _, state = model(torch.randn(2, 1, WIDTH), state, donate=True)
            places.append(state.kept_BSC[0].data_ptr())
    moves = sum(a != b for a, b in pairwise(places))
    assert moves <= 1 + 400 // 25


def test_a_state_that_awaits_a_gradient_is_not_written_to():
    model = _model("gpt2").eval()
    x = torch.randn(2, 1, WIDTH, requires_grad=True)
    _, state = model(torch.randn(2, 1, WIDTH), model.initial_state(2))
    y, state = model(x, state)
    with torch.no_grad():
        model(torch.randn(2, 1, WIDTH), state, donate=True)
    y.sum().backward()  # raises if something in the graph had been written to
    assert x.grad is not None


def test_layers_stay_side_by_side_when_one_of_them_is_frozen():
    model = _model("gpt2", num_layers=2).double().eval()
    for parameter in model.blocks[0].parameters():
        parameter.requires_grad_(False)
    x = torch.randn(2, 9, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        expected, _ = model(x, model.initial_state(2))
    _, state = model(x[:, :4], model.initial_state(2))
    with torch.no_grad():
        y, _ = run(model, x[:, 4:], state, cuts=range(5), donate=True)
    expect_same(y, expected[:, 4:], "outputs")


@pytest.mark.parametrize("name", NAMES)
def test_mixed_precision(name: str):
    model = _model(name).eval()
    x = torch.randn(2, 6, WIDTH)
    with torch.inference_mode():
        expected, _ = model(x, model.initial_state(2))
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = run(model, x, model.initial_state(2), cuts=[2, 3, 4], donate=True)
    expect_same(y.float(), expected, "outputs in bfloat16", 0.2)


def test_rows_of_states_of_unequal_length_can_be_mixed():
    model = _model("gpt2", 7).double().eval()
    x, later = (torch.randn(2, n, WIDTH, dtype=torch.float64) for n in (9, 12))
    mask = torch.tensor([True, False])
    with torch.inference_mode():
        _, old = run(model, x, model.initial_state(2), cuts=[4])
        for other in (model.initial_state(2), run(model, x[:, :2], model.initial_state(2))[1]):
            for mine, theirs in ((old, other), (other, old)):
                mixed = mine.where(mask, theirs)
                y, _ = run(model, later, mixed, cuts=range(12), donate=True)
                first, _ = run(model, later, mine)
                second, _ = run(model, later, theirs)
                expect_same(y, torch.where(mask[:, None, None], first, second), "mixed rows")


def test_steps_after_a_reset_of_all_rows_read_no_more_than_their_episode():
    state = WindowState((torch.randn(2, 50, 3),), torch.full((2,), 50), torch.full((2,), 50))
    reset = torch.ones(2, 1, dtype=torch.bool)
    assert Window(state, 1, 40).past == 39
    assert Window(state, 1, 40, reset).past == 0
    reset[0] = False
    assert Window(state, 1, 40, reset).past == 39


@pytest.mark.parametrize("name", NAMES)
def test_a_long_call_equals_short_ones(name: str):
    model = _model(name, 20).double().eval()
    length = 60 if name == "integrated_recurrent" else 600
    x = torch.randn(2, length, WIDTH, dtype=torch.float64)
    reset = random_resets(2, length, 0, 0.01)
    with torch.no_grad():
        whole, _ = model(x, model.initial_state(2), reset)
        parts, _ = run(model, x, model.initial_state(2), reset, cuts=range(7, length, 29))
    expect_same(whole, parts, "one call and many")


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_alone(name: str):
    model = _model(name, dropout=0.5)
    with torch.no_grad():  # alpha starts at 0, where nothing could be seen
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x = torch.randn(2, 6, WIDTH)

    def twice() -> list[Tensor]:
        return [model(x, model.initial_state(2))[0] for _ in range(2)]

    first, second = twice()
    assert not torch.equal(first, second)
    model.eval()
    first, second = twice()
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("gpt2", {"num_heads": 3}, "num_heads=3 does not divide"),
        ("gpt2", {"num_layers": 0}, "num_layers must be at least 1"),
        ("gpt2", {"width": 5}, "width=5 is odd"),
        ("gpt2", {"positions": "rotary"}, "positions must be one of sine, learned, none"),
        ("gpt2", {"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ("canonical", {"context_length": 0}, "context_length must be at least 1"),
        ("canonical", {"feed_forward": 0}, "feed_forward must be at least 1"),
        ("linformer", {"num_rows": 0}, "num_rows must be at least 1"),
        ("universal", {"max_ponder": 0}, "max_ponder must be at least 1"),
        ("universal", {"threshold": 1.0}, "threshold must be at least 0 and below 1"),
        ("universal", {"act": "mean"}, "act must be one of t2t, weighted"),
        ("integrated", {"gating": "none"}, "gating must be one of gate, recurrent"),
        ("integrated", {"cache_length": 0}, "cache_length must be at least 1"),
        ("gtrxl_recurrent", {"width": 7}, "width=7 is odd"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(name: str, options: dict[str, Any], what: str):
    config = MODELS.get(name).Config(**({"width": 8} | options))
    with pytest.raises(ConfigError, match=what) as error:
        build(config, tokens_per_step=1)
    assert "\n" not in str(error.value)


def test_an_odd_width_needs_no_sines():
    model = build(MODELS.get("gpt2").Config(width=5, positions="none"), tokens_per_step=1)
    y, _ = model(torch.randn(1, 3, 5), model.initial_state(1))
    assert y.shape == (1, 3, 5)


def test_gates_or_recurrence():
    for name, gating, reach in (
        ("integrated", "gate", 2 * 29 + 1),
        ("integrated", "recurrent", None),
        ("integrated_recurrent", "recurrent", None),
    ):
        assert _model(name, gating=gating).reach == reach
