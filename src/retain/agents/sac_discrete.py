"""SAC for discrete actions, with one memory for actor and critics.

Twin critics and the actor read the same features. Only the heads of the critics have target copies;
next values come from the present memory, without gradient. In the actor's loss the critics are
frozen and see detached features, so that the actor reaches the memory through its own logits alone
(Ni et al. 2023, arXiv 2307.03864, with `shared_encoder` and `freeze_critic`; Christodoulou 2019,
arXiv 1910.07207).

Axes: B batch, T steps, L = T + 1 tokens, A actions.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor, nn

from retain.agents import AGENTS
from retain.agents.online import (
    Batch,
    MemoryNetwork,
    OnlineAgent,
    OnlineAgentConfig,
    follow,
    masked_mean,
)
from retain.agents.policy import AgentConfig
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig
from retain.nn.heads import perceptron


@dataclass(frozen=True, kw_only=True)
class SACDiscreteConfig(OnlineAgentConfig):
    """SAC for discrete actions."""

    registered_name: ClassVar[str] = "sac_discrete"

    temperature: float = 0.1
    """Weight of the entropy, alpha; where it starts if it is learned."""

    learn_temperature: bool = False
    """Change the temperature so that the entropy comes near its target."""

    target_entropy: float = 0.7
    """The entropy aimed at, as a share of the largest possible, log A."""

    target_rate: float = 0.005
    """Share of the critics' heads that their targets take over at each update, tau."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not self.temperature > 0:
            raise ConfigError(f"agent.temperature must be above 0, not {self.temperature}")
        for name in ("target_rate", "target_entropy"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"agent.{name} must be in (0, 1], not {getattr(self, name)}")


class _Twins(nn.Module):
    """Two critics."""

    def __init__(self, width: int, hidden: tuple[int, ...], actions: int):
        super().__init__()
        self.one = perceptron(width, hidden, actions)
        self.two = perceptron(width, hidden, actions)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(features), self.two(features)


@AGENTS.register("sac_discrete")
class SACDiscrete(OnlineAgent):
    """SAC for discrete actions, with a shared memory."""

    Config: ClassVar[type[AgentConfig]] = SACDiscreteConfig
    config: SACDiscreteConfig

    def __init__(
        self,
        config: SACDiscreteConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        width = model_config.width
        self.network = MemoryNetwork(config, model_config, observation_space, action_space)
        self.critics = _Twins(width, config.hidden, self.num_actions)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.actor = perceptron(width, config.hidden, self.num_actions, last=1e-3)
        start = torch.tensor(math.log(config.temperature))
        self.log_temperature = nn.Parameter(start, requires_grad=config.learn_temperature)

    def scores(self, features: Tensor) -> Tensor:
        """Logits of the policy, [..., A]."""
        return self.actor(features)

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of critics and actor; see `OnlineAgent.forward`."""
        mask_BT = batch["mask"]
        features_BLD, cost = self.network(batch, memory)
        log_policy_BLA = torch.log_softmax(self.actor(features_BLD), dim=-1)
        policy_BLA = log_policy_BLA.exp()
        temperature = self.log_temperature.exp().detach()

        with torch.no_grad():
            least_BLA = torch.minimum(*self.targets(features_BLD))
            soft_BL = (policy_BLA * (least_BLA - temperature * log_policy_BLA)).sum(-1)
            goes_on_BT = ~batch["terminated"]
            y_BT = batch["reward"] + self.config.discount * goes_on_BT * soft_BL[:, 1:]
        one_BLA, two_BLA = self.critics(features_BLD)
        critic_losses = [
            masked_mean((self.taken(q_BLA[:, :-1], batch["action"]) - y_BT) ** 2, mask_BT)
            for q_BLA in (one_BLA, two_BLA)
        ]
        critic_loss = (critic_losses[0] + critic_losses[1]) / 2

        # Values of frozen critics at detached features are the critics' outputs without gradient.
        value_BLA = torch.minimum(one_BLA, two_BLA).detach()
        gain_BL = (policy_BLA * (value_BLA - temperature * log_policy_BLA)).sum(-1)
        actor_loss = -masked_mean(gain_BL[:, :-1], mask_BT)
        entropy_BL = -(policy_BLA * log_policy_BLA).sum(-1)
        entropy = masked_mean(entropy_BL[:, :-1], mask_BT)

        loss = critic_loss + actor_loss + cost
        if self.config.learn_temperature:
            wanted = self.config.target_entropy * math.log(self.num_actions)
            loss = loss + self.log_temperature * (entropy.detach() - wanted)
        metrics = {
            "critic_loss": critic_loss,
            "actor_loss": actor_loss,
            "entropy": entropy,
            "temperature": temperature,
            "q": masked_mean((policy_BLA * value_BLA).sum(-1)[:, :-1], mask_BT),
            "memory_cost": cost,
        }
        return loss, metrics

    def after_update(self) -> None:
        """Lets the target heads follow."""
        follow(self.targets, self.critics, self.config.target_rate)
