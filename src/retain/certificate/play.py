"""Episodes that were really played, and which of their steps only ask to hold what is known.

Axes: B episodes, T steps, N steps of all episodes, S symbols.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from retain.certificate.subject import Subject
from retain.core.errors import ConfigError
from retain.envs import make_vec
from retain.evaluation import EnvironmentConfig, check_spaces
from retain.rollout import Actor, read_success

Array = npt.NDArray[Any]

#: More different inputs than this are not listed: they count as drawn from a continuum.
MOST_SYMBOLS = 1024


@dataclass(frozen=True)
class Steps:
    """Steps of one episode, or of a part of one."""

    observation_T: Array
    signal_T: Array
    action_T: Array

    def __len__(self) -> int:
        return len(self.action_T)

    def part(self, start: int, stop: int | None = None) -> Steps:
        """Returns some of the steps."""
        chosen = slice(start, stop)
        return Steps(self.observation_T[chosen], self.signal_T[chosen], self.action_T[chosen])

    def told(self) -> Array:
        """What the policy is told at each step, a row of float64 each; its actions left out."""
        flat = np.asarray(self.observation_T, dtype=np.float64).reshape(len(self), -1)
        return np.concatenate([flat, self.signal_T[:, None].astype(np.float64)], axis=1)


@dataclass(frozen=True)
class Episode:
    """An episode, and where in it the memory must hold."""

    steps: Steps
    success: bool | None
    """What the environment says of it; None where it says nothing."""
    held_from: int = 0
    """The first step from which on nothing but the usual inputs is seen."""
    asked_at: int = 0
    """The first step of the ending: where something else is seen again."""


@torch.inference_mode()
def play(
    subject: Subject, environment: EnvironmentConfig, *, episodes: int, seed: int
) -> list[Episode]:
    """Plays episodes by really acting, and keeps all that was seen and done."""
    kwargs: dict[str, Any] = dict(environment.kwargs)
    env = make_vec(environment.id, num_envs=episodes, independent_rows=True, **kwargs)
    try:
        check_spaces(subject.policy, env.single_observation_space, env.single_action_space)
        actor = Actor(subject.policy, episodes)
        seeds: Any = [seed + e for e in range(episodes)]
        observation, _ = env.reset(seed=seeds)
        reward = np.zeros(episodes, dtype=np.float32)
        signal = subject.first_signal(episodes)
        success, lengths = np.full(episodes, np.nan), np.zeros(episodes, dtype=np.int64)
        running = np.ones(episodes, dtype=np.bool_)
        seen: list[tuple[Array, Array, Array]] = []
        while running.any():
            first = np.full(episodes, not seen)
            action = actor.act(observation, reward, first)
            seen.append((np.array(observation), signal, np.array(action)))
            observation, reward, terminated, truncated, info = env.step(action)
            reward = np.asarray(reward, dtype=np.float32)
            signal = subject.next_signal(signal, reward)
            lengths += running
            ended = running & (np.asarray(terminated) | np.asarray(truncated))
            read_success(info, ended, success)
            running &= ~ended
    finally:
        env.close()
    observations, signals, actions = (np.stack(part, axis=1) for part in zip(*seen, strict=True))
    return [
        Episode(
            Steps(observations[b, :n], signals[b, :n], actions[b, :n]),
            None if np.isnan(success[b]) else bool(success[b]),
        )
        for b, n in enumerate(lengths)
    ]


@dataclass(frozen=True)
class Inputs:
    """The inputs of the kind seen while the memory must hold: a list, or a sample of a continuum.

    A symbol is what the policy is told at one step: an observation and a signal.
    """

    observation_S: Array
    signal_S: Array
    weight_S: npt.NDArray[np.float64]
    """How often each symbol was seen, as a share."""
    finite: bool
    """Every input is one of the symbols; else they are a sample."""
    low: Array
    high: Array
    known: frozenset[bytes]

    def of_the_kind(self, inputs_T: Array) -> npt.NDArray[np.bool_]:
        """Says of inputs, as `Steps.told` gives them, whether they are of the kind seen."""
        if self.finite:
            return np.array([row.tobytes() in self.known for row in inputs_T], dtype=np.bool_)
        return np.asarray(((inputs_T >= self.low) & (inputs_T <= self.high)).all(axis=1))

    def count(self, length: int) -> int | None:
        """How many different sequences of so many steps there are; None: a continuum."""
        return len(self.signal_S) ** length if self.finite or length == 0 else None


def find_inputs(episodes: list[Episode]) -> tuple[Inputs, list[Episode]]:
    """Finds the usual inputs, and where in each episode nothing else is seen.

    Usual is what is seen in the third quarter of an episode: what is to be remembered was shown
    before, and what asks for it comes after. The ending begins at the first other input after the
    middle (at the last step, if there is none); holding begins after the last other input before.

    Raises:
        ConfigError: If episodes are too short to have a third quarter.
    """
    if min(len(episode.steps) for episode in episodes) < 4:
        raise ConfigError(
            "episodes of fewer than 4 steps leave nothing to hold; certify in longer ones"
        )
    quarters = [e.steps.part(len(e.steps) // 2, 3 * len(e.steps) // 4) for e in episodes]
    observation_N = np.concatenate([steps.observation_T for steps in quarters])
    signal_N = np.concatenate([steps.signal_T for steps in quarters])
    inputs_N = np.concatenate([steps.told() for steps in quarters])
    _, first, count = np.unique(inputs_N, axis=0, return_index=True, return_counts=True)
    # A list is believed if its members come again and again.
    finite = len(first) <= MOST_SYMBOLS and 8 * len(first) <= len(inputs_N)
    if not finite:
        first, count = np.arange(len(inputs_N)), np.ones(len(inputs_N), dtype=np.int64)
    inputs = Inputs(
        observation_N[first],
        signal_N[first],
        count / count.sum(),
        finite,
        inputs_N.min(axis=0),
        inputs_N.max(axis=0),
        frozenset(row.tobytes() for row in inputs_N[first]) if finite else frozenset(),
    )
    return inputs, [_located(episode, inputs) for episode in episodes]


def _located(episode: Episode, inputs: Inputs) -> Episode:
    other = ~inputs.of_the_kind(episode.steps.told())
    middle, last = len(episode.steps) // 2, len(episode.steps) - 1
    before, after = np.flatnonzero(other[:middle]), np.flatnonzero(other[middle:])
    return Episode(
        episode.steps,
        episode.success,
        held_from=int(before[-1]) + 1 if len(before) else 0,
        asked_at=middle + int(after[0]) if len(after) else last,
    )
