"""LSTM and GRU against their equations written out, and the models over Transformer-XL's machine.

Everything is in float64. Axes: B batch, L tokens, D width, H hidden width.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from retain.contract.trials import expect_same
from retain.core.errors import ConfigError
from retain.memory import SequenceModel
from retain.models import MODELS, build
from retain.nn.recurrent import CELL_ROWS

WIDTH = 10
pytestmark = pytest.mark.usefixtures("float64")


def make(name: str, **settings: Any) -> SequenceModel:
    return build(MODELS.get(name).Config(width=WIDTH, **settings), tokens_per_step=1).eval()


def noisy(model: SequenceModel) -> SequenceModel:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model


def gates(model: Any, layer: int, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The part of the gates from the input, and that from the carry."""
    weights = dict(model.network.named_parameters())
    from_x = x @ weights[f"weight_ih_l{layer}"].T + weights[f"bias_ih_l{layer}"]
    from_h = h @ weights[f"weight_hh_l{layer}"].T + weights[f"bias_hh_l{layer}"]
    return from_x, from_h


def naive_lstm(model: Any, layer: int, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    from_x, from_h = gates(model, layer, x, h)
    i, f, g, o = (from_x + from_h).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def naive_gru(model: Any, layer: int, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    from_x, from_h = gates(model, layer, x, h)
    (reset_x, update_x, new_x), (reset_h, update_h, new_h) = from_x.chunk(3), from_h.chunk(3)
    reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + reset * new_h)
    return (1 - update) * new + update * h, c


NAIVE = {"lstm": naive_lstm, "gru": naive_gru}


def naive(name: str, model: Any, x_BLD: Tensor, reset_BL: Tensor) -> Tensor:
    """Row by row, token by token, layer by layer."""
    rows = []
    for x_LD, reset_L in zip(x_BLD, reset_BL, strict=True):
        outputs = []
        for at, x in enumerate(x_LD):
            if at == 0 or reset_L[at]:
                zero = torch.zeros(model.hidden)
                carried = [(zero, zero)] * model.num_layers
            y, after = x, []
            for layer, (h, c) in enumerate(carried):
                after.append(NAIVE[name](model, layer, y, h, c))
                y = after[-1][0]
            carried = after
            outputs.append(model.out(y))
        rows.append(torch.stack(outputs))
    return torch.stack(rows)


@pytest.mark.parametrize("name", NAIVE)
@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 3, "hidden": 7}, {"hidden": WIDTH}], ids=str
)
def test_outputs_are_those_of_the_equations(name: str, settings: dict[str, Any]):
    torch.manual_seed(0)
    model = noisy(make(name, **settings))
    x, reset = torch.randn(3, 11, WIDTH), torch.rand(3, 11) < 0.2
    with torch.no_grad():
        expected = naive(name, model, x, reset)
        y, _ = model(x, model.initial_state(3), reset)
        expect_same(y, expected, "in one call", 1e-13)
        state, outputs = model.initial_state(3), []
        for at in range(11):
            y, state = model(x[:, at, None], state, reset[:, at, None])
            outputs.append(y)
        expect_same(torch.cat(outputs, 1), expected, "token by token", 1e-13)


@pytest.mark.parametrize("name", NAIVE)
def test_cells_and_the_fused_kernel_agree(name: str):
    torch.manual_seed(1)
    model = noisy(make(name, num_layers=2))
    rows = CELL_ROWS + 1
    x = torch.randn(rows, 2, WIDTH)
    with torch.no_grad():
        _, state = model(x, model.initial_state(rows))
        y, after = model(x[:, :1], state)
        for row in (0, CELL_ROWS):
            alone, after_alone = model(x[row : row + 1, :1], state.rows(row))
            expect_same(y[row : row + 1], alone, "outputs", 1e-14)
            for (key, tensor), (_, other) in zip(
                after.rows(row).named_tensors(), after_alone.named_tensors(), strict=True
            ):
                expect_same(tensor, other, key, 1e-14)


@pytest.mark.parametrize("name", NAIVE)
def test_weights_start_orthogonal_and_biases_at_zero(name: str):
    model: Any = make(name, num_layers=2)
    for key, parameter in model.network.named_parameters():
        if key.startswith("bias"):
            assert not parameter.any()
        else:
            expect_same(parameter.T @ parameter, torch.eye(WIDTH), key, 1e-12)
    zeros = model.initial_state(4)
    assert all(not tensor.any() for _, tensor in zeros.named_tensors())
    assert {tensor.shape for _, tensor in zeros.named_tensors()} == {(4, 2, WIDTH)}


@pytest.mark.parametrize(("name", "keeps"), [("lstm", {1: 1, 0: -1}), ("gru", {1: 1})])
def test_gates_can_start_by_keeping_for_long(name: str, keeps: dict[int, int]):
    """A unit whose gate keeps a share s of itself forgets in 1 / (1 - s) = 1 + t tokens."""
    longest = 50
    model: Any = make(name, num_layers=2, hidden=400, chrono=longest)
    for layer in range(2):
        weights = dict(model.network.named_parameters())
        assert not weights[f"bias_hh_l{layer}"].any()
        for gate, bias in enumerate(weights[f"bias_ih_l{layer}"].view(-1, 400)):
            if gate not in keeps:
                assert not bias.any()
                continue
            span = 1 / (1 - torch.sigmoid(keeps[gate] * bias)) - 1
            assert 1 <= span.min() < 3
            assert longest - 3 < span.max() <= longest - 1 + 1e-9
            assert abs(span.mean() - longest / 2) < 3
    with pytest.raises(ConfigError, match=r"model\.chrono must be at least 3 tokens, not 2"):
        make(name, chrono=2)


