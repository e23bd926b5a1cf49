"""SAC for discrete actions, with one memory for actor and critics.

Soft actor-critic (Christodoulou 2019, arXiv 1910.07207) whose critics value every action at once,
so that what the policy expects is a sum and no draw. `retain.agents.soft` has what the critics, the
actor and the memory have to do with each other.

Axes: B batch, T steps, L = T + 1 tokens, A actions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from retain.agents import AGENTS
from retain.agents.online import Batch
from retain.agents.policy import AgentConfig
from retain.agents.soft import SoftActorCritic, SoftConfig
from retain.core.errors import ConfigError
from retain.memory import ModelConfig


@dataclass(frozen=True, kw_only=True)
class SACDiscreteConfig(SoftConfig):
    """SAC for discrete actions."""

    registered_name: ClassVar[str] = "sac_discrete"

    target_entropy: float = 0.7
    """The entropy aimed at, as a share of the largest possible, log A."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not 0 < self.target_entropy <= 1:
            raise ConfigError(f"agent.target_entropy must be in (0, 1], not {self.target_entropy}")


@AGENTS.register("sac_discrete")
class SACDiscrete(SoftActorCritic):
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
        spaces = observation_space, action_space
        # Other spaces are refused by `OnlineAgent`.
        values = int(action_space.n) if isinstance(action_space, gym.spaces.Discrete) else 0
        super().__init__(config, model_config, *spaces, actions_read=0, values=values)

    def losses(
        self, batch: Batch, features_BLD: Tensor, cost: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SoftActorCritic.losses`."""
        log_policy_BLA = torch.log_softmax(self.scores(features_BLD), dim=-1)
        policy_BLA = log_policy_BLA.exp()
        temperature = self.log_temperature.exp().detach()

        with torch.no_grad():
            least_BLA = torch.minimum(*self.targets(features_BLD))
            soft_BL = (policy_BLA * (least_BLA - temperature * log_policy_BLA)).sum(-1)
            y_BT = self.goals(batch, soft_BL)
        one_BLA, two_BLA = self.critics(features_BLD)
        one_BT, two_BT = (
            self.taken(q_BLA[:, :-1], batch["action"]) - y_BT for q_BLA in (one_BLA, two_BLA)
        )

        # Values of frozen critics at detached features are the critics' outputs without gradient.
        value_BLA = torch.minimum(one_BLA, two_BLA).detach()
        gain_BL = (policy_BLA * (value_BLA - temperature * log_policy_BLA)).sum(-1)
        return self.total(
            errors=(one_BT, two_BT),
            gain_BT=gain_BL[:, :-1],
            entropy_BT=-(policy_BLA * log_policy_BLA).sum(-1)[:, :-1],
            wanted=self.config.target_entropy * math.log(self.num_actions),
            q_BT=(policy_BLA * value_BLA).sum(-1)[:, :-1],
            cost=cost,
            mask_BT=batch["mask"],
        )
