"""States are values: taken apart, mixed, cut and cast without a change to what they came from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retain.memory import MemoryState, cache, carry, clock, slots


@dataclass(frozen=True)
class Everything(MemoryState):
    carried_BD: Tensor = carry()
    cached: tuple[Tensor, ...] = cache()
    slots_BMD: Tensor = slots()
    clock_B: Tensor = clock()


def _state(batch: int = 3, first: float = 0.0, *, graph: bool = False) -> Everything:
    def numbers(*shape: int) -> Tensor:
        tensor = torch.arange(first, first + batch * shape[1] if len(shape) > 1 else first + batch)
        tensor = tensor.view(batch, -1, *[1] * (len(shape) - 2)).expand(shape).clone()
        return tensor.requires_grad_(True) * 1 if graph else tensor

    return Everything(
        carried_BD=numbers(batch, 2),
        cached=(numbers(batch, 4, 2), numbers(batch, 1, 5)),
        slots_BMD=numbers(batch, 3, 2),
        clock_B=torch.arange(batch) + int(first),
    )


def _equal(one: MemoryState, other: MemoryState) -> bool:
    pairs = zip(one.named_tensors(), other.named_tensors(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_a_field_must_say_its_kind():
    @dataclass(frozen=True)
    class Untold(MemoryState):
        hidden_BD: Tensor

    with pytest.raises(TypeError, match=r"Untold\.hidden_BD does not say its kind"):
        Untold(torch.zeros(1, 2))


def test_a_field_of_an_unknown_kind_is_refused():
    @dataclass(frozen=True)
    class Odd(MemoryState):
        hidden_BD: Tensor = field(metadata={"kind": "notes"})

    with pytest.raises(TypeError, match="does not say its kind"):
        Odd(torch.zeros(1, 2))


def test_nothing_can_be_assigned():
    with pytest.raises(FrozenInstanceError):
        _state().clock_B = torch.zeros(3)  # type: ignore[misc]


def test_names_sizes_and_bytes():
    state = _state()
    names = [name for name, _ in state.named_tensors()]
    assert names == ["carried_BD", "cached.0", "cached.1", "slots_BMD", "clock_B"]
    assert state.batch_size == 3
    assert state.num_bytes() == 3 * (4 * (2 + 8 + 5 + 6) + 8)


@settings(max_examples=20, deadline=None)
@given(mask=st.lists(st.booleans(), min_size=1, max_size=5))
def test_where_takes_rows_from_one_or_the_other(mask: list[bool]):
    mine, other = _state(len(mask)), _state(len(mask), first=100.0)
    mixed = mine.where(torch.tensor(mask), other)
    for row, keep in enumerate(mask):
        assert _equal(mixed.rows(row), (mine if keep else other).rows(row))


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        ([2, 0, 2], [2, 0, 2]),
        (torch.tensor([1, 1]), [1, 1]),
        (torch.tensor([True, False, True]), [0, 2]),
    ],
    ids=repr,
)
def test_rows_are_taken_in_order_and_copied(index: object, rows: list[int]):
    state = _state()
    taken = state.rows(index)  # type: ignore[arg-type]
    assert taken.batch_size == len(rows)
    assert torch.equal(taken.clock_B, state.clock_B[rows])
    assert torch.equal(taken.cached[1], state.cached[1][rows])
    before = state.rows([0, 1, 2])
    for _, tensor in taken.named_tensors():
        tensor.fill_(7)
    assert _equal(state, before)


def test_detach_cuts_the_kinds_that_are_named():
    state = _state(graph=True)
    for kinds, cut in (
        ((), {"carried_BD", "cached.0", "cached.1", "slots_BMD"}),
        (("cache",), {"cached.0", "cached.1"}),
        (("slots", "carry"), {"carried_BD", "slots_BMD"}),
        (("clock",), set()),
    ):
        detached = state.detach(*kinds)
        assert _equal(detached, state)
        for name, tensor in detached.named_tensors():
            assert tensor.requires_grad == (name != "clock_B" and name not in cut)
    assert state.slots_BMD.requires_grad


def test_a_cast_leaves_clocks_whole():
    cast = _state().to(torch.float64)
    assert cast.slots_BMD.dtype == cast.cached[0].dtype == torch.float64
    assert cast.clock_B.dtype == torch.int64
    assert _equal(_state().to("cpu"), _state())
    assert _equal(cast.to(torch.float32), _state())
