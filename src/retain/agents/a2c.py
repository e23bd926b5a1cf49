"""Advantage actor-critic (A2C), from whole episodes or from runs of n steps.

From whole episodes, the return of a step is the discounted sum of what follows, made even within
each episode (Makkink 2021, transformers-for-rl) or within the batch. From runs of n steps,
advantages are those of generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438);
the memory goes on from run to run, and the gradient goes back to the beginning of the run.

Axes: B batch, T steps, L = T + 1 tokens, P parameters of the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from retain.agents import AGENTS
from retain.agents.actor_critic import ActorCritic, ActorCriticConfig, even, even_advantages
from retain.agents.online import Batch, masked_mean
from retain.agents.policy import AgentConfig
from retain.core.errors import ConfigError
from retain.memory import MemoryState


@dataclass(frozen=True, kw_only=True)
class A2CConfig(ActorCriticConfig):
    """Advantage actor-critic."""

    registered_name: ClassVar[str] = "a2c"

    normalize: Literal["episode", "batch", "none"] = "episode"
    """What makes the returns of whole episodes even: mean 0 and deviation 1 within each episode, as
    published, or within the batch; runs of n steps: their advantages, within the batch or not."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if self.num_steps is not None and self.normalize == "episode":
            raise ConfigError(
                "agent.normalize episode needs whole episodes; give batch or none with "
                "agent.num-steps"
            )


@AGENTS.register("a2c")
class A2C(ActorCritic):
    """Advantage actor-critic over a shared memory."""

    Config: ClassVar[type[AgentConfig]] = A2CConfig
    config: A2CConfig

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of actor and critic; see `OnlineAgent.forward`."""
        mask_BT = batch["mask"]
        policy_BTP, value_BL, cost = self.read(batch, memory)
        with torch.no_grad():
            if self.config.num_steps is None:
                goal_BT = self._returns(batch)
                advantage_BT = goal_BT - value_BL[:, :-1]
            else:
                advantage_BT = self.advantages(batch, value_BL)
                goal_BT = advantage_BT + value_BL[:, :-1]
                if self.config.normalize == "batch":
                    advantage_BT = even_advantages(advantage_BT, mask_BT)
        log_taken_BT = self.distribution.log_probability(policy_BTP, batch["action"])
        entropy_BT = self.distribution.entropy(policy_BTP)

        def per_episode(values_BT: Tensor) -> Tensor:
            return (values_BT * mask_BT).sum(1).mean()

        actor_loss = -per_episode(log_taken_BT * advantage_BT)
        value_loss = per_episode((goal_BT - value_BL[:, :-1]) ** 2)
        loss = actor_loss + self.config.value_weight * value_loss + cost
        if self.config.entropy_weight:
            loss = loss - self.config.entropy_weight * per_episode(entropy_BT)
        metrics = {
            "actor_loss": actor_loss,
            "value_loss": value_loss,
            "entropy": masked_mean(entropy_BT, mask_BT),
            "value": masked_mean(value_BL[:, :-1], mask_BT),
            "memory_cost": cost,
        }
        return loss, metrics

    def _returns(self, batch: Batch) -> Tensor:
        """Returns of whole episodes, made even, [B, T]."""
        mask_BT = batch["mask"]
        reward_BT = self.network.scaled(batch["reward"]) * mask_BT
        returns_BT = torch.zeros_like(reward_BT)
        sum_B = torch.zeros_like(reward_BT[:, 0])
        for step in range(reward_BT.shape[1] - 1, -1, -1):
            sum_B = reward_BT[:, step] + self.config.discount * sum_B
            returns_BT[:, step] = sum_B
        if self.config.normalize == "batch":
            return even_advantages(returns_BT, mask_BT)
        return even(returns_BT, mask_BT, (1,)) if self.config.normalize == "episode" else returns_BT
