"""Collecting datasets: a policy plays an environment, in a batch, and what happens is kept.

Episode e is played with the seed `seed + e`, so a dataset does not depend on how many
environments are stepped at a time.

Axes: B rows, O observation.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain import envs
from retain.core.errors import ConfigError, DatasetError
from retain.core.seeding import check_seed, generator
from retain.data.store import Episode, dataset_exists, dataset_extra, write_dataset
from retain.envs import Behaviour
from retain.envs.checks import check_option_names
from retain.envs.conduct import check_conduct
from retain.rollout import LONG, note_long

# Goes into the default ids; to be raised when the same settings give other data.
_FORMAT = 1
_RANDOM_STREAM = 1


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """What to collect.

    Raises:
        ConfigError: If a value is out of range.
    """

    env_id: str
    """The environment's Gymnasium id."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """The environment's options."""
    policy: Literal["expert", "random"] = "expert"
    """Who plays: the environment's expert, or uniformly random actions."""
    episodes: int = 2000
    """Number of episodes."""
    seed: int = 0
    """Episode e is reset with this number plus e."""
    num_envs: int = 100
    """Environments stepped at a time; this does not change the data."""
    dataset_id: str | None = None
    """Where to keep it (namespace/name-v0); by default a name made from these settings."""
    description: str = ""
    """A line for people; by default one made from these settings."""

    def __post_init__(self) -> None:
        for name in ("episodes", "num_envs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_seed("seed", self.seed)
        if self.policy not in ("expert", "random"):
            raise ConfigError(f"policy '{self.policy}' is not one of expert, random")

    def settings(self) -> dict[str, Any]:
        """All that the data depend on."""
        values = asdict(self)
        for name in ("num_envs", "dataset_id", "description"):
            del values[name]
        return values | {"format": _FORMAT}

    def resolved_id(self) -> str:
        """The dataset's id: the one given, or a name with a hash of the settings.

        Raises:
            ConfigError: If the environment's options are not fit for JSON.
        """
        if self.dataset_id is not None:
            return self.dataset_id
        try:
            text = json.dumps(self.settings(), sort_keys=True)
        except TypeError as error:
            raise ConfigError(f"env_kwargs of {self.env_id} do not fit JSON: {error}") from None
        name = re.sub(r"-v\d+$", "", self.env_id.rpartition(":")[2].rpartition("/")[2])
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        return f"retain/{slug}-{self.policy}-{hashlib.sha256(text.encode()).hexdigest()[:8]}-v0"


def collect(
    config: CollectConfig,
    *,
    behaviour: Behaviour | None = None,
    overwrite: bool = False,
    reuse: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Collects a dataset and returns its id.

    Args:
        config: What to collect.
        behaviour: A policy to use instead of `config.policy`; `config.dataset_id` must then be
            given, and there is no reuse, since it cannot be known whether the policy is the same.
        overwrite: Collect anew and replace what is there.
        reuse: Return at once if the same settings were collected before.
        progress: Called with the number of episodes done and of all.

    Raises:
        ConfigError: If the settings do not fit together or the policy's actions do not fit.
        UnknownNameError: If the environment, or an expert for it, is unknown.
        DatasetError: If the id is taken by other data, or the observations cannot be kept.
    """
    if behaviour is not None and config.dataset_id is None:
        raise ConfigError("with a behaviour of your own, give a dataset_id")
    dataset_id = config.resolved_id()
    settings = config.settings()
    if behaviour is not None:
        settings["policy"] = policy = "custom"
    else:
        policy = config.policy
    if dataset_exists(dataset_id) and not overwrite:
        if behaviour is not None or not reuse:
            raise DatasetError(f"dataset '{dataset_id}' exists; choose another id or overwrite it")
        _check_same(dataset_id, settings)
        return dataset_id

    spec = envs.find_spec(config.env_id)
    env_id = spec.id
    check_option_names(env_id, config.env_kwargs)
    if spec.entry_point is not None:  # some are batches alone
        alone = envs.make(config.env_id, **config.env_kwargs)
        try:
            check_conduct(alone, env_id)
        finally:
            alone.close()
    num_rows = min(config.num_envs, config.episodes)
    if behaviour is None and policy == "expert":
        behaviour = envs.expert(env_id)
    env = envs.make_vec(
        config.env_id,
        num_rows,
        autoreset_mode="Disabled",
        independent_rows=True,
        **config.env_kwargs,
    )
    try:
        for what in ("observation", "action"):
            space = getattr(env, f"single_{what}_space")
            if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple) or space.shape is None:
                raise DatasetError(
                    f"the {what} space of {env_id} is {type(space).__name__}, which cannot be "
                    "kept as one array; register the environment with a wrapper that makes it one"
                )
        write_dataset(
            dataset_id,
            _play(env, config, behaviour, progress),
            env_id=env_id,
            env_kwargs=config.env_kwargs,
            observation_space=env.single_observation_space,
            action_space=env.single_action_space,
            description=config.description
            or f"{config.episodes} episodes of {env_id}, {policy} policy, seed {config.seed}",
            algorithm=policy,
            overwrite=overwrite,
            extra={"settings": settings},
        )
    except DatasetError:
        # Somebody else may have collected the same at the same time: that is as good.
        if overwrite or not reuse or policy == "custom" or not dataset_exists(dataset_id):
            raise
        _check_same(dataset_id, settings)
    finally:
        env.close()
    return dataset_id


class _Row:
    """The episode that one row is playing."""

    def __init__(self, number: int, seed: int, first: npt.NDArray[Any]):
        self.number = number
        self.seed = seed
        self.observations = [first.copy()]
        self.actions: list[Any] = []
        self.rewards: list[float] = []

    def episode(self, *, terminated: bool, truncated: bool) -> Episode:
        return Episode(
            observations=np.stack(self.observations),
            actions=np.stack(self.actions),
            rewards=np.array(self.rewards, dtype=np.float64),
            terminated=terminated,
            truncated=truncated,
            seed=self.seed,
        )


def _play(
    env: gym.vector.VectorEnv[Any, Any, Any],
    config: CollectConfig,
    behaviour: Behaviour | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Episode]:
    """Plays the episodes and yields them in the order of their seeds."""
    num_rows = env.num_envs
    policy = behaviour or _Random(env.single_action_space, num_rows, config.seed)
    # Gymnasium's annotation knows one seed only; its batches take a list too.
    seeds: Any = [config.seed + row for row in range(num_rows)]
    observations_BO, _ = env.reset(seed=seeds)
    rows: list[_Row | None] = [
        _Row(number, config.seed + number, observations_BO[number]) for number in range(num_rows)
    ]
    reset_B = np.ones(num_rows, dtype=np.bool_)
    begun = num_rows
    done: dict[int, Episode] = {}
    written = steps = 0
    while written < config.episodes:
        if isinstance(policy, _Random):
            policy.begin(reset_B, rows)
        # A copy: the behaviour may write its next actions into the same array.
        actions_B = np.array(policy(observations_BO, reset_B))
        if len(actions_B) != num_rows or actions_B.shape[1:] != env.single_action_space.shape:
            raise ConfigError(
                f"the behaviour gave actions of shape {actions_B.shape} for {num_rows} rows of "
                f"the action space {env.single_action_space}"
            )
        observations_BO, rewards_B, terminated_B, truncated_B, _ = env.step(actions_B)
        reset_B = terminated_B | truncated_B
        steps += 1
        if steps == LONG and not done and not written:
            note_long("episodes", LONG)
        for index, row in enumerate(rows):
            if row is not None:
                # Copies: a view would keep what all the other rows saw, too.
                row.observations.append(observations_BO[index].copy())
                row.actions.append(actions_B[index].copy())
                row.rewards.append(rewards_B[index])
        if not reset_B.any():
            continue
        # A row without a further episode is reset too, and plays on for nothing.
        seeds = [None] * num_rows
        following: dict[int, int | None] = {}
        for index in np.flatnonzero(reset_B).tolist():
            row = rows[index]
            if row is not None:
                done[row.number] = row.episode(
                    terminated=bool(terminated_B[index]), truncated=bool(truncated_B[index])
                )
            following[index] = begun if begun < config.episodes else None
            seeds[index] = config.seed + (begun if begun < config.episodes else 0)
            begun += begun < config.episodes
        observations_BO, _ = env.reset(seed=seeds, options={"reset_mask": reset_B.copy()})
        for index, number in following.items():
            rows[index] = None
            if number is not None:
                rows[index] = _Row(number, config.seed + number, observations_BO[index])
        while written in done:
            yield done.pop(written)
            written += 1
            if progress is not None:
                progress(written, config.episodes)


class _Random:
    """Uniformly random actions; those of an episode depend on the episode's seed alone."""

    def __init__(self, space: gym.Space[Any], num_rows: int, seed: int):
        self._seed = seed
        self._spaces = [copy.deepcopy(space) for _ in range(num_rows)]

    def begin(self, reset_B: npt.NDArray[np.bool_], rows: list[_Row | None]) -> None:
        """Takes a new generator for each row that begins an episode."""
        for index in np.flatnonzero(reset_B).tolist():
            row = rows[index]
            number = 0 if row is None else row.number
            self._spaces[index]._np_random = generator(self._seed + number, _RANDOM_STREAM)

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_], /
    ) -> npt.NDArray[Any]:
        """Returns one action per row."""
        return np.stack([np.asarray(space.sample()) for space in self._spaces])


def _check_same(dataset_id: str, settings: dict[str, Any]) -> None:
    there = dataset_extra(dataset_id).get("settings")
    # Through JSON, as the ones on disk went (tuples become lists).
    ours = json.loads(json.dumps(settings))
    if there == ours:
        return
    what = "was not collected with these settings"
    if isinstance(there, dict):
        name = next(key for key in ours | there if ours.get(key) != there.get(key))
        what = f"has {name} {there.get(name)!r}, not {ours.get(name)!r}"
    raise DatasetError(f"dataset '{dataset_id}' {what}; choose another id or overwrite it")
