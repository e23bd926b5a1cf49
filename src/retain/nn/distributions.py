"""Policies as distributions over actions, chosen by the action space.

A head gives the parameters; a distribution draws from them, and says how likely an action was. The
actions are those that an environment takes, within its bounds.

Axes: ... leading axes (batch, time), A actions, N components of a box, P parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.nn.boxes import BoxUnits


class ActionDistribution(nn.Module, ABC):
    """A distribution over the actions of a space."""

    num_outputs: int
    """What a head has to give for it."""

    def forward(self, outputs: Tensor) -> Tensor:
        """Maps what a head gives to the parameters, [..., P]."""
        return outputs

    @abstractmethod
    def best(self, parameters: Tensor) -> Tensor:
        """Returns the most likely actions, in the space's own terms, [..., *shape]."""

    @abstractmethod
    def sample(self, parameters: Tensor) -> Tensor:
        """Draws an action in each row of parameters [B, P]; [B, *shape]."""

    @abstractmethod
    def uniform(self, action: Tensor) -> Tensor:
        """Draws as many actions as these with equal chances, [B, *shape]."""

    @abstractmethod
    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Returns the logarithm of the probability, or of the density, of actions, [...]."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """Returns the entropy, [...]."""


class Categorical(ActionDistribution):
    """Over discrete actions; the parameters are logits [..., A].

    Args:
        space: The action space.
    """

    def __init__(self, space: spaces.Discrete):
        super().__init__()
        self.num_outputs = int(space.n)
        self.first = int(space.start)

    def best(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.best`."""
        return parameters.argmax(-1) + self.first

    def sample(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.sample`."""
        policy_BA = torch.softmax(parameters, dim=-1)
        return torch.multinomial(policy_BA, 1).squeeze(-1) + self.first

    def uniform(self, action: Tensor) -> Tensor:
        """See `ActionDistribution.uniform`."""
        return torch.randint_like(action, self.num_outputs) + self.first

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """See `ActionDistribution.log_probability`."""
        log_policy = torch.log_softmax(parameters, dim=-1)
        index = (action.long() - self.first).unsqueeze(-1)
        return log_policy.gather(-1, index).squeeze(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.entropy`."""
        log_policy = torch.log_softmax(parameters, dim=-1)
        return -(log_policy.exp() * log_policy).sum(-1)


class BoxDistribution(ActionDistribution):
    """Over a box; components are independent, and measured in `retain.nn.boxes.BoxUnits`.

    A component whose bounds are the same is none.

    Args:
        space: The action space.

    Raises:
        ConfigError: If there is no number of torch's precision between some bounds.
    """

    def __init__(self, space: spaces.Box):
        super().__init__()
        self.units = BoxUnits(space)
        self.num_components = self.units.num_components
        self.num_free = int(self.units.free.sum())

    def uniform(self, action: Tensor) -> Tensor:
        """See `ActionDistribution.uniform`; without two bounds, a unit to both sides."""
        drawn = torch.rand(len(action), self.num_components, device=self.units.unit.device)
        return self._action(2 * drawn - 1)

    def _action(self, number: Tensor) -> Tensor:
        # What is taken has no gradient, as if it were an index.
        return self.units.within(self.units.action(number.detach()))


class ClippedNormal(BoxDistribution):
    """Over a box: a normal distribution for each component, clipped to its bounds.

    What is drawn beyond a bound becomes the bound, so that has a probability, and all within has a
    density; both are those of the action that is taken, not of the number that was drawn (Fujita
    and Maeda 2018, arXiv 1802.07564). The head gives means; the deviations are learned, the same
    everywhere, and 1 at first. The parameters are means, then logarithms of deviations, [..., 2 N].

    Args:
        space: The action space.
    """

    def __init__(self, space: spaces.Box):
        super().__init__(space)
        self.num_outputs = self.num_components
        self.log_deviation = nn.Parameter(torch.zeros(self.num_outputs))

    def forward(self, outputs: Tensor) -> Tensor:
        """See `ActionDistribution.forward`."""
        log_deviation = self.log_deviation.to(outputs.dtype).expand_as(outputs)
        return torch.cat([outputs, log_deviation], dim=-1)

    def best(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.best`."""
        return self._action(parameters.chunk(2, dim=-1)[0])

    def sample(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.sample`."""
        mean, log_deviation = parameters.chunk(2, dim=-1)
        return self._action(mean + log_deviation.exp() * torch.randn_like(mean))

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """See `ActionDistribution.log_probability`."""
        mean, log_deviation = parameters.chunk(2, dim=-1)
        z = (self.units(action).to(mean.dtype) - mean) / log_deviation.exp()
        action = action.to(mean.dtype).reshape(mean.shape)
        density = -0.5 * z**2 - log_deviation - 0.5 * math.log(2 * math.pi)
        # All that lies beyond a bound; z stands at the bound there.
        density = torch.where(action <= self.units.low, torch.special.log_ndtr(z), density)
        density = torch.where(action >= self.units.high, torch.special.log_ndtr(-z), density)
        # Where there is one action alone, it is certain.
        return torch.where(self.units.free, density, 0.0).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """The entropy of what is drawn, before it is clipped, [...]."""
        _, log_deviation = parameters.chunk(2, dim=-1)
        entropy = log_deviation + 0.5 * math.log(2 * math.pi * math.e)
        return torch.where(self.units.free, entropy, 0.0).sum(-1)


class SquashedNormal(BoxDistribution):
    """Over a box with bounds: tanh of a normal distribution for each component.

    Everything that is drawn lies within, and how it changes with the parameters is known, which
    soft actor-critic needs (Haarnoja et al. 2018, arXiv 1801.01290, appendix C). The head gives
    means and the logarithms of deviations, [..., 2 N], which are brought between e^-5 and e^2.
    Densities are of actions in units of the box, from -1 to 1.

    Args:
        space: The action space.

    Raises:
        ConfigError: If it is unbounded somewhere.
    """

    SMALLEST, LARGEST = -5.0, 2.0

    def __init__(self, space: spaces.Box):
        super().__init__(space)
        if not bool(self.units.bounded.all()):
            raise ConfigError(
                f"action space {space} must have two bounds everywhere; wrap the environment so "
                "that it does, or take a2c or ppo"
            )
        self.num_outputs = 2 * self.num_components

    def forward(self, outputs: Tensor) -> Tensor:
        """See `ActionDistribution.forward`."""
        mean, spread = outputs.chunk(2, dim=-1)
        share = (torch.tanh(spread) + 1) / 2
        return torch.cat([mean, self.SMALLEST + (self.LARGEST - self.SMALLEST) * share], dim=-1)

    def draw(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Draws actions that have a gradient.

        Args:
            parameters: Shape [..., 2 N].

        Returns:
            Actions in units of the box, [..., N], and the logarithms of their densities, [...].
        """
        mean, log_deviation = parameters.chunk(2, dim=-1)
        noise = torch.randn_like(mean)
        number = mean + log_deviation.exp() * noise
        action = torch.where(self.units.free, torch.tanh(number), 0.0)
        return action, self._log_density(noise, log_deviation, number)

    def best(self, parameters: Tensor) -> Tensor:
        """The middle of the distribution, half to each side; see `ActionDistribution.best`."""
        return self._action(torch.tanh(parameters.chunk(2, dim=-1)[0]))

    def sample(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution.sample`."""
        return self._action(self.draw(parameters)[0])

    def log_probability(self, parameters: Tensor, action: Tensor) -> Tensor:
        """See `ActionDistribution.log_probability`; at a bound, of what is a little within."""
        mean, log_deviation = parameters.chunk(2, dim=-1)
        within = 1 - torch.finfo(mean.dtype).eps
        number = torch.atanh(self.units(action).to(mean.dtype).clamp(-within, within))
        return self._log_density((number - mean) / log_deviation.exp(), log_deviation, number)

    def entropy(self, parameters: Tensor) -> Tensor:
        """An estimate of the entropy from one draw, [...]; there is no formula."""
        return -self.draw(parameters)[1]

    def _log_density(self, noise: Tensor, log_deviation: Tensor, number: Tensor) -> Tensor:
        normal = -0.5 * noise**2 - log_deviation - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh(x)^2), which is not rounded to zero where tanh(x) is rounded to one.
        slope = 2 * (math.log(2) - number - nn.functional.softplus(-2 * number))
        return torch.where(self.units.free, normal - slope, 0.0).sum(-1)


def action_distribution(space: gym.Space) -> ActionDistribution:
    """Returns the distribution for an action space.

    Raises:
        ConfigError: If the space is neither Discrete nor Box.
    """
    if isinstance(space, spaces.Discrete):
        return Categorical(space)
    if isinstance(space, spaces.Box):
        return ClippedNormal(space)
    raise ConfigError(f"action space {space} is not supported; use Discrete or Box")
