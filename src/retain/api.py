"""The Python API: train, resume, evaluate, load. The command line is a thin layer over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retain.agents.policy import Policy
from retain.core.errors import ConfigError
from retain.data.store import list_datasets as _list_datasets
from retain.evaluation import EnvironmentConfig, Scalar, evaluate_policy
from retain.models import MODELS
from retain.recipes import RECIPES, recipe
from retain.rollout import Actor, check_finite
from retain.training import checkpoints, locks, offline, online, preparation
from retain.training.config import AnyRunConfig, OnlineRunConfig
from retain.training.loggers import METRICS
from retain.training.runs import Run, check_free, default_name

RUNS = Path("runs")


def train(
    config: AnyRunConfig | Run | str,
    *,
    name: str | None = None,
    runs: str | Path = RUNS,
    seed: int | None = None,
    report: offline.Report | None = None,
    final_evaluation: bool = True,
    **arguments: Any,
) -> Run:
    """Trains a new run.

    Args:
        config: A run's configuration, a run to train anew, or the name of a recipe.
        name: Name of the run folder; by default made of recipe and seed.
        runs: Folder of all runs.
        seed: Takes the place of the configuration's seed.
        report: Called with how far training is and a dict of metrics as they come.
        final_evaluation: Evaluate at all of the configuration's values after training, if it names
            an environment.
        **arguments: Keyword arguments of the recipe.

    Returns:
        The finished run.

    Raises:
        RunError: If the run folder exists.
        ConfigError: If model, data and environment do not fit together.
        TrainingError: If the loss is not a number.
    """
    if isinstance(config, str):
        config = recipe(config, **arguments)
    elif arguments:
        raise ConfigError(f"{sorted(arguments)} can only be given with the name of a recipe")
    elif isinstance(config, Run):
        config = config.config
    if seed is not None:
        config = replace(config, seed=seed)
    name = name or default_name(config)
    if Path(name).name != name:
        raise ConfigError(f"the name '{name}' is a path; give the folder of all runs as runs")
    folder = Path(runs) / name
    # Before any data are collected.
    check_free(folder)
    preparation.check_machine(config)
    if isinstance(config, OnlineRunConfig):
        run, dataset = preparation.start_online(config, folder), None
    else:
        dataset = preparation.dataset_of(config)
        run = preparation.start(config, folder, dataset)
    try:
        return _finish(run, dataset, report, final_evaluation)
    except Exception:
        # Settings that do not fit the first episodes, a model that fails: nothing was learned, and
        # the name is free for a run that mends it. What has metrics is somebody's work.
        metrics = folder / METRICS
        learned = metrics.exists() and metrics.stat().st_size > 0
        if not learned and not (folder / "checkpoints").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def resume(
    run: Run | str | Path,
    *,
    until: int | None = None,
    report: offline.Report | None = None,
    final_evaluation: bool = True,
) -> Run:
    """Goes on with a run that was stopped, from its last checkpoint, to the same numbers.

    Args:
        run: The run, or its folder.
        until: Where training ends from now on, further than the run was told to go: updates
            offline, and online steps of the environment or episodes, as the run counts. What goes
            by shares of the training (learning rate, exploration, cost of the memory) is then that
            of the longer one. None: where the run was told to end.
        report: As for `train`.
        final_evaluation: As for `train`.

    Raises:
        ConfigError: If `until` is not further than the run was told to go.
        RunError: If the run cannot be gone on with, or another process trains it.
    """
    run = _as_run(run)
    run.results()  # a damaged file is found before anything is trained
    if until is not None:
        run.prolong(until)
    config = run.config
    dataset = None if isinstance(config, OnlineRunConfig) else preparation.dataset_of(config)
    return _finish(run, dataset, report, final_evaluation)


def _finish(
    run: Run, dataset: str | None, report: offline.Report | None, final_evaluation: bool
) -> Run:
    with locks.training(run.folder):
        if dataset is None:
            training = online.train(run, report)
        else:
            training = offline.train(run, dataset, report)
        run.record([], training)
    if final_evaluation and run.config.environment is not None:
        evaluate(run)
    return run


def evaluate(
    run: Run | str | Path,
    *,
    values: Sequence[Scalar] | Scalar | None = None,
    parameter: str | None = None,
    episodes: int | None = None,
    seed: int | None = None,
    num_envs: int | None = None,
    lookahead: int | None = None,
    environment: EnvironmentConfig | str | None = None,
    checkpoint: str = "last",
    device: str = "cpu",
    greedy: bool = False,
    target_return: float | None = None,
    report: Callable[[Scalar | None, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Evaluates a run by really acting, and adds the records to its ``results.json``, each at once.

    What is not given is taken from the run's configuration.

    Args:
        run: The run, or its folder.
        values: Values of the parameter, or one, an evaluation each.
        parameter: The option of the environment that takes them.
        episodes: Episodes for each value.
        seed: Seed of the first episode; the others count up from it.
        num_envs: Episodes played at once.
        lookahead: Steps taken at once where actions repeat; the episodes stay the same.
        environment: Another environment than the run's, or its id; to be given if the run names
            none.
        checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
        device: Where the policy runs.
        greedy: Takes the best action also where the run's settings say that the policy samples;
            the records then say so, and are kept beside those of sampled actions.
        target_return: What a sequence policy is asked for, if not what the run's settings say; the
            records then say so, and are kept beside the others.
        report: Called as it goes, with the value, the episodes that have ended and the steps that
            those being played have taken.

    Returns:
        The records; see `retain.report.results` for their fields.
    """
    run = _as_run(run)
    run.results()  # a damaged file is found before anything is played
    settings = run.config.evaluation
    where = run.config.acts_in if environment is None else _as_environment(environment)
    parameter = parameter or settings.parameter
    policy = run.load(checkpoint, device, greedy=greedy, target_return=target_return)
    step = checkpoints.step_of(checkpoints.find(run.folder, checkpoint))
    if values is None:
        values = settings.values
    elif isinstance(values, Scalar):
        values = (values,)
    if values and parameter is None:
        raise ConfigError("values were given, but no parameter of the environment to set to them")
    records = []
    for value in values or (None,):
        record = evaluate_policy(
            policy,
            where,
            episodes=settings.episodes if episodes is None else episodes,
            seed=run.config.evaluation_seed if seed is None else seed,
            num_envs=settings.num_envs if num_envs is None else num_envs,
            lookahead=settings.lookahead if lookahead is None else lookahead,
            parameter=None if value is None else parameter,
            value=value,
            report=None if report is None else partial(report, value),
        )
        records.append({**record, "step": step, **_unlike(run, policy)})
        run.record(records[-1:])
    return records


