"""What comes before training: the data, and whether everything that a run is told fits together."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from retain.agents import AGENTS
from retain.agents.online import OnlineAgent
from retain.agents.policy import Policy
from retain.agents.sequence_policy import SequencePolicy
from retain.collection import collect
from retain.core.errors import ConfigError
from retain.data.pack import Pack, open_pack
from retain.data.segments import SegmentSampler
from retain.envs import make, make_vec
from retain.envs.conduct import check_conduct
from retain.evaluation import EnvironmentConfig, check_spaces
from retain.rollout import check_goes_back
from retain.training import checkpoints, online, parallel
from retain.training.config import AnyRunConfig, OnlineRunConfig, RunConfig
from retain.training.loggers import WeightsAndBiases
from retain.training.runs import Run
from retain.training.schedules import longest_episode


def dataset_of(config: RunConfig, progress: Callable[[int, int], None] | None = None) -> str:
    """Returns the id of the dataset that a run trains on, collecting it if need be.

    Raises:
        ConfigError: If the run names neither a dataset nor a way to collect one.
    """
    if config.data.dataset is not None:
        return config.data.dataset
    if config.data.collect is None:
        raise ConfigError("the run has no data; give --data.dataset ID")
    return collect(config.data.collect, progress=progress)


def check_machine(config: AnyRunConfig) -> None:
    """Checks, before any data are collected, that a run can be made on this machine.

    Raises:
        ConfigError: If there is no such device.
        MissingExtraError: If a logger is asked for whose package is not installed.
    """
    parallel.fabric(config.train)
    if config.train.wandb is not None:
        WeightsAndBiases.check()


def start(config: RunConfig, folder: Path, dataset: str) -> Run:
    """Makes the folder of a new run, once everything in it is known to fit.

    Raises:
        ConfigError: If the data, the model and the environment do not fit together.
        RunError: If the folder is taken, or the weights to begin with are not there or do not fit.
    """
    pack = open_pack(dataset)
    batches = sampler(config, pack, rank=0)
    segments = config.model.context_length, config.data.num_segments
    batches.set_longest(longest_episode(config.train, 0, *segments))
    spaces = pack.observation_space, pack.action_space
    try:
        policy = SequencePolicy(config.agent, config.model, *spaces)
    except ValueError as error:  # torch's own checks, of a dropout say
        raise ConfigError(f"the model cannot be built: {error}") from None
    initial = _initial(config, policy)
    if config.environment is not None:
        _check_environment(config, policy, f"dataset '{dataset}'")
    if config.train.curriculum_score is not None:
        first, option = config.train.curriculum_from, config.evaluation.parameter
        _check_first(policy, config.acts_in, option, first)
    return Run.create(folder, config, *spaces, content=pack.content, initial=initial)


def _initial(config: AnyRunConfig, policy: Policy) -> Path | None:
    """Returns the checkpoint whose weights a run begins with, once it is known that they fit."""
    if config.initial_weights is None:
        return None
    checkpoint = checkpoints.named(Path(config.initial_weights))
    checkpoints.load_weights(policy, checkpoint)
    return checkpoint


def _check_environment(config: AnyRunConfig, policy: Policy, source: str) -> None:
    """Checks that what is trained on one source can act wherever it will be evaluated."""
    environment, evaluation = config.acts_in, config.evaluation
    kwargs: dict[str, Any] = dict(environment.kwargs)
    values = dict.fromkeys([*evaluation.values, *evaluation.values_in_training]) or [None]
    for value in values:
        if evaluation.parameter is not None and value is not None:
            kwargs[evaluation.parameter] = value
        _check_made(policy, environment.id, kwargs, f"{source} and {environment.id}")
    if evaluation.lookahead > 1:
        rows = make_vec(environment.id, num_envs=1, independent_rows=True, **kwargs)
        try:
            check_goes_back(rows)
        finally:
            rows.close()


def _check_made(policy: Policy, environment: str, kwargs: dict[str, Any], where: str) -> None:
    """Checks that a policy fits what an environment shows and takes with some options."""
    env = make(environment, **kwargs)
    try:
        check_spaces(policy, env.observation_space, env.action_space)
        check_conduct(env, environment)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    finally:
        env.close()


def start_online(config: OnlineRunConfig, folder: Path) -> Run:
    """Makes the folder of a new run that learns by acting, once everything is known to fit.

    Raises:
        ConfigError: If the environment, the model and the agent do not fit together.
        RunError: If the folder is taken, or the weights to begin with are not there or do not fit.
    """
    agent = agent_of(config)
    online.replay_of(config, agent)
    settings = config.train
    if agent.from_replay and settings.random_episodes >= (settings.episodes or math.inf):
        raise ConfigError(
            f"nothing would be learned: of {settings.episodes} episodes the first "
            f"{settings.random_episodes} are random; lower --train.random-episodes"
        )
    initial = _initial(config, agent)
    _check_environment(config, agent, "the run")
    _check_curriculum(config, agent)
    spaces = agent.observation_space, agent.action_space
    return Run.create(folder, config, *spaces, initial=initial)


def _check_curriculum(config: OnlineRunConfig, agent: OnlineAgent) -> None:
    """Checks what the curriculum begins with, if it grows."""
    option, first = config.train.curriculum_option, config.train.curriculum_from
    if option is None or first is None or first >= config.grown:
        return
    _check_first(agent, config.training_environment, option, first)


def _check_first(
    policy: Policy, environment: EnvironmentConfig, option: str | None, first: int | None
) -> None:
    """Checks that what a curriculum begins with is seen and done as what it grows to."""
    if option is None or first is None:
        return
    kwargs: dict[str, Any] = {**environment.kwargs, option: first}
    _check_made(policy, environment.id, kwargs, f"{environment.id} with {option} {first}")


def agent_of(config: OnlineRunConfig) -> OnlineAgent:
    """Builds the agent of a run that learns by acting, with fresh weights.

    Raises:
        ConfigError: If the environment, the model and the agent do not fit together.
    """
    environment = config.training_environment
    kwargs: dict[str, Any] = dict(environment.kwargs)
    env = make(environment.id, **kwargs)
    spaces = env.observation_space, env.action_space
    env.close()
    build = AGENTS.of(config.agent)
    try:
        return cast(OnlineAgent, build(config.agent, config.model, *spaces))
    except ConfigError:
        raise
    except ValueError as error:  # torch's own checks, of a dropout say
        raise ConfigError(f"the model cannot be built: {error}") from None


def sampler(config: RunConfig, pack: Pack, rank: int) -> SegmentSampler:
    """Returns the source of one device's batches."""
    return SegmentSampler(
        pack,
        context_length=config.model.context_length,
        num_segments=config.data.num_segments,
        batch_size=config.train.batch_size,
        seed=config.seed * 1000 + rank,
        start=config.data.start,
    )
