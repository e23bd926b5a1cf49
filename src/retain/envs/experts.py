"""Experts: policies that know how an environment is played, for collecting data.

An expert is called with a batch of observations and the mask of rows that begin an episode, and
returns a batch of actions. It may remember, so a new one is made for each use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from retain.core.registry import Registry


class Behaviour(Protocol):
    """A batched policy. Axes: B rows, O observation."""

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_], /
    ) -> npt.NDArray[Any]:
        """Returns the actions; `reset_B` is True where an episode begins."""


Factory = TypeVar("Factory", bound=Callable[[], Behaviour])

EXPERTS: Registry[Callable[[], Behaviour]] = Registry(
    "expert for environment", "retain.envs", "try --policy random"
)


def register_expert(env_id: str) -> Callable[[Factory], Factory]:
    """Returns a decorator that registers a factory of experts for an environment id."""

    def add(factory: Factory) -> Factory:
        EXPERTS.register(env_id)(factory)
        return factory

    return add


def expert(env_id: str) -> Behaviour:
    """Returns a new expert for the environment.

    Raises:
        UnknownNameError: If the environment has none.
    """
    return EXPERTS.get(env_id)()
