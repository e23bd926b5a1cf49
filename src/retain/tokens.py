"""Steps to tokens, and tokens to steps: the only place that knows their order.

Offline, a step is three tokens: return-to-go, observation, action, and the action is read at the
observation's token. Training lays whole segments out that way. Acting feeds, at each step, the
previous action, then the return-to-go and the observation: the same tokens in the same order, so
that the previous segment is complete, and its memory written, before the next one begins.

Online, a step is one token: the previous action, the previous reward and the observation.

Axes: B batch, T steps, L tokens, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retain.core.errors import ConfigError
from retain.nn.boxes import BoxUnits
from retain.nn.encoders import ImageEncoder, IndexEncoder, encode, encode_action


class ReturnTokens(nn.Module):
    """Steps (return-to-go, observation, action) as three tokens each.

    Args:
        observation_space: Space of one observation.
        action_space: Space of one action.
        width: Width D of a token.
        normalize: Standardise observations that are numbers, and measure actions in units of their
            box.
    """

    tokens_per_step = 3
    #: Which tokens of an acting step the caller reads: see `acting`.
    acting_read = (False, False, True)

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        width: int,
        *,
        normalize: bool = False,
    ):
        super().__init__()
        self.return_to_go = nn.Linear(1, width)
        self.observation = encode(observation_space, width, what="observation", normalize=normalize)
        self.action = encode_action(action_space, width, normalize=normalize)

    def segments(
        self, return_to_go_BT: Tensor, observation_BT: Tensor, action_BT: Tensor
    ) -> Tensor:
        """Returns the tokens of whole steps, [B, 3T, D]."""
        tokens = (
            self.return_to_go(return_to_go_BT.unsqueeze(-1)),
            self.observation(observation_BT),
            self.action(action_BT),
        )
        return torch.stack(tokens, dim=2).flatten(1, 2)

    def predictions(self, y_BLD: Tensor) -> Tensor:
        """Picks the outputs at which actions are read out of those of whole steps, [B, T, D]."""
        return y_BLD[:, 1 :: self.tokens_per_step]

    def acting(
        self,
        previous_action_B: Tensor,
        return_to_go_B: Tensor,
        observation_B: Tensor,
        reset_B: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Returns the tokens of one step of acting, and where episodes begin among them.

        A row that begins an episode has no previous action. It is given one all the same, in front
        of the reset, where it belongs to the episode that is over and so changes nothing.

        Args:
            previous_action_B: Actions taken at the last step; anything in rows that begin.
            return_to_go_B: Returns still to come.
            observation_B: Observations now.
            reset_B: True in rows that begin an episode.

        Returns:
            Tokens [B, 3, D], of which the last is to be read, and resets [B, 3].
        """
        tokens = (
            self.action(previous_action_B),
            self.return_to_go(return_to_go_B.unsqueeze(-1)),
            self.observation(observation_B),
        )
        never = torch.zeros_like(reset_B)
        return torch.stack(tokens, dim=1), torch.stack([never, reset_B, never], dim=1)

    def acting_ahead(
        self, previous_action_BT: Tensor, return_to_go_BT: Tensor, observation_BT: Tensor
    ) -> Tensor:
        """Returns the tokens of several steps of acting, [B, 3T, D]; every third is to be read.

        Args:
            previous_action_BT: Actions taken at the steps before.
            return_to_go_BT: Returns still to come.
            observation_BT: Observations, [B, T, ...].
        """
        tokens = (
            self.action(previous_action_BT),
            self.return_to_go(return_to_go_BT.unsqueeze(-1)),
            self.observation(observation_BT),
        )
        return torch.stack(tokens, dim=2).flatten(1, 2)


@dataclass(frozen=True, kw_only=True)
class StepTokenConfig:
    """How a step becomes one token."""

    action_width: int = 0
    """Components of the token that encode the previous action; 0 leaves it out."""

    reward_width: int = 0
    """Components of the token that encode the previous reward; 0 leaves it out."""

    layers: int = 1
    """Layers of the encoder of observations that are not images."""


class StepTokens(nn.Module):
    """Steps (previous action, previous reward, observation) as one token each.

    Each part is a linear layer and a ReLU, side by side in the token; images go through
    convolutions and a linear layer without one (Ni et al. 2023, arXiv 2307.03864, appendix), and a
    discrete observation through an embedding and tanh.

    Args:
        observation_space: Space of one observation.
        action_space: Space of one action.
        width: Width D of a token; the observation gets what the other parts leave of it.
        config: The widths of the parts.
        normalize: Standardise observations that are numbers, and measure actions in units of their
            box.

    Raises:
        ConfigError: If nothing is left for the observation, or a space is not supported.
    """

    tokens_per_step = 1

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        width: int,
        config: StepTokenConfig,
        *,
        normalize: bool = False,
    ):
        super().__init__()
        rest = width - config.action_width - config.reward_width
        if min(config.action_width, config.reward_width) < 0 or rest < 1:
            raise ConfigError(
                f"agent.tokens.action-width {config.action_width} and reward-width "
                f"{config.reward_width} must not be negative and leave something of the model's "
                f"width {width} to the observation"
            )
        if config.layers < 1:
            raise ConfigError(f"agent.tokens.layers must be at least 1, not {config.layers}")
        encoder = encode(observation_space, rest, what="observation", normalize=normalize)
        layers: list[nn.Module] = [encoder]
        if not isinstance(encoder, ImageEncoder):
            # An embedding has its own tanh. Entries that a ReLU cuts off would never be learned:
            # no other input moves them.
            if not isinstance(encoder, IndexEncoder):
                layers.append(nn.ReLU())
            for _ in range(config.layers - 1):
                layers += [nn.Linear(rest, rest), nn.ReLU()]
        self.observation = nn.Sequential(*layers)
        self.action_space = action_space
        self.units: BoxUnits | None = None
        if normalize and isinstance(action_space, gym.spaces.Box):
            self.units = BoxUnits(action_space)
        self.action: nn.Linear | None = None
        self.reward: nn.Linear | None = None
        if config.action_width:
            self.action = nn.Linear(_action_size(action_space), config.action_width)
        if config.reward_width:
            self.reward = nn.Linear(1, config.reward_width)

    def forward(
        self,
        previous_action: Tensor,
        previous_reward: Tensor,
        observation: Tensor,
        begins: Tensor,
    ) -> Tensor:
        """Returns the tokens of steps, [..., D].

        Args:
            previous_action: [..., *action]; anything where an episode begins.
            previous_reward: [...]; likewise.
            observation: [..., *observation].
            begins: True where a step is the first of its episode, [...].
        """
        parts = [self.observation(observation)]
        goes_on = (~begins).unsqueeze(-1)
        if self.action is not None:
            action = self._numbers(previous_action).to(self.action.weight.dtype)
            parts.append(F.relu(self.action(action * goes_on)))
        if self.reward is not None:
            reward = previous_reward.unsqueeze(-1).to(self.reward.weight.dtype)
            parts.append(F.relu(self.reward(reward * goes_on)))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _numbers(self, action: Tensor) -> Tensor:
        if isinstance(self.action_space, gym.spaces.Discrete):
            return F.one_hot(action.long() - int(self.action_space.start), int(self.action_space.n))
        if self.units is not None:
            return self.units(action)
        axes = len(self.action_space.shape or ())
        return action.flatten(-axes) if axes else action.unsqueeze(-1)


def _action_size(space: gym.Space) -> int:
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Box):
        return math.prod(space.shape)
    raise ConfigError(f"action space {space} is not supported; use Discrete or Box")
