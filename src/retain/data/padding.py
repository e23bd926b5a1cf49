"""What stands in arrays where there is nothing."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def padding_of(space: gym.Space[Any]) -> int:
    """Returns the number that padding is made of: one that points of the space are made of too.

    That is zero but for discrete spaces that begin elsewhere; they have no zero to look up.
    """
    return int(space.start) if isinstance(space, gym.spaces.Discrete) else 0
