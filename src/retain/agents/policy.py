"""What acts: a policy with a memory that is streamed from step to step.

Axes: B rows (environments), T steps read at once.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.data.padding import padding_of
from retain.memory import MemoryState, ModelConfig
from retain.nn.checks import check_positive
from retain.nn.standardize import Standardize


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """What every agent is told; each learning rule adds its own fields."""

    registered_name: ClassVar[str] = ""

    normalize_observations: bool = False
    """Standardise observations that are numbers (no bytes, no indices): by the mean and deviation
    of the data, or, online, of what has been seen so far. Actions of a box are then read in units
    of the box, from -1 to 1."""


@dataclass(frozen=True)
class ActingState:
    """What a policy carries from step to step, for B rows."""

    memory: MemoryState
    previous_action_B: Tensor

    def rows(self, index: Any) -> Self:
        """Returns the state of some rows; see `MemoryState.rows`."""
        if isinstance(index, int):
            index = [index]
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        chosen: dict[str, Any] = {
            name: part.rows(index) if isinstance(part, MemoryState) else part[index]
            for name, part in parts.items()
        }
        return dataclasses.replace(self, **chosen)


class Policy(nn.Module, ABC):
    """Something that acts, built from an agent's and a model's settings and two spaces.

    Args:
        observation_space: Space of one observation.
        action_space: Space of one action.
    """

    Config: ClassVar[type[AgentConfig]] = AgentConfig

    def __init__(
        self,
        config: Any,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__()
        check_positive(model_config, "width", "context_length")
        self.config = config
        self.observation_space = observation_space
        self.action_space = action_space

    def observe(self, observations: npt.NDArray[Any]) -> None:
        """Takes observations into account by which others are normalised.

        Args:
            observations: Those of the data, or what has been seen since the last call, [N, ...].
        """
        for module in self.modules():
            if isinstance(module, Standardize):
                module.observe(observations)

    @abstractmethod
    def acting_state(self, batch_size: int) -> Any:
        """Returns the state to begin acting with in `batch_size` environments."""

    @abstractmethod
    def act(
        self,
        observation_B: Tensor,
        reward_B: Tensor,
        reset_B: Tensor,
        state: Any,
        *,
        donate: bool = False,
    ) -> tuple[Tensor, Tensor, Any]:
        """Takes one step in every row.

        Args:
            observation_B: Observations now, [B, ...].
            reward_B: Rewards of the previous actions, [B]; ignored in rows that begin.
            reset_B: True in rows that begin an episode.
            state: The state after the previous step.
            donate: Gives the state away; see `SequenceModel.forward`.

        Returns:
            Actions [B, ...], the predictions they were chosen from, and the next state.
        """

    def act_greedily(self) -> None:
        """Takes the best action from here on, where it was told to sample."""
        if getattr(self.config, "sample_actions", False):
            self.config = dataclasses.replace(self.config, sample_actions=False)

    def ask_for(self, target_return: float) -> None:
        """Asks for this return from here on.

        Raises:
            ConfigError: If the policy is not asked for a return, or it is not a finite number.
        """
        if not hasattr(self.config, "target_return"):
            raise ConfigError(
                f"an agent '{self.config.registered_name}' is not asked for a return; leave the "
                "target return out"
            )
        if not math.isfinite(target_return):
            raise ConfigError(f"the target return must be a finite number, not {target_return}")
        self.config = dataclasses.replace(self.config, target_return=target_return)

    @property
    def looks_ahead(self) -> bool:
        """Whether `act_ahead` works: the policy has it, and acts without drawing numbers."""
        return False

    def act_ahead(
        self, observation_BT: Tensor, reward_BT: Tensor, guess_BT: Tensor, state: Any
    ) -> tuple[Tensor, Any]:
        """Takes T steps in every row at once, given guesses of the actions between them.

        What is chosen at step t is what `act` would choose there if the guesses before t are what
        it would have chosen too; else it means nothing. No row begins an episode.

        Args:
            observation_BT: Observations, [B, T, ...].
            reward_BT: Rewards of the actions before them, [B, T].
            guess_BT: Guesses of the actions between them, [B, T - 1, ...].
            state: The state after the previous step; it is not given away.

        Returns:
            The actions chosen, [B, T, ...], and the state after the last of them.

        Raises:
            NotImplementedError: If the policy does not look ahead.
        """
        raise NotImplementedError(f"{type(self).__name__} does not look ahead")

    def no_action(self, batch_size: int) -> Tensor:
        """Returns an action for each row that stands for none, [B, ...]."""
        space = self.action_space
        none = np.full((batch_size, *(space.shape or ())), padding_of(space), dtype=space.dtype)
        return torch.as_tensor(none).to(next(self.parameters()).device)
