"""Policies as the search for a certificate sees them.

At each step a policy is told an observation and a number, the signal, and acts. What it keeps
between two segments is a state with everything that its next action depends on. The signal is the
return-to-go where a policy reads one, and the reward of the step before where it learned by acting.

Axes: B rows, T steps, A actions.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retain.agents.online import OnlineAgent
from retain.agents.policy import Policy
from retain.agents.sequence_policy import SequencePolicy
from retain.certificate.record import Refusal
from retain.core.errors import ConfigError
from retain.memory import MemoryState, clock

Signal = npt.NDArray[np.float32]
Told: TypeAlias = tuple[Tensor, Tensor, Tensor]  # observations, signals, actions
#: Kinds of fields that a state keeps when a segment has ended; the others are caches.
KEPT = ("slots", "carry", "clock")


class Subject(ABC):
    """A policy that acts by discrete actions, without chance.

    Args:
        policy: The policy, in evaluation mode.
    """

    signal: ClassVar[str]
    """What the number is that is told beside the observation."""
    adds_up: ClassVar[bool]
    """Whether the signal follows from all that came before, so that it can be new at any step."""

    def __init__(self, policy: Policy):
        self.policy = policy

    @abstractmethod
    def first_signal(self, rows: int) -> Signal:
        """Returns the signal at the first step of episodes, [B]."""

    @abstractmethod
    def next_signal(self, signal_B: Signal, reward_B: Signal) -> Signal:
        """Returns the signal after a step with these rewards, [B]."""

    @abstractmethod
    def initial_state(self, rows: int) -> MemoryState:
        """Returns the state before the first step of episodes."""

    def predict(
        self,
        state: MemoryState,
        observation_BT: Tensor,
        signal_BT: Tensor,
        action_BT: Tensor,
        *,
        asking: bool = False,
        donate: bool = False,
    ) -> tuple[Tensor, MemoryState]:
        """Reads steps with the actions given; returns predictions [B, T, A] and the state.

        Args:
            state: The state to start from.
            observation_BT: What is seen.
            signal_BT: What is told beside it.
            action_BT: What is done.
            asking: The state is not used, so the last action need not be read.
            donate: The state given is not used again.

        Raises:
            Refusal: If what the model has cached of earlier segments goes into it.
        """
        told = observation_BT, signal_BT, action_BT
        prediction, after = self._predict(state, told, asking, donate)
        if not bool(torch.isfinite(prediction).all()):
            raise Refusal(
                "the model carries more than its memory from segment to segment: it reads what it "
                "has cached of earlier ones"
            )
        return prediction, after

    @abstractmethod
    def _predict(
        self, state: MemoryState, told: Told, asking: bool, donate: bool
    ) -> tuple[Tensor, MemoryState]:
        """Reads for `predict`."""

    @abstractmethod
    def choose(self, prediction: Tensor) -> Tensor:
        """Returns the actions that are taken, [B, T]."""

    def in_double(self) -> Subject:
        """Returns a copy that reckons in double precision."""
        return type(self)(copy.deepcopy(self.policy).double().eval())


class SequenceSubject(Subject):
    """A sequence policy: it is told the return-to-go, and reads its action after it has acted."""

    policy: SequencePolicy
    signal = "return-to-go"
    adds_up = True

    def first_signal(self, rows: int) -> Signal:  # noqa: D102
        return np.full(rows, self.policy.config.target_return, dtype=np.float32)

    def next_signal(self, signal_B: Signal, reward_B: Signal) -> Signal:  # noqa: D102
        return signal_B - reward_B

    def initial_state(self, rows: int) -> MemoryState:  # noqa: D102
        return self.policy.model.initial_state(rows)

    def _predict(
        self, state: MemoryState, told: Told, asking: bool, donate: bool
    ) -> tuple[Tensor, MemoryState]:
        observation_BT, signal_BT, action_BT = told
        policy = self.policy
        returns_BT = signal_BT / policy.config.return_scale
        x_BLD = policy.tokens.segments(returns_BT, observation_BT, action_BT)
        if asking:  # a segment is not ended for nothing
            x_BLD = x_BLD[:, :-1]
        y_BLD, after = policy.model(x_BLD, state, donate=donate)
        return policy.head(policy.tokens.predictions(y_BLD)), after

    def choose(self, prediction: Tensor) -> Tensor:  # noqa: D102
        return self.policy.head.choose(prediction, sample=False)


class OnlineSubject(Subject):
    """An agent that learned by acting: a step begins with the action and reward of the one before.

    So the state has the latest action beside the model's own: its place among the actions, or -1
    where an episode begins. It stays 0 where the agent reads no actions, and so does the signal
    where it reads no rewards.
    """

    policy: OnlineAgent
    signal = "reward before"
    adds_up = False

    def __init__(self, policy: OnlineAgent):
        super().__init__(policy)
        self._own: type[MemoryState] = type(policy.network.model.initial_state(1))
        self._type: type[Any] = dataclasses.make_dataclass(
            f"Acting{self._own.__name__}",
            [("last_action_B", Tensor, clock())],
            bases=(self._own,),
            frozen=True,
        )

    def first_signal(self, rows: int) -> Signal:  # noqa: D102
        return np.zeros(rows, dtype=np.float32)

    def next_signal(self, signal_B: Signal, reward_B: Signal) -> Signal:  # noqa: D102
        return reward_B if self.policy.network.tokens.reward is not None else signal_B

    def initial_state(self, rows: int) -> MemoryState:  # noqa: D102
        device = next(self.policy.parameters()).device
        none_B = torch.full((rows,), -1, dtype=torch.int64, device=device)
        return self._with(self.policy.network.model.initial_state(rows), none_B)

    def _predict(
        self, state: MemoryState, told: Told, asking: bool, donate: bool
    ) -> tuple[Tensor, MemoryState]:
        observation_BT, signal_BT, action_BT = told
        policy, last_B = self.policy, state.last_action_B  # type: ignore[attr-defined]
        place_BT = action_BT - policy.first_action
        previous_BT = torch.cat([last_B.clamp(min=0).unsqueeze(1), place_BT[:, :-1]], dim=1)
        begins_BT = torch.zeros_like(previous_BT, dtype=torch.bool)
        begins_BT[:, 0] = last_B < 0
        features_BTD, after = policy.network.ahead(
            previous_BT + policy.first_action,
            signal_BT,
            observation_BT,
            self._own(**_fields(state, self._own)),
            begins_BT=begins_BT,
            donate=donate,
        )
        reads_actions = policy.network.tokens.action is not None
        latest_B = place_BT[:, -1] if reads_actions else torch.zeros_like(last_B)
        return policy.scores(features_BTD), self._with(after, latest_B)

    def choose(self, prediction: Tensor) -> Tensor:  # noqa: D102
        return self.policy.distribution.best(prediction)

    def _with(self, state: MemoryState, last_action_B: Tensor) -> MemoryState:
        acting: MemoryState = self._type(
            **_fields(state, self._own), last_action_B=last_action_B.long()
        )
        return acting


def _fields(state: MemoryState, of: type[MemoryState]) -> dict[str, Any]:
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(of)}


def subject_of(policy: Policy) -> Subject:
    """Returns a policy as the search sees it.

    Raises:
        ConfigError: If it does not act by discrete actions without chance, or has no memory.
    """
    if not isinstance(policy, SequencePolicy | OnlineAgent):
        raise ConfigError(
            "only sequence policies and online agents can be certified, not "
            f"'{policy.config.registered_name}'"
        )
    if not isinstance(policy.action_space, gym.spaces.Discrete):
        raise ConfigError(
            f"only discrete actions can be certified, but the actions are {policy.action_space}"
        )
    if policy.config.sample_actions:
        raise ConfigError(
            "a policy that samples its actions cannot be certified; with --greedy (greedy=True) "
            "its best actions can"
        )
    subject = OnlineSubject(policy) if isinstance(policy, OnlineAgent) else SequenceSubject(policy)
    if not sum(tensor.numel() for tensor in memory(subject.initial_state(1))):
        raise ConfigError(
            "this model has no memory to certify: it keeps nothing but what it has read"
        )
    return subject


def kept(state: MemoryState) -> list[Tensor]:
    """Returns what a state keeps when a segment has ended, in a fixed order.

    Whole numbers of a cache count too: they cannot be made unreadable, as real ones are.
    """
    return [t for kind, t in _tensors(state) if kind in KEPT or not t.is_floating_point()]


def memory(state: MemoryState) -> list[Tensor]:
    """Returns a state's slots and carries."""
    return [tensor for kind, tensor in _tensors(state) if kind in ("slots", "carry")]


def _tensors(state: MemoryState) -> Iterator[tuple[str, Tensor]]:
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        for tensor in value if isinstance(value, tuple) else (value,):
            yield field.metadata["kind"], tensor
