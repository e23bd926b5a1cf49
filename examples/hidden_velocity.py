"""A pendulum whose velocity is hidden: continuous actions, and something to remember.

The pendulum of Gymnasium shows where it is and how fast it turns. Here it shows where it is alone,
so how fast it turns has to be made out from what was seen before.

    retain --plugin examples/hidden_velocity.py train gymnasium/sac --model lstm \
      --env example/HiddenVelocity-v0
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformObservation

SEEN = 2  # cosine and sine of the angle; the third number is the velocity


def hidden_velocity(**options: Any) -> gym.Env[Any, Any]:
    """Returns Gymnasium's pendulum without its velocity."""
    pendulum = gym.make("Pendulum-v1", max_episode_steps=-1, **options).unwrapped
    space = gym.spaces.Box(-1.0, 1.0, (SEEN,), np.float32)
    return TransformObservation(pendulum, lambda observation: observation[:SEEN], space)


gym.register(
    "example/HiddenVelocity-v0", entry_point=f"{__name__}:hidden_velocity", max_episode_steps=200
)
