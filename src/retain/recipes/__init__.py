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
from retain.core.registry import IMPORT_YOURS, Registry

if TYPE_CHECKING:
    from retain.training.config import AnyRunConfig

RECIPES: Registry[Callable[..., AnyRunConfig]] = Registry("recipe", __name__, IMPORT_YOURS)

#: What an argument means, in every recipe that has it; `retain train RECIPE --help` shows it.
ARGUMENTS = {
    "bits": "bits to remember",
    "budget": "episodes and settings",
    "context_length": "steps of a segment, K",
    "dataset": "id of a Minari dataset",
    "distractors": "signals like hints that mean nothing",
    "env": "Gymnasium id of the environment; module:id imports the module first",
    "hint_time": "when hints are shown",
    "length": "steps over which to remember",
    "lengths": "corridors in the data: of every length, or of whole segments",
    "model": "the memory; `retain list models`",
    "noise": "what the corridor shows besides",
    "num_hints": "hints to remember",
    "num_keys": "keys that pairs are drawn from",
    "num_pairs": "pairs to remember",
    "num_segments": "segments of a training sequence, N",
    "num_values": "values that a key can have",
    "option": "option of the environment, NAME=VALUE; may be repeated",
    "published_size": "also the sizes and rates of the authors' script",
    "replacements": "items shown again with another value, and the last one counts",
    "steps": "steps of the longest episode, or of a training sequence",
}


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
            raise ConfigError(
                f"recipe {name} has no argument '{argument}'; it has {known}. A setting of the run "
                "is a flag of `retain train`; in Python change what retain.recipe() returns with "
                "dataclasses.replace"
            )
    return function(**arguments)
