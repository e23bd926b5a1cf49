"""What a run is told. A recipe returns a `RunConfig`; the run folder keeps it as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from retain.agents.sequence_policy import SequencePolicyConfig
from retain.collection import CollectConfig
from retain.core.config import from_dict, to_dict
from retain.core.errors import ConfigError, RunError
from retain.evaluation import EnvironmentConfig, EvaluationConfig
from retain.memory import ModelConfig
from retain.models import MODELS

FORMAT = 1

Schedule: TypeAlias = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is trained on."""

    dataset: str | None = None
    """Id of a Minari dataset; None to collect one as `collect` says."""

    collect: CollectConfig | None = None
    """How to collect the dataset if it does not exist yet."""

    num_segments: int = 3
    """Segments of a training sequence, N; the model's context length K is a segment's."""

    start: Literal["episode", "random"] = "episode"
    """Where training sequences begin: with the episode, or anywhere in it."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the policy is trained."""

    updates: int = 1000
    """Optimiser steps."""

    batch_size: int = 64
    """Training sequences in a batch, on each device."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's averages."""

    weight_decay: float = 0.01
    """Weight decay of AdamW, on all parameters."""

    warmup_updates: int = 50
    """Updates over which the learning rate rises from zero."""

    schedule: Schedule = "constant"
    """How the learning rate goes on after that, until the last update."""

    final_learning_rate: float = 0.1
    """Where a linear or cosine schedule ends, as a fraction of the peak."""

    gradient_clip: float | None = 1.0
    """Largest norm of the gradient; None for no limit."""

    bptt_segments: int | None = None
    """Segments that the gradient goes back through; None for all, 1 to detach the memory at every
    segment as the published code does."""

    update_per_segment: bool = False
    """Make an optimiser step after every `bptt_segments` segments instead of one for the batch."""

    curriculum: bool = False
    """Train first on episodes of one segment, then of up to two, and so on, for equal shares of the
    updates."""

    evaluate_every: int | None = None
    """Updates between evaluations during training; None for no evaluation before the end."""

    checkpoint_every: int = 200
    """Updates between checkpoints."""

    keep_checkpoints: int = 2
    """How many of the latest checkpoints are kept beside the best."""

    log_every: int = 10
    """Updates between lines of metrics."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Numerical precision, as Lightning Fabric names it."""

    accelerator: str = "cpu"
    """cpu, cuda, mps, or auto, as Lightning Fabric names it."""

    devices: int = 1
    """Number of devices; more than one train data-parallel."""

    num_threads: int | None = None
    """Threads of a CPU run; None for torch's default."""

    tensorboard: bool = True
    """Write TensorBoard events."""

    wandb: str | None = None
    """Name of a Weights & Biases project to log to; needs the extra `wandb`."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("updates", "batch_size", "checkpoint_every", "log_every", "devices"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} must be at least 1, not {getattr(self, name)}")
        for name in ("bptt_segments", "evaluate_every", "keep_checkpoints", "num_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"train.{name} must be at least 1, not {value}")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"train.{name} must be above 0, not {value}")
        for name in ("weight_decay", "warmup_updates", "final_learning_rate"):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name} must not be negative, not {getattr(self, name)}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas must be at least 0 and below 1, not {self.betas}")
        if self.update_per_segment and self.devices > 1:
            raise ConfigError("train.update_per_segment works on one device only")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run."""

    recipe: str = ""
    """Name of the recipe that this began as."""

    seed: int = 0
    """Seed of weights, batches and dropout."""

    environment: EnvironmentConfig
    """Where the policy is evaluated."""

    data: DataConfig
    """What it is trained on."""

    model: ModelConfig
    """The sequence model."""

    agent: SequencePolicyConfig = field(default_factory=SequencePolicyConfig)
    """The policy."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """How it is trained."""

    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How it is evaluated."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.seed < 0:
            raise ConfigError(f"seed must not be negative, not {self.seed}")


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """Returns a run's configuration as JSON-ready values, with the format's number."""
    return {"format": FORMAT, **to_dict(config)}


def config_from_dict(data: dict[str, Any]) -> RunConfig:
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
    return from_dict(RunConfig, rest, resolve=lambda _, name: MODELS.get(name).Config)
