"""retain: reinforcement-learning agents that remember.

    import retain

    run = retain.train("tmaze/rate", seed=0)
    retain.evaluate(run, values=[90, 900, 9600])
    agent = retain.load(run)
    action = agent.act(observation)

The names below are imported when they are first used, so that ``import retain`` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Agent": "retain.api",
    "evaluate": "retain.api",
    "inspect": "retain.api",
    "list_datasets": "retain.api",
    "list_models": "retain.api",
    "list_recipes": "retain.api",
    "load": "retain.api",
    "resume": "retain.api",
    "train": "retain.api",
    "CollectConfig": "retain.collection",
    "collect": "retain.collection",
    "dataset_info": "retain.data.store",
    "EnvironmentConfig": "retain.evaluation",
    "make": "retain.envs",
    "make_vec": "retain.envs",
    "MODELS": "retain.models",
    "RECIPES": "retain.recipes",
    "recipe": "retain.recipes",
    "RetainError": "retain.core.errors",
    "Run": "retain.training.runs",
}

__all__ = [
    "MODELS",
    "RECIPES",
    "Agent",
    "CollectConfig",
    "EnvironmentConfig",
    "RetainError",
    "Run",
    "__version__",
    "collect",
    "dataset_info",
    "evaluate",
    "inspect",
    "list_datasets",
    "list_models",
    "list_recipes",
    "load",
    "make",
    "make_vec",
    "recipe",
    "resume",
    "train",
]

if TYPE_CHECKING:
    from retain.api import (
        Agent,
        evaluate,
        inspect,
        list_datasets,
        list_models,
        list_recipes,
        load,
        resume,
        train,
    )
    from retain.collection import CollectConfig, collect
    from retain.core.errors import RetainError
    from retain.data.store import dataset_info
    from retain.envs import make, make_vec
    from retain.evaluation import EnvironmentConfig
    from retain.models import MODELS
    from retain.recipes import RECIPES, recipe
    from retain.training.runs import Run


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'retain' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
