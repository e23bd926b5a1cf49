"""Every registered model obeys the laws of the memory contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from contract.cases import CASES, WIDTH, Case, all_cases
from retain.contract.laws import LAWS
from retain.contract.trials import Subject, expect_chunks_agree, expect_same, run
from retain.memory import MemoryState, SequenceModel, carry
from retain.models import MODELS


@pytest.mark.no_cover
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_the_model_obeys_the_law(case: Case, law: str):
    LAWS[law](case.subject())


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "case", [case for case in all_cases() if case.label in ("default", "short cache")], ids=str
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_cuts_and_any_resets_of_rows_give_the_same(case: Case, data: Any):
    subject = case.subject()
    length = data.draw(st.integers(1, 3 * subject.segment + 1), label="length")
    batch = data.draw(st.integers(1, 3), label="batch")
    cuts = data.draw(st.lists(st.integers(0, length), max_size=8), label="cuts")
    flat = st.lists(st.booleans(), min_size=batch * length, max_size=batch * length)
    rare = st.lists(st.integers(0, batch * length - 1), max_size=4)
    reset = torch.zeros(batch * length, dtype=torch.bool)
    if data.draw(st.booleans(), label="many resets"):
        reset[:] = torch.tensor(data.draw(flat, label="resets"))
    else:
        reset[data.draw(rare, label="resets")] = True
    with torch.no_grad():
        expect_chunks_agree(
            subject,
            subject.model(),
            subject.tokens(batch, length),
            reset.view(batch, length),
            [cuts],
        )


@dataclass(frozen=True)
class RecurrentState(MemoryState):
    hidden_BD: Tensor = carry()


class Recurrent(SequenceModel):
    """The smallest model that remembers, as another package might bring it."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    @property
    def reach(self) -> None:
        return None

    def initial_state(self, batch_size: int) -> RecurrentState:
        return RecurrentState(self.cell.weight_hh.new_zeros(batch_size, WIDTH))

    def forward(self, x_BLD, state, reset_BL=None, *, read_L=None, donate=False):
        hidden, outputs = state.hidden_BD, []
        for at in range(x_BLD.shape[1]):
            if reset_BL is not None:
                hidden = hidden.masked_fill(reset_BL[:, at, None], 0.0)
            hidden = self.cell(x_BLD[:, at], hidden)
            outputs.append(hidden)
        return torch.stack(outputs, dim=1), RecurrentState(hidden)


@pytest.mark.parametrize("law", LAWS)
def test_the_laws_hold_for_a_model_of_another_make(law: str):
    LAWS[law](Subject(Recurrent, WIDTH, segment=3))


def test_every_entry_is_of_a_registered_model():
    assert set(CASES) <= set(MODELS.names())


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "case", [case for case in all_cases() if case.make_model().reach is not None], ids=str
)
def test_a_memory_that_begins_late_ends_as_one_that_read_it_all(case: Case) -> None:
    """Beyond the reach, nothing tells them apart: they know how old the episode is."""
    subject = case.subject()
    model = subject.model()
    assert model.reach is not None
    missed = torch.tensor([0, subject.segment, 3 * subject.segment])
    length = 4 * subject.segment + model.reach
    x = subject.tokens(1, length)
    reset = torch.zeros(3, length, dtype=torch.bool)
    reset[1, -2] = True
    with torch.no_grad():
        whole, _ = run(model, x.expand(3, -1, -1), model.initial_state(3), reset)
        for row, late in enumerate(missed.tolist()):
            for cuts in ([], [1, subject.segment + 1]):
                state = model.later_state(missed[row : row + 1])
                rest, after = reset[row : row + 1, late:], x[:, late:]
                found, _ = run(model, after, state, rest, cuts=cuts)
                expect_same(
                    found[:, model.reach :], whole[row : row + 1, late + model.reach :], "the end"
                )
        # Rows of unequal age side by side.
        together, _ = run(model, x[:, -model.reach :].expand(3, -1, -1), model.later_state(missed))
        for row in range(3):
            alone = model.later_state(missed[row : row + 1])
            found, _ = run(model, x[:, -model.reach :], alone)
            expect_same(found, together[row : row + 1], "a row among others")


@pytest.mark.no_cover
@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_acting_before_training_leaves_training_as_it_was(case: Case) -> None:
    """What a model keeps for itself from a call in inference mode can be trained with."""
    model = case.make_model()
    x = torch.randn(2, 5, WIDTH)
    with torch.inference_mode():
        model(x, model.initial_state(2))
    y, _ = model(x.requires_grad_(), model.initial_state(2))
    y.sum().backward()
    assert x.grad is not None
