"""What the online agents share: a memory over steps, heads on it, and acting with exploration.

A batch of experience is a dict of tensors over B episodes, or windows of them, of T steps:

    observation        [B, T + 1, ...]  with the observation after the last step
    action, reward     [B, T, ...], [B, T]
    terminated         [B, T]     true where the episode ended for good
    mask               [B, T]     true at the steps to learn from: real ones after the burn-in
    previous_action, previous_reward, begins   [B, ...]  before the first token
    read_before        [B]        steps that the memory has read before these, the same in all rows

Axes: B batch, T steps, L = T + 1 tokens, D width, A actions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retain.agents.policy import ActingState, AgentConfig, Policy
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel
from retain.models import build
from retain.nn.distributions import ActionDistribution, action_distribution
from retain.nn.standardize import RewardScale
from retain.tokens import StepTokenConfig, StepTokens

Batch = dict[str, Tensor]

#: Dtypes of boxes of actions.
FLOATS = (np.float32, np.float64)
#: What actions are called, and who takes those that an agent does not.
KINDS: dict[type[gym.Space], str] = {
    gym.spaces.Discrete: "discrete actions",
    gym.spaces.Box: "actions that are a box of float32 or float64",
}
OTHERS: dict[type[gym.Space], str] = {
    gym.spaces.Discrete: "; agents that take discrete ones are dqn, sac_discrete, a2c and ppo",
    gym.spaces.Box: "; agents that take such boxes are sac, a2c and ppo",
}


@dataclass(frozen=True, kw_only=True)
class OnlineAgentConfig(AgentConfig):
    """What every online agent is told."""

    discount: float = 0.99
    """Discount of rewards, gamma."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the heads' hidden layers."""

    skip: bool = False
    """Heads read the token beside the memory: z = ReLU(memory) + token."""

    normalize_rewards: bool = False
    """Divide rewards, where they are learned from and where they are read, by the deviation of the
    discounted returns seen so far."""

    sample_actions: bool = False
    """Evaluate by sampling from the policy instead of taking its best action."""

    tokens: StepTokenConfig = field(default_factory=StepTokenConfig)
    """How a step becomes a token."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not 0 <= self.discount <= 1:
            raise ConfigError(f"agent.discount must be from 0 to 1, not {self.discount}")
        if any(size < 1 for size in self.hidden):
            raise ConfigError(f"agent.hidden must be positive widths, not {self.hidden}")


class MemoryNetwork(nn.Module):
    """Tokens of steps, read by a sequence model.

    Args:
        config: The agent's settings.
        model_config: The model's settings.
        observation_space: Space of one observation.
        action_space: Space of one action.
    """

    def __init__(
        self,
        config: OnlineAgentConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__()
        self.skip = config.skip
        self.segment_length = model_config.context_length
        self.tokens = StepTokens(
            observation_space,
            action_space,
            model_config.width,
            config.tokens,
            normalize=config.normalize_observations,
        )
        self.reward_scale = RewardScale() if config.normalize_rewards else None
        self.model: SequenceModel = build(model_config, tokens_per_step=1)

    def scaled(self, reward: Tensor) -> Tensor:
        """Returns rewards on the scale that they are learned from and read on."""
        return reward if self.reward_scale is None else self.reward_scale(reward)

    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, Tensor]:
        """Reads a batch of experience.

        Args:
            batch: See the top of the file.
            memory: The memory before the first token.

        Returns:
            Features [B, L, D], and what the memory itself asks for, a scalar averaged over whole
            segments.
        """
        reward_BL = torch.cat([batch["previous_reward"].unsqueeze(1), batch["reward"]], dim=1)
        x_BLD = self.tokens(
            torch.cat([batch["previous_action"].unsqueeze(1), batch["action"]], dim=1),
            self.scaled(reward_BL),
            batch["observation"],
            F.pad(batch["begins"].unsqueeze(1), (0, batch["reward"].shape[1])),
        )
        y_BLD, cost = self._read(x_BLD, memory, batch["mask"], int(batch["read_before"][0]))
        return self._features(x_BLD, y_BLD), cost

    def step(
        self,
        previous_action_B: Tensor,
        previous_reward_B: Tensor,
        observation_B: Tensor,
        reset_B: Tensor,
        memory: MemoryState,
        *,
        donate: bool,
    ) -> tuple[Tensor, MemoryState]:
        """Reads one step in every row; returns features [B, D] and the next memory."""
        reward_B = self.scaled(previous_reward_B)
        x_BD = self.tokens(previous_action_B, reward_B, observation_B, reset_B)
        reset_BL = reset_B.unsqueeze(1) if bool(reset_B.any()) else None
        y_BLD, memory = self.model(x_BD.unsqueeze(1), memory, reset_BL, donate=donate)
        return self._features(x_BD, y_BLD[:, 0]), memory

    def ahead(
        self,
        previous_action_BT: Tensor,
        previous_reward_BT: Tensor,
        observation_BT: Tensor,
        memory: MemoryState,
        *,
        begins_BT: Tensor | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, MemoryState]:
        """Reads steps; returns features [B, T, D] and the next memory.

        Args:
            previous_action_BT: Actions taken at the steps before.
            previous_reward_BT: What came of them.
            observation_BT: What is seen.
            memory: The memory before the first of these steps.
            begins_BT: Steps that have none before them in their episode, for which `memory` is
                fresh; None: there are none.
            donate: The memory is not used again.
        """
        if begins_BT is None:
            begins_BT = torch.zeros_like(previous_reward_BT, dtype=torch.bool)
        reward_BT = self.scaled(previous_reward_BT)
        x_BTD = self.tokens(previous_action_BT, reward_BT, observation_BT, begins_BT)
        y_BTD, memory = self.model(x_BTD, memory, donate=donate)
        return self._features(x_BTD, y_BTD), memory

    def _features(self, x: Tensor, y: Tensor) -> Tensor:
        return F.relu(y) + x if self.skip else y

    def _read(
        self, x_BLD: Tensor, memory: MemoryState, mask_BT: Tensor, read_before: int
    ) -> tuple[Tensor, Tensor]:
        if type(self.model).regularizer is SequenceModel.regularizer:
            return self.model(x_BLD, memory)[0], x_BLD.new_zeros(())
        # The memory's cost is known from the states before and after a segment ends. The first one
        # may have begun before these tokens.
        outputs, costs, count = [], [x_BLD.new_zeros(())], 0
        start, stop = 0, self.segment_length - read_before % self.segment_length
        while start < x_BLD.shape[1]:
            before, span = memory, slice(start, stop)
            y_BKD, memory = self.model(x_BLD[:, span], before)
            outputs.append(y_BKD)
            if stop <= mask_BT.shape[1]:
                cost_B = self.model.regularizer(before, memory)
                if cost_B is not None:
                    whole_B = mask_BT[:, span].all(dim=1)
                    costs.append((cost_B * whole_B).sum())
                    count += int(whole_B.sum())
            start, stop = stop, stop + self.segment_length
        return torch.cat(outputs, dim=1), torch.stack(costs).sum() / max(1, count)


class OnlineAgent(Policy):
    """A learning rule over any registered sequence model.

    Args:
        config: The agent's settings.
        model_config: The model's settings.
        observation_space: Space of one observation.
        action_space: Space of one action.

    Raises:
        ConfigError: If the agent has no use for such actions.
    """

    actions: ClassVar[tuple[type[gym.Space], ...]] = (gym.spaces.Discrete,)
    """Kinds of action spaces that the agent can learn in: Discrete, Box, or both."""

    from_replay: ClassVar[bool] = True
    """Whether the agent learns from a replay of old episodes, or from the latest alone."""

    network: MemoryNetwork
    config: OnlineAgentConfig

    def __init__(
        self,
        config: OnlineAgentConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        self._check(action_space)
        self.distribution = self.distribution_over(action_space)
        self.num_actions = int(getattr(action_space, "n", 0))
        self.first_action = int(getattr(action_space, "start", 0))

    def _check(self, space: gym.Space) -> None:
        """Checks that the agent has a use for such actions."""
        box = isinstance(space, gym.spaces.Box)
        known = space.dtype in FLOATS if box else isinstance(space, gym.spaces.Discrete)
        if known and isinstance(space, self.actions):
            return
        words = " or ".join(KINDS[kind] for kind in self.actions)
        hint = OTHERS[gym.spaces.Box if box else gym.spaces.Discrete] if known else ""
        raise ConfigError(
            f"agent '{self.config.registered_name}' needs {words}, but the environment's are "
            f"{space}; wrap the environment so that they are{hint}"
        )

    def distribution_over(self, space: gym.Space) -> ActionDistribution:
        """Returns the policy's distribution; see `retain.nn.distributions`.

        Args:
            space: The action space.
        """
        return action_distribution(space)

    @abstractmethod
    def forward(self, batch: Batch, memory: MemoryState) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of a batch of experience.

        Args:
            batch: See the top of the file, with what `prepare` adds.
            memory: The memory before the first token.

        Returns:
            The loss and the metrics to log.
        """

    def prepare(self, batch: Batch, memory: MemoryState) -> Batch:
        """Adds to experience what all passes over it need, before the first of them.

        Args:
            batch: See the top of the file.
            memory: The memory before the first token.
        """
        return batch

    def passes(self, batch: Batch, memory: MemoryState) -> Iterator[tuple[Batch, MemoryState]]:
        """Yields what an update is made from, one after the other: once all, or part by part.

        Args:
            batch: What `prepare` gives.
            memory: The memory before the first token.
        """
        yield batch, memory

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """Returns a number for each action, [..., A]: its value, or its logit.

        For boxes, the parameters of `distribution`.
        """

    def after_update(self) -> None:
        """Called after every step of the optimiser, for target networks."""

    def stochastic(self) -> bool:
        """Whether `scores` are a policy's, which the agent samples from when it explores."""
        return True

    def observe_returns(self, returns: npt.NDArray[Any]) -> None:
        """Takes discounted returns into account by which rewards are normalised.

        Args:
            returns: Sums of the rewards so far in an episode, at steps since the last call, [N].
        """
        for module in self.modules():
            if isinstance(module, RewardScale):
                module.observe(returns)

    def acting_state(self, batch_size: int) -> ActingState:
        """See `Policy.acting_state`."""
        memory = self.network.model.initial_state(batch_size)
        return ActingState(memory, self.no_action(batch_size))

    def act(
        self,
        observation_B: Tensor,
        reward_B: Tensor,
        reset_B: Tensor,
        state: ActingState,
        *,
        donate: bool = False,
        epsilon: float | None = None,
    ) -> tuple[Tensor, Tensor, ActingState]:
        """See `Policy.act`.

        Args:
            observation_B: Observations now, [B, ...].
            reward_B: Rewards of the previous actions, [B].
            reset_B: True in rows that begin an episode.
            state: The state after the previous step.
            donate: Gives the state away.
            epsilon: Explore: share of actions drawn uniformly, the rest from the policy if it is
                stochastic; None to act as in an evaluation.
        """
        features_BD, memory = self.network.step(
            state.previous_action_B, reward_B, observation_B, reset_B, state.memory, donate=donate
        )
        scores_BA = self.scores(features_BD)
        sampled = self.config.sample_actions if epsilon is None else self.stochastic()
        choose = self.distribution.sample if sampled else self.distribution.best
        action_B = choose(scores_BA)
        if epsilon:
            drawn_B = self.distribution.uniform(action_B)
            coin_B = torch.rand(len(action_B), device=action_B.device) < epsilon
            action_B = torch.where(coin_B.view(-1, *[1] * (action_B.dim() - 1)), drawn_B, action_B)
        return action_B, scores_BA, ActingState(memory, action_B)

    @property
    def looks_ahead(self) -> bool:
        """See `Policy.looks_ahead`."""
        return isinstance(self.action_space, gym.spaces.Discrete) and not self.config.sample_actions

    def act_ahead(
        self, observation_BT: Tensor, reward_BT: Tensor, guess_BT: Tensor, state: ActingState
    ) -> tuple[Tensor, ActingState]:
        """See `Policy.act_ahead`."""
        previous_BT = torch.cat([state.previous_action_B.unsqueeze(1), guess_BT], dim=1)
        features_BTD, memory = self.network.ahead(
            previous_BT, reward_BT, observation_BT, state.memory
        )
        action_BT = self.distribution.best(self.scores(features_BTD))
        return action_BT, ActingState(memory, action_BT[:, -1])

    def taken(self, values_BTA: Tensor, action_BT: Tensor) -> Tensor:
        """Picks the values of the actions that were taken, [B, T]."""
        index = (action_BT.long() - self.first_action).unsqueeze(-1)
        return values_BTA.gather(-1, index).squeeze(-1)


@contextmanager
def full_precision(features: Tensor, head: nn.Module) -> Iterator[Tensor]:
    """Gives a head the features of the memory in its own precision, in mixed precision as well.

    An advantage is a small difference of values, and bfloat16 knows none between 100 and 100.5; the
    density of an action near a bound is a small difference of large numbers.
    """
    with torch.autocast(features.device.type, enabled=False):
        yield features.to(next(head.parameters()).dtype)


def masked_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Returns the mean over real steps, a scalar."""
    return (values_BT * mask_BT).sum() / mask_BT.sum().clamp(min=1)


@torch.no_grad()
def follow(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Moves a target network towards its source by Polyak averaging.

    Args:
        target: The network to move.
        source: The network to follow.
        rate: The share of the source, tau.
    """
    targets: list[Any] = list(target.parameters())
    torch._foreach_lerp_(targets, list(source.parameters()), rate)
