"""Proximal policy optimisation (PPO) over a memory.

Several passes are made over what was played; the policy gains nothing from leaving the one that
played by more than the clip (Schulman et al. 2017, arXiv 1707.06347, equation 7). Advantages are
those of generalised advantage estimation (Schulman et al. 2016, arXiv 1506.02438). A batch is
divided by episodes, never within one, so the gradient goes back through the memory to the beginning
of the episode, or of the run of n steps.

Axes: B batch, T steps, L = T + 1 tokens, P parameters of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from retain.agents import AGENTS
from retain.agents.actor_critic import ActorCritic, ActorCriticConfig, even_advantages
from retain.agents.online import Batch, masked_mean
from retain.agents.policy import AgentConfig
from retain.core.errors import ConfigError
from retain.memory import MemoryState


@dataclass(frozen=True, kw_only=True)
class PPOConfig(ActorCriticConfig):
    """Proximal policy optimisation."""

    registered_name: ClassVar[str] = "ppo"

    clip: float = 0.2
    """How far the probability of an action may move, as a share of what it was, and still gain."""

    epochs: int = 4
    """Passes over what was played."""

    minibatches: int = 4
    """Parts of a pass, with an update for each; at most one for each episode."""

    normalize_advantages: bool = True
    """Make the advantages of a minibatch even: mean 0 and deviation 1."""

    entropy_weight: float = 0.01
    """Weight of the entropy, which is made larger."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        if not self.clip > 0:
            raise ConfigError(f"agent.clip must be above 0, not {self.clip}")
        for name in ("epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"agent.{name} must be at least 1, not {getattr(self, name)}")


@AGENTS.register("ppo")
class PPO(ActorCritic):
    """Proximal policy optimisation over a shared memory."""

    Config: ClassVar[type[AgentConfig]] = PPOConfig
    config: PPOConfig

    @torch.no_grad()
    def prepare(self, batch: Batch, memory: MemoryState) -> Batch:
        """Adds the policy that played, advantages and goals; see `OnlineAgent.prepare`."""
        training = self.training
        self.eval()  # without dropout, so that only what was learned moves the policy
        policy_BTP, value_BL, _ = self.read(batch, memory)
        self.train(training)
        advantage_BT = self.advantages(batch, value_BL)
        return {
            **batch,
            "log_taken": self.distribution.log_probability(policy_BTP, batch["action"]),
            "advantage": advantage_BT,
            "goal": advantage_BT + value_BL[:, :-1],
        }

    def passes(self, batch: Batch, memory: MemoryState) -> Iterator[tuple[Batch, MemoryState]]:
        """Yields minibatches of episodes, in another order in each pass."""
        alive = batch["mask"].any(dim=1).nonzero().squeeze(-1)
        begins = int(batch["read_before"][0]) == 0
        for _ in range(self.config.epochs):
            order = alive[torch.randperm(len(alive), device=alive.device)]
            for rows in order.tensor_split(min(self.config.minibatches, len(alive))):
                part = {name: values[rows] for name, values in batch.items()}
                # A first memory that is learned is another one after each update.
                first = self.network.model.initial_state
                yield part, first(len(rows)) if begins else memory.rows(rows)

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses of a minibatch; see `OnlineAgent.forward`."""
        config, mask_BT = self.config, batch["mask"]
        policy_BTP, value_BL, cost = self.read(batch, memory)
        advantage_BT = batch["advantage"]
        if config.normalize_advantages:
            advantage_BT = even_advantages(advantage_BT, mask_BT)
        log_taken_BT = self.distribution.log_probability(policy_BTP, batch["action"])
        # Past an episode's end the policy may have moved by any factor, and inf * 0 is no number.
        log_ratio_BT = torch.where(mask_BT, log_taken_BT - batch["log_taken"], 0.0)
        ratio_BT = log_ratio_BT.exp()
        clipped_BT = ratio_BT.clamp(1 - config.clip, 1 + config.clip)
        gain_BT = torch.minimum(ratio_BT * advantage_BT, clipped_BT * advantage_BT)
        entropy_BT = self.distribution.entropy(policy_BTP)
        actor_loss = -masked_mean(gain_BT, mask_BT)
        value_loss = masked_mean((batch["goal"] - value_BL[:, :-1]) ** 2, mask_BT)
        entropy = masked_mean(entropy_BT, mask_BT)
        loss = actor_loss + config.value_weight * value_loss - config.entropy_weight * entropy
        metrics = {
            "actor_loss": actor_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "value": masked_mean(value_BL[:, :-1], mask_BT),
            # An estimate that is never negative (Schulman 2020, "Approximating KL divergence").
            "kl": masked_mean(ratio_BT - 1 - log_ratio_BT, mask_BT),
            "clipped": masked_mean(((ratio_BT - 1).abs() > config.clip).float(), mask_BT),
            "memory_cost": cost,
        }
        return loss + cost, metrics
