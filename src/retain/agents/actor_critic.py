"""What the agents share that learn from the latest episodes: a policy and a critic on one memory.

Axes: B batch, T steps, L = T + 1 tokens, P parameters of the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from retain.agents.online import (
    Batch,
    MemoryNetwork,
    OnlineAgent,
    OnlineAgentConfig,
    full_precision,
)
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig
from retain.nn.heads import perceptron


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig(OnlineAgentConfig):
    """What every actor-critic is told."""

    num_steps: int | None = None
    """Steps in a run, n, after each of which is learned; None for whole episodes."""

    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation, lambda."""

    value_weight: float = 0.5
    """Weight of the value's squared error."""

    entropy_weight: float = 0.0
    """Weight of the entropy, which is made larger."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if self.num_steps is not None and self.num_steps < 1:
            raise ConfigError(f"agent.num_steps must be at least 1, not {self.num_steps}")
        if not 0 <= self.gae_lambda <= 1:
            raise ConfigError(f"agent.gae_lambda must be from 0 to 1, not {self.gae_lambda}")
        for name in ("value_weight", "entropy_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"agent.{name} must not be negative, not {getattr(self, name)}")


class ActorCritic(OnlineAgent):
    """A policy and a critic over a shared memory.

    Args:
        config: The agent's settings.
        model_config: The model's settings.
        observation_space: Space of one observation.
        action_space: Space of one action.
    """

    actions: ClassVar[tuple[type[gym.Space], ...]] = (gym.spaces.Discrete, gym.spaces.Box)
    from_replay: ClassVar[bool] = False
    config: ActorCriticConfig

    def __init__(
        self,
        config: ActorCriticConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        width = model_config.width
        self.network = MemoryNetwork(config, model_config, observation_space, action_space)
        outputs = self.distribution.num_outputs
        self.actor = perceptron(width, config.hidden, outputs, last=1e-3)
        self.critic = perceptron(width, config.hidden, 1)

    def scores(self, features: Tensor) -> Tensor:
        """Parameters of the policy, [..., P]: logits where actions are discrete."""
        return self.distribution(self.actor(features))

    def read(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, Tensor, Tensor]:
        """Reads a batch of experience.

        Args:
            batch: See `retain.agents.online`.
            memory: The memory before the first token.

        Returns:
            Parameters of the policy [B, T, P], values [B, L], and the memory's own cost.
        """
        features_BLD, cost = self.network(batch, memory)
        with full_precision(features_BLD, self.critic) as features_BLD:
            value_BL = self.critic(features_BLD).squeeze(-1)
            policy_BTP = self.scores(features_BLD[:, :-1])
        return policy_BTP, value_BL, cost

    def advantages(self, batch: Batch, value_BL: Tensor) -> Tensor:
        """Returns generalised advantages, [B, T] (Schulman et al. 2016, arXiv 1506.02438).

        What follows the last step is worth what the critic says, unless the episode ended there for
        good.
        """
        reward_BT = self.network.scaled(batch["reward"])
        goes_on_BT = (~batch["terminated"]).to(reward_BT.dtype)
        discount = self.config.discount
        delta_BT = reward_BT + discount * goes_on_BT * value_BL[:, 1:] - value_BL[:, :-1]
        # Past an episode's last step nothing is added up, whether it ended or was cut.
        decay_BT = discount * self.config.gae_lambda * goes_on_BT
        advantage_BT = torch.zeros_like(delta_BT)
        sum_B = torch.zeros_like(delta_BT[:, 0])
        for step in range(delta_BT.shape[1] - 1, -1, -1):
            sum_B = (delta_BT[:, step] + decay_BT[:, step] * sum_B) * batch["mask"][:, step]
            advantage_BT[:, step] = sum_B
        return advantage_BT


def even(values_BT: Tensor, mask_BT: Tensor, over: tuple[int, ...]) -> Tensor:
    """Subtracts the mean of the real steps and divides by their deviation where it is not zero."""
    count = mask_BT.sum(over, keepdim=True).clamp(min=1)
    mean = (values_BT * mask_BT).sum(over, keepdim=True) / count
    centred = (values_BT - mean) * mask_BT
    deviation = ((centred**2).sum(over, keepdim=True) / count).sqrt()
    return centred / torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


def even_advantages(advantage_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Makes the advantages or returns of a batch even; one step alone stays as it is.

    It has no mean but its own, and would teach nothing.
    """
    return torch.where(mask_BT.sum() > 1, even(advantage_BT, mask_BT, (0, 1)), advantage_BT)
