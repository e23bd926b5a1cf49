"""What the laws of the memory contract share: models on trial, tokens, calls and comparisons.

Axes: B batch, L tokens, D width.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from retain.memory import MemoryState, SequenceModel

SAME = 1e-10
DIFFERENT = 1e-9

#: How a call can be made: the mode that torch is in, and whether the state is given away.
MODES: dict[str, tuple[Callable[[], AbstractContextManager[Any]], bool]] = {
    "with gradients": (nullcontext, False),
    "with gradients, donated": (nullcontext, True),
    "no_grad": (torch.no_grad, False),
    "no_grad, donated": (torch.no_grad, True),
    "inference_mode": (torch.inference_mode, False),
    "inference_mode, donated": (torch.inference_mode, True),
}


@dataclass(frozen=True)
class Subject:
    """A model on trial."""

    make_model: Callable[[], SequenceModel]
    width: int
    segment: int
    """Tokens in a segment: the scale of the sequences that the laws try."""
    tight: bool = False
    """Some output depends on the very oldest token within the model's reach."""

    def model(self, seed: int = 0) -> SequenceModel:
        """Builds the model in float64, in evaluation mode, with noise on every parameter."""
        torch.manual_seed(seed)
        model = self.make_model().double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.15 * torch.randn_like(parameter))
        return model

    def tokens(self, batch: int, length: int, seed: int = 0) -> Tensor:
        """Draws tokens."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, length, self.width, generator=generator, dtype=torch.float64)


def expect(holds: bool | Tensor, what: str) -> None:
    """Raises AssertionError unless something holds; no option of Python turns it off."""
    if not bool(holds):
        raise AssertionError(what)


def random_resets(batch: int, length: int, seed: int, share: float = 0.08) -> Tensor:
    """Draws where episodes begin; rows differ, and some have no reset at all."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, length, generator=generator) < share


def pieces(cuts: Sequence[int], length: int) -> Iterator[tuple[int, int]]:
    """Yields the runs [start, stop) of 0..length that have a cut at no inner place."""
    bounds = sorted({0, length, *(cut for cut in cuts if 0 < cut < length)})
    yield from itertools.pairwise(bounds)


def run(
    model: SequenceModel,
    x_BLD: Tensor,
    state: MemoryState,
    reset_BL: Tensor | None = None,
    *,
    cuts: Sequence[int] = (),
    donate: bool = False,
    read_L: Sequence[bool] | None = None,
) -> tuple[Tensor, MemoryState]:
    """Reads tokens in several calls."""
    outputs = []
    for start, stop in pieces(cuts, x_BLD.shape[1]):
        y, state = model(
            x_BLD[:, start:stop],
            state,
            None if reset_BL is None else reset_BL[:, start:stop],
            read_L=None if read_L is None else read_L[start:stop],
            donate=donate,
        )
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference of two tensors; infinite where one holds a NaN."""
    expect(a.shape == b.shape, f"shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    if a.numel() == 0:
        return 0.0
    largest = (a.detach() - b.detach()).abs().max().item()
    return largest if largest == largest else float("inf")


def expect_same(a: Tensor, b: Tensor, what: str, tolerance: float = SAME) -> None:
    """Asserts that two tensors agree."""
    expect(distance(a, b) <= tolerance, f"{what}: they differ by {distance(a, b):.2g}")


def many_cuts(length: int, segment: int, seed: int) -> Iterator[list[int]]:
    """Yields ways to cut: everywhere, at the ends of segments, just beside them, and at random."""
    ends = list(range(segment, length, segment))
    yield list(range(1, length))
    yield ends
    yield [end - 1 for end in ends]
    yield [end + 1 for end in ends]
    draw = random.Random(seed)
    yield draw.sample(range(1, length), k=min(4, length - 1))


def expect_chunks_agree(
    subject: Subject,
    model: SequenceModel,
    x_BLD: Tensor,
    reset_BL: Tensor | None,
    ways: Iterable[Sequence[int]],
) -> None:
    """Asserts that one call and several give the same, and that both final states lead on alike."""
    batch = x_BLD.shape[0]
    later = subject.tokens(batch, subject.segment + 2, seed=99)
    whole, state = run(model, x_BLD, model.initial_state(batch), reset_BL)
    after_whole, _ = run(model, later, state)
    for cuts in ways:
        cut, state = run(model, x_BLD, model.initial_state(batch), reset_BL, cuts=cuts)
        expect_same(whole, cut, f"outputs of one call and of calls cut at {list(cuts)}")
        after_cut, _ = run(model, later, state, cuts=range(2, subject.segment, 2))
        expect_same(after_whole, after_cut, f"what follows one call and calls cut at {list(cuts)}")


def perturbed(subject: Subject, length: int, places: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Returns one sequence in every row, and the same with another token at each row's place."""
    x = subject.tokens(1, length).repeat(len(places), 1, 1)
    other = x.clone()
    rows = torch.arange(len(places))
    other[rows, torch.tensor(places)] = 3 * subject.tokens(len(places), 1, seed=7)[:, 0]
    return x, other


def as_leaves(state: MemoryState, *kinds: str) -> tuple[MemoryState, dict[str, Tensor]] | None:
    """Returns the state with fresh leaves, which want gradients, in the fields of some kinds."""
    leaves: dict[str, Tensor] = {}
    changed: dict[str, Any] = {}
    for field in fields(state):
        value = getattr(state, field.name)
        if field.metadata["kind"] not in kinds:
            continue
        parts = value if isinstance(value, tuple) else (value,)
        fresh = tuple(part.detach().clone().requires_grad_(True) for part in parts)
        leaves |= {f"{field.name}.{n}": part for n, part in enumerate(fresh) if part.numel()}
        changed[field.name] = fresh if isinstance(value, tuple) else fresh[0]
    return (replace(state, **changed), leaves) if leaves else None
