"""The pack: a dataset as plain memory-mapped arrays, for fast sampling.

It is derived from the Minari dataset and lies in the dataset's own folder, as `retain_pack/`. It
is built when first asked for, and anew when the dataset's files have changed. Only the
observation at which an action was taken is packed; what was seen after the last action is not.

Axes: S steps of all episodes one after another, E episodes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from minari.serialization import deserialize_space, serialize_space

from retain.core.errors import DatasetError
from retain.core.spaces import OneArray
from retain.data.fitting import check_episode
from retain.data.store import (
    Episode,
    dataset_exists,
    dataset_path,
    open_dataset,
    put_in_place,
    temporary_folder,
    told_as_broken,
)

FORMAT = 3
_FOLDER = "retain_pack"
_ARRAYS = ("observations", "actions", "rewards", "returns_to_go", "starts", "lengths", "terminated")

Allocate = Callable[[str, tuple[int, ...], "np.dtype[Any]"], npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A dataset as arrays; memory-mapped and read-only when it comes from `open_pack`."""

    dataset_id: str
    observation_space: gym.Space[Any]
    """Of the arrays here: what has several parts in the dataset is one array, as in environments
    that `retain.envs.make` makes."""
    action_space: gym.Space[Any]
    observations: npt.NDArray[Any]
    """Shape [S, ...], in the space's own dtype."""
    actions: npt.NDArray[Any]
    """Shape [S] (Discrete, int64) or [S, ...] (Box)."""
    rewards: npt.NDArray[np.float32]
    """Shape [S]."""
    returns_to_go: npt.NDArray[np.float32]
    """Shape [S]: the sum of this and all later rewards of the episode, undiscounted."""
    starts: npt.NDArray[np.int64]
    """Shape [E]: where each episode begins."""
    lengths: npt.NDArray[np.int64]
    """Shape [E], in steps."""
    terminated: npt.NDArray[np.bool_]
    """Shape [E]: False where the episode was cut short."""
    content: str
    """A hash of all the arrays: packs of the same data have the same, wherever and
    whenever they are made."""

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.lengths)

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.rewards)


def open_pack(dataset_id: str) -> Pack:
    """Opens the pack of a dataset, building it if it is missing or out of date.

    While it is built, every episode is compared with the spaces, as `write_dataset` does: others
    may have written the dataset.

    Raises:
        DatasetError: If the dataset is missing, broken, of a kind that cannot be packed, or an
            episode does not fit its spaces.
    """
    folder = dataset_path(dataset_id) / _FOLDER
    if dataset_exists(dataset_id):
        pack = _read(folder, dataset_id)
        if pack is not None:
            return pack
    _build(dataset_id, folder)
    pack = _read(folder, dataset_id)
    if pack is None:
        raise DatasetError(f"dataset '{dataset_id}' changes while it is packed; try again")
    return pack


