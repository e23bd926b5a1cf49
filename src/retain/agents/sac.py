"""SAC for continuous actions, with one memory for actor and critics.

Soft actor-critic (Haarnoja et al. 2018, arXiv 1801.01290; arXiv 1812.05905 for the temperature and
the twin critics) over a memory, as agents are trained for tasks that hide a part of their state (Ni
et al. 2022, arXiv 2110.05038). The policy is a squashed normal distribution, whose actions have a
gradient, so the actor climbs the critics. `retain.agents.soft` has what the critics, the actor and
the memory have to do with each other.

Axes: B batch, T steps, L = T + 1 tokens, D width, N components of an action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.func import functional_call

from retain.agents import AGENTS
from retain.agents.online import Batch
from retain.agents.policy import AgentConfig
from retain.agents.soft import SoftActorCritic, SoftConfig
from retain.core.errors import ConfigError
from retain.memory import ModelConfig
from retain.nn.distributions import SquashedNormal


@dataclass(frozen=True, kw_only=True)
class SACConfig(SoftConfig):
    """SAC for continuous actions."""

    registered_name: ClassVar[str] = "sac"

    learn_temperature: bool = True
    """Change the temperature so that the entropy comes near its target."""

    target_entropy: float = -1.0
    """The entropy aimed at, for each component, in units of the box; uniform actions have log 2."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not self.target_entropy < math.log(2):
            raise ConfigError(
                f"agent.target_entropy must be below log 2 = {math.log(2):.2f}, which uniform "
                f"actions have, not {self.target_entropy}"
            )


@AGENTS.register("sac")
class SAC(SoftActorCritic):
    """SAC for continuous actions, with a shared memory."""

    Config: ClassVar[type[AgentConfig]] = SACConfig
    actions: ClassVar[tuple[type[gym.Space], ...]] = (Box,)
    config: SACConfig
    distribution: SquashedNormal

    def __init__(
        self,
        config: SACConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        spaces = observation_space, action_space
        components = math.prod(action_space.shape or ())
        super().__init__(config, model_config, *spaces, actions_read=components, values=1)

    def distribution_over(self, space: gym.Space) -> SquashedNormal:
        """See `OnlineAgent.distribution_over`."""
        assert isinstance(space, Box)  # checked before
        return SquashedNormal(space)

    def losses(
        self, batch: Batch, features_BLD: Tensor, cost: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SoftActorCritic.losses`."""
        action_BLN, log_policy_BL = self.distribution.draw(self.scores(features_BLD))
        temperature = self.log_temperature.exp().detach()

        with torch.no_grad():
            read_BLX = torch.cat([features_BLD, action_BLN], dim=-1)
            least_BL = torch.minimum(*self.targets(read_BLX)).squeeze(-1)
            y_BT = self.goals(batch, least_BL - temperature * log_policy_BL)
        taken_BTN = self.distribution.units(batch["action"]).to(features_BLD.dtype)
        one_BT1, two_BT1 = self.critics(torch.cat([features_BLD[:, :-1], taken_BTN], dim=-1))

        frozen = {name: p.detach() for name, p in self.critics.named_parameters()}
        read_BLX = torch.cat([features_BLD.detach(), action_BLN], dim=-1)[:, :-1]
        value_BT = torch.minimum(*functional_call(self.critics, frozen, (read_BLX,))).squeeze(-1)
        log_policy_BT = log_policy_BL[:, :-1]
        return self.total(
            errors=(one_BT1.squeeze(-1) - y_BT, two_BT1.squeeze(-1) - y_BT),
            gain_BT=value_BT - temperature * log_policy_BT,
            entropy_BT=-log_policy_BT,
            wanted=self.config.target_entropy * self.distribution.num_free,
            q_BT=value_BT,
            cost=cost,
            mask_BT=batch["mask"],
        )
