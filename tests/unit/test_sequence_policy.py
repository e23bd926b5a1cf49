"""The sequence policy: its loss with padding, in parts, and its acting state."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from retain.agents.sequence_policy import (
    Losses,
    SequencePolicy,
    SequencePolicyConfig,
    count_real,
)
from retain.memory import MemoryState
from retain.models import MODELS
from retain.nn.valve import ValveConfig

K, SEGMENTS, BATCH = 3, 3, 4
OBSERVATION = gym.spaces.Box(-1, 1, (2,), np.float32)
SPACES = {"discrete": gym.spaces.Discrete(3, start=1), "box": gym.spaces.Box(-1, 2, (2,))}
PLAIN = {"valve": ValveConfig(kind="cross_attention", num_heads=2)}
QUANTIZED = {"valve": ValveConfig(kind="retaining", num_heads=2)}


def _policy(
    model: str = "rate", space: str = "discrete", *, overrides: Any = None, **options: Any
) -> SequencePolicy:
    torch.manual_seed(0)
    config = MODELS.get(model).Config(width=16, context_length=K, **(overrides or {}))
    policy = SequencePolicy(SequencePolicyConfig(**options), config, OBSERVATION, SPACES[space])
    return policy.eval()


def _batch(space: str = "discrete", real: list[int] | None = None) -> dict[str, Tensor]:
    """Steps of which each row's first few are real, and none but zeros stand behind them."""
    generator = torch.Generator().manual_seed(1)
    length = K * SEGMENTS
    action = (
        torch.randint(1, 4, (BATCH, length), generator=generator)
        if space == "discrete"
        else torch.rand(BATCH, length, 2, generator=generator)
    )
    mask = torch.arange(length) < torch.tensor(real or [length] * BATCH)[:, None]
    return {
        "return_to_go": torch.randn(BATCH, length, generator=generator),
        "observation": torch.randn(BATCH, length, 2, generator=generator),
        "action": action,
        "mask": mask,
    }


def _losses(policy: SequencePolicy, batch: dict[str, Tensor]) -> Losses:
    return policy(batch, policy.model.initial_state(BATCH), K)[0]


@pytest.mark.parametrize("space", SPACES)
def test_the_loss_is_the_mean_over_real_steps(space: str):
    policy = _policy(space=space, overrides=PLAIN, label_smoothing=0.1)
    batch = _batch(space, real=[9, 4, 1, 0])
    with torch.no_grad():
        losses = _losses(policy, batch)
        prediction, _ = policy.predict(batch, policy.model.initial_state(BATCH))
        each = policy.head.loss(prediction, batch["action"], 0.1)
        right = policy.head.correct(prediction, batch["action"])
    torch.testing.assert_close(losses.prediction, each[batch["mask"]].mean())
    assert (losses.accuracy is None) == (right is None) == (space == "box")
    if right is not None:
        torch.testing.assert_close(losses.accuracy, right[batch["mask"]].mean())
    assert losses.num_steps == 14
    assert losses.regularizer == 0
    assert losses.loss == losses.prediction


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("model", MODELS.names())
def test_nothing_but_padding_never_harms(model: str, space: str):
    policy = _policy(model, space)
    losses = _losses(policy, _batch(space, real=[0, 0, 0, 0]))
    assert losses.loss == losses.num_steps == 0
    assert losses.accuracy in (None, 0)
    losses.loss.backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("model", [*MODELS.names(), "rate with a cost"])
def test_what_stands_in_the_padding_changes_neither_loss_nor_gradient(model: str, space: str):
    real = [9, 4, 1, 0]
    overrides = QUANTIZED if model == "rate with a cost" else None
    policy = _policy(model.split()[0], space, overrides=overrides)
    batch = _batch(space, real)
    other = {name: tensor.clone() for name, tensor in batch.items()}
    padding = ~batch["mask"]
    other["return_to_go"][padding] = 40.0
    other["observation"][padding] = -7.0
    other["action"][padding] = 2 if space == "discrete" else -0.5
    parameters = list(policy.parameters())
    found = []
    for steps in (batch, other):
        loss = _losses(policy, steps).loss
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        found.append([loss.detach(), *gradients])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("overrides", [PLAIN, QUANTIZED], ids=["plain", "with a cost"])
def test_losses_of_parts_add_up_to_the_whole(overrides: Any):
    policy, batch = _policy(overrides=overrides), _batch(real=[9, 7, 4, 2])
    with torch.no_grad():
        whole = _losses(policy, batch)
        share = count_real(batch["mask"], K)
        memory, parts = policy.model.initial_state(BATCH), []
        for start in range(0, K * SEGMENTS, K):
            part = {name: tensor[:, start : start + K] for name, tensor in batch.items()}
            losses, memory = policy(part, memory, K, share)
            parts.append(losses)
    for name in ("loss", "prediction", "accuracy", "regularizer", "num_steps"):
        total = sum(getattr(part, name) for part in parts)
        torch.testing.assert_close(total, getattr(whole, name))
    assert (whole.regularizer > 0) == (overrides is QUANTIZED)


