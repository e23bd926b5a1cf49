"""What the soft actor-critics share: twin critics, an actor and a temperature on one memory.

Twin critics and the actor read the same features. Only the heads of the critics have target copies;
next values come from the present memory, without gradient. In the actor's loss the critics are
frozen and see detached features, so that the actor reaches the memory through its own outputs alone
(Ni et al. 2023, arXiv 2307.03864, with `shared_encoder` and `freeze_critic`).

Axes: B batch, T steps, L = T + 1 tokens, D width.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import dataclass

import gymnasium as gym
import torch
from torch import Tensor, nn

from retain.agents.online import (
    Batch,
    MemoryNetwork,
    OnlineAgent,
    OnlineAgentConfig,
    follow,
    full_precision,
    masked_mean,
)
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig
from retain.nn.heads import perceptron


@dataclass(frozen=True, kw_only=True)
class SoftConfig(OnlineAgentConfig):
    """What every soft actor-critic is told."""

    temperature: float = 0.1
    """Weight of the entropy, alpha; where it starts if it is learned."""

    learn_temperature: bool = False
    """Change the temperature so that the entropy comes near its target."""

    target_rate: float = 0.005
    """Share of the critics' heads that their targets take over at each update, tau."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not self.temperature > 0:
            raise ConfigError(f"agent.temperature must be above 0, not {self.temperature}")
        if not 0 < self.target_rate <= 1:
            raise ConfigError(f"agent.target_rate must be in (0, 1], not {self.target_rate}")


class Twins(nn.Module):
    """Two critics.

    Args:
        width: Width of what they read.
        hidden: Widths of their hidden layers.
        outputs: Values that each gives.
    """

    def __init__(self, width: int, hidden: tuple[int, ...], outputs: int):
        super().__init__()
        self.one = perceptron(width, hidden, outputs)
        self.two = perceptron(width, hidden, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the values of both."""
        return self.one(x), self.two(x)


class SoftActorCritic(OnlineAgent):
    """Twin critics and an actor over a shared memory.

    Args:
        config: The agent's settings.
        model_config: The model's settings.
        observation_space: Space of one observation.
        action_space: Space of one action.
        actions_read: Numbers of an action that the critics read beside the features.
        values: Values that a critic gives, one for each action or one alone.
    """

    config: SoftConfig

    def __init__(
        self,
        config: SoftConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
        *,
        actions_read: int,
        values: int,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        width, outputs = model_config.width, self.distribution.num_outputs
        self.network = MemoryNetwork(config, model_config, observation_space, action_space)
        self.critics = Twins(width + actions_read, config.hidden, values)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor = perceptron(width, config.hidden, outputs, last=1e-3)
        start = torch.tensor(math.log(config.temperature))
        self.log_temperature = nn.Parameter(start, requires_grad=config.learn_temperature)

    def scores(self, features: Tensor) -> Tensor:
        """Parameters of the policy, [..., P]: logits where actions are discrete."""
        return self.distribution(self.actor(features))

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of critics and actor; see `OnlineAgent.forward`."""
        features_BLD, cost = self.network(batch, memory)
        with full_precision(features_BLD, self.actor) as features_BLD:
            return self.losses(batch, features_BLD, cost)

    @abstractmethod
    def losses(
        self, batch: Batch, features_BLD: Tensor, cost: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of critics and actor.

        Args:
            batch: See `retain.agents.online`.
            features_BLD: What the memory gives for each token.
            cost: The memory's own cost.

        Returns:
            The loss and the metrics to log.
        """

    def goals(self, batch: Batch, soft_BL: Tensor) -> Tensor:
        """Returns what the critics are to say, [B, T].

        Args:
            batch: See `retain.agents.online`.
            soft_BL: Soft values of what is seen at each token.
        """
        goes_on_BT = ~batch["terminated"]
        reward_BT = self.network.scaled(batch["reward"])
        return reward_BT + self.config.discount * goes_on_BT * soft_BL[:, 1:]

    def total(
        self,
        errors: tuple[Tensor, Tensor],
        gain_BT: Tensor,
        entropy_BT: Tensor,
        wanted: float,
        q_BT: Tensor,
        cost: Tensor,
        mask_BT: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds everything up.

        Args:
            errors: Errors of the two critics, [B, T] each.
            gain_BT: What the actor makes larger.
            entropy_BT: The policy's entropy.
            wanted: What the entropy is to be, if the temperature is learned.
            q_BT: Values that the frozen critics give the policy.
            cost: The memory's own cost.
            mask_BT: True at real steps.

        Returns:
            The loss and the metrics to log.
        """
        one, two = (masked_mean(error_BT**2, mask_BT) for error_BT in errors)
        critic_loss = (one + two) / 2
        actor_loss = -masked_mean(gain_BT, mask_BT)
        entropy = masked_mean(entropy_BT, mask_BT)
        loss = critic_loss + actor_loss + cost
        if self.config.learn_temperature:
            loss = loss + self.log_temperature * (entropy.detach() - wanted)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "entropy": entropy,
            "temperature": self.log_temperature.exp().detach(),
            "q": masked_mean(q_BT, mask_BT),
            "memory_cost": cost,
        }
        return loss, metrics

    def after_update(self) -> None:
        """Lets the target heads follow."""
        follow(self.targets, self.critics, self.config.target_rate)
