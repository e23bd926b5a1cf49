"""Recipes: tuned runs by name, one file per environment family.

A recipe is a function that returns a whole `RunConfig`; its keyword arguments are what else depends
on one another (the segments of the model and the lengths in the data, say). This is the only room
in which names of environments and names of models meet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retain.core.errors import ConfigError
from retain.core.registry import Registry

if TYPE_CHECKING:
    from retain.training.config import AnyRunConfig

RECIPES: Registry[Callable[..., AnyRunConfig]] = Registry("recipe", __name__)


def recipe(name: str, **arguments: Any) -> AnyRunConfig:
    """Returns the configuration that a recipe makes.

    Args:
        name: The recipe's name, such as ``tmaze/rate``.
        **arguments: Keyword arguments of the recipe.

    Raises:
        UnknownNameError: If there is no such recipe.
        ConfigError: If it has no such argument.
    """
    function = RECIPES.get(name)
    known = list(inspect.signature(function).parameters)
    for argument in arguments:
        if argument not in known:
            raise ConfigError(f"recipe {name} has no argument '{argument}'; it has {known}")
    return function(**arguments)
