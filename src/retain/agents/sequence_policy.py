"""Sequence policies: offline RL as supervised sequence modelling (RATE, Decision Transformer).

The policy predicts the actions of the data from returns-to-go, observations and past actions, and
acts by asking for a return.

Axes: B batch, T steps, K steps of a segment, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import gymnasium as gym
import torch
from torch import Tensor

from retain.agents import AGENTS
from retain.agents.policy import ActingState, AgentConfig, Policy
from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel
from retain.models import build
from retain.nn.heads import action_head
from retain.tokens import ReturnTokens


@dataclass(frozen=True, kw_only=True)
class SequencePolicyConfig(AgentConfig):
    """Offline RL as sequence modelling."""

    registered_name: ClassVar[str] = "sequence_policy"

    target_return: float = 1.0
    """The return that the policy is asked for when it acts."""

    return_scale: float = 1.0
    """Returns are divided by this before they are encoded."""

    label_smoothing: float = 0.0
    """Share of the target's probability spread over all actions."""

    sample_actions: bool = False
    """Act by sampling from the predicted distribution instead of taking its mode."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if not self.return_scale > 0:
            raise ConfigError(f"agent.return_scale must be above 0, not {self.return_scale}")
        if not 0 <= self.label_smoothing <= 1:
            raise ConfigError(
                f"agent.label_smoothing must be from 0 to 1, not {self.label_smoothing}"
            )


@dataclass(frozen=True)
class SequenceState(ActingState):
    """What a sequence policy carries from step to step, for B rows."""

    return_to_go_B: Tensor


@dataclass(frozen=True)
class Losses:
    """What one pass over a run of segments gives."""

    loss: Tensor
    """The loss to descend, a scalar; zero without a real step."""
    prediction: Tensor
    """The mean prediction loss of the real steps."""
    accuracy: Tensor | None
    """The share of real steps whose action was predicted; None for boxes."""
    regularizer: Tensor
    """The mean of what the memory itself asked for, per segment."""
    num_steps: Tensor
    """Real steps."""


@AGENTS.register("sequence_policy")
class SequencePolicy(Policy):
    """A policy over any registered sequence model.

    Args:
        config: The policy's settings.
        model_config: The model's settings.
        observation_space: Space of one observation.
        action_space: Space of one action.
    """

    Config: ClassVar[type[AgentConfig]] = SequencePolicyConfig

    def __init__(
        self,
        config: SequencePolicyConfig,
        model_config: ModelConfig,
        observation_space: gym.Space,
        action_space: gym.Space,
    ):
        super().__init__(config, model_config, observation_space, action_space)
        self.tokens = ReturnTokens(
            observation_space,
            action_space,
            model_config.width,
            normalize=config.normalize_observations,
        )
        self.model: SequenceModel = build(model_config, tokens_per_step=self.tokens.tokens_per_step)
        self.head = action_head(action_space, model_config.width)

    def predict(
        self, batch: dict[str, Tensor], memory: MemoryState, reset_BT: Tensor | None = None
    ) -> tuple[Tensor, MemoryState]:
        """Predicts the actions of a run of steps.

        Args:
            batch: ``return_to_go`` [B, T], ``observation`` [B, T, ...], ``action`` [B, T, ...].
            memory: The memory before the first step.
            reset_BT: True where an episode begins; None for nowhere.

        Returns:
            Predictions [B, T, ...] and the memory after the last step.
        """
        returns = batch["return_to_go"] / self.config.return_scale
        x_BLD = self.tokens.segments(returns, batch["observation"], batch["action"])
        reset_BL = None
        if reset_BT is not None:
            reset_BL = torch.zeros(x_BLD.shape[:2], dtype=torch.bool, device=x_BLD.device)
            reset_BL[:, :: self.tokens.tokens_per_step] = reset_BT
        y_BLD, memory = self.model(x_BLD, memory, reset_BL)
        return self.head(self.tokens.predictions(y_BLD)), memory

    def forward(
        self,
        batch: dict[str, Tensor],
        memory: MemoryState,
        segment_length: int,
        whole: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Losses, MemoryState]:
        """Computes the loss of a run of segments, with the gradient through the memory.

        Caches are detached at every segment; slots and carries keep their gradient.

        Args:
            batch: As for `predict`, and ``mask`` [B, T], true at real steps; T is a multiple of the
                segment's length.
            memory: The memory before the first segment. It may have more rows than the batch.
            segment_length: Steps in a segment, K.
            whole: What `count_real` gives for the whole batch that this run of segments is a part
                of, so that the losses of the parts add up to the mean over the whole; None: for
                this run.

        Returns:
            The losses, and the memory after the last segment, of the rows it was read in: rows at
            the end of the batch that have no real step left are left out of a segment.
        """
        mask = batch["mask"]
        left = _rows_left(mask, segment_length)
        loss, hits, cost = [], [], []
        for number, rows in enumerate(left):
            part = slice(number * segment_length, (number + 1) * segment_length)
            segment = {name: value[:rows, part] for name, value in batch.items()}
            steps = _last_real(segment["mask"]) if number + 1 == len(left) else segment_length
            if 2 * steps <= segment_length:
                # So much padding is worth leaving out. The segment does not end then, and need not:
                # what it would write is not read.
                segment = {name: value[:, : max(1, steps)] for name, value in segment.items()}
            before = memory.detach("cache")
            if rows < before.batch_size:
                before = before.rows(slice(0, rows))
            prediction, memory = self.predict(segment, before)
            # Averaged over the real steps of the whole batch, so that padding weighs nothing, and a
            # batch without any gives zero instead of a division by zero.
            real, action = segment["mask"], segment["action"]
            losses = self.head.loss(prediction, action, self.config.label_smoothing)
            loss.append((losses * real).sum())
            right = self.head.correct(prediction.detach(), action)
            if right is not None:
                hits.append((right * real).sum())
            change_B = self.model.regularizer(before, memory)
            if change_B is not None:
                # What is written in a segment that is not whole is never read.
                ended_B = real.sum(dim=1) == segment_length
                cost.append((change_B * ended_B).sum())
        num_steps, num_segments = whole or count_real(mask, segment_length)
        count = num_steps.clamp(min=1)
        prediction_loss = torch.stack(loss).sum() / count
        accuracy = torch.stack(hits).sum() / count if hits else None
        regularizer = 0 * prediction_loss
        if cost:
            regularizer = torch.stack(cost).sum() / num_segments.clamp(min=1)
        total = prediction_loss + regularizer
        return Losses(total, prediction_loss, accuracy, regularizer, mask.sum()), memory

    def acting_state(self, batch_size: int) -> SequenceState:
        """Returns the state to begin acting with in `batch_size` environments."""
        memory = self.model.initial_state(batch_size)
        action = self.no_action(batch_size)
        target = torch.full((batch_size,), self.config.target_return, device=action.device)
        return SequenceState(memory, action, target)

    def act(
        self,
        observation_B: Tensor,
        reward_B: Tensor,
        reset_B: Tensor,
        state: SequenceState,
        *,
        donate: bool = False,
    ) -> tuple[Tensor, Tensor, SequenceState]:
        """See `Policy.act`; asks for the return that is still to come."""
        fresh = torch.full_like(state.return_to_go_B, self.config.target_return)
        return_to_go = torch.where(reset_B, fresh, state.return_to_go_B - reward_B)
        x_BLD, reset_BL = self.tokens.acting(
            state.previous_action_B, return_to_go / self.config.return_scale, observation_B, reset_B
        )
        y_BLD, memory = self.model(
            x_BLD,
            state.memory,
            reset_BL if bool(reset_B.any()) else None,
            read_L=self.tokens.acting_read,
            donate=donate,
        )
        prediction = self.head(y_BLD[:, -1])
        action = self.head.choose(prediction, sample=self.config.sample_actions)
        return (
            action,
            prediction,
            replace(state, memory=memory, previous_action_B=action, return_to_go_B=return_to_go),
        )

    @property
    def looks_ahead(self) -> bool:
        """See `Policy.looks_ahead`; numbers that vary freely are not to be guessed."""
        return isinstance(self.action_space, gym.spaces.Discrete) and not self.config.sample_actions

    def act_ahead(
        self, observation_BT: Tensor, reward_BT: Tensor, guess_BT: Tensor, state: SequenceState
    ) -> tuple[Tensor, SequenceState]:
        """See `Policy.act_ahead`."""
        changes = [state.return_to_go_B.unsqueeze(1), -reward_BT]
        return_to_go_BT = torch.cat(changes, dim=1).cumsum(dim=1)[:, 1:]
        x_BLD = self.tokens.acting_ahead(
            torch.cat([state.previous_action_B.unsqueeze(1), guess_BT], dim=1),
            return_to_go_BT / self.config.return_scale,
            observation_BT,
        )
        read = self.tokens.acting_read
        y_BLD, memory = self.model(x_BLD, state.memory, read_L=read * reward_BT.shape[1])
        action_BT = self.head.choose(self.head(y_BLD[:, len(read) - 1 :: len(read)]), sample=False)
        return action_BT, replace(
            state,
            memory=memory,
            previous_action_B=action_BT[:, -1],
            return_to_go_B=return_to_go_BT[:, -1],
        )


def count_real(mask_BT: Tensor, segment_length: int) -> tuple[Tensor, Tensor]:
    """Counts the real steps of a batch, and its segments that have nothing else."""
    whole_BN = mask_BT.unflatten(1, (-1, segment_length)).all(-1)
    return mask_BT.sum(), whole_BN.sum()


def _last_real(mask_BT: Tensor) -> int:
    """How many steps there are up to the last one that is real in any row."""
    steps_T = torch.arange(1, mask_BT.shape[1] + 1, device=mask_BT.device)
    return int((mask_BT.any(dim=0) * steps_T).max())


def _rows_left(mask_BT: Tensor, segment_length: int) -> list[int]:
    """How many rows, counted from the first, each segment must still be read in.

    A row whose real steps are over needs no more segments. Rows are left out from the end only, so
    a batch that is sorted by length saves the most.
    """
    segments_BN = mask_BT.unflatten(1, (-1, segment_length)).any(-1)
    remaining_BN = segments_BN.flip(1).cummax(1).values.flip(1)
    order = torch.arange(1, len(mask_BT) + 1, device=mask_BT.device)[:, None]
    rows: list[int] = (remaining_BN * order).amax(0).clamp(min=1).tolist()
    return rows
