"""Policies as distributions: against scipy, and against what is drawn from them."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy import stats
from torch.nn import functional as F

from retain.core.errors import ConfigError
from retain.nn.distributions import (
    Categorical,
    ClippedNormal,
    SquashedNormal,
    action_distribution,
)

DRAWS = 20_000


def test_components_that_cannot_vary_have_no_entropy() -> None:
    fixed = spaces.Box(np.array([-1, 2], np.float32), np.array([1, 2], np.float32))
    one, two = action_distribution(fixed), action_distribution(spaces.Box(-1, 1, (1,), np.float32))
    parameters = torch.tensor([0.3, 0.1, -1.0, 5.0])  # means, then deviations
    torch.testing.assert_close(one.entropy(parameters), two.entropy(parameters[::2]))


def test_categorical_is_the_softmax_of_its_logits() -> None:
    torch.manual_seed(0)
    distribution = action_distribution(spaces.Discrete(4, start=-1))
    assert isinstance(distribution, Categorical)
    logits = torch.randn(2, 3, 4)
    action = torch.tensor([[-1, 0, 1], [2, 2, -1]])
    expected = torch.distributions.Categorical(logits=logits)
    found = distribution.log_probability(logits, action)
    torch.testing.assert_close(found, expected.log_prob(action + 1))
    torch.testing.assert_close(distribution.entropy(logits), expected.entropy())
    assert torch.equal(distribution.best(logits), logits.argmax(-1) - 1)
    drawn = distribution.sample(logits[0, :1].expand(DRAWS, -1))
    shares = torch.bincount(drawn + 1, minlength=4) / DRAWS
    torch.testing.assert_close(shares, expected.probs[0, 0], rtol=0, atol=0.02)


def normal(
    low: float, high: float, mean: float, deviation: float
) -> tuple[ClippedNormal, torch.Tensor]:
    distribution = action_distribution(spaces.Box(low, high, (1,), np.float32))
    assert isinstance(distribution, ClippedNormal)
    with torch.no_grad():
        distribution.log_deviation.fill_(math.log(deviation))
    return distribution, distribution(torch.tensor([mean]))


@pytest.mark.parametrize(
    ("low", "high", "middle", "unit"),
    [
        (-2.0, 2.0, 0.0, 2.0),
        (1.0, 4.0, 2.5, 1.5),
        (-np.inf, np.inf, 0.0, 1.0),
        (0.5, np.inf, 0.5, 1.0),
        (-np.inf, -3.0, -3.0, 1.0),
    ],
)
def test_clipped_normal_is_a_normal_whose_ends_are_heaped_up_at_the_bounds(
    low: float, high: float, middle: float, unit: float
) -> None:
    torch.manual_seed(1)
    mean, deviation = 0.4, 0.7
    distribution, parameters = normal(low, high, mean, deviation)
    rival = stats.norm(mean, deviation)  # in units of the box
    inside = np.linspace(max(low, -9), min(high, 9), 9)[1:-1]
    z = (inside - middle) / unit
    found = distribution.log_probability(
        parameters.expand(7, -1), torch.tensor(inside, dtype=torch.float32).unsqueeze(1)
    )
    np.testing.assert_allclose(found.detach(), rival.logpdf(z), rtol=1e-4)
    drawn = distribution.sample(parameters.detach().expand(DRAWS, -1)).squeeze(1).numpy()
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    for bound, tail in ((low, rival.cdf), (high, rival.sf)):
        if np.isfinite(bound):
            share = tail((bound - middle) / unit)
            at = distribution.log_probability(parameters, torch.tensor([bound]))
            assert at.item() == pytest.approx(math.log(share), rel=1e-4)
            assert np.mean(drawn == np.float32(bound)) == pytest.approx(share, abs=0.02)
    assert distribution.entropy(parameters).item() == pytest.approx(rival.entropy(), rel=1e-5)
    best = np.clip(middle + unit * mean, low, high)
    assert distribution.best(parameters).item() == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("far", [-60.0, 60.0])
def test_what_is_unlikely_beyond_measure_has_a_gradient(far: float) -> None:
    """Also where one bound is infinite, and the tail that is not used would be none."""
    for low, high in ((-1.0, 1.0), (-np.inf, 1.0), (-1.0, np.inf)):
        distribution, parameters = normal(low, high, far, 0.5)
        for action in (-1.0, 0.0, 1.0):
            leaf = parameters.detach().requires_grad_()
            log = distribution.log_probability(leaf, torch.tensor([action]))
            (gradient,) = torch.autograd.grad(log, leaf)
            assert log.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=str)
def test_components_are_independent(shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    space = spaces.Box(-1, 3, shape, np.float32)
    distribution = action_distribution(space)
    outputs = torch.randn(5, distribution.num_outputs)
    parameters = distribution(outputs).detach()
    action = distribution.sample(parameters)
    assert action.shape == (5, *shape)
    assert all(np.asarray(row) in space for row in action.numpy())
    alone = action_distribution(spaces.Box(-1, 3, (1,), np.float32))
    each = torch.stack(
        [
            alone.log_probability(alone(outputs[:, [i]]), action.reshape(5, -1)[:, [i]])
            for i in range(distribution.num_outputs)
        ]
    )
    torch.testing.assert_close(distribution.log_probability(parameters, action), each.sum(0))


def test_climbing_its_gradient_finds_the_best_action_even_at_a_bound() -> None:
    """REINFORCE, with the reward's peak within the box and beyond it."""
    torch.manual_seed(3)
    distribution = action_distribution(spaces.Box(-1, 1, (2,), np.float32))
    outputs = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.Adam([outputs, *distribution.parameters()], lr=0.02)
    for _ in range(400):
        parameters = distribution(outputs)
        action = distribution.sample(parameters.detach().expand(64, -1))
        reward = -((action - torch.tensor([0.3, 2.0])) ** 2).sum(1)
        log = distribution.log_probability(parameters.expand(64, -1), action)
        loss = -(log * F.layer_norm(reward, (64,))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    best = distribution.best(distribution(outputs)).detach()
    torch.testing.assert_close(best, torch.tensor([0.3, 1.0]), rtol=0, atol=0.1)


def test_actions_lie_within_bounds_that_single_precision_does_not_have() -> None:
    space = spaces.Box(np.array([-0.3, 0.1]), np.array([0.7, 0.3]), dtype=np.float64)
    distribution = action_distribution(space)
    for far in (-9.0, 9.0):
        action = distribution.best(distribution(torch.full((2,), far)))
        assert action.double().numpy() in space
        assert distribution.log_probability(distribution(torch.zeros(2)), action).isfinite()


def test_one_action_alone_is_certain_and_a_bound_out_of_reach_is_none() -> None:
    distribution = action_distribution(spaces.Box(np.float32([0.5, -1]), np.float32([0.5, 1])))
    alone = action_distribution(spaces.Box(-1, 1, (1,), np.float32))
    outputs = torch.tensor([[0.7, 0.2]])
    parameters = distribution(outputs)
    action = distribution.sample(parameters)
    assert action[0, 0] == 0.5
    expected = alone.log_probability(alone(outputs[:, 1:]), action[:, 1:])
    torch.testing.assert_close(distribution.log_probability(parameters, action), expected)
    largest = np.finfo(np.float32).max
    distribution = action_distribution(spaces.Box(-largest, largest, (1,), np.float32))
    assert distribution.best(distribution(torch.tensor([0.25]))).item() == 0.25


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ConfigError, match="use Discrete or Box"):
        action_distribution(gym.spaces.MultiBinary(3))


