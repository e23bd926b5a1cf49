"""Action heads: what they predict, what that costs, and what is done."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core.errors import ConfigError
from retain.nn.heads import action_head

WIDTH = 4


@pytest.mark.parametrize("start", [0, 3, -2])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_discrete_loss_is_smoothed_cross_entropy(start: int, smoothing: float):
    head = action_head(spaces.Discrete(3, start=start), WIDTH)
    torch.manual_seed(0)
    logits, action = torch.randn(2, 5, 3), torch.randint(3, (2, 5)) + start
    share = logits.softmax(-1).log()
    target = torch.nn.functional.one_hot(action - start, 3).float()
    target = (1 - smoothing) * target + smoothing / 3
    torch.testing.assert_close(head.loss(logits, action, smoothing), -(target * share).sum(-1))


@pytest.mark.parametrize("start", [0, 3, -2])
def test_discrete_actions_are_those_of_the_space(start: int):
    space = spaces.Discrete(3, start=start)
    head = action_head(space, WIDTH)
    logits = 50 * torch.eye(3)
    for sample in (False, True):
        chosen = head.choose(logits, sample=sample)
        assert chosen.tolist() == [start, start + 1, start + 2]
        assert all(space.contains(int(action)) for action in chosen)
        assert head.correct(logits, chosen).tolist() == [1, 1, 1]
    assert head.correct(logits, head.choose(logits.flip(0), sample=False)).tolist() == [0, 1, 0]


def test_sampling_follows_the_distribution():
    head = action_head(spaces.Discrete(2), WIDTH)
    torch.manual_seed(0)
    drawn = head.choose(torch.tensor([0.3, 0.7]).log().expand(4000, 2), sample=True)
    assert drawn.float().mean().item() == pytest.approx(0.7, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(
    low=st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3),
    size=st.lists(st.floats(0, 1e3, width=32), min_size=3, max_size=3),
    loud=st.floats(-1e4, 1e4),
)
def test_continuous_actions_lie_in_the_box(low: list[float], size: list[float], loud: float):
    lows = np.array(low, np.float32)
    space = spaces.Box(lows, lows + np.array(size, np.float32))
    head = action_head(space, WIDTH)
    with torch.no_grad():
        action = head.choose(head(torch.full((2, WIDTH), loud)), sample=False)
    assert all(space.contains(one) for one in action.numpy())


def test_only_components_with_two_bounds_are_squashed():
    infinite = np.inf
    space = spaces.Box(
        np.array([-1, -infinite, 0, -infinite], np.float32),
        np.array([1, infinite, infinite, 2], np.float32),
    )
    head = action_head(space, WIDTH)
    y = torch.randn(50, WIDTH) * 30
    prediction = head(y)
    raw = head.linear(y)
    torch.testing.assert_close(prediction[:, 0], raw[:, 0].tanh())
    torch.testing.assert_close(prediction[:, 1:], raw[:, 1:])
    assert all(
        space.contains(one) for one in head.choose(prediction, sample=False).detach().numpy()
    )
    head.loss(prediction, torch.zeros(50, 4), 0.0).sum().backward()
    assert torch.isfinite(head.linear.weight.grad).all()


def test_the_largest_numbers_are_no_bounds():
    largest = np.finfo(np.float32).max
    head = action_head(spaces.Box(-largest, largest, (2,), np.float32), WIDTH)
    y = torch.randn(5, WIDTH)
    torch.testing.assert_close(head(y), head.linear(y))


@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_whole_actions_are_the_nearest(kind: type[np.integer]):
    head = action_head(spaces.Box(0, 5, (3,), kind), WIDTH)
    chosen = head.choose(torch.tensor([2.9996, 3.0013, 7.0]), sample=False)
    assert chosen.tolist() == [3, 3, 5]


def test_errors_are_not_rounded_where_predictions_are():
    head = action_head(spaces.Box(-1, 1, (1,), np.float32), WIDTH)
    near, action = torch.tensor([[0.765625]], dtype=torch.bfloat16), torch.tensor([[0.7654321]])
    loss = head.loss(near, action, 0.0)
    torch.testing.assert_close(loss, (near.float() - action).square().mean(-1))


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=str)
def test_continuous_loss_is_the_mean_squared_error_of_a_step(shape: tuple[int, ...]):
    head = action_head(spaces.Box(-2, 2, shape, np.float32), WIDTH)
    prediction = head(torch.randn(4, 5, WIDTH))
    assert prediction.shape == (4, 5, *shape)
    action = torch.rand(4, 5, *shape)
    expected = ((prediction - action) ** 2).reshape(4, 5, -1).mean(-1)
    torch.testing.assert_close(head.loss(prediction, action, 0.0), expected)
    assert head.correct(prediction, action) is None


def test_another_action_space_is_refused():
    with pytest.raises(ConfigError, match="use Discrete or Box"):
        action_head(spaces.MultiDiscrete([2, 3]), WIDTH)
