"""A policy stepped in a batch of environments, with its memory streamed from step to step.

Axes: B rows (environments).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv

from retain.agents.policy import Policy

Array = npt.NDArray[Any]


class Actor:
    """Acts in B environments at once and keeps what the policy carries between steps.

    Args:
        policy: The policy; it is put in evaluation mode.
        num_rows: Number of environments B.
    """

    def __init__(self, policy: Policy, num_rows: int):
        self.policy = policy.eval()
        self.num_rows = num_rows
        self.device = next(policy.parameters()).device
        with torch.inference_mode():
            self.state = policy.acting_state(num_rows)

    @torch.inference_mode()
    def act(self, observation_B: Array, reward_B: Array, reset_B: Array) -> Array:
        """Returns the next actions, [B, ...].

        Args:
            observation_B: Observations now.
            reward_B: Rewards of the previous actions; ignored in rows that begin an episode.
            reset_B: True in rows that begin an episode.
        """
        action, _, self.state = self.policy.act(
            self._tensor(np.asarray(observation_B)),
            self._tensor(np.asarray(reward_B, dtype=np.float32)),
            self._tensor(np.asarray(reset_B, dtype=np.bool_)),
            self.state,
            donate=True,
        )
        return action.cpu().numpy()

    def _tensor(self, array: Array) -> torch.Tensor:
        # torch shares memory with an array, and complains of one that may not be written to.
        return torch.as_tensor(array if array.flags.writeable else array.copy(), device=self.device)

    def keep(self, rows: Array) -> None:
        """Goes on with some of the rows only."""
        self.state = self.state.rows(torch.as_tensor(rows, device=self.device))
        self.num_rows = len(rows)


@dataclass(frozen=True)
class Episodes:
    """How a batch of episodes went."""

    return_B: npt.NDArray[np.float64]
    length_B: npt.NDArray[np.int64]
    success_B: npt.NDArray[np.float64] | None
    """1 or 0 where the environment reports ``success`` at the end, else None."""


def play(policy: Policy, env: VectorEnv[Any, Any, Any], seeds: list[int]) -> Episodes:
    """Plays one episode in every row, by really acting.

    Args:
        policy: The policy.
        env: The environments; a row that has ended may do what it likes.
        seeds: A seed for each row.
    """
    rows = len(seeds)
    actor = Actor(policy, rows)
    # Gymnasium's base class names a number alone, its vector environments all take a list.
    observation, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
    reward = np.zeros(rows, dtype=np.float64)
    returns, lengths = np.zeros(rows), np.zeros(rows, dtype=np.int64)
    success = np.full(rows, np.nan)
    running = np.ones(rows, dtype=np.bool_)
    tracked = np.arange(rows)  # the rows that the actor still carries
    first = True
    action: Array | None = None
    while running.any():
        if running.sum() * 2 <= len(tracked):
            # Most of what is carried has ended: carry the rest alone.
            kept = np.flatnonzero(running[tracked])
            actor.keep(kept)
            tracked = tracked[kept]
        chosen = actor.act(observation[tracked], reward[tracked], np.full(len(tracked), first))
        if action is None:
            action = np.zeros((rows, *chosen.shape[1:]), dtype=env.single_action_space.dtype)
        action[tracked] = chosen
        first = False
        observation, reward, terminated, truncated, info = env.step(action)
        returns += np.where(running, reward, 0.0)
        lengths += running
        ended = running & (np.asarray(terminated) | np.asarray(truncated))
        read_success(info, ended, success)
        running &= ~ended
    return Episodes(returns, lengths, None if np.isnan(success).any() else success)


def read_success(info: dict[str, Any], ended_B: Array, success_B: Array) -> None:
    """Notes in `success_B` what an environment says of the episodes that have just ended."""
    if "success" in info:
        known_B = ended_B & np.asarray(info.get("_success", np.ones_like(ended_B)))
        success_B[known_B] = np.asarray(info["success"], dtype=np.float64)[known_B]
