"""Advantage actor-critic (A2C), from whole episodes or from runs of n steps.

From whole episodes, the return of a step is the discounted sum of what follows, made even within
each episode (Makkink 2021, transformers-for-rl) or within the batch. From runs of n steps,
advantages are those of generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438);
the memory goes on from run to run, and the gradient goes back to the beginning of the run.

Axes: B batch, T steps, L = T + 1 tokens, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import gymnasium as gym
import torch
from torch import Tensor

from retain.agents import AGENTS
from retain.agents.online import (
    Batch,
    MemoryNetwork,
    OnlineAgent,
    OnlineAgentConfig,
    masked_mean,
)
from retain.agents.policy import AgentConfig
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig
from retain.nn.heads import perceptron


@dataclass(frozen=True, kw_only=True)
class A2CConfig(OnlineAgentConfig):
    """Advantage actor-critic."""

    registered_name: ClassVar[str] = "a2c"

    num_steps: int | None = None
    """Steps in a run, n, after each of which an update is made; None for whole episodes."""

    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation, for runs of n steps."""

    normalize: Literal["episode", "batch", "none"] = "episode"
    """What makes the returns of whole episodes even: mean 0 and deviation 1 within each episode, as
    published, or within the batch; runs of n steps: their advantages, within the batch or not."""

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
        if self.num_steps is not None and self.normalize == "episode":
            raise ConfigError(
                "agent.normalize episode needs whole episodes; give batch or none with "
                "agent.num-steps"
            )


@AGENTS.register("a2c")
class A2C(OnlineAgent):
    """Advantage actor-critic over a shared memory."""

    Config: ClassVar[type[AgentConfig]] = A2CConfig
    from_replay: ClassVar[bool] = False
    config: A2CConfig

    def __init__(
        self,
        config: A2CConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        width = model_config.width
        self.network = MemoryNetwork(config, model_config, observation_space, action_space)
        self.actor = perceptron(width, config.hidden, self.num_actions, last=1e-3)
        self.critic = perceptron(width, config.hidden, 1)

    def scores(self, features: Tensor) -> Tensor:
        """Logits of the policy, [..., A]."""
        return self.actor(features)

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of actor and critic; see `OnlineAgent.forward`."""
        mask_BT = batch["mask"]
        features_BLD, cost = self.network(batch, memory)
        value_BL = self.critic(features_BLD).squeeze(-1)
        log_policy_BTA = torch.log_softmax(self.actor(features_BLD[:, :-1]), dim=-1)
        with torch.no_grad():
            if self.config.num_steps is None:
                goal_BT = self._returns(batch)
                advantage_BT = goal_BT - value_BL[:, :-1]
            else:
                advantage_BT = self._advantages(batch, value_BL)
                goal_BT = advantage_BT + value_BL[:, :-1]
                if self.config.normalize == "batch":
                    even_BT = _even(advantage_BT, mask_BT, over=(0, 1))
                    # One step alone has no mean but its own, and would teach nothing.
                    advantage_BT = torch.where(mask_BT.sum() > 1, even_BT, advantage_BT)
        log_taken_BT = self.taken(log_policy_BTA, batch["action"])
        entropy_BT = -(log_policy_BTA.exp() * log_policy_BTA).sum(-1)

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
        reward_BT, mask_BT = batch["reward"] * batch["mask"], batch["mask"]
        returns_BT = torch.zeros_like(reward_BT)
        sum_B = torch.zeros_like(reward_BT[:, 0])
        for step in range(reward_BT.shape[1] - 1, -1, -1):
            sum_B = reward_BT[:, step] + self.config.discount * sum_B
            returns_BT[:, step] = sum_B
        if self.config.normalize == "none":
            return returns_BT
        over = (1,) if self.config.normalize == "episode" else (0, 1)
        return _even(returns_BT, mask_BT, over)

    def _advantages(self, batch: Batch, value_BL: Tensor) -> Tensor:
        """Generalised advantages of a run of steps, [B, T]."""
        # Not in the values' type: in bfloat16 a discount of 0.999 would be 1.
        goes_on_BT = (~batch["terminated"]).to(batch["reward"].dtype)
        discount = self.config.discount
        delta_BT = batch["reward"] + discount * goes_on_BT * value_BL[:, 1:] - value_BL[:, :-1]
        # Past an episode's last step nothing is added up, whether it ended or was cut.
        decay_BT = discount * self.config.gae_lambda * goes_on_BT
        advantage_BT = torch.zeros_like(delta_BT)
        sum_B = torch.zeros_like(delta_BT[:, 0])
        for step in range(delta_BT.shape[1] - 1, -1, -1):
            sum_B = (delta_BT[:, step] + decay_BT[:, step] * sum_B) * batch["mask"][:, step]
            advantage_BT[:, step] = sum_B
        return advantage_BT


def _even(values_BT: Tensor, mask_BT: Tensor, over: tuple[int, ...]) -> Tensor:
    """Subtracts the mean of the real steps and divides by their deviation where it is not zero."""
    count = mask_BT.sum(over, keepdim=True).clamp(min=1)
    mean = (values_BT * mask_BT).sum(over, keepdim=True) / count
    centred = (values_BT - mean) * mask_BT
    deviation = ((centred**2).sum(over, keepdim=True) / count).sqrt()
    return centred / torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
