"""Segments read side by side while the memory stays: the same numbers as one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.models.rate import RATE, RATEConfig
from retain.nn.valve import ValveConfig

WIDTH, SEGMENT = 12, 3


def model(openness: float, *, kind: str = "retaining") -> RATE:
    torch.manual_seed(1)
    valve = ValveConfig(kind=kind, num_heads=2)
    config = RATEConfig(
        width=WIDTH,
        num_heads=2,
        head_width=6,
        context_length=SEGMENT,
        num_memory_tokens=2,
        valve=valve,
    )
    made = RATE(config, tokens_per_step=1).double().eval()
    if kind == "retaining":
        with torch.no_grad():
            made.valve.openness.bias.fill_(openness)
            made.valve.attention.out_proj.weight.mul_(8.0)  # so that an open gate does change it
    return made


def one_by_one(made: RATE, x_BLD: torch.Tensor, reset_BL: torch.Tensor | None):
    state, outputs = made.initial_state(len(x_BLD)), []
    for at in range(x_BLD.shape[1]):
        reset = None if reset_BL is None else reset_BL[:, at : at + 1]
        y, state = made(x_BLD[:, at : at + 1], state, reset)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def calls(made: RATE, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    several = made._several

    def counted(x_BSLD, work):
        y = several(x_BSLD, work)
        counts.append(y.shape[1] // SEGMENT)
        return y

    monkeypatch.setattr(made, "_several", counted)
    return counts


@torch.no_grad()
@settings(max_examples=40, deadline=None)
@given(
    openness=st.sampled_from([-30.0, -1.0, 0.0, 2.0]),
    batch=st.integers(1, 3),
    length=st.integers(1, 31),
    first=st.integers(0, 4),
    resets=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=2),
)
def test_the_numbers_are_those_of_single_tokens(
    openness: float, batch: int, length: int, first: int, resets: list[tuple[int, int]]
) -> None:
    made = model(openness)
    x_BLD = torch.randn(batch, length, WIDTH, dtype=torch.float64)
    reset_BL = None
    if resets:
        reset_BL = torch.zeros(batch, length, dtype=torch.bool)
        for row, at in resets:
            reset_BL[row % batch, at % length] = True
    expected, last = one_by_one(made, x_BLD, reset_BL)
    state, parts = made.initial_state(batch), []
    for part in (slice(0, first), slice(first, None)):
        if x_BLD[:, part].shape[1]:
            y, state = made(x_BLD[:, part], state, None if reset_BL is None else reset_BL[:, part])
            parts.append(y)
    assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-10)
    assert torch.equal(state.memory_BMD, last.memory_BMD)
    assert torch.equal(state.clock_B, last.clock_B)


@torch.no_grad()
def test_all_that_is_left_is_read_at_once_when_the_memory_stays(monkeypatch):
    made = model(-30.0)
    counts = calls(made, monkeypatch)
    made(torch.randn(2, 10 * SEGMENT + 1, WIDTH).double(), made.initial_state(2))
    assert counts == [9]


@torch.no_grad()
def test_a_change_of_memory_ends_what_is_taken(monkeypatch):
    made = model(-30.0)
    x_BLD = torch.randn(1, 10 * SEGMENT, WIDTH).double()
    changing = made.next_memory

    def change_in_one_segment(memory_BMD, written_BMD, carry_BMQ):
        memory, carry = changing(memory_BMD, written_BMD, carry_BMQ)
        here = (written_BMD - marked).abs().amax(dim=(1, 2)) < 1e-9
        return torch.where(here[:, None, None], -memory, memory), carry

    seen = []
    monkeypatch.setattr(made, "next_memory", lambda *a: seen.append(a[1]) or changing(*a))
    one_by_one(made, x_BLD, None)
    marked = seen[4]  # the fifth segment turns the memory round
    monkeypatch.setattr(made, "next_memory", change_in_one_segment)
    expected, last = one_by_one(made, x_BLD, None)
    counts = calls(made, monkeypatch)
    y, state = made(x_BLD, made.initial_state(1))
    assert counts == [4, 4]  # the fifth with it, the sixth by itself, then the rest
    assert torch.allclose(y, expected)
    assert torch.equal(state.memory_BMD, last.memory_BMD)
    assert not torch.equal(state.memory_BMD, made.first_memory()[None])


@pytest.mark.parametrize("kind", ["retaining", "lstm", "cross_attention"])
def test_nothing_is_guessed_in_training_or_of_memories_that_never_stay(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(-30.0, kind=kind)
    counts = calls(made, monkeypatch)
    x_BLD = torch.randn(1, 5 * SEGMENT, WIDTH).double()
    made(x_BLD, made.initial_state(1))  # with gradients
    if kind != "retaining":
        with torch.no_grad():
            made(x_BLD, made.initial_state(1))
    made.train()
    with torch.no_grad():
        made(x_BLD, made.initial_state(1))
    assert counts == []
