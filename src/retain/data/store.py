"""Datasets on disk, in Minari's form (HDF5), so that other tools read them too.

They lie under `MINARI_DATASETS_PATH`, or where Minari puts them. Images are stored as they are:
Minari's default would compress them with loss.

Axes: T steps of an episode.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import shutil
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import numpy.typing as npt
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id
from minari.dataset.minari_storage import MinariStorage
from minari.namespace import create_namespace, list_local_namespaces
from minari.storage import get_dataset_path

from retain.core.errors import DatasetError
from retain.core.spaces import in_words
from retain.data.fitting import check_episode

# Hidden, so that Minari does not list what is being written.
_TEMPORARY = ".retain-writing-"
_FORGOTTEN_SECONDS = 24 * 3600.0
_METADATA_KEY = "retain"


@dataclass(frozen=True)
class Episode:
    """One episode as arrays; lists become arrays.

    Raises:
        DatasetError: If the lengths do not fit, there is no step, or a list is no array.
    """

    observations: npt.NDArray[Any]
    """Shape [T + 1, ...]: the last is what was seen after the last action."""
    actions: npt.NDArray[Any]
    """Shape [T, ...]."""
    rewards: npt.NDArray[Any]
    """Shape [T]."""
    terminated: bool
    """The environment ended the episode."""
    truncated: bool
    """The episode was cut short."""
    infos: dict[str, Any] | None = None
    """Arrays of shape [T + 1, ...] by name, if any."""
    seed: int | None = None
    """The seed the environment was reset with, if known."""

    def __post_init__(self) -> None:
        for name in ("observations", "actions", "rewards"):  # lists do too
            try:
                array = np.asarray(getattr(self, name))
            except (TypeError, ValueError) as error:
                raise DatasetError(f"the {name} of an episode are no array: {error}") from None
            if array.ndim == 0:
                raise DatasetError(f"the {name} of an episode are a single value, not one a step")
            object.__setattr__(self, name, array)
        steps = len(self.actions)
        if steps < 1:
            raise DatasetError("an episode has no step")
        if len(self.observations) != steps + 1 or self.rewards.shape != (steps,):
            raise DatasetError(
                f"an episode of {steps} actions needs {steps + 1} observations and {steps} "
                f"rewards, got {len(self.observations)} and shape {self.rewards.shape}"
            )

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What there is to know about a dataset."""

    dataset_id: str
    episodes: int
    steps: int
    min_length: int
    mean_length: float
    max_length: int
    min_return: float
    mean_return: float
    max_return: float
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    env_id: str | None
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    size_bytes: int
    description: str

    def as_dict(self) -> dict[str, Any]:
        """The same, fit for JSON; spaces are given as text."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for name in ("observation_space", "action_space"):
            values[name] = in_words(values[name])
        return values


def list_datasets() -> list[str]:
    """The ids of all local datasets, sorted; none where no folder of them can be had."""
    with warnings.catch_warnings():
        # Minari warns about every folder that is no dataset; they are simply not listed.
        warnings.simplefilter("ignore")
        try:
            return sorted(minari.list_local_datasets())
        except OSError:
            return []


def dataset_path(dataset_id: str) -> Path:
    """The folder of a dataset, whether it exists or not.

    Raises:
        DatasetError: If the id is not of Minari's form, or the folder of datasets cannot be made.
    """
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise DatasetError(
            f"'{dataset_id}' is not a dataset id; ids look like namespace/name-v0, with letters, "
            "digits, '-' and '_', and a namespace of at least two letters"
        ) from None
    return _datasets_path() / dataset_id


def _datasets_path() -> Path:
    try:
        return Path(get_dataset_path())
    except OSError as error:
        raise _cannot_keep(error.filename, error) from None


def _cannot_keep(path: Any, error: OSError) -> DatasetError:
    return DatasetError(
        f"datasets cannot be kept in {path}: {error.strerror or error}; set MINARI_DATASETS_PATH "
        "to a folder that can be written to"
    )


def dataset_exists(dataset_id: str) -> bool:
    """Whether there is a local dataset with this id."""
    return (dataset_path(dataset_id) / "data").exists()


def write_dataset(
    dataset_id: str,
    episodes: Iterable[Episode],
    *,
    env_id: str | None,
    env_kwargs: Mapping[str, Any] | None = None,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    description: str,
    algorithm: str = "unknown",
    overwrite: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Writes a dataset; either all of it appears, or nothing.

    Every episode is compared with the spaces: shapes, kinds, the range of whole numbers, and that
    observations, actions and rewards are finite.

    Args:
        dataset_id: Where to, in Minari's form: namespace/name-v0.
        episodes: The episodes; taken one by one, so they may be a generator.
        env_id: The Gymnasium id of the environment they come from, if any.
        env_kwargs: Its options, fit for JSON.
        observation_space: What the observations are in.
        action_space: What the actions are in.
        description: A line for people.
        algorithm: The name of the policy.
        overwrite: Replace a dataset that has this id.
        extra: More to remember, fit for JSON; see `dataset_extra`.

    Raises:
        DatasetError: If the id is taken or malformed, there is no episode, an episode does not
            fit the spaces, or the options are not fit for JSON.
    """
    path = dataset_path(dataset_id)
    if path.exists() and not overwrite:
        raise DatasetError(f"dataset '{dataset_id}' exists; choose another id or overwrite it")
    kwargs = dict(env_kwargs or {})
    ours = {"env_id": env_id, "env_kwargs": kwargs, "extra": dict(extra or {})}
    try:
        json.dumps(ours)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"the options of '{dataset_id}' do not fit JSON: {error}") from None

    temporary = temporary_folder(_datasets_path())
    try:
        storage = MinariStorage.new(
            temporary / "data",
            observation_space=observation_space,
            action_space=action_space,
            env_spec=_env_spec(env_id, kwargs),
            jpeg_encoding=False,
        )
        storage.update_metadata(
            {
                "dataset_id": dataset_id,
                "minari_version": minari.__version__,
                "description": description,
                "algorithm_name": algorithm,
                _METADATA_KEY: ours,
            }
        )
        storage.update_episodes(_buffers(dataset_id, episodes, observation_space, action_space))
        if storage.total_episodes == 0:
            raise DatasetError(f"dataset '{dataset_id}' would have no episode")
        namespace, _, _ = dataset_id.rpartition("/")
        if namespace and namespace not in list_local_namespaces():
            # Another process may be making it at the same moment.
            with contextlib.suppress(ValueError):
                create_namespace(namespace)
        put_in_place(temporary, path, replace=overwrite)
    except FileExistsError:
        raise DatasetError(f"dataset '{dataset_id}' was written by someone else") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_dataset(dataset_id: str) -> minari.MinariDataset:
    """Opens a local dataset.

    Raises:
        DatasetError: If it is missing (the message has the nearest ids) or broken.
    """
    if not dataset_exists(dataset_id):
        known = list_datasets()
        near = difflib.get_close_matches(dataset_id, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "there is none like it"
        if not known:
            hint = "there are none yet"
        raise DatasetError(f"no dataset '{dataset_id}' in {_datasets_path()}; {hint}")
    with told_as_broken(dataset_id):
        dataset = minari.load_dataset(dataset_id)
        storage = dataset.storage
        if storage.FORMAT == "hdf5":
            with h5py.File(storage.data_path / "main_data.hdf5", "r") as file:
                found = len(file)
            if found != storage.total_episodes:
                raise ValueError(f"{found} of {storage.total_episodes} episodes are there")
    return dataset


@contextlib.contextmanager
def told_as_broken(dataset_id: str) -> Iterator[None]:
    """Turns what goes wrong while a dataset is read into one line.

    Raises:
        DatasetError: If anything does.
    """
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # Minari has no error of its own; any of these means the same
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(
            f"dataset '{dataset_id}' is broken ({reason}); delete or overwrite it"
        ) from error


def dataset_extra(dataset_id: str) -> dict[str, Any]:
    """What `write_dataset` was given as `extra`; empty for datasets written by others."""
    metadata = open_dataset(dataset_id).storage.metadata
    return dict((metadata.get(_METADATA_KEY) or {}).get("extra") or {})


def dataset_seeds(dataset_id: str) -> set[int]:
    """The seeds that the environment was reset with, of the episodes that have one on record.

    Raises:
        DatasetError: If the dataset is missing or broken.
    """
    storage = open_dataset(dataset_id).storage
    with told_as_broken(dataset_id):
        episodes = storage.get_episode_metadata(range(storage.total_episodes))
        return {int(episode["seed"]) for episode in episodes if episode.get("seed") is not None}


def dataset_info(dataset_id: str) -> DatasetInfo:
    """Describes a dataset; reads all its rewards.

    Raises:
        DatasetError: If the dataset is missing or broken.
    """
    dataset = open_dataset(dataset_id)
    metadata = dataset.storage.metadata
    with told_as_broken(dataset_id):
        rewards = list(_rewards(dataset))
    lengths = [len(rewards_T) for rewards_T in rewards]
    returns = [float(np.sum(rewards_T, dtype=np.float64)) for rewards_T in rewards]
    spec = dataset.env_spec
    ours = metadata.get(_METADATA_KEY) or {}
    files = [file for file in dataset.storage.data_path.rglob("*") if file.is_file()]
    return DatasetInfo(
        dataset_id=dataset_id,
        episodes=len(lengths),
        steps=sum(lengths),
        min_length=min(lengths, default=0),
        mean_length=float(np.mean(lengths)) if lengths else 0.0,
        max_length=max(lengths, default=0),
        min_return=min(returns, default=0.0),
        mean_return=float(np.mean(returns)) if returns else 0.0,
        max_return=max(returns, default=0.0),
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        env_id=ours.get("env_id") or (spec.id if spec else None),
        env_kwargs=dict(ours.get("env_kwargs") or (spec.kwargs if spec else {})),
        size_bytes=sum(file.stat().st_size for file in files),
        description=str(metadata.get("description", "")),
    )


def temporary_folder(parent: Path) -> Path:
    """Makes a new hidden folder, and deletes those that writers killed long ago have left.

    Raises:
        DatasetError: If there can be none.
    """
    for path in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):
            # A folder's own time does not change while files below it are written.
            latest = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
            if time.time() - latest > _FORGOTTEN_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    folder = parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        raise _cannot_keep(parent, error) from None
    return folder