def test_squashed_normal_is_the_tanh_of_a_normal() -> None:
    torch.manual_seed(2)
    distribution = SquashedNormal(spaces.Box(np.float32([1, -3]), np.float32([4, -2])))
    parameters = distribution(torch.tensor([[0.4, -0.8, 0.6, -0.2]])).double()
    mean, log_deviation = parameters.chunk(2, -1)
    assert ((log_deviation > -5) & (log_deviation < 2)).all()
    normal = torch.distributions.Normal(mean, log_deviation.exp())
    rival = torch.distributions.TransformedDistribution(
        normal, torch.distributions.transforms.TanhTransform()
    )
    units, log = distribution.draw(parameters.expand(DRAWS, -1))
    torch.testing.assert_close(log, rival.log_prob(units).sum(-1), rtol=1e-6, atol=1e-6)
    middle, unit = torch.tensor([2.5, -2.5]), torch.tensor([1.5, 0.5])
    action = middle + unit * units
    found = distribution.units(action.float()).double()
    torch.testing.assert_close(found, units, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        distribution.log_probability(parameters, action.float()), log, rtol=0, atol=1e-2
    )
    drawn = distribution.sample(parameters.float().expand(DRAWS, -1))
    for component in range(2):  # as many below any number as there should be
        number = normal.mean[0, component] + torch.linspace(-1, 1, 5) * normal.stddev[0, component]
        bound = middle[component] + unit[component] * torch.tanh(number)
        below = (drawn[:, component, None] < bound).double().mean(0)
        expected = stats.norm.cdf(np.linspace(-1, 1, 5))
        np.testing.assert_allclose(below, expected, atol=0.02)
    best = distribution.best(parameters.float())
    torch.testing.assert_close(best.double(), middle + unit * torch.tanh(mean), check_dtype=False)
    entropy = distribution.entropy(parameters.expand(DRAWS, -1)).mean()
    assert float(entropy) == pytest.approx(-float(log.mean()), abs=0.05)


