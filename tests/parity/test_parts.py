"""Valves and positions against formulas and loops."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from parity.naive_rate import gru_gate, sinusoid
from retain.contract.trials import expect_same
from retain.nn import attention as attention_module
from retain.nn.attention import RelativeAttention
from retain.nn.blocks import Gate
from retain.nn.positions import Positions
from retain.nn.valve import Valve, ValveConfig, round_straight_through

BATCH, TOKENS, WIDTH = 2, 3, 6

pytestmark = pytest.mark.usefixtures("float64")


def _valve(kind: str, **options: float) -> tuple[Valve, Tensor, Tensor]:
    torch.manual_seed(0)
    valve = Valve(ValveConfig(kind=kind, num_heads=2, **options), WIDTH)
    with torch.no_grad():
        for parameter in valve.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return valve.eval(), torch.randn(BATCH, TOKENS, WIDTH), torch.randn(BATCH, TOKENS, WIDTH)


def _part(valve: Valve, kind: type[nn.Module]) -> nn.Module:
    return next(part for part in valve.modules() if type(part) is kind)


def _no_carry() -> Tensor:
    return torch.zeros(BATCH, TOKENS, 0)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh", "identity"])
def test_gru_steps_each_slot_on_its_own_with_the_memory_as_hidden_state(activation: str):
    valve, memory, written = _valve("gru", activation=activation)
    act = {"identity": lambda x: x, "tanh": torch.tanh}.get(activation) or getattr(
        nn.functional, activation
    )
    theirs = nn.GRUCell(WIDTH, WIDTH)
    theirs.load_state_dict(_part(valve, nn.GRUCell).state_dict())
    made, carry = valve(memory, written, _no_carry())
    for token in range(TOKENS):
        expect_same(made[:, token], theirs(act(written[:, token]), memory[:, token]), "a slot")
    assert carry.shape == (BATCH, TOKENS, 0)


def test_lstm_carries_its_cells_from_segment_to_segment():
    valve, memory, written = _valve("lstm", activation="tanh")
    theirs = nn.LSTMCell(WIDTH, WIDTH)
    theirs.load_state_dict(_part(valve, nn.LSTMCell).state_dict())
    carry = torch.zeros(BATCH, TOKENS, valve.carry_width)
    first, carry = valve(memory, written, carry)
    second, carry = valve(first, 2 * written, carry)
    for token in range(TOKENS):
        hidden = (memory[:, token], torch.zeros(BATCH, WIDTH))
        hidden = theirs(written[:, token].tanh(), hidden)
        expect_same(first[:, token], hidden[0], "the first step")
        hidden = theirs((2 * written[:, token]).tanh(), hidden)
        expect_same(second[:, token], hidden[0], "the second step")
        expect_same(carry[:, token], hidden[1], "the cells")


def test_gate_is_the_gate_of_gtrxl_with_the_memory_as_stream():
    valve, memory, written = _valve("gate")
    weights = {k: v.numpy() for k, v in _part(valve, Gate).state_dict().items()}
    made, _ = valve(memory, written, _no_carry())
    u = [*np.split(weights["from_x.weight"], 2), weights["from_reset_x.weight"]]
    for row in range(BATCH):
        for token in range(TOKENS):
            expected = gru_gate(
                memory[row, token].numpy(),
                written[row, token].clamp(min=0).numpy(),
                np.split(weights["from_y.weight"], 3),
                u,
                weights["bias"],
            )
            expect_same(made[row, token], torch.from_numpy(expected), "a slot")


def test_a_new_gate_starts_near_the_identity():
    x, y = torch.randn(50, WIDTH), torch.zeros(50, WIDTH)
    gate = Gate(WIDTH)
    with torch.no_grad():
        gate.from_x.weight.zero_()
    # s(-2) = 0.12 of the candidate tanh(U_g (x / 2)) is mixed in.
    opening = 1 / (1 + math.exp(2.0))
    expected = (1 - opening) * x + opening * torch.tanh(gate.from_reset_x(x / 2))
    expect_same(gate(x, y), expected, "a gate with no input")


def test_none_hands_on_what_was_written_unactivated():
    valve, memory, written = _valve("none")
    assert valve(memory, written, _no_carry())[0] is written


@pytest.mark.parametrize("reverse", [False, True])
def test_cross_attention_has_neither_residual_nor_norm(reverse: bool):
    kind = "cross_attention_reversed" if reverse else "cross_attention"
    valve, memory, written = _valve(kind)
    attention = _part(valve, nn.MultiheadAttention)
    of_q, of_k, of_v = attention.in_proj_weight.chunk(3)
    at_q, at_k, at_v = attention.in_proj_bias.chunk(3)
    asks, asked = memory, written.clamp(min=0)
    if reverse:
        asks, asked = asked, asks

    def heads(x: Tensor) -> Tensor:
        return x.view(BATCH, TOKENS, 2, WIDTH // 2)

    score = torch.einsum(
        "bihe,bjhe->bhij", heads(asks @ of_q.T + at_q), heads(asked @ of_k.T + at_k)
    )
    share = score.div(math.sqrt(WIDTH // 2)).softmax(-1)
    read = torch.einsum("bhij,bjhe->bihe", share, heads(asked @ of_v.T + at_v)).flatten(2)
    expected = attention.out_proj(read)
    expect_same(valve(memory, written, _no_carry())[0], expected, "the next memory")


def test_retaining_rounds_a_gated_mix():
    valve, memory, written = _valve("retaining")
    memory = memory.sign()
    candidate, _ = _part(valve, nn.MultiheadAttention)(memory, written, written)
    gate = torch.sigmoid(_part(valve, nn.Linear)(torch.cat([memory, candidate], dim=-1)))
    mix = memory + gate * (candidate.tanh() - memory)
    made, _ = valve(memory, written, _no_carry())
    expect_same(made, mix.round(), "the next memory")
    assert set(made.unique().tolist()) <= {-1.0, 0.0, 1.0}
    # Straight through: the gradient is that of the mix before rounding.
    weight = torch.randn_like(made)
    parameters = list(valve.parameters())
    ours = torch.autograd.grad((made * weight).sum(), parameters)
    expected = torch.autograd.grad((mix * weight).sum(), parameters)
    for mine, other in zip(ours, expected, strict=True):
        expect_same(mine, other, "a gradient")
    assert any(bool((gradient != 0).any()) for gradient in ours)


def test_rounding_passes_the_gradient_inside_its_range_only():
    x = torch.tensor([-1.7, -0.6, -0.4, 0.2, 0.9, 1.2], requires_grad=True)
    y = round_straight_through(x)
    assert y.tolist() == [-1, -1, 0, 0, 1, 1]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 9])
def test_rounding_is_to_the_nearest_level_and_keeps_levels_bit_for_bit(levels: int):
    grid = torch.linspace(-1, 1, levels, dtype=torch.float64)
    x = torch.linspace(-1.3, 1.3, 997, dtype=torch.float64)
    rounded = round_straight_through(x, levels)
    nearest = (x[:, None] - grid).abs().min(dim=1).values
    assert torch.allclose((x - rounded).abs(), nearest)
    assert torch.equal(round_straight_through(rounded, levels), rounded)
    single = round_straight_through(x.float(), levels)
    assert len(single.unique()) == levels
    assert torch.equal(round_straight_through(single, levels), single)


def test_zero_levels_clip_only():
    assert round_straight_through(torch.tensor([-3.0, 0.3, 3.0]), 0).tolist() == [
        -1.0,
        pytest.approx(0.3),
        1.0,
    ]


@pytest.mark.parametrize("gate", ["hard_component", "hard_token"])
@pytest.mark.parametrize("levels", [0, 3])
def test_a_hard_gate_that_is_closed_copies_any_memory_bit_for_bit(gate: str, levels: int):
    valve, memory, written = _valve("retaining", gate=gate, levels=levels)
    memory = round_straight_through(memory, levels)
    with torch.no_grad():
        _part(valve, nn.Linear).weight.zero_()
        _part(valve, nn.Linear).bias.fill_(-3.0)  # a sigmoid of 0.047: open, were it not stretched
    assert torch.equal(valve(memory, written, _no_carry())[0], memory)


def test_a_gate_a_token_moves_all_components_of_the_token_alike():
    valve, memory, written = _valve("retaining", gate="token", levels=0)
    memory = memory.clamp(-1, 1)
    candidate, _ = _part(valve, nn.MultiheadAttention)(memory, written, written)
    share = (valve(memory, written, _no_carry())[0] - memory) / (candidate.tanh() - memory)
    expect_same(share, share[:, :, :1].expand_as(share), "the share", tolerance=1e-3)


def test_without_a_gate_all_is_written_anew():
    valve, memory, written = _valve("retaining", gate="none", levels=0)
    candidate, _ = _part(valve, nn.MultiheadAttention)(memory, written, written)
    made, _ = valve(memory, written, _no_carry())
    expect_same(made, candidate.tanh(), "the next memory")
    assert not hasattr(valve, "openness")


def test_a_small_push_leaves_a_quantized_memory_bit_for_bit():
    valve, memory, written = _valve("retaining")
    memory = memory.sign()
    with torch.no_grad():
        _part(valve, nn.Linear).bias.fill_(-30.0)  # a closed gate
    assert torch.equal(valve(memory, written, _no_carry())[0], memory)


def test_the_retaining_is_dithered_in_training_only():
    valve, memory, written = _valve("retaining", dither=0.8)
    memory = memory.sign()
    assert torch.equal(
        valve(memory, written, _no_carry())[0], valve(memory, written, _no_carry())[0]
    )
    valve.train()
    tries = [valve(memory, written, _no_carry())[0] for _ in range(20)]
    assert any(not torch.equal(one, tries[0]) for one in tries)


def test_a_change_of_memory_costs_in_the_retaining_valve_alone():
    valve, memory, written = _valve("retaining", cost=0.5)
    after = torch.randn_like(memory)
    cost = valve.regularizer(memory, written, after)
    expect_same(cost, 0.5 * (memory - after).abs().mean(dim=(1, 2)), "the cost")
    assert _valve("retaining", cost=0.0)[0].regularizer(memory, written, after) is None
    assert _valve("gru")[0].regularizer(memory, written, after) is None


@pytest.mark.parametrize("levels", [3, 4])
def test_the_commitment_draws_values_to_their_levels(levels: int):
    valve, memory, written = _valve("retaining", cost=0.0, commitment=2.0, levels=levels)
    memory = round_straight_through(memory, levels)
    made, _ = valve(memory, written, _no_carry())
    x = valve._moved(memory, written)
    cost = valve.regularizer(memory, written, made)
    expect_same(cost, 2.0 * (x - made).pow(2).mean(dim=(1, 2)), "the cost")
    weights = list(valve.openness.parameters())
    ours = torch.autograd.grad(cost.sum(), weights)
    # The level is where it is: only the value is drawn.
    pull = 4.0 * (x - made).detach() / x[0].numel()
    expected = torch.autograd.grad((pull * valve._moved(memory, written)).sum(), weights)
    for mine, other in zip(ours, expected, strict=True):
        expect_same(mine, other, "a gradient", tolerance=1e-4)
    free = _valve("retaining", cost=0.0, commitment=2.0, levels=0)[0]
    assert not free.regularizer(memory, written, made).any()


@pytest.mark.parametrize("levels", [2, 3, 4, 9])
def test_the_edge_distance_is_the_way_to_the_nearest_change_of_level(levels: int):
    valve, memory, written = _valve("retaining", levels=levels)
    valve, memory, written = valve.double(), memory.double(), written.double()
    memory = round_straight_through(memory, levels)
    with torch.no_grad():
        distance_B = valve.edge_distance(memory, written, _no_carry())
        x_BMD = valve._moved(memory, written)
        made, _ = valve(memory, written, _no_carry())
        least = 2.0 / (levels - 1)
        for row, distance in enumerate(distance_B.tolist()):
            for share, same in ((0.999, True), (1.001, False)):
                pushed = [
                    round_straight_through(x_BMD[row] + way * share * distance, levels)
                    for way in (1, -1)
                ]
                assert all(torch.equal(p, made[row]) for p in pushed) == same
            assert 0 <= distance <= least / 2
    assert _valve("retaining", levels=0)[0].edge_distance(memory, written, _no_carry()) is None
    assert _valve("gru")[0].edge_distance(memory, written, _no_carry()) is None


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 5),
    num_keys=st.integers(1, 9),
    starts=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    half=st.integers(1, 8),
)
def test_positions_score_by_signed_distance(
    length: int, num_keys: int, starts: list[int], half: int
):
    width, heads = 2 * half, 2
    positions = Positions(width, 16)
    vector = torch.randn(len(starts), heads, length, width, dtype=torch.float64)
    keys = positions.keys(num_keys, vector)
    score = positions.turned(vector, torch.tensor(starts)) @ keys.t()
    for row, start in enumerate(starts):
        one = positions.turned(vector[row : row + 1], start) @ keys.t()
        expect_same(one[0], score[row], "one start for all and a start for each row")
        for i in range(length):
            for j in range(num_keys):
                encoding = torch.from_numpy(sinusoid(start + i - j, width))
                expect_same(score[row, :, i, j], vector[row, :, i] @ encoding, "a score")


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    length=st.integers(1, 5),
    num_keys=st.integers(1, 9),
    start=st.integers(0, 9),
    heads=st.integers(1, 3),
)
def test_attention_is_the_same_by_distance_and_by_place(
    batch: int, length: int, num_keys: int, start: int, heads: int
):
    width, head_width = 6, 4
    attention = RelativeAttention(width, heads, head_width, 0.0, 0.0)
    shapes = [(batch, heads, length, head_width), *[(batch, heads, num_keys, head_width)] * 2]
    tokens = [torch.randn(shape, requires_grad=True) for shape in shapes]
    bias = torch.randn(2, heads, head_width)
    mask = torch.randn(length, num_keys)
    found = []
    for by_distance in (False, True):
        with patch.object(attention, "_is_cheaper_by_distance", return_value=by_distance):
            read = attention.attend(
                *tokens,
                start=start,
                positions=Positions(width, 16),
                content_bias_HE=bias[0],
                position_bias_HE=bias[1],
                mask=mask,
            )
        parts = [*tokens, attention.position.weight]
        found.append([read, *torch.autograd.grad(read.square().sum(), parts)])
    for one, other in zip(*found, strict=True):
        expect_same(one, other, "the output or a gradient")


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 4),
    num_keys=st.integers(1, 9),
    apart=st.booleans(),
    own_masks=st.booleans(),
    by_distance=st.booleans(),
    rows=st.integers(1, 5),
)
def test_rows_read_a_few_at_a_time_are_read_alike(
    batch: int, length: int, num_keys: int, apart: bool, own_masks: bool, by_distance: bool,
    rows: int,
):  # fmt: skip
    heads, head_width = 2, 4
    layer = RelativeAttention(6, heads, head_width, 0.0, 0.0)
    shapes = [(batch, heads, length, head_width), *[(batch, heads, num_keys, head_width)] * 2]
    tokens = [torch.randn(shape, requires_grad=True) for shape in shapes]
    bias = torch.randn(2, heads, head_width, requires_grad=True)
    mask = torch.randn(batch if own_masks else 1, 1, length, num_keys)
    start = torch.arange(batch) if apart else 3
    found = []
    for limit in (10**9, rows * heads * length * num_keys * tokens[0].element_size()):
        with (
            patch.object(attention_module, "CACHE_BYTES", limit),
            patch.object(layer, "_is_cheaper_by_distance", return_value=by_distance),
        ):
            read = layer.attend(
                *tokens,
                start=start,
                positions=Positions(6, 16),
                content_bias_HE=bias[0],
                position_bias_HE=bias[1],
                mask=mask,
            )
        parts = [*tokens, bias, layer.position.weight]
        found.append([read, *torch.autograd.grad(read.square().sum(), parts)])
    for one, other in zip(*found, strict=True):
        expect_same(one, other, "the output or a gradient")


@pytest.mark.parametrize(("batch", "by_distance"), [(1, False), (200, True)])
def test_distances_are_encoded_for_many_queries_only(batch: int, by_distance: bool):
    attention = RelativeAttention(64, 2, 32, 0.0, 0.0)
    assert attention._is_cheaper_by_distance(batch, length=1, keys=100) is by_distance


def test_positions_of_a_cast_model_are_exact():
    positions = Positions(6, 9)
    exact = Positions(6, 9).keys(9, torch.zeros(1, dtype=torch.float64))
    positions.keys(9, torch.zeros(1))
    found = positions.double().keys(9, torch.zeros(1, dtype=torch.float64))
    assert torch.equal(found, exact)
