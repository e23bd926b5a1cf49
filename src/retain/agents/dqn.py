"""Recurrent DQN with double Q-learning and a target network.

The network reads whole episodes (or windows of them) from their first token, so the gradient goes
back through the memory to the beginning (Ni et al. 2023, arXiv 2307.03864; van Hasselt et al. 2016,
arXiv 1509.06461). The target network is a copy of all of it, memory included.

Axes: B batch, T steps, L = T + 1 tokens, A actions.
"""

from __future__ import annotations

import copy
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
    full_precision,
    masked_mean,
)
from retain.agents.policy import AgentConfig
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig
from retain.nn.heads import perceptron


@dataclass(frozen=True, kw_only=True)
class DQNConfig(OnlineAgentConfig):
    """Recurrent DQN."""

    registered_name: ClassVar[str] = "dqn"

    double: bool = True
    """The online network chooses the next action, the target network values it."""

    target_rate: float = 0.005
    """Share of the online network that the target takes over at each update, tau."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not 0 < self.target_rate <= 1:
            raise ConfigError(f"agent.target_rate must be in (0, 1], not {self.target_rate}")


class _QNetwork(nn.Module):
    """The memory and a value for each action."""

    def __init__(self, memory: MemoryNetwork, width: int, hidden: tuple[int, ...], actions: int):
        super().__init__()
        self.memory = memory
        self.head = perceptron(width, hidden, actions)

    def forward(self, batch: Batch, state: MemoryState) -> tuple[Tensor, Tensor]:
        features, cost = self.memory(batch, state)
        with full_precision(features, self.head) as features:
            return self.head(features), cost


@AGENTS.register("dqn")
class DQN(OnlineAgent):
    """Recurrent double DQN with epsilon-greedy exploration."""

    Config: ClassVar[type[AgentConfig]] = DQNConfig
    config: DQNConfig

    def __init__(
        self,
        config: DQNConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        network = MemoryNetwork(config, model_config, observation_space, action_space)
        self.online = _QNetwork(network, model_config.width, config.hidden, self.num_actions)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @property
    def network(self) -> MemoryNetwork:  # type: ignore[override]
        """What acts."""
        return self.online.memory

    def stochastic(self) -> bool:
        """See `OnlineAgent.stochastic`: values are not logits."""
        return False

    def scores(self, features: Tensor) -> Tensor:
        """Values of the actions, [..., A]."""
        return self.online.head(features)

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of one-step targets; see `OnlineAgent.forward`."""
        q_BLA, cost = self.online(batch, memory)
        with torch.no_grad():
            # What comes from a replay begins with a fresh memory; the target's is of its own
            # parameters, where a model learns it.
            fresh = self.target.memory.model.initial_state(memory.batch_size)
            target_BLA, _ = self.target(batch, fresh)
            judge_BTA = target_BLA[:, 1:]
            best_BT = (q_BLA if self.config.double else target_BLA)[:, 1:].argmax(-1)
            next_BT = judge_BTA.gather(-1, best_BT.unsqueeze(-1)).squeeze(-1)
            goes_on_BT = ~batch["terminated"]
            reward_BT = self.network.scaled(batch["reward"])
            y_BT = reward_BT + self.config.discount * goes_on_BT * next_BT
        q_BT = self.taken(q_BLA[:, :-1], batch["action"])
        td_loss = masked_mean((q_BT - y_BT) ** 2, batch["mask"])
        metrics = {
            "td_loss": td_loss,
            "q": masked_mean(q_BT, batch["mask"]),
            "memory_cost": cost,
        }
        return td_loss + cost, metrics

    def after_update(self) -> None:
        """Lets the target network follow."""
        follow(self.target, self.online, self.config.target_rate)