def inspect(
    run: Run | str | Path,
    *,
    value: Scalar | None = None,
    kwargs: dict[str, Any] | None = None,
    episodes: int = 64,
    seed: int | None = None,
    shown: int = 0,
    window: int | None = None,
    checkpoint: str = "last",
    device: str = "cpu",
    greedy: bool = False,
    target_return: float | None = None,
    environment: EnvironmentConfig | str | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Lets a run act, looks at its memory, and writes what is found.

    Args:
        run: The run, or its folder.
        value: Value of the option that the run's evaluations vary; by default the last of those
            evaluated during training.
        kwargs: Further options of the environment.
        episodes: Episodes, played at once.
        seed: Seed of the first; by default that of the run's evaluations.
        shown: Number of the episode whose changes are explained.
        window: Steps from one look at the memory to the next; by default a segment, and a tenth of
            one where the memory moves with every token.
        checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
        device: Where the policy runs.
        greedy: As for `evaluate`.
        target_return: As for `evaluate`.
        environment: As for `evaluate`.
        output: Folder to write to; by default ``inspection`` in the run's folder.

    Returns:
        The record; docs/inspect.md lists its fields.

    Raises:
        ConfigError: If the run's model has no memory, a number cannot be used, or there is no
            environment.
    """
    from retain.inspection.output import write
    from retain.inspection.summary import inspect_policy, usual_window

    run = _as_run(run)
    acting = run if environment is None else run.acting_in(_as_environment(environment))
    where = acting.environment(value, kwargs)
    policy = run.load(checkpoint, device, greedy=greedy, target_return=target_return)
    if window is None:
        window = usual_window(policy, run.config.model.context_length)
    found = inspect_policy(
        policy,
        where,
        window=window,
        episodes=episodes,
        seed=run.config.evaluation_seed if seed is None else seed,
        shown=shown,
    )
    about = {
        "run": run.name,
        "model": run.config.model.registered_name,
        "agent": run.config.agent.registered_name,
        "checkpoint": checkpoints.step_of(checkpoints.find(run.folder, checkpoint)),
        **_unlike(run, policy),
    }
    return write(found, run.folder / "inspection" if output is None else Path(output), about)


def load(
    run: Run | str | Path,
    *,
    checkpoint: str = "last",
    device: str = "cpu",
    greedy: bool = False,
    target_return: float | None = None,
) -> Agent:
    """Returns the agent of a run, ready to act.

    Args:
        run: The run, or its folder.
        checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
        device: Where the policy runs.
        greedy: Takes the best action also where the run's settings say that the policy samples.
        target_return: What a sequence policy is asked for, if not what the run's settings say.

    Raises:
        RunError: If the run or the checkpoint is not there, or damaged.
        ConfigError: If there is no such device, or the agent is not asked for a return.
    """
    return Agent(_as_run(run).load(checkpoint, device, greedy=greedy, target_return=target_return))


class Agent:
    """A trained policy that acts in one environment or in many, and remembers between steps.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: Policy):
        self.policy = policy
        self._actor: Actor | None = None

    def reset(self) -> None:
        """Forgets everything; the next step begins new episodes."""
        self._actor = None

    def act(
        self,
        observation: npt.ArrayLike,
        reward: npt.ArrayLike = 0.0,
        done: npt.ArrayLike = False,
    ) -> Any:
        """Returns the next action.

        Args:
            observation: The observation, or a batch of them (one row an environment).
            reward: Reward of the previous action; a row each for a batch.
            done: True if `observation` is the first of a new episode; a row each for a batch. The
                first call after `reset` begins episodes in any case.

        Returns:
            The action, or a batch of actions as an array.

        Raises:
            ConfigError: If the observation's shape is not the one trained on, or the number of rows
                changes without `reset`.
        """
        try:
            array = np.asarray(observation)
        except ValueError:  # of parts that are not alike, as those of a Tuple
            array = np.asarray(None)
        if isinstance(observation, Mapping) or array.dtype.kind == "O":
            raise ConfigError(
                "the observation is no array but a Dict or a Tuple: act in an environment made by "
                "retain.make or retain.make_vec, where it comes as one array, as in training"
            )
        shape = self.policy.observation_space.shape or ()
        single = array.shape == shape
        if not single and array.shape[1:] != shape:
            raise ConfigError(
                f"observation of shape {array.shape}: the policy was trained on {shape}, "
                f"or a batch of it"
            )
        batch = array[None] if single else array
        rows = len(batch)
        try:
            rewards = np.broadcast_to(np.asarray(reward, dtype=np.float32), (rows,))
            resets = np.broadcast_to(np.asarray(done, dtype=np.bool_), (rows,))
        except ValueError:
            raise ConfigError(
                f"reward and done must be single values or one for each of the {rows} rows"
            ) from None
        if not np.isfinite(rewards).all():
            raise ConfigError(
                f"reward must be finite, not {reward!r}; it is 0 before the first action"
            )
        check_finite(batch, rewards, np.ones(rows, dtype=np.bool_))
        if self._actor is None:
            self._actor = Actor(self.policy, rows)
            resets = np.ones(rows, dtype=np.bool_)
        if self._actor.num_rows != rows:
            raise ConfigError(
                f"{rows} rows, but {self._actor.num_rows} in the last step; call reset() first"
            )
        action = self._actor.act(batch, rewards, resets)
        return action[0] if single else action


def list_models() -> list[str]:
    """Names of the registered models."""
    return MODELS.names()


def list_recipes() -> list[str]:
    """Names of the recipes."""
    return RECIPES.names()


def list_datasets() -> list[str]:
    """Ids of the datasets on this machine."""
    return _list_datasets()


def _unlike(run: Run, policy: Policy) -> dict[str, bool | float]:
    """What a record says of a policy that does not act as the run's settings say."""
    unlike: dict[str, bool | float] = {}
    settings, now = run.config.agent, policy.config
    if getattr(settings, "sample_actions", False) and not now.sample_actions:
        unlike["greedy"] = True
    target = getattr(now, "target_return", None)
    if target is not None and target != getattr(settings, "target_return", None):
        unlike["target_return"] = target
    return unlike


def _as_environment(environment: EnvironmentConfig | str) -> EnvironmentConfig:
    if isinstance(environment, str):
        return EnvironmentConfig(id=environment)
    if isinstance(environment, EnvironmentConfig):
        return environment
    raise ConfigError(
        f"the environment is a {type(environment).__name__}; give the id that it is registered "
        "under, or an EnvironmentConfig(id=..., kwargs={...})"
    )


def _as_run(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else Run(run)
