"""Every registered model gives the same on an accelerator as on the processor.

The processor is among the devices, with one case of each model, so that a machine without an
accelerator tries the test itself.
"""

from __future__ import annotations

import pytest
import torch

from contract.cases import Case, all_cases
from retain.contract.trials import expect_same, random_resets, run
from tiny_runs import on_devices

#: Products are summed in another order there.
TOLERANCE = 1e-8
TRIED = on_devices(all_cases(), {case.model: case for case in all_cases()}.values())


@pytest.mark.parametrize(("device", "case"), TRIED, ids=str)
def test_reading_and_gradients_are_those_of_the_processor(case: Case, device: str) -> None:
    subject = case.subject()
    here, there = subject.model(), subject.model().to(device)
    batch, length = 3, 2 * subject.segment + 1
    x, reset = subject.tokens(batch, length), random_resets(batch, length, seed=3)

    mine, theirs = x.clone().requires_grad_(), x.to(device).requires_grad_()
    y, _ = run(here, mine, here.initial_state(batch), reset)
    moved, _ = run(there, theirs, there.initial_state(batch), reset.to(device))
    assert moved.device.type == device
    expect_same(y, moved.cpu(), "outputs", TOLERANCE)
    y.square().sum().backward()
    moved.square().sum().backward()
    assert mine.grad is not None
    assert theirs.grad is not None
    expect_same(mine.grad, theirs.grad.cpu(), "gradients", TOLERANCE)


@pytest.mark.parametrize(("device", "case"), TRIED, ids=str)
def test_acting_is_that_of_the_processor(case: Case, device: str) -> None:
    """Token by token with donated states, and rows picked out on the way."""
    subject = case.subject()
    length = 2 * subject.segment + 1
    x, reset = subject.tokens(3, length), random_resets(3, length, seed=5)
    kept = torch.tensor([2, 0])
    outputs = []
    for place in ("cpu", device):
        model = subject.model().to(place)
        with torch.inference_mode():
            every = {"cuts": range(1, length), "donate": True}
            there = x.to(place), model.initial_state(3), reset.to(place)
            first, state = run(model, *there, **every)
            rows = state.rows(kept.to(place))
            later, _ = run(model, x[kept].to(place), rows, reset[kept].to(place), **every)
        outputs.append((first.cpu(), later.cpu()))
    expect_same(outputs[0][0], outputs[1][0], "outputs of all rows", TOLERANCE)
    expect_same(outputs[0][1], outputs[1][1], "outputs of the rows kept", TOLERANCE)