def pack_episodes(
    episodes: Sequence[Episode],
    *,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    dataset_id: str = "in memory",
) -> Pack:
    """Packs episodes in memory, without a dataset on disk.

    Raises:
        DatasetError: If there is no episode, the spaces cannot be packed, or an episode does not
            fit them.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        arrays[name] = np.zeros(shape, dtype=dtype)
        return arrays[name]

    lengths = [len(episode) for episode in episodes]
    one_array = OneArray.of(observation_space)
    seen = observation_space if one_array is None else one_array.space
    content = _fill(dataset_id, episodes, lengths, seen, action_space, one_array, allocate)
    return Pack(
        dataset_id=dataset_id,
        observation_space=seen,
        action_space=action_space,
        content=content,
        **arrays,
    )


def _read(folder: Path, dataset_id: str) -> Pack | None:
    """The pack in `folder`, or None if there is none that is whole and up to date."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["fingerprint"] != _fingerprint(folder.parent):
            return None
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return Pack(
            dataset_id=dataset_id,
            observation_space=deserialize_space(meta["observation_space"]),
            action_space=deserialize_space(meta["action_space"]),
            content=meta["content"],
            **arrays,
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _build(dataset_id: str, folder: Path) -> None:
    dataset = open_dataset(dataset_id)
    # Taken before reading, so that a change during the reading makes the pack out of date.
    fingerprint = _fingerprint(folder.parent)
    try:
        temporary = temporary_folder(folder.parent)
    except OSError as error:
        raise DatasetError(f"cannot write a pack beside '{dataset_id}': {error}") from None

    def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        path = temporary / f"{name}.npy"
        return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)

    try:
        with told_as_broken(dataset_id):
            metadata = dataset.storage.get_episode_metadata(range(dataset.total_episodes))
            lengths = [int(entry["total_steps"]) for entry in metadata]
        one_array = OneArray.of(dataset.observation_space)
        if one_array is not None:
            one_array.tell(f"dataset '{dataset_id}'")
        seen = dataset.observation_space if one_array is None else one_array.space
        spaces = seen, dataset.action_space
        episodes = _read_through(dataset_id, dataset.iterate_episodes())
        content = _fill(dataset_id, episodes, lengths, *spaces, one_array, allocate)
        meta = {
            "fingerprint": fingerprint,
            "content": content,
            "observation_space": serialize_space(spaces[0]),
            "action_space": serialize_space(spaces[1]),
        }
        (temporary / "meta.json").write_text(json.dumps(meta))
        # If the place is taken, another process has just built the same.
        with contextlib.suppress(FileExistsError):
            put_in_place(temporary, folder, replace=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_through(dataset_id: str, episodes: Iterable[Any]) -> Iterator[Any]:
    """Yields episodes, as far as they can be read."""
    source = iter(episodes)
    while True:
        with told_as_broken(dataset_id):
            episode = next(source, None)
        if episode is None:
            return
        yield episode


def _fill(
    dataset_id: str,
    episodes: Iterable[Any],
    lengths: Sequence[int],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    one_array: OneArray | None,
    allocate: Allocate,
) -> str:
    """Copies episodes into arrays got from `allocate`.

    Args:
        dataset_id: For error messages.
        episodes: Ours or Minari's.
        lengths: Their steps, known beforehand.
        observation_space: Box or Discrete.
        action_space: Box or Discrete.
        one_array: How observations come to be in their space, if they have several parts.
        allocate: Called with name, shape and dtype.

    Returns:
        A hash of what was copied: see `Pack.content`.
    """
    if not lengths:
        raise DatasetError(f"dataset '{dataset_id}' has no episode")
    steps = sum(lengths)
    observation_dtype = _dtype(dataset_id, "observation", observation_space)
    action_dtype = _dtype(dataset_id, "action", action_space)
    observations = allocate("observations", (steps, *observation_space.shape), observation_dtype)  # type: ignore[misc]
    actions = allocate("actions", (steps, *action_space.shape), action_dtype)  # type: ignore[misc]
    rewards = allocate("rewards", (steps,), np.dtype(np.float32))
    returns_to_go = allocate("returns_to_go", (steps,), np.dtype(np.float32))
    starts = allocate("starts", (len(lengths),), np.dtype(np.int64))
    allocate("lengths", (len(lengths),), np.dtype(np.int64))[:] = lengths
    terminated = allocate("terminated", (len(lengths),), np.dtype(np.bool_))
    # While the data pass by anyway; reading gigabytes again for each run would take too long.
    content = hashlib.sha256(f"{list(lengths)}".encode())
    start = 0
    for number, (episode, length) in enumerate(zip(episodes, lengths, strict=True)):
        if length < 1 or len(episode.rewards) != length:
            raise DatasetError(f"episode {number} of '{dataset_id}' has no or missing steps")
        here = slice(start, start + length)
        try:
            seen = episode.observations
            if one_array is not None:
                seen = one_array.batch(seen, length + 1)
            seen = np.asarray(seen)[:length]
            done, gained = np.asarray(episode.actions), np.asarray(episode.rewards)
            check_episode(seen, done, gained, observation_space, action_space)
            _copy(observations[here], seen)
            _copy(actions[here], done)
            _copy(rewards[here], gained)
        except (LookupError, TypeError, ValueError) as error:
            raise DatasetError(
                f"episode {number} of '{dataset_id}' does not fit its spaces: {error}"
            ) from None
        rewards_T = np.asarray(episode.rewards, dtype=np.float64)
        returns_to_go[here] = np.cumsum(rewards_T[::-1])[::-1]
        starts[number] = start
        ended = episode.terminated if isinstance(episode, Episode) else episode.terminations[-1]
        terminated[number] = bool(ended)
        for array in (observations, actions, rewards, returns_to_go):
            content.update(np.ascontiguousarray(array[here]).data)
        start += length
    content.update(np.ascontiguousarray(terminated).data)
    return content.hexdigest()


def _copy(target: npt.NDArray[Any], source: Any) -> None:
    array = np.asarray(source)
    if array.shape != target.shape:
        raise ValueError(f"shape {array.shape} instead of {target.shape}")
    np.copyto(target, array, casting="same_kind")


def _dtype(dataset_id: str, what: str, space: gym.Space[Any]) -> np.dtype[Any]:
    if isinstance(space, gym.spaces.Discrete):
        return np.dtype(np.int64)
    if isinstance(space, gym.spaces.Box):
        return np.dtype(space.dtype)
    raise DatasetError(
        f"dataset '{dataset_id}' has the {what} space {type(space).__name__}; only Box and "
        "Discrete can be trained on: flatten the data first"
    )


def _fingerprint(folder: Path) -> dict[str, Any]:
    """What tells one state of a dataset's files from another."""
    data = folder / "data"
    files = {
        path.relative_to(data).as_posix(): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }
    metadata = hashlib.sha256((data / "metadata.json").read_bytes()).hexdigest()
    return {"format": FORMAT, "files": files, "metadata": metadata}
