"""Run folders: what a run is told, what it learned, and how it did.

runs/<name>/config.json      what it was told
runs/<name>/spaces.json      the spaces of its data, and a hash of them if they are a dataset
runs/<name>/metrics.jsonl    one line for each logged step
runs/<name>/results.json     every evaluation
runs/<name>/checkpoints/     see `retain.training.checkpoints`
runs/<name>/initial/         likewise
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from minari.serialization import deserialize_space, serialize_space

from retain.agents import AGENTS
from retain.agents.policy import Policy
from retain.core.config import dump_json, load_json
from retain.core.errors import ConfigError, RunError, first_line
from retain.core.provenance import provenance
from retain.evaluation import EnvironmentConfig, Scalar
from retain.report.checks import FORMAT as RESULTS_FORMAT
from retain.report.checks import check_result
from retain.training import checkpoints, locks
from retain.training.config import (
    AnyRunConfig,
    OnlineRunConfig,
    config_from_dict,
    config_to_dict,
    with_total,
)


class Run:
    """A run folder that exists.

    Args:
        folder: The folder.

    Raises:
        RunError: If it is missing, half-written, or of another version.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            near = sorted(p.parent.name for p in self.folder.parent.glob("*/config.json"))
            hint = f"runs there: {', '.join(near)}" if near else "there are no runs beside it"
            raise RunError(f"run folder {self.folder} does not exist; {hint}")
        for name in ("config.json", "spaces.json"):
            if not (self.folder / name).exists():
                raise RunError(_no_run(self.folder, name))
        try:
            self.config: AnyRunConfig = config_from_dict(load_json(self.folder / "config.json"))
        except ConfigError as error:
            raise RunError(
                f"{self.folder / 'config.json'}: {error}; it may be of another version of retain, "
                "or of a plugin that is not loaded"
            ) from None

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @classmethod
    def create(
        cls,
        folder: Path,
        config: AnyRunConfig,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        content: str | None = None,
        initial: Path | None = None,
    ) -> Run:
        """Makes a new run folder.

        Args:
            folder: The folder.
            config: What the run is told.
            observation_space: Space of its observations.
            action_space: Space of its actions.
            content: The hash of the data that it learns from, if these are a dataset.
            initial: The checkpoint whose weights it begins with; None for fresh ones.

        Raises:
            RunError: If the folder exists and is not empty.
        """
        check_free(folder)
        spaces = {
            "observation": serialize_space(observation_space),
            "action": serialize_space(action_space),
            **({} if content is None else {"content": content}),
        }
        if initial is not None:  # before the settings, which make the folder a run
            (folder / checkpoints.INITIAL).mkdir(parents=True)
            shutil.copy(initial / checkpoints.WEIGHTS, folder / checkpoints.INITIAL)
        dump_json(folder / "spaces.json", spaces)
        dump_json(folder / "config.json", config_to_dict(config))
        return cls(folder)

    @property
    def content(self) -> str | None:
        """The hash of the data that the run began with; None of runs that have none on record."""
        spaces = load_json(self.folder / "spaces.json")
        return spaces.get("content") if isinstance(spaces, dict) else None

    def policy(self) -> Policy:
        """Builds the run's policy with fresh weights."""
        spaces = load_json(self.folder / "spaces.json")
        try:
            observation = deserialize_space(spaces["observation"])
            action = deserialize_space(spaces["action"])
        except Exception as error:  # a damaged file can be wrong in any way
            raise RunError(
                f"{self.folder / 'spaces.json'} is damaged ({error!r}); train the run anew"
            ) from None
        agent = self.config.agent
        return AGENTS.of(agent)(agent, self.config.model, observation, action)

    def load(
        self,
        checkpoint: str = "last",
        device: str = "cpu",
        *,
        greedy: bool = False,
        target_return: float | None = None,
    ) -> Policy:
        """Returns the run's policy with the weights of a checkpoint, ready to act.

        Args:
            checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
            device: Where the policy runs.
            greedy: Takes its best action also if the run's settings say that it samples.
            target_return: What it is asked for, if not what the run's settings say.

        Raises:
            RunError: If the checkpoint is missing, damaged, or not of this model.
            ConfigError: If there is no such device, or the policy is not asked for a return.
        """
        if device.partition(":")[0] == "meta":
            raise ConfigError(f"device '{device}' holds no numbers; give cpu or cuda")
        policy = self.policy()
        checkpoints.load_weights(policy, checkpoints.find(self.folder, checkpoint))
        if greedy:
            policy.act_greedily()
        if target_return is not None:
            policy.ask_for(target_return)
        try:
            return policy.to(torch.device(device)).eval()
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"device '{device}' cannot be used here: {first_line(error)}"
            ) from None

    def environment(
        self, value: Scalar | None = None, options: Mapping[str, Scalar] | None = None
    ) -> EnvironmentConfig:
        """Returns the run's environment as it is to be looked at.

        Args:
            value: Value of the option that the run's evaluations vary; by default the last of those
                evaluated during training.
            options: Further options that differ from the run's.

        Raises:
            ConfigError: If the run names no environment, or a value is given and the evaluations
                vary no option.
        """
        settings, environment = self.config.evaluation, self.config.acts_in
        if value is not None and settings.parameter is None:
            raise ConfigError("a value was given, but the run's evaluations vary no option")
        if value is None and settings.values_in_training:
            value = settings.values_in_training[-1]
        kwargs = dict(environment.kwargs)
        if value is not None and settings.parameter is not None:
            kwargs[settings.parameter] = value
        return replace(environment, kwargs={**kwargs, **(options or {})})

    def prolong(self, until: int) -> None:
        """Lets the run train further than it was told to; its folder says so from now on.

        Args:
            until: Where training ends, in what the run counts (`config.train.unit`).

        Raises:
            ConfigError: If that is not further, or training has ended by a return it was to reach.
            RunError: If another process trains the run.
        """
        train = self.config.train
        if until <= train.total:
            raise ConfigError(
                f"the run ends at {train.unit} {train.total:,}; it can be told to end later, "
                f"not at {until:,}"
            )
        may_stop = getattr(train, "stop_at_return", None) is not None
        checkpoint = checkpoints.latest(self.folder) if may_stop else None
        if checkpoint and checkpoints.load_training(checkpoint)["progress"].get("stopped"):
            raise ConfigError(
                "the run ended at the return of train.stop_at_return, as it was told to; to go "
                f"further begin with its weights: retain train {self.folder} --name NAME "
                f"--initial-weights {self.folder} --train.stop-at-return None"
            )
        with locks.training(self.folder):
            self.config = with_total(self.config, until)
            dump_json(self.folder / "config.json", config_to_dict(self.config))

    def acting_in(self, environment: EnvironmentConfig) -> Run:
        """Returns the run as if it named another environment; its files stay as they are."""
        other = copy.copy(self)
        other.config = replace(self.config, environment=environment)
        return other

    def results(self) -> dict[str, Any]:
        """Returns the contents of ``results.json``, or an empty one."""
        path = self.folder / "results.json"
        if path.exists():
            found = check_result(load_json(path), path)
            return {**found, "run": self.name}  # a folder may have been renamed since
        return self.new_results()

    def new_results(self) -> dict[str, Any]:
        """Returns results without evaluations, with where they come from."""
        return {
            "format": RESULTS_FORMAT,
            "run": self.name,
            "recipe": self.config.recipe,
            "model": self.config.model.registered_name,
            "seed": self.config.seed,
            "config": config_to_dict(self.config),
            "provenance": provenance(),
            "training": {},
            "evaluations": [],
        }

    def record(
        self, evaluations: list[dict[str, Any]], training: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Adds evaluations to ``results.json``; one of the same setting takes the old one's place.

        Returns:
            The results as they now are.
        """
        keys = ["environment", "parameter", "value", "kwargs", "seeds", "step"]
        keys += ["greedy", "target_return"]

        def setting(record: dict[str, Any]) -> list[Any]:
            return [record.get(key) for key in keys]

        new = [setting(record) for record in evaluations]
        with locks.results(self.folder):
            results = self.results()
            old = [record for record in results["evaluations"] if setting(record) not in new]
            results["evaluations"] = old + evaluations
            results["provenance"] = provenance()
            if training is not None:
                results["training"] = training
            dump_json(self.folder / "results.json", results)
        return results


def anew(config: AnyRunConfig, folder: Path) -> AnyRunConfig:
    """Returns a run's settings for a new one, with its own copy of the weights it began with.

    Args:
        config: The settings.
        folder: The run's folder, if there is one.
    """
    own = folder / checkpoints.INITIAL
    if config.initial_weights is None or not own.exists():
        return config
    return replace(config, initial_weights=str(own))


def _no_run(folder: Path, missing: str) -> str:
    """Says what a folder without a file of a run is; only what is left of a run may be deleted."""
    for above in [*folder.parents, *folder.absolute().parents]:
        if (above / "config.json").exists() and (above / "spaces.json").exists():
            name = folder.absolute().name
            which = f" and --checkpoint {name}" if (folder / checkpoints.WEIGHTS).exists() else ""
            return f"{folder} is inside a run; give the run's folder, {above},{which}".rstrip(",")
    # Not deeper: it may be a folder that holds everything.
    runs = sorted(
        str(file.parent)
        for pattern in ("*/config.json", "*/*/config.json")
        for file in folder.glob(pattern)
        if (file.parent / "spaces.json").exists()
    )
    if runs:
        more = f" and {len(runs) - 10} more" if len(runs) > 10 else ""
        return f"{folder} is not a run but holds runs; give one: {', '.join(runs[:10])}{more}"
    parts = ("checkpoints", checkpoints.INITIAL)
    if any((folder / name).exists() for name in ("config.json", "spaces.json", *parts)):
        return f"{folder} is not a whole run: it has no {missing}; delete it and train anew"
    return f"{folder} is not a run's folder: it has no {missing}; `retain list runs` lists the runs"


def check_free(folder: Path) -> None:
    """Checks that a new run can have a folder.

    Raises:
        RunError: If the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(
            f"{folder} already exists; go on with it by `retain resume {folder}`, "
            "or choose another --name"
        )


def default_name(config: AnyRunConfig) -> str:
    """Returns the name that a run gets when none is given."""
    model = config.model.registered_name
    # A recipe that learns by acting leaves the task's length and the model open.
    parts = [config.recipe or model]
    if config.recipe and isinstance(config, OnlineRunConfig):
        options = config.environment.kwargs.values()
        parts += [str(value) for value in options if type(value) is int] + [model]
    return f"{'-'.join(parts).replace('/', '-')}-seed{config.seed}"