def test_gradient_goes_back_through_the_memory_and_not_through_caches():
    for overrides, flows in (({}, True), ({"num_memory_tokens": 0, "cache_length": 9}, False)):
        policy, batch = _policy(overrides=overrides), _batch()
        observation = batch["observation"].requires_grad_(True)
        last = torch.zeros_like(batch["mask"])
        last[:, -1] = True
        loss = _losses(policy, batch | {"mask": last}).loss
        (gradient,) = torch.autograd.grad(loss, observation)
        assert bool(gradient[:, -K:].any())
        assert bool(gradient[:, :-K].any()) is flows


def test_returns_are_scaled_and_counted_down():
    policy = _policy(target_return=10.0, return_scale=5.0)
    seen: list[Tensor] = []
    policy.tokens.return_to_go.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    state = policy.acting_state(2)
    reset = torch.tensor([True, True])
    for reward in (99.0, 2.0, 3.0):
        _, _, state = policy.act(torch.zeros(2, 2), torch.full((2,), reward), reset, state)
        reset = torch.tensor([False, reward == 2.0])
    assert [values[0].item() for values in seen] == pytest.approx([2.0, 1.6, 1.0])
    assert [values[1].item() for values in seen] == pytest.approx([2.0, 1.6, 2.0])
    assert state.return_to_go_B.tolist() == [5.0, 10.0]


@pytest.mark.parametrize("space", SPACES)
def test_an_acting_state_is_a_value(space: str):
    policy = _policy(space=space)
    observation, reward = torch.randn(3, 2), torch.randn(3)
    state = policy.acting_state(3)
    assert state.previous_action_B.shape == (3, *SPACES[space].shape)
    with torch.inference_mode():
        _, _, state = policy.act(observation, reward, torch.ones(3, dtype=torch.bool), state)
        go_on = torch.zeros(3, dtype=torch.bool)
        first, _, _ = policy.act(observation, reward, go_on, state)
        again, _, _ = policy.act(observation, reward, go_on, state)
        assert torch.equal(first, again)
        for index in (1, [1], slice(1, 2), torch.tensor([1])):
            row = state.rows(index)
            assert isinstance(row.memory, MemoryState)
            alone, _, _ = policy.act(observation[1:2], reward[1:2], go_on[1:2], row)
            torch.testing.assert_close(alone, first[1:2])


def test_actions_can_be_sampled():
    policy = _policy(sample_actions=True)
    torch.manual_seed(0)
    state = policy.acting_state(200)
    actions, logits, _ = policy.act(
        torch.zeros(200, 2), torch.zeros(200), torch.ones(200, dtype=torch.bool), state
    )
    assert set(actions.tolist()) == {1, 2, 3}
    assert torch.equal(logits, logits[:1].expand_as(logits))


@pytest.mark.parametrize("model", MODELS.names())
def test_the_order_of_rows_changes_neither_loss_nor_gradient(model: str):
    # Sorted by length, later segments are read in fewer rows; unsorted, in nearly all of them.
    policy = _policy(model)
    batch = _batch(real=[2, 9, 0, 5])
    found = []
    for order in ([1, 3, 0, 2], [2, 0, 3, 1]):
        losses = _losses(policy, {name: tensor[order] for name, tensor in batch.items()})
        gradients = torch.autograd.grad(
            losses.loss, list(policy.parameters()), allow_unused=True, materialize_grads=True
        )
        found.append([losses.prediction, losses.accuracy, *gradients])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