def put_in_place(temporary: Path, path: Path, *, replace: bool) -> None:
    """Renames a finished folder to its place, on the same disk.

    Raises:
        FileExistsError: If the place is taken and is not to be replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    old: Path | None = None
    if path.exists() and replace:
        old = temporary_folder(temporary.parent)
        with contextlib.suppress(FileNotFoundError):
            path.rename(old / "old")
    try:
        temporary.rename(path)
    except OSError as error:
        if path.exists():
            raise FileExistsError(path) from error
        raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _buffers(
    dataset_id: str,
    episodes: Iterable[Episode],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
) -> Iterator[EpisodeBuffer]:
    for number, episode in enumerate(episodes):
        steps = len(episode)
        try:
            check_episode(
                episode.observations,
                episode.actions,
                episode.rewards,
                observation_space,
                action_space,
            )
        except ValueError as error:
            raise DatasetError(
                f"episode {number} of '{dataset_id}' does not fit its spaces: {error}"
            ) from None
        last_T = np.zeros(steps, dtype=np.bool_)
        last_T[-1] = True
        yield EpisodeBuffer(
            seed=episode.seed,
            observations=episode.observations,
            actions=episode.actions,
            rewards=episode.rewards,
            terminations=last_T & episode.terminated,
            truncations=last_T & episode.truncated,
            infos=episode.infos,
        )


def _env_spec(env_id: str | None, kwargs: dict[str, Any]) -> Any:
    """Gymnasium's record of the environment with its options, so that Minari can make it anew.

    None where it cannot be written down.
    """
    if env_id is None or env_id not in gym.registry:
        return None
    spec = copy.deepcopy(gym.registry[env_id])
    rest = dict(kwargs)
    if spec.max_episode_steps is not None and "max_episode_steps" in rest:
        spec.max_episode_steps = rest.pop("max_episode_steps")
    spec.kwargs |= rest
    try:
        spec.to_json()
    except ValueError:  # registered with a class or a function; our own record has the id
        return None
    return spec


def _rewards(dataset: minari.MinariDataset) -> Iterator[npt.NDArray[Any]]:
    storage = dataset.storage
    if storage.FORMAT != "hdf5":
        yield from (np.asarray(episode.rewards) for episode in dataset.iterate_episodes())
        return
    with h5py.File(storage.data_path / "main_data.hdf5", "r") as file:
        for index in range(storage.total_episodes):
            yield file[f"episode_{index}"]["rewards"][:]
