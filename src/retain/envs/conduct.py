"""Whether an environment keeps to Gymnasium's contract, tried by one reset and one step."""

from __future__ import annotations

from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from retain.core.errors import ConfigError


def check_conduct(env: gym.Env[Any, Any], name: str) -> None:
    """Checks what an environment gives at its first reset and step.

    What breaks the contract would otherwise break somewhere within a batch of environments, with a
    message that says neither which environment it is nor what it did. The environment is left in
    the middle of an episode.

    Args:
        env: The environment.
        name: What it is called in the message.

    Raises:
        ConfigError: If what it gives is of another kind than it must be.
    """
    inner = env.unwrapped
    given: Any = inner.reset(seed=0)
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)):
        raise ConfigError(
            f"{name}: reset() must give an observation and a dict of information, not "
            f"{_told(given)}"
        )
    _check_observation(given[0], inner.observation_space, f"{name}: reset()")
    inner.action_space.seed(0)
    given = inner.step(inner.action_space.sample())
    if not (isinstance(given, tuple) and len(given) == 5 and isinstance(given[4], dict)):
        raise ConfigError(
            f"{name}: step() must give an observation, a reward, terminated, truncated and a dict "
            f"of information, not {_told(given)}"
        )
    _check_observation(given[0], inner.observation_space, f"{name}: step()")
    one = isinstance(given[1], np.ndarray | np.generic) and given[1].ndim == 0
    if not isinstance(given[1].item() if one else given[1], Real):
        raise ConfigError(
            f"{name}: step() gave the reward {given[1]!r}, which is not a single number"
        )


def _check_observation(observation: Any, space: gym.Space[Any], what: str) -> None:
    if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiBinary):
        return
    try:
        shape = np.asarray(observation, dtype=space.dtype).shape
    except (TypeError, ValueError):
        raise ConfigError(
            f"{what} gave the observation {observation!r}, which does not fit its space {space}"
        ) from None
    if shape != space.shape:
        raise ConfigError(
            f"{what} gave an observation of shape {shape}, but its space says {space.shape}"
        )


def _told(given: Any) -> str:
    if isinstance(given, tuple):
        return f"{len(given)} values: {', '.join(type(value).__name__ for value in given)}"
    return f"a {type(given).__name__}"
