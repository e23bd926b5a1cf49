"""A cache that is longer than the episode so far: nothing of it is read, and nothing is paid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.memory import SequenceModel
from retain.models import MODELS, build
from retain.nn.attention import RelativeAttention

WIDTH, SEGMENT, LENGTH, TOKENS = 8, 3, 12, 2
MODELS_WITH_CACHE = ["gtrxl", "rate", "rezero", "transformer_xl"]


def model(name: str, cache_length: int) -> SequenceModel:
    sizes = {"width": WIDTH, "num_heads": 2, "head_width": 4, "num_layers": 2}
    sizes |= {"context_length": SEGMENT, "cache_length": cache_length}
    if name == "rate":
        sizes["num_memory_tokens"] = TOKENS
    config = MODELS.get(name).Config(**sizes)
    return build(config, tokens_per_step=1).double().eval()


def read(made: SequenceModel, x_BLD: torch.Tensor, cuts: list[int], reset_BL: torch.Tensor):
    state, outputs = made.initial_state(len(x_BLD)), []
    for start, stop in zip([0, *cuts], [*cuts, LENGTH], strict=True):
        y_BLD, state = made(x_BLD[:, start:stop], state, reset_BL[:, start:stop])
        outputs.append(y_BLD)
    return torch.cat(outputs, dim=1)


@pytest.mark.no_cover
@pytest.mark.parametrize("name", MODELS_WITH_CACHE)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    cuts=st.sets(st.integers(1, LENGTH - 1), max_size=4),
    resets=st.lists(st.tuples(st.integers(0, 2), st.integers(0, LENGTH - 1)), max_size=2),
)
def test_outputs_and_gradients_are_those_of_a_cache_that_just_suffices(
    name: str, batch: int, cuts: set[int], resets: list[tuple[int, int]]
) -> None:
    # RATE's read and write tokens are cached as well.
    just, longer = model(name, LENGTH // SEGMENT * (SEGMENT + 2 * TOKENS)), model(name, 100)
    longer.load_state_dict(just.state_dict())
    x_BLD = torch.randn(batch, LENGTH, WIDTH, dtype=torch.float64)
    reset_BL = torch.zeros(batch, LENGTH, dtype=torch.bool)
    for row, at in resets:
        reset_BL[row % batch, at] = True
    results = []
    for made in (just, longer):
        y_BLD = read(made, x_BLD, sorted(cuts), reset_BL)
        gradients = torch.autograd.grad(y_BLD.square().sum(), made.parameters(), allow_unused=True)
        results.append([y_BLD, *(g for g in gradients if g is not None)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", MODELS_WITH_CACHE)
def test_only_filled_places_are_scored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[int] = []
    attend = RelativeAttention.attend

    def counted(self, query, key, value, **options):
        keys.append(key.shape[2])
        return attend(self, query, key, value, **options)

    monkeypatch.setattr(RelativeAttention, "attend", counted)
    made = model(name, 100)
    made(torch.randn(2, 2 * SEGMENT, WIDTH, dtype=torch.float64), made.initial_state(2))
    segment = SEGMENT + (2 * TOKENS if name == "rate" else 0)
    assert keys == [segment, segment, 2 * segment, 2 * segment]
