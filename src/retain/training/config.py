"""What a whole run is told.

A recipe returns a `RunConfig` or an `OnlineRunConfig`; the run folder keeps it as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from retain.agents import AGENTS
from retain.agents.online import OnlineAgentConfig
from retain.agents.policy import AgentConfig
from retain.agents.sequence_policy import SequencePolicyConfig
from retain.core.config import from_dict, to_dict
from retain.core.errors import ConfigError, RunError
from retain.core.seeding import check_seed
from retain.evaluation import EnvironmentConfig, EvaluationConfig
from retain.memory import ModelConfig
from retain.models import MODELS
from retain.training.settings import DataConfig, OnlineTrainConfig, TrainConfig

FORMAT = 1
#: Seeds between the evaluations of a run and those of one with the next seed.
EPISODES_APART = 10_000


@dataclass(frozen=True, kw_only=True)
class CommonRunConfig:
    """What every run is told, offline or online."""

    recipe: str = ""
    """Name of the recipe that this began as."""

    seed: int = 0
    """Seed of weights, batches, episodes and dropout."""

    initial_weights: str | None = None
    """Folder of a run, for its last checkpoint, or of a checkpoint, whose weights training begins
    with; None for fresh ones. The run keeps a copy."""

    environment: EnvironmentConfig | None
    """Where the policy is evaluated, and trained if it is trained online."""

    model: ModelConfig
    """The sequence model."""

    agent: AgentConfig
    """The learning rule and what acts."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How it is evaluated."""

    def __post_init__(self) -> None:
        """Checks the environment and the numbers."""
        if not isinstance(self.environment, EnvironmentConfig | None):
            raise ConfigError(
                f"environment must be an EnvironmentConfig(id=...), not {self.environment!r}"
            )
        check_seed("seed", self.seed)
        for name, value in _numbers(to_dict(self)):
            if not math.isfinite(value):
                raise ConfigError(f"{name} must be a finite number, not {value}")

    @property
    def evaluation_seed(self) -> int:
        """Seed of the first episode of the run's evaluations.

        Runs of different seeds play different episodes, so that an error over runs is that of the
        episodes as well; as many policies that always do the same would else have none at all.
        """
        return (self.evaluation.seed + EPISODES_APART * self.seed) % 2**32

    def evaluation_arguments(self) -> dict[str, Any]:
        """Returns what every evaluation of the run passes on to `evaluate_policy`."""
        evaluation = self.evaluation
        return {
            "episodes": evaluation.episodes,
            "seed": self.evaluation_seed,
            "num_envs": evaluation.num_envs,
            "lookahead": evaluation.lookahead,
        }

    @property
    def acts_in(self) -> EnvironmentConfig:
        """Where the policy is evaluated.

        Raises:
            ConfigError: If the run names no environment.
        """
        if self.environment is None:
            raise ConfigError(
                "the run names no environment to act in; give --env ID, or in Python "
                "environment=EnvironmentConfig(id=ID)"
            )
        return self.environment


@dataclass(frozen=True, kw_only=True)
class RunConfig(CommonRunConfig):
    """A whole run that learns from data."""

    environment: EnvironmentConfig | None = None
    """Where the policy is evaluated. None: it is not, and acts only where `retain.load` is used."""

    data: DataConfig
    """What it is trained on."""

    agent: SequencePolicyConfig = field(default_factory=SequencePolicyConfig)
    """The policy."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        for name in ("curriculum_score", "evaluate_every"):
            if self.environment is None and getattr(self.train, name) is not None:
                raise ConfigError(
                    f"train.{name} needs evaluations, and the run names no environment to act in; "
                    "name one, or leave it at None"
                )
        if self.train.curriculum_score is not None and self.evaluation.parameter is None:
            raise ConfigError(
                "train.curriculum_score needs evaluation.parameter: the option of the environment "
                "that is the length of its episodes"
            )


@dataclass(frozen=True, kw_only=True)
class OnlineRunConfig(CommonRunConfig):
    """A whole run that learns by acting."""

    environment: EnvironmentConfig
    """Where the policy is trained and evaluated."""

    agent: OnlineAgentConfig
    """The learning rule."""

    train: OnlineTrainConfig = field(default_factory=OnlineTrainConfig)
    """How it is trained."""

    @property
    def training_environment(self) -> EnvironmentConfig:
        """Where it is trained."""
        kwargs = {**self.environment.kwargs, **self.train.env_kwargs}
        return replace(self.environment, kwargs=kwargs)

    @property
    def grown(self) -> int:
        """What the option of the curriculum grows to.

        Raises:
            ConfigError: If the environment is not given it as a whole number.
        """
        option, kwargs = self.train.curriculum_option, self.training_environment.kwargs
        value = kwargs.get(option or "")
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(
                f"train.curriculum_option {option!r} must be an option that the environment is "
                f"given as a whole number; it is given {', '.join(map(repr, kwargs)) or 'none'}"
            )
        return value


def _numbers(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Yields the numbers in a tree of settings, with their names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{above}{name}.")
        elif isinstance(value, float):
            yield above + name, value


AnyRunConfig: TypeAlias = RunConfig | OnlineRunConfig


def with_total(config: AnyRunConfig, total: int) -> AnyRunConfig:
    """Returns the configuration of the same run, with training that ends elsewhere."""
    if isinstance(config, RunConfig):
        return replace(config, train=replace(config.train, updates=total))
    if config.train.unit == "step":
        return replace(config, train=replace(config.train, env_steps=total, episodes=None))
    return replace(config, train=replace(config.train, episodes=total))


def config_to_dict(config: AnyRunConfig) -> dict[str, Any]:
    """Returns a run's configuration as JSON-ready values, with the format's number."""
    return {"format": FORMAT, **to_dict(config)}


def config_from_dict(data: dict[str, Any]) -> AnyRunConfig:
    """Reads what `config_to_dict` wrote.

    Raises:
        RunError: If it is of another format.
        ConfigError: If a field is unknown or of the wrong type.
    """
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise RunError(
            f"the run's config has format {found}, this version of retain reads {FORMAT}; "
            "train it anew or use the version that wrote it"
        )
    rest = {name: value for name, value in data.items() if name != "format"}
    # Only what is trained offline names its data.
    kind: type[AnyRunConfig] = RunConfig if "data" in rest else OnlineRunConfig
    return from_dict(kind, rest, resolve=_resolve)


def _resolve(base: type, name: str) -> type:
    """The class of a model's or an agent's settings."""
    registry: Any = MODELS if issubclass(base, ModelConfig) else AGENTS
    found: type = registry.get(name).Config
    return found
