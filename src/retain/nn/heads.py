"""Action heads, chosen by the action space: what an output says, and how far it is from the data.

Axes: ... leading axes (batch, time), D width, A actions.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F

from retain.core.errors import ConfigError
from retain.nn.boxes import BoxUnits


class ActionHead(nn.Module, ABC):
    """Maps model outputs to actions."""

    @abstractmethod
    def loss(self, prediction: Tensor, action: Tensor, label_smoothing: float) -> Tensor:
        """Returns the loss of each prediction, [...]."""

    def correct(self, prediction: Tensor, action: Tensor) -> Tensor | None:
        """Returns 1 where a prediction is right, else 0, [...]; None where there is only near."""
        return None

    @abstractmethod
    def choose(self, prediction: Tensor, *, sample: bool) -> Tensor:
        """Returns the actions to take, in the action space's own terms."""


class DiscreteHead(ActionHead):
    """Logits over a discrete action space; cross entropy.

    Args:
        space: The action space.
        width: Width D of the outputs.
    """

    def __init__(self, space: spaces.Discrete, width: int):
        super().__init__()
        self.start = int(space.start)
        self.linear = nn.Linear(width, int(space.n), bias=False)

    def forward(self, y: Tensor) -> Tensor:
        """Maps outputs [..., D] to logits [..., A]."""
        return self.linear(y)

    def loss(self, prediction: Tensor, action: Tensor, label_smoothing: float) -> Tensor:
        """Cross entropy of each step, [...]."""
        target = (action.long() - self.start).flatten()
        loss = F.cross_entropy(
            prediction.flatten(0, -2).float(),
            target,
            label_smoothing=label_smoothing,
            reduction="none",
        )
        return loss.view(action.shape)

    def correct(self, prediction: Tensor, action: Tensor) -> Tensor:
        """1 where the most likely action is the one taken, [...]."""
        return (prediction.argmax(-1) + self.start == action).float()

    def choose(self, prediction: Tensor, *, sample: bool) -> Tensor:
        """The most likely action, or one drawn from the distribution, [...]."""
        if sample:
            return torch.distributions.Categorical(logits=prediction).sample() + self.start
        return prediction.argmax(-1) + self.start


class ContinuousHead(ActionHead):
    """Means within the bounds of a box of actions; squared error.

    Args:
        space: The action space; a component without two finite bounds is predicted unbounded.
        width: Width D of the outputs.
    """

    def __init__(self, space: spaces.Box, width: int):
        super().__init__()
        self.shape = space.shape
        self.whole = np.issubdtype(space.dtype, np.integer)
        self.units = BoxUnits(space)
        self.linear = nn.Linear(width, self.units.num_components)

    def forward(self, y: Tensor) -> Tensor:
        """Maps outputs [..., D] to actions [..., *shape]."""
        number = self.linear(y)
        return self.units.action(torch.where(self.units.bounded, torch.tanh(number), number))

    def loss(self, prediction: Tensor, action: Tensor, label_smoothing: float) -> Tensor:
        """Squared error of each step, averaged over the action's components, [...]."""
        # In mixed precision the prediction may be half as wide as what the action is known by.
        wide = torch.promote_types(prediction.dtype, torch.float32)
        error = (prediction.to(wide) - action.to(wide)) ** 2
        return error.flatten(-len(self.shape)).mean(-1) if self.shape else error

    def choose(self, prediction: Tensor, *, sample: bool) -> Tensor:
        """The predicted action, made to fit the bounds; there is no distribution to sample from.

        Where actions are whole numbers it is the nearest.
        """
        action = self.units.within(prediction)
        return action.round() if self.whole else action


def perceptron(
    width: int, hidden: Sequence[int], outputs: int, *, last: float = 3e-3
) -> nn.Sequential:
    """Returns linear layers with ReLUs between them, whose outputs start near zero.

    Weights of hidden layers are uniform within one over the root of the layer's outputs, and their
    biases 0.1; those of the last layer uniform within `last` (the way of Ni et al. 2023).

    Args:
        width: Width D of the inputs.
        hidden: Widths of the hidden layers.
        outputs: Number of outputs.
        last: Largest weight and bias of the last layer.
    """
    layers: list[nn.Module] = []
    for size in hidden:
        layer = nn.Linear(width, size)
        nn.init.uniform_(layer.weight, -1 / math.sqrt(size), 1 / math.sqrt(size))
        nn.init.constant_(layer.bias, 0.1)
        layers += [layer, nn.ReLU()]
        width = size
    layer = nn.Linear(width, outputs)
    nn.init.uniform_(layer.weight, -last, last)
    nn.init.uniform_(layer.bias, -last, last)
    return nn.Sequential(*layers, layer)


def action_head(space: gym.Space, width: int) -> ActionHead:
    """Returns the head for an action space.

    Raises:
        ConfigError: If the space is neither Discrete nor Box.
    """
    if isinstance(space, spaces.Discrete):
        return DiscreteHead(space, width)
    if isinstance(space, spaces.Box):
        return ContinuousHead(space, width)
    raise ConfigError(f"action space {space} is not supported; use Discrete or Box")
