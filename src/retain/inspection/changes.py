"""Why a window changed the memory: it is read again without what was seen at one of its steps.

A window is read from the same state, with the same rewards and actions, but with the observation
of one step (of a few neighbouring ones where the window is long) replaced by the episode's usual
one. How far the memory then ends from where it ended is what that observation did.

Axes: C components, T steps of the window, V versions of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
import torch

from retain.agents.policy import Policy
from retain.inspection.recording import Array, Floats, Window, distance, memory_of

#: Versions of a window that are read at most; longer ones are cut into as many stretches.
MOST_VERSIONS = 64


@dataclass(frozen=True)
class Cause:
    """What the observations of one stretch of steps did to the memory."""

    step: int
    """The episode's step that the stretch begins with."""
    num_steps: int
    observation: Array
    """What was seen at the first of them."""
    moved: float
    """Distance between the memory written with it and the one written without."""


def usual_observation(space: gym.Space, observations_T: Array) -> Array:
    """Returns what an episode mostly shows: the most frequent number, or the elementwise median.

    The median is one of the values seen, also of an even number of observations.
    """
    if isinstance(space, gym.spaces.Discrete):
        values, counts = np.unique(observations_T, return_counts=True)
        return np.asarray(values[counts.argmax()])
    median = np.quantile(observations_T, 0.5, axis=0, method="lower")
    return np.asarray(median, dtype=observations_T.dtype)


@torch.inference_mode()
def reread(policy: Policy, window: Window, observations_VT: Array) -> Array:
    """Reads a window again, in several versions at once.

    Args:
        policy: The policy.
        window: The window: its state, rewards and actions are those of every version.
        observations_VT: What is seen at each step, [V, T, ...].

    Returns:
        The memory after the last step, [V, C].
    """
    device = next(policy.parameters()).device
    versions, steps = observations_VT.shape[:2]
    state = window.state.rows([0] * versions)
    for step in range(steps):
        # Where the window begins with the episode, so does the reading.
        begins = window.start == 0 and step == 0
        reward = torch.full((versions,), float(window.rewards_T[step]), device=device)
        _, _, state = policy.act(
            torch.tensor(observations_VT[:, step], device=device),
            reward,
            torch.full((versions,), begins, device=device),
            state,
            donate=True,
        )
        done = torch.as_tensor(window.actions_T[step], device=device)
        same = done.to(state.previous_action_B.dtype).expand_as(state.previous_action_B)
        state = replace(state, previous_action_B=same.clone())
    return memory_of(state.memory).cpu().numpy()


def causes(policy: Policy, window: Window, usual: Array) -> list[Cause]:
    """Finds out which of a window's observations its memory depends on.

    Args:
        policy: The policy.
        window: The window.
        usual: The observation that takes the place of another.

    Returns:
        One for each stretch of steps, in order of time.
    """
    steps = len(window.observations_T)
    span = -(-steps // MOST_VERSIONS)
    starts = range(0, steps, span)
    versions = np.repeat(window.observations_T[None], len(starts) + 1, axis=0)
    for version, start in enumerate(starts):
        versions[version, start : start + span] = usual
    memory_VC = reread(policy, window, versions)
    # The last version is the window as it was: read in the same batch, so that nothing but the
    # observation makes a difference.
    moved_V: Floats = distance(memory_VC[:-1], memory_VC[-1:])
    return [
        Cause(
            window.start + start,
            min(span, steps - start),
            window.observations_T[start],
            float(moved),
        )
        for start, moved in zip(starts, moved_V, strict=True)
    ]