@pytest.mark.parametrize("far", [-40.0, 40.0])
def test_what_is_squashed_to_a_bound_has_a_density_and_a_gradient(far: float) -> None:
    distribution = SquashedNormal(spaces.Box(-2, 1, (1,), np.float32))
    outputs = torch.tensor([far, 0.3], requires_grad=True)
    parameters = distribution(outputs)
    units, log = distribution.draw(parameters)
    bound = 1.0 if far > 0 else -2.0
    assert distribution.best(parameters).item() == bound
    assert units.abs().item() == 1.0
    assert log.isfinite()
    at = distribution.log_probability(parameters, torch.tensor([bound]))
    assert at.isfinite()
    for number in (log, at):
        (gradient,) = torch.autograd.grad(number, outputs, retain_graph=True)
        assert gradient.isfinite().all()
    spread = distribution(torch.tensor([0.0, far]))[1].item()
    assert spread == pytest.approx(2.0 if far > 0 else -5.0)


def test_actions_in_units_have_any_shape() -> None:
    distribution = SquashedNormal(spaces.Box(-1, 3, (2, 2), np.float32))
    action = 4 * torch.rand(5, 7, 2, 2) - 1
    assert distribution.units(action).shape == (5, 7, 4)
    torch.testing.assert_close(distribution._action(distribution.units(action)), action)
    alone = SquashedNormal(spaces.Box(np.float32(-1), np.float32(3), ()))
    assert alone.units(torch.zeros(5)).shape == (5, 1)
    assert alone.uniform(torch.zeros(5)).shape == (5,)


def test_what_cannot_vary_has_no_density() -> None:
    whole = SquashedNormal(spaces.Box(np.float32([-1, 0.5, -1]), np.float32([1, 0.5, 1])))
    part = SquashedNormal(spaces.Box(-1, 1, (2,), np.float32))
    outputs, kept = 0.3 * torch.randn(4, 6), torch.tensor([0, 2, 3, 5])
    assert whole.num_free == part.num_free == 2
    action = 2 * torch.rand(4, 3) - 1
    action[:, 1] = 0.5
    mine = whole.log_probability(whole(outputs), action)
    theirs = part.log_probability(part(outputs[:, kept]), action[:, [0, 2]])
    torch.testing.assert_close(mine, theirs)
    units, log = whole.draw(whole(outputs))
    assert (units[:, 1] == 0).all()
    found = part.log_probability(part(outputs[:, kept]), units[:, [0, 2]])
    torch.testing.assert_close(log, found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [ClippedNormal, SquashedNormal])
def test_bounds_need_a_number_between_them(kind: type[ClippedNormal | SquashedNormal]) -> None:
    space = spaces.Box(np.array([-1, 0.1]), np.array([1, 0.1]), dtype=np.float64)
    with pytest.raises(ConfigError, match="no number of float32 between them"):
        kind(space)
    kind(spaces.Box(np.array([-1, 0.5]), np.array([1, 0.5]), dtype=np.float64))


def test_squashed_normal_needs_two_bounds() -> None:
    for low, high in ((-np.inf, 1), (0, np.inf), (-1, np.finfo(np.float32).max)):
        with pytest.raises(ConfigError, match="must have two bounds everywhere"):
            SquashedNormal(spaces.Box(low, high, (2,), np.float32))
