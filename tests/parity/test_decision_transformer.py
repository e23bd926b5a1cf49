"""The Decision Transformer against the one of Hugging Face, with its weights copied across."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retain.agents.sequence_policy import SequencePolicy, SequencePolicyConfig
from retain.contract.trials import expect_same
from retain.models.decision_transformer import DecisionTransformerConfig
from retain.nn.gpt import GPTBlock

with warnings.catch_warnings():
    # What a third package deprecates in another on import is not ours to mend.
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

WIDTH, LAYERS, HEADS, CONTEXT, OBSERVATION, ACTION = 12, 2, 3, 4, 5, 2
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


def _noisy(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return module.eval()


def _copy_linear(ours: nn.Linear, theirs: nn.Module, *, transposed: bool = False) -> None:
    weight = theirs.weight.T if transposed else theirs.weight  # Hugging Face's Conv1D is [in, out]
    ours.weight.copy_(weight)
    if ours.bias is not None:
        ours.bias.copy_(theirs.bias)


def _copy_block(ours: GPTBlock, theirs: nn.Module) -> None:
    with torch.no_grad():
        ours.norm_attention.load_state_dict(theirs.ln_1.state_dict())
        ours.norm_feed_forward.load_state_dict(theirs.ln_2.state_dict())
        for mine, other in (
            (ours.qkv, theirs.attn.c_attn),
            (ours.out, theirs.attn.c_proj),
            (ours.up, theirs.mlp.c_fc),
            (ours.down, theirs.mlp.c_proj),
        ):
            _copy_linear(mine, other, transposed=True)


def _pair() -> tuple[SequencePolicy, nn.Module]:
    torch.manual_seed(0)
    theirs = transformers.DecisionTransformerModel(
        transformers.DecisionTransformerConfig(
            state_dim=OBSERVATION,
            act_dim=ACTION,
            hidden_size=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            max_ep_len=32,
            activation_function="relu",
            layer_norm_epsilon=1e-5,
        )
    )
    theirs = _noisy(theirs.to(torch.get_default_dtype()))
    ours = SequencePolicy(
        SequencePolicyConfig(target_return=3.0),
        DecisionTransformerConfig(
            width=WIDTH,
            context_length=CONTEXT,
            num_layers=LAYERS,
            num_heads=HEADS,
            max_timestep=32,
        ),
        gym.spaces.Box(-9, 9, (OBSERVATION,), np.float32),
        gym.spaces.Box(-1, 1, (ACTION,), np.float32),
    ).eval()
    with torch.no_grad():
        theirs.encoder.wpe.weight.zero_()
        _copy_linear(ours.tokens.return_to_go, theirs.embed_return)
        _copy_linear(ours.tokens.observation.linear, theirs.embed_state)
        _copy_linear(ours.tokens.action.linear, theirs.embed_action)
        _copy_linear(ours.head.linear, theirs.predict_action[0])
        ours.model.timestep.weight.copy_(theirs.embed_timestep.weight)
        ours.model.norm_input.load_state_dict(theirs.embed_ln.state_dict())
        ours.model.norm_output.load_state_dict(theirs.encoder.ln_f.state_dict())
    for mine, other in zip(ours.model.blocks, theirs.encoder.h, strict=True):
        _copy_block(mine, other)
    return ours, theirs


def _steps(length: int) -> dict[str, Tensor]:
    return {
        "return_to_go": torch.randn(2, length),
        "observation": torch.randn(2, length, OBSERVATION),
        "action": torch.rand(2, length, ACTION) * 2 - 1,
    }


def _theirs(model: nn.Module, steps: dict[str, Tensor], start: int, stop: int) -> Tensor:
    """Their predictions in one window, with the time steps of the whole episode."""
    window = {name: tensor[:, start:stop] for name, tensor in steps.items()}
    return model(
        states=window["observation"],
        actions=window["action"],
        returns_to_go=window["return_to_go"].unsqueeze(-1),
        timesteps=torch.arange(start, stop).expand(2, -1),
    ).action_preds


def test_one_full_window_agrees(dtype: torch.dtype):
    ours, theirs = _pair()
    steps = _steps(CONTEXT)
    with torch.no_grad():
        y, _ = ours.predict(steps, ours.model.initial_state(2))
        expect_same(y, _theirs(theirs, steps, 0, CONTEXT), "predictions", TOLERANCE[dtype])


def test_each_step_of_a_long_episode_agrees_with_their_latest_window(dtype: torch.dtype):
    ours, theirs = _pair()
    length = 3 * CONTEXT + 1
    steps = _steps(length)
    with torch.no_grad():
        y, _ = ours.predict(steps, ours.model.initial_state(2))
        for at in range(length):
            expected = _theirs(theirs, steps, max(0, at + 1 - CONTEXT), at + 1)[:, -1]
            expect_same(y[:, at], expected, f"prediction of step {at}", TOLERANCE[dtype])


def test_acting_agrees_with_their_latest_window(dtype: torch.dtype):
    ours, theirs = _pair()
    length = 2 * CONTEXT + 3
    steps = _steps(length)
    rewards = torch.randn(2, length)
    steps["return_to_go"] = 3.0 - torch.cat([torch.zeros(2, 1), rewards[:, 1:].cumsum(1)], dim=1)
    state = ours.acting_state(2)
    with torch.inference_mode():
        for at in range(length):
            reset = torch.full((2,), at == 0)
            action, _, state = ours.act(steps["observation"][:, at], rewards[:, at], reset, state)
            steps["action"][:, at] = action
            expected = _theirs(theirs, steps, max(0, at + 1 - CONTEXT), at + 1)[:, -1]
            expect_same(action, expected, f"action of step {at}", TOLERANCE[dtype])


@pytest.mark.parametrize(("ours", "theirs"), [("gelu", "gelu_new"), ("relu", "relu")])
def test_a_block_agrees_with_gpt2(dtype: torch.dtype, ours: str, theirs: str):
    torch.manual_seed(1)
    config = transformers.GPT2Config(n_embd=WIDTH, n_head=HEADS, activation_function=theirs)
    config._attn_implementation = "eager"
    other = _noisy(GPT2Block(config, layer_idx=0).to(dtype))
    block = GPTBlock(WIDTH, HEADS, dropout=0.1, activation=ours).eval()
    _copy_block(block, other)
    x = torch.randn(2, 7, WIDTH)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    bias = torch.zeros(7, 7).masked_fill(~causal, torch.finfo(dtype).min)[None, None]
    with torch.no_grad():
        expected = other(x, attention_mask=bias)
        expected = expected[0] if isinstance(expected, tuple) else expected
        expect_same(block(x, None, 7), expected, "all tokens", TOLERANCE[dtype])
        last = block(x, causal[None, None, -3:], 3)
        expect_same(last, expected[:, -3:], "the last three tokens", TOLERANCE[dtype])
