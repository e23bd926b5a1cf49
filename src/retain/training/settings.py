"""What a training loop is told: where its data comes from, and how it trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from retain.collection import CollectConfig
from retain.core.errors import ConfigError
from retain.evaluation import Scalar

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
    """Where training sequences begin: with the episode, or anywhere in it, so that all of its steps
    are trained on about equally often."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """What every training loop is told, offline or online."""

    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""

    warmup_updates: int = 0
    """Updates over which the learning rate rises from zero."""

    schedule: Schedule = "constant"
    """How the learning rate goes on after that, until the end of the training."""

    final_learning_rate: float = 0.1
    """Where a linear or cosine schedule ends, as a fraction of the peak."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's averages."""

    weight_decay: float = 0.01
    """Weight decay of AdamW, on all parameters."""

    gradient_clip: float | None = 1.0
    """Largest norm of the gradient; None for no limit."""

    keep_checkpoints: int = 2
    """How many of the latest checkpoints are kept beside the best."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Numerical precision, as Lightning Fabric names it."""

    accelerator: str = "cpu"
    """cpu, cuda, mps, or auto, as Lightning Fabric names it."""

    num_threads: int | None = None
    """Threads of a CPU run; None for torch's default."""

    tensorboard: bool = True
    """Write TensorBoard events."""

    wandb: str | None = None
    """Name of a Weights & Biases project to log to; needs the extra `wandb`."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        self._at_least_one("keep_checkpoints", "num_threads")
        self._not_negative("weight_decay", "warmup_updates", "final_learning_rate")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"train.{name} must be above 0, not {value}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas must be at least 0 and below 1, not {self.betas}")

    def _at_least_one(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"train.{name} must be at least 1, not {value}")

    def _not_negative(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name} must not be negative, not {getattr(self, name)}")

    def _from_0_to_1(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"train.{name} must be from 0 to 1, not {value}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(LoopConfig):
    """How a policy is trained offline."""

    updates: int = 1000
    """Optimiser steps."""

    batch_size: int = 64
    """Training sequences in a batch, on each device."""

    warmup_updates: int = 50
    """Updates over which the learning rate rises from zero."""

    bptt_segments: int | None = None
    """Segments that the gradient goes back through; None for all, 1 to detach the memory at every
    segment as the published code does."""

    memory_cost_warmup: float = 0.0
    """Share of the updates over which the weight of what the memory itself asks for rises from
    zero, as the cube of the progress, so that something is learned to be written before changes are
    made dear."""

    memory_cost_start: float = 0.0
    """Share of the updates before that, in which the memory may change for nothing."""

    update_per_segment: bool = False
    """Make an optimiser step after every `bptt_segments` segments instead of one for the batch."""

    curriculum: bool = False
    """Train first on episodes of one segment, then of up to two, and so on, for equal shares of the
    updates."""

    curriculum_from: int | None = None
    """Train first on episodes of up to so many steps, then of up to twice as many, and so on, for
    equal shares of the first half of the updates, and then on all; None: on all from the start."""

    curriculum_score: float | None = None
    """Go on to longer episodes when these are mastered, instead of after equal shares: when an
    evaluation with `evaluation.parameter` at their length has this mean. None: equal shares."""

    evaluate_every: int | None = None
    """Updates between evaluations during training; None for no evaluation before the end."""

    checkpoint_every: int = 200
    """Updates between checkpoints."""

    log_every: int = 10
    """Updates between lines of metrics."""

    devices: int = 1
    """Number of devices; more than one train data-parallel."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        self._at_least_one("updates", "batch_size", "checkpoint_every", "log_every", "devices")
        self._at_least_one("bptt_segments", "evaluate_every", "curriculum_from")
        self._from_0_to_1("memory_cost_warmup", "memory_cost_start")
        if self.curriculum and self.curriculum_from is not None:
            raise ConfigError("train.curriculum and train.curriculum_from exclude each other")
        if self.curriculum_score is not None:
            needed = {
                "curriculum_from": "the steps of the episodes to begin with",
                "evaluate_every": "evaluations tell what is mastered",
            }
            for name, why in needed.items():
                if getattr(self, name) is None:
                    raise ConfigError(f"train.curriculum_score needs train.{name}: {why}")
        if self.update_per_segment and self.devices > 1:
            raise ConfigError("train.update_per_segment works on one device only")

    @property
    def total(self) -> int:
        """Where training ends, in what `unit` says."""
        return self.updates

    @property
    def unit(self) -> str:
        """What progress is counted in."""
        return "update"


