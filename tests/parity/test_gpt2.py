"""GPT-2 against the one of Hugging Face, with its weights copied across."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from retain.contract.trials import expect_same
from retain.models.gpt2 import GPT2, GPT2Config

with warnings.catch_warnings():
    # What a third package deprecates in another on import is not ours to mend.
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

BATCH, LENGTH, WIDTH, LAYERS, HEADS = 3, 21, 12, 2, 3
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def _pair(positions: str) -> tuple[GPT2, nn.Module]:
    """Our GPT-2 and theirs with the same noisy weights, and theirs without its positions."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=WIDTH, n_head=HEADS, n_layer=LAYERS, n_positions=64, vocab_size=1
    )
    config._attn_implementation = "eager"
    theirs = transformers.GPT2Model(config).to(torch.get_default_dtype()).eval()
    sizes = {"width": WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
    ours = GPT2(GPT2Config(**sizes, positions=positions), tokens_per_step=1).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        theirs.wpe.weight.zero_()
        ours.norm_output.load_state_dict(theirs.ln_f.state_dict())
        for mine, other in zip(ours.blocks, theirs.h, strict=True):
            mine.norm_attention.load_state_dict(other.ln_1.state_dict())
            mine.norm_feed_forward.load_state_dict(other.ln_2.state_dict())
            for linear, conv in (
                (mine.qkv, other.attn.c_attn),
                (mine.out, other.attn.c_proj),
                (mine.up, other.mlp.c_fc),
                (mine.down, other.mlp.c_proj),
            ):
                linear.weight.copy_(conv.weight.T)  # Hugging Face's Conv1D is [in, out]
                linear.bias.copy_(conv.bias)
    return ours, theirs


def _table(length: int) -> Tensor:
    """Sines and cosines by their formula, one number at a time."""
    rows = [
        [
            (math.sin if i % 2 == 0 else math.cos)(p / 10000 ** (2 * (i // 2) / WIDTH))
            for i in range(WIDTH)
        ]
        for p in range(length)
    ]
    return torch.tensor(rows)


def _theirs(model: nn.Module, x: Tensor, positions: str, ours: GPT2) -> Tensor:
    if positions == "sine":
        x = x + _table(x.shape[1])
    if ours.positions is not None:
        x = x + ours.positions.weight[: x.shape[1]]
    return model(inputs_embeds=x).last_hidden_state


@pytest.mark.parametrize("positions", ["sine", "learned", "none"])
def test_a_whole_sequence_agrees(dtype: torch.dtype, positions: str):
    ours, theirs = _pair(positions)
    x = torch.randn(BATCH, LENGTH, WIDTH)
    with torch.no_grad():
        y, _ = ours(x, ours.initial_state(BATCH))
        expect_same(y, _theirs(theirs, x, positions, ours), "outputs", TOLERANCE[dtype])


def test_token_by_token_agrees(dtype: torch.dtype):
    ours, theirs = _pair("sine")
    x = torch.randn(BATCH, LENGTH, WIDTH)
    with torch.inference_mode():
        expected = _theirs(theirs, x, "sine", ours)
        state = ours.initial_state(BATCH)
        for at in range(LENGTH):
            y, state = ours(x[:, at : at + 1], state, donate=True)
            expect_same(y[:, 0], expected[:, at], f"output {at}", TOLERANCE[dtype])


def test_rows_at_different_places_agree(dtype: torch.dtype):
    """Rows whose episodes begin at different tokens, each against their model of that episode."""
    ours, theirs = _pair("sine")
    x = torch.randn(BATCH, LENGTH, WIDTH)
    begins = [0, 4, 9]
    reset = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    reset[torch.arange(BATCH), begins] = True
    with torch.no_grad():
        y, _ = ours(x, ours.initial_state(BATCH), reset)
        for row, at in enumerate(begins):
            expected = _theirs(theirs, x[row : row + 1, at:], "sine", ours)
            expect_same(y[row : row + 1, at:], expected, f"row {row}", TOLERANCE[dtype])


def test_gradients_agree(float64: None):
    ours, theirs = _pair("sine")
    x = torch.randn(BATCH, LENGTH, WIDTH)
    weight = torch.randn(BATCH, LENGTH, WIDTH)
    y, _ = ours(x, ours.initial_state(BATCH))
    (y * weight).sum().backward()
    (_theirs(theirs, x, "sine", ours) * weight).sum().backward()
    for mine, other in zip(ours.blocks, theirs.h, strict=True):
        for linear, conv in ((mine.qkv, other.attn.c_attn), (mine.down, other.mlp.c_proj)):
            expect_same(linear.weight.grad, conv.weight.grad.T, "gradient", 1e-9)


def test_a_learned_table_ends_with_its_last_row(float64: None):
    config = GPT2Config(width=WIDTH, context_length=2, positions="learned", dropout=0.0)
    model = GPT2(config, tokens_per_step=3)
    assert model.positions is not None
    assert model.positions.weight.shape == (6, WIDTH)
    x = torch.randn(1, 1, WIDTH).expand(1, 40, WIDTH)
    y, _ = model(x, model.initial_state(1))
    expect_same(y[:, 20], y[:, 39], "outputs of equal tokens far behind the table's end")
    assert not torch.equal(y[:, 3], y[:, 39])