@pytest.mark.parametrize("name", NAIVE)
def test_a_memory_of_long_spans_keeps_its_first_token(name: str):
    """After as many tokens as were asked for, more of the first one is left than without."""
    left = []
    for chrono in (None, 200):
        torch.manual_seed(0)
        model: Any = make(name, chrono=chrono)
        x = torch.randn(1, 200, WIDTH).repeat(2, 1, 1)
        x[1, 0] += 1.0
        with torch.no_grad():
            y, _ = model(x, model.initial_state(2))
        left.append((y[0, -1] - y[1, -1]).abs().max().item())
    assert left[0] < 1e-9
    assert left[1] > 1e-4


def test_the_published_lstm_has_as_many_parameters():
    config = MODELS.get("lstm").Config(width=64, hidden=32)
    model = build(config, tokens_per_step=1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_656


@pytest.mark.parametrize("name", NAIVE)
def test_an_episode_that_ends_leaves_no_trace(name: str):
    """Not even of numbers that are none."""
    model = noisy(make(name))
    x = torch.randn(2, 4, WIDTH)
    x[0, 1] = torch.nan
    reset = torch.tensor([[False, False, True, False], [False] * 4])
    for cuts in ([4], [1, 1, 1, 1]):
        state, outputs = model.initial_state(2), []
        for part, marks in zip(x.split(cuts, 1), reset.split(cuts, 1), strict=True):
            y, state = model(part, state, marks)
            outputs.append(y)
        y = torch.cat(outputs, 1)
        assert y[0, 1].isnan().all()
        assert torch.isfinite(y[0, 2:]).all()
        assert torch.isfinite(y[1]).all()


@pytest.mark.parametrize("name", NAIVE)
@pytest.mark.parametrize("length", [1, 3])
def test_mixed_precision_keeps_the_carry_whole(name: str, length: int):
    model = make(name, hidden=6).float()
    x = torch.randn(2, length, WIDTH).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, state = model(x, model.initial_state(2))
    assert {tensor.dtype for _, tensor in state.named_tensors()} == {torch.float32}


def test_no_memory_is_the_identity():
    model = make("memoryless")
    x = torch.randn(3, 5, WIDTH)
    reset = torch.tensor([[False, True, False, True, False], [False] * 5, [False] * 4 + [True]])
    y, state = model(x, model.initial_state(3), reset)
    assert torch.equal(y, x)
    assert state.clock_B.tolist() == [2, 5, 1]
    assert model(x, state)[1].clock_B.tolist() == [7, 10, 6]
    assert model.reach == 1
    assert list(model.parameters()) == []


def test_rezero_starts_as_the_identity_and_learns():
    torch.manual_seed(2)
    model: Any = make("rezero", context_length=3, cache_length=4)
    x = torch.randn(2, 8, WIDTH)
    y, _ = model(x, model.initial_state(2))
    assert torch.equal(y, x)
    (y * torch.randn_like(y)).sum().backward()
    for block in model.blocks:
        assert block.alpha.grad.abs() > 0
        assert not any("norm" in name for name, _ in block.named_parameters())


def test_rezero_follows_its_equations():
    """One layer, no cache: causal attention with relative scores, written out."""
    torch.manual_seed(3)
    model: Any = noisy(
        make("rezero", context_length=5, cache_length=0, num_layers=1, num_heads=1, head_width=4)
    )
    x = torch.randn(1, 5, WIDTH)
    attention, block = model.attentions[0], model.blocks[0]
    u, v = model.content_bias_HE[0], model.position_bias_HE[0]
    frequency = 10000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
    query, key, value = (x[0] @ part.T for part in attention.qkv.weight.chunk(3))
    read = []
    for i in range(5):
        scores = []
        for j in range(i + 1):
            angle = (i - j) * frequency
            distance = torch.cat([angle.sin(), angle.cos()])
            by_position = attention.position.weight @ distance
            scores.append(((query[i] + u) @ key[j] + (query[i] + v) @ by_position) / 2)
        read.append(torch.softmax(torch.stack(scores), 0) @ value[: i + 1])
    y = x[0] + block.alpha * (torch.stack(read) @ attention.out.weight.T)
    up, _, _, down, _ = block.feed_forward
    expected = y + block.alpha * down(torch.relu(up(y)))
    with torch.no_grad():
        expect_same(model(x, model.initial_state(1))[0][0], expected, "rezero", 1e-12)


def test_gtrxl_is_transformer_xl_with_gates():
    torch.manual_seed(4)
    settings = {"context_length": 3, "cache_length": 5, "feed_forward": 12}
    gated = noisy(make("gtrxl", **settings))
    same = make("transformer_xl", block="gtrxl", **settings)
    same.load_state_dict(gated.state_dict())
    x = torch.randn(2, 10, WIDTH)
    y, _ = gated(x, gated.initial_state(2))
    assert torch.equal(y, same(x, same.initial_state(2))[0])


@pytest.mark.parametrize("name", ["gtrxl", "rezero"])
def test_another_block_is_refused(name: str):
    with pytest.raises(ConfigError, match=f"model.block must be one of {name}, not 'trxl'"):
        make(name, block="trxl")