@dataclass(frozen=True, kw_only=True)
class OnlineTrainConfig(LoopConfig):
    """How an agent is trained online.

    Training goes in rounds: `num_envs` episodes are played at once, each to its end, and then the
    updates that they have earned are made.
    """

    env_steps: int | None = None
    """Steps of the environment after which training ends, with the round; None for no limit."""

    episodes: int | None = None
    """Episodes after which training ends; None for no limit, if `env_steps` is one."""

    num_envs: int = 16
    """Episodes of a round, played at once."""

    env_kwargs: dict[str, Scalar] = field(default_factory=dict)
    """Options of the environment in training alone, over those of `environment.kwargs`."""

    curriculum_option: str | None = None
    """Option of the environment that grows in training, such as `corridor_length`."""

    curriculum_from: int | None = None
    """Train first with this value of it, and with twice that once it is mastered, and so on, until
    the environment is as it is; None: there from the start. What was played before stays in the
    replay and fills the batches, so fewer `replay_episodes` are better."""

    curriculum_score: float = 0.95
    """A value is mastered when an evaluation at it has this mean success, or this mean return where
    the environment tells no success."""

    learning_rate: float = 3e-4
    """Peak learning rate of AdamW."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's averages."""

    weight_decay: float = 0.0
    """Weight decay of AdamW, on all parameters."""

    gradient_clip: float | None = None
    """Largest norm of the gradient; None for no limit."""

    batch_size: int = 64
    """Episodes, or windows of them, in a batch from the replay."""

    sequence_length: int | None = None
    """Steps of a window from the replay; None for whole episodes."""

    burn_in: int = 0
    """Steps before a window that the memory reads first and that nothing is learned from; they have
    a gradient."""

    updates_per_step: float = 0.25
    """Updates from the replay for each step of the environment."""

    updates_per_episode: float | None = None
    """Updates from the replay for each episode, instead of those for each step; None: those."""

    replay_capacity: int = 1_000_000
    """Steps that the replay keeps."""

    replay_episodes: int | None = None
    """Episodes that it keeps, however short they are; None for all that have room."""

    random_episodes: int = 10
    """Episodes at the start whose actions are drawn uniformly (agents with a replay)."""

    exploration_fraction: float = 0.1
    """Share of the training over which epsilon falls from 1 to its last value (DQN)."""

    final_epsilon: float | None = None
    """Share of random actions after that; None for one in the longest episode so far (DQN)."""

    dropout_in_collection: bool = True
    """Leave dropout on while episodes are collected, as published; it is off in evaluations."""

    evaluate_every: int | None = 10_000
    """Steps of the environment between evaluations; None for none before the end."""

    stop_at_return: float | None = None
    """End training once the mean return of an evaluation during it reaches this, at every one of
    `evaluation.values_in_training`; None to go on."""

    checkpoint_every: int = 100_000
    """Steps of the environment between checkpoints; they hold the replay."""

    keep_checkpoints: int = 1
    """How many of the latest checkpoints are kept beside the best."""

    log_every: int = 2_000
    """Steps of the environment between lines of metrics."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        super().__post_init__()
        self._at_least_one("env_steps", "episodes", "num_envs", "batch_size", "sequence_length")
        self._at_least_one("replay_capacity", "evaluate_every", "checkpoint_every", "log_every")
        self._at_least_one("curriculum_from", "replay_episodes")
        self._not_negative("random_episodes", "burn_in")
        if self.burn_in and self.sequence_length is None:
            raise ConfigError(
                "train.burn_in needs train.sequence_length: whole episodes are read from their "
                "first step on"
            )
        for name in ("updates_per_step", "updates_per_episode"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(
                    f"train.{name} must be above 0, not {value}: nothing would be learned"
                )
        if self.curriculum_from is not None and self.curriculum_option is None:
            raise ConfigError(
                "train.curriculum_from needs train.curriculum_option: which option of the "
                "environment grows"
            )
        if self.curriculum_from is not None and self.evaluate_every is None:
            raise ConfigError(
                "train.curriculum_from needs train.evaluate_every: evaluations tell what is "
                "mastered"
            )
        self._from_0_to_1("exploration_fraction", "final_epsilon")
        if self.env_steps is None and self.episodes is None:
            raise ConfigError("training would not end; give train.env_steps or train.episodes")

    @property
    def devices(self) -> int:
        """Number of devices: online training uses one."""
        return 1

    @property
    def total(self) -> int:
        """Where training ends, in what `unit` says."""
        return self.env_steps or self.episodes or 0

    @property
    def unit(self) -> str:
        """What progress is counted in."""
        return "step" if self.env_steps else "episode"
