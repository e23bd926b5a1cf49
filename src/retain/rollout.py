"""A policy stepped in a batch of environments, with its memory streamed from step to step.

Axes: B rows (environments), T steps taken at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv

from retain.agents.policy import Policy
from retain.core.errors import ConfigError, note

Array = npt.NDArray[Any]

#: The most blocks of single steps that are taken before another look ahead.
MOST_WAIT = 32
#: Steps after which an evaluation that nobody watches tells that it still goes on.
LONG = 100_000
#: What environments call it: ours, Meta-World's, and that of Gymnasium's robots.
SUCCESS = ("success", "is_success")


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
        return self._action(action)

    @torch.inference_mode()
    def look_ahead(
        self, observation_BT: Array, reward_BT: Array, guess_BT: Array
    ) -> tuple[Array, Any]:
        """Returns the actions of several steps and the state after them; see `Policy.act_ahead`.

        The actor stays where it is until its `state` is set to what is returned.

        Args:
            observation_BT: Observations, [B, T, ...].
            reward_BT: Rewards of the actions before them.
            guess_BT: Guesses of the actions between them, [B, T - 1, ...].
        """
        action, state = self.policy.act_ahead(
            self._tensor(observation_BT),
            self._tensor(np.asarray(reward_BT, dtype=np.float32)),
            self._tensor(guess_BT),
            self.state,
        )
        return self._action(action), state

    def _action(self, action: torch.Tensor) -> Array:
        array: Array = action.cpu().numpy()
        return array.astype(self.policy.action_space.dtype, copy=False)

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
    success_B: npt.NDArray[np.float64]
    """1 or 0 where the environment reports a success or none at the end, else NaN."""


def play(
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    seeds: list[int],
    lookahead: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> Episodes:
    """Plays one episode in every row, by really acting.

    With `lookahead` > 1, steps are taken that many at a time where possible: the guess is that
    every row repeats its last action, the environments are stepped with the guesses, and the policy
    reads what they show in one call. If it chooses just what was guessed and no episode ends, the
    steps stand. Otherwise the environments are put back and the steps are taken one by one. So the
    episodes are those of single steps, up to the round-off of longer calls; what changes is the
    time. The idea is that of speculative decoding (Leviathan et al. 2023, arXiv 2211.17192), with
    repetition for a draft model. A policy that samples its actions takes single steps.

    Args:
        policy: The policy.
        env: The environments; a row that has ended may do what it likes.
        seeds: A seed for each row.
        lookahead: Steps to take at a time, 1 for one by one. Best a multiple of the model's context
            length, so that whole segments are read at once.
        report: Called after every call of the policy with the episodes that have ended and with the
            steps that the others have taken.

    Raises:
        ConfigError: If `lookahead` is less than 1, or greater and the environment cannot go back.
    """
    if lookahead < 1:
        raise ConfigError(f"lookahead must be at least 1, not {lookahead}")
    if lookahead > 1:
        check_goes_back(env)
    game = _Game(policy, env, seeds)
    # The first step is taken alone: the action to repeat is known after it, and, since a step of
    # acting ends with its observation, all later ones are laid out alike.
    game.step()
    singles = wait = before = 0
    while game.running_B.any():
        if singles or lookahead == 1 or not policy.looks_ahead:
            game.step()
            singles = max(0, singles - 1)
        elif game.leap(lookahead):
            wait = 0
        else:
            # Where guesses keep failing, they are tried less and less often.
            wait = min(max(1, 2 * wait), MOST_WAIT)
            singles = wait * lookahead
        longest = int(game.length_B.max())
        if report is not None:
            report(int((~game.running_B).sum()), longest)
        elif before < LONG <= longest:
            note_long("episodes of an evaluation", LONG)
        before = longest
    return Episodes(game.return_B, game.length_B, game.success_B)


def check_goes_back(env: VectorEnv[Any, Any, Any]) -> None:
    """Checks that an environment can be put back to an earlier moment.

    Raises:
        ConfigError: If it cannot.
    """
    # Asked of the class: a wrapper hands on what it does not know, but has a state of its own.
    if not (hasattr(type(env), "snapshot") and hasattr(type(env), "restore")):
        raise ConfigError(
            f"lookahead needs an environment with snapshot() and restore(), which "
            f"{type(env).__name__} does not have; use lookahead 1"
        )


class _Game:
    """Episodes being played, one in every row.

    Args:
        policy: The policy.
        env: The environments.
        seeds: A seed for each row.
    """

    def __init__(self, policy: Policy, env: VectorEnv[Any, Any, Any], seeds: list[int]):
        rows = len(seeds)
        self.env: Any = env
        self.actor = Actor(policy, rows)
        # Gymnasium's base class names a number alone, its vector environments all take a list.
        self.observation_B, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
        self.reward_B: Array = np.zeros(rows, dtype=np.float64)
        self.return_B, self.length_B = np.zeros(rows), np.zeros(rows, dtype=np.int64)
        self.success_B = np.full(rows, np.nan)
        self.running_B = np.ones(rows, dtype=np.bool_)
        check_finite(np.asarray(self.observation_B), self.reward_B, self.running_B)
        self.tracked = np.arange(rows)  # the rows that the actor still carries
        self.action_B: Array | None = None  # the latest; None before the first

    def step(self) -> None:
        """Takes one step in every row."""
        begins = np.full(len(self.tracked), self.action_B is None)
        observation, reward = self.observation_B[self.tracked], self.reward_B[self.tracked]
        self._take(self.actor.act(observation, reward, begins))

    def leap(self, steps: int) -> bool:
        """Takes so many steps at once if the actions repeat the latest; else changes nothing."""
        assert self.action_B is not None  # a first step was taken
        snapshot, guess_B = self.env.snapshot(), self.action_B.copy()
        observation, reward = self.observation_B, self.reward_B
        observations, rewards = [observation[self.tracked]], [reward[self.tracked]]
        return_B = self.return_B
        for _ in range(steps - 1):
            observation, reward, terminated, truncated, _ = self.env.step(guess_B)
            if (self.running_B & (terminated | truncated)).any():
                self.env.restore(snapshot)
                return False
            observations.append(observation[self.tracked])
            rewards.append(reward[self.tracked])
            return_B = return_B + np.where(self.running_B, reward, 0.0)
        guess_BT = np.stack([guess_B[self.tracked]] * (steps - 1), axis=1)
        chosen_BT, after = self.actor.look_ahead(
            np.stack(observations, axis=1), np.stack(rewards, axis=1), guess_BT
        )
        running_B = self.running_B[self.tracked]
        if (chosen_BT[running_B, :-1] != guess_BT[running_B]).any():
            self.env.restore(snapshot)
            return False
        self.actor.state = after
        self.return_B = return_B
        self.length_B += (steps - 1) * self.running_B
        self._take(chosen_BT[:, -1])
        return True

    def _take(self, chosen: Array) -> None:
        """Steps the environments with the actions of the tracked rows."""
        if self.action_B is None:
            shape = (len(self.running_B), *chosen.shape[1:])
            self.action_B = np.zeros(shape, dtype=self.env.single_action_space.dtype)
        self.action_B[self.tracked] = chosen
        self.observation_B, self.reward_B, terminated, truncated, info = self.env.step(
            self.action_B
        )
        check_finite(np.asarray(self.observation_B), np.asarray(self.reward_B), self.running_B)
        self.return_B = self.return_B + np.where(self.running_B, self.reward_B, 0.0)
        self.length_B += self.running_B
        ended_B = self.running_B & (np.asarray(terminated) | np.asarray(truncated))
        read_success(info, ended_B, self.success_B)
        self.running_B = self.running_B & ~ended_B
        if 0 < self.running_B.sum() * 2 <= len(self.tracked):
            # Most of what is carried has ended: carry the rest alone.
            kept = np.flatnonzero(self.running_B[self.tracked])
            self.actor.keep(kept)
            self.tracked = self.tracked[kept]


def check_finite(observation_B: Array, reward_B: Array, rows_B: Array) -> None:
    """Checks that what some rows of an environment show can be read.

    One NaN would spread through a memory, and blame would fall on the learning rate.

    Raises:
        ConfigError: If a number is not finite.
    """
    for what, numbers in (("an observation", observation_B), ("a reward", reward_B)):
        if numbers.dtype.kind == "f" and not np.isfinite(numbers[rows_B]).all():
            raise ConfigError(
                f"the environment gave {what} that is not a finite number, which nothing can be "
                "learned from; mend it, or wrap it"
            )


def note_long(what: str, steps: int) -> None:
    """Notes that episodes have gone on for many steps, which may be for ever."""
    note(
        f"{what} have gone on for {steps:,} steps; if they need not end by themselves, have them "
        "cut: --option max_episode_steps=NUMBER"
    )


def judged(success_B: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Counts episodes that ended without a report as no success; None if all did."""
    return None if np.isnan(success_B).all() else np.nan_to_num(success_B)


def read_success(info: dict[str, Any], ended_B: Array, success_B: Array) -> None:
    """Notes in `success_B` what an environment says of the episodes that have just ended."""
    for name in SUCCESS:
        if name not in info:
            continue
        known_B = ended_B & np.asarray(info.get(f"_{name}", np.ones_like(ended_B)))
        try:
            told_B = np.asarray(info[name], dtype=np.float64).reshape(len(success_B))
        except (TypeError, ValueError):
            raise ConfigError(
                f"the environment's info has a '{name}' that is not a number or a truth value for "
                f"each episode: {str(info[name])[:80]}"
            ) from None
        success_B[known_B] = told_B[known_B]
