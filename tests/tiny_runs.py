"""Runs small enough for tests, and what to compare of two runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file

from retain.agents.a2c import A2CConfig
from retain.agents.dqn import DQNConfig
from retain.agents.online import OnlineAgentConfig
from retain.agents.ppo import PPOConfig
from retain.agents.sac import SACConfig
from retain.agents.sac_discrete import SACDiscreteConfig
from retain.evaluation import EnvironmentConfig, EvaluationConfig
from retain.memory import ModelConfig
from retain.models.gpt2 import GPT2Config
from retain.models.lstm import LSTMConfig
from retain.models.rate import RATEConfig
from retain.nn.valve import ValveConfig
from retain.recipes import recipe
from retain.tokens import StepTokenConfig
from retain.training.config import OnlineRunConfig, RunConfig
from retain.training.settings import OnlineTrainConfig

T = TypeVar("T")

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
"""Where tests of devices run; the processor is always among them."""


def on_devices(everything: Iterable[T], few: Iterable[T]) -> list[tuple[str, T]]:
    """What a test of devices tries where: all on an accelerator, and a few on the processor.

    Those few try the test itself on a machine without an accelerator.
    """
    return [(d, item) for d in DEVICES for item in (few if d == "cpu" else everything)]


class StoppedError(KeyboardInterrupt):
    """What a test stops a run with, as Ctrl-C would."""


#: Flags that make any recipe tiny; SIZE only those of transformers that read segments.
FLAGS = (
    "--train.batch-size=8",
    "--train.num-threads=1",
    "--train.no-tensorboard",
    "--data.collect.episodes=40",
    "--model.width=16",
    "--model.num-layers=1",
    "--evaluation.episodes=4",
)
#: Flags that make any recipe that learns by acting tiny.
ONLINE_FLAGS = (
    "--train.episodes=5",
    "--train.num-envs=2",
    "--train.random-episodes=2",
    "--train.batch-size=2",
    "--train.num-threads=1",
    "--train.no-tensorboard",
    "--model.width=32",
    "--evaluation.episodes=2",
)
SIZE = ("--context-length=4", "--model.num-heads=1", "--model.head-width=16")


def tiny(
    name: str = "tmaze/rate",
    *,
    model: dict[str, Any] | None = None,
    agent: dict[str, Any] | None = None,
    **train: Any,
) -> RunConfig:
    """Returns a recipe made tiny: three segments of four steps, width 16, one layer."""
    config = recipe(name, context_length=4)
    wanted = {"width": 16, "num_layers": 1, "num_heads": 1, "head_width": 16, **(model or {})}
    known = {field.name for field in fields(config.model)}
    assert config.data.collect is not None
    usual = {"updates": 6, "batch_size": 8, "num_threads": 1, "tensorboard": False, "log_every": 1}
    return replace(
        config,
        data=replace(config.data, collect=replace(config.data.collect, episodes=40)),
        model=replace(config.model, **{k: v for k, v in wanted.items() if k in known}),
        agent=replace(config.agent, **(agent or {})),
        train=replace(config.train, **{**usual, "evaluate_every": None, **train}),
        evaluation=replace(
            config.evaluation, episodes=4, values=(3, 12), values_in_training=(5, 12)
        ),
    )


#: Agents and models of tiny online runs, by name.
ONLINE_AGENTS: dict[str, type[OnlineAgentConfig]] = {
    "dqn": DQNConfig,
    "sac_discrete": SACDiscreteConfig,
    "sac": SACConfig,
    "a2c": A2CConfig,
    "ppo": PPOConfig,
}
ONLINE_MODELS: dict[str, ModelConfig] = {
    "lstm": LSTMConfig(width=16),
    "gpt2": GPT2Config(width=16, context_length=40, dropout=0.2),
    "rate": RATEConfig(
        width=16,
        num_layers=1,
        num_heads=1,
        head_width=16,
        context_length=2,
        num_memory_tokens=2,
        dropout=0.1,
        valve=ValveConfig(kind="retaining"),
    ),
}


def tiny_online(
    agent: str = "dqn",
    model: str = "lstm",
    environment: str | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    **train: Any,
) -> OnlineRunConfig:
    """Returns a tiny run that learns by acting.

    Args:
        agent: Name of the agent.
        model: Name of the model, one of `ONLINE_MODELS`.
        environment: Id of the environment; by default the passive T-Maze, or for continuous actions
            the pendulum.
        kwargs: Its options; by default those with which these two have episodes of 4 steps.
        settings: Of the agent.
        evaluation: Of the evaluations.
        **train: Of the training.
    """
    if environment is None:
        environment = "Pendulum-v1" if agent == "sac" else "retain/PassiveTMaze-v0"
    if kwargs is None:
        pendulum = environment == "Pendulum-v1"
        kwargs = {"max_episode_steps": 4} if pendulum else {"corridor_length": 3}
    usual: dict[str, Any] = {
        "episodes": 24,
        "num_envs": 4,
        "batch_size": 4,
        "random_episodes": 3,
        "num_threads": 1,
        "tensorboard": False,
        "evaluate_every": None,
        "log_every": 1,
    }
    tokens = StepTokenConfig(action_width=4, reward_width=2)
    return OnlineRunConfig(
        environment=EnvironmentConfig(id=environment, kwargs=kwargs),
        model=ONLINE_MODELS[model],
        agent=ONLINE_AGENTS[agent](**{"hidden": (16,), "tokens": tokens, **(settings or {})}),
        train=OnlineTrainConfig(**{**usual, **train}),
        evaluation=EvaluationConfig(**{"episodes": 4, **(evaluation or {})}),
    )


def weights(run: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    """Returns the weights in a checkpoint."""
    return load_file(run / "checkpoints" / checkpoint / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    """Checks that two runs ended with the same weights, bit for bit."""
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        assert torch.equal(tensor, theirs[name]), name


def metrics(run: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics without what depends on the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.endswith("_per_second")}
        for line in lines
    ]


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Returns a run's evaluations without what depends on the clock."""
    records = json.loads((run / "results.json").read_text())["evaluations"]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def assert_same_runs(one: Path, other: Path) -> None:
    """Checks that two runs gave the same numbers."""
    assert_same_weights(one, other)
    assert metrics(one) == metrics(other)
    assert evaluations(one) == evaluations(other)


def poison(module: torch.nn.Module) -> None:
    """Makes one weight of a module not a number."""
    with torch.no_grad():
        next(module.parameters()).view(-1)[0] = np.nan
