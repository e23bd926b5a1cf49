"""Datasets on disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest

from retain.core.errors import DatasetError
from retain.data import store
from retain.data.pack import open_pack
from retain.data.store import (
    Episode,
    dataset_exists,
    dataset_extra,
    dataset_info,
    dataset_seeds,
    list_datasets,
    open_dataset,
    write_dataset,
)

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
FOUR = gym.spaces.Discrete(4)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def episode(steps: int, seed: int = 0, **kwargs: Any) -> Episode:
    rng = np.random.default_rng(seed)
    values = {
        "observations": rng.uniform(-1, 1, (steps + 1, 3)).astype(np.float32),
        "actions": rng.integers(4, size=steps),
        "rewards": rng.normal(size=steps),
        "terminated": True,
        "truncated": False,
        "seed": seed,
    }
    return Episode(**(values | kwargs))


def write(dataset_id: str = "test/data-v0", lengths: tuple[int, ...] = (3, 1), **kw: Any) -> None:
    values: dict[str, Any] = {
        "env_id": "CartPole-v1",
        "observation_space": BOX,
        "action_space": FOUR,
        "description": "a test",
        "algorithm": "dice",
    }
    episodes = [episode(steps, seed) for seed, steps in enumerate(lengths)]
    write_dataset(dataset_id, kw.pop("episodes", episodes), **(values | kw))


def test_what_is_written_is_read_back() -> None:
    infos = {"depth": np.arange(4)}
    last = episode(3, 9, terminated=False, truncated=True, infos=infos)
    write(episodes=[episode(1, 8), last], extra={"why": ["because"]})
    dataset = open_dataset("test/data-v0")
    assert (dataset.total_episodes, dataset.total_steps) == (2, 4)
    read = dataset[1]
    for name in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(read, name), getattr(last, name))
        assert getattr(read, name).dtype == getattr(last, name).dtype
    assert read.terminations.tolist() == [False] * 3
    assert read.truncations.tolist() == [False, False, True]
    np.testing.assert_array_equal(read.infos["depth"], np.arange(4))
    assert [m["seed"] for m in dataset.storage.get_episode_metadata([0, 1])] == [8, 9]
    assert dataset.observation_space == BOX
    assert dataset.action_space == FOUR
    assert dataset_extra("test/data-v0") == {"why": ["because"]}
    assert list_datasets() == ["test/data-v0"] == list(minari.list_local_datasets())


def test_images_survive_bit_for_bit() -> None:
    # Minari takes this space for an image, which it would compress by default.
    space = gym.spaces.Box(0, 255, (48, 40, 3), np.uint8)
    images = np.random.default_rng(0).integers(256, size=(5, 48, 40, 3), dtype=np.uint8)
    write(observation_space=space, episodes=[episode(4, observations=images)])
    np.testing.assert_array_equal(open_dataset("test/data-v0")[0].observations, images)


def test_info() -> None:
    first = episode(4, rewards=np.array([1.0, 2.0, 3.0, 4.0]))
    second = episode(1, rewards=np.array([-1.0]))
    write(episodes=[first, second], env_id="Taxi-v4", env_kwargs={"is_rainy": True})
    info = dataset_info("test/data-v0")
    assert (info.episodes, info.steps) == (2, 5)
    assert (info.min_length, info.mean_length, info.max_length) == (1, 2.5, 4)
    assert (info.min_return, info.mean_return, info.max_return) == (-1.0, 4.5, 10.0)
    assert (info.env_id, info.env_kwargs) == ("Taxi-v4", {"is_rainy": True})
    assert info.size_bytes > 1000
    written = json.loads(json.dumps(info.as_dict()))
    assert written["observation_space"] == "Box(-1.0, 1.0, (3,), float32)"
    assert written["description"] == "a test"


def test_the_environment_can_be_made_anew() -> None:
    write(env_kwargs={"sutton_barto_reward": True, "max_episode_steps": 7})
    env = open_dataset("test/data-v0").recover_environment()
    assert env.spec.max_episode_steps == 7
    assert env.unwrapped._sutton_barto_reward is True
    write("test/own-v0", env_id=None)
    assert dataset_info("test/own-v0").env_id is None
    write("test/unknown-v0", env_id="Elsewhere-v3")
    assert dataset_info("test/unknown-v0").env_id == "Elsewhere-v3"


def test_an_id_is_only_taken_over_when_asked() -> None:
    write()
    with pytest.raises(DatasetError, match="exists; choose another id or overwrite"):
        write()
    write(lengths=(5,), overwrite=True)
    assert dataset_info("test/data-v0").episodes == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_write_that_fails_midway_leaves_nothing(root: Path, overwrite: bool) -> None:
    if overwrite:
        write(lengths=(2, 2, 2))

    def episodes() -> Iterator[Episode]:
        yield episode(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(episodes=episodes(), overwrite=overwrite)
    assert dataset_exists("test/data-v0") is overwrite
    assert list(root.glob(f"{store._TEMPORARY}*")) == []
    if overwrite:  # the old one is as it was
        assert dataset_info("test/data-v0").steps == 6


def test_a_killed_write_is_neither_seen_nor_kept_for_ever(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "put_in_place", lambda *_, **__: None)
    monkeypatch.setattr(store.shutil, "rmtree", lambda *_, **__: None)
    write()  # everything but the last step, and no tidying up: as if killed
    monkeypatch.undo()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    left = list(root.glob(f"{store._TEMPORARY}*"))
    assert len(left) == 1
    assert list_datasets() == []
    write()
    assert left[0].exists()  # it may be somebody else's, still writing
    yesterday = time.time() - 25 * 3600
    below = sorted(left[0].rglob("*"))
    for path in (left[0], *below[1:]):
        os.utime(path, (yesterday, yesterday))
    write("test/other-v0")
    assert left[0].exists()  # a file in it has just been written to
    os.utime(below[0], (yesterday, yesterday))
    write("test/third-v0")
    assert not left[0].exists()
    assert list_datasets() == ["test/data-v0", "test/other-v0", "test/third-v0"]


def test_a_writer_that_comes_second_loses() -> None:
    def episodes() -> Iterator[Episode]:
        yield episode(3)
        write(lengths=(1, 1))  # meanwhile

    with pytest.raises(DatasetError, match="written by someone else"):
        write(episodes=episodes())
    assert dataset_info("test/data-v0").episodes == 2


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"dataset_id": "t/x-v0"}, "not a dataset id"),
        ({"dataset_id": "noversion"}, "not a dataset id"),
        ({"dataset_id": "../up-v0"}, "not a dataset id"),
        ({"episodes": []}, "no episode"),
        ({"env_kwargs": {"callback": print}}, "do not fit JSON"),
        ({"observation_space": FOUR}, "episode 0 .* its observations have shape"),
        ({"action_space": BOX}, "episode 0 .* its actions have shape"),
    ],
)
def test_wrong_input_is_refused_in_one_line(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as caught:
        write(**kwargs)
    assert "\n" not in str(caught.value)
    assert list_datasets() == []


def test_wrong_episodes_are_refused() -> None:
    with pytest.raises(DatasetError, match="has no step"):
        episode(0)
    with pytest.raises(DatasetError, match="needs 3 observations and 2 rewards"):
        episode(2, rewards=np.zeros(3))
    with pytest.raises(DatasetError, match="needs 3 observations"):
        episode(2, observations=np.zeros((2, 3)))


def test_missing_and_broken_datasets_are_named(root: Path) -> None:
    with pytest.raises(DatasetError, match="there are none yet"):
        open_dataset("test/data-v0")
    write()
    write("test/other-v0")
    with pytest.raises(DatasetError, match="did you mean test/data-v0"):
        open_dataset("test/dat-v0")
    with pytest.raises(DatasetError, match="there is none like it"):
        open_dataset("zzzzzzzz-v9")

    main = root / "test/data-v0/data/main_data.hdf5"
    whole = main.read_bytes()
    main.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="is broken") as caught:
        dataset_info("test/data-v0")
    assert "\n" not in str(caught.value)
    main.write_bytes(whole)
    metadata = root / "test/other-v0/data/metadata.json"
    metadata.write_text(metadata.read_text().replace('"total_episodes": 2', '"total_episodes": 3'))
    with pytest.raises(DatasetError, match="2 of 3 episodes"):
        open_dataset("test/other-v0")
    metadata.write_text("{")
    with pytest.raises(DatasetError, match="is broken"):
        open_dataset("test/other-v0")
    assert list_datasets() == ["test/data-v0"]


@pytest.mark.parametrize("lost", ["observations", "actions", "rewards", "total_steps", "episode"])
def test_datasets_that_lack_something_are_named(root: Path, lost: str) -> None:
    write(lengths=(3, 2, 4))
    with h5py.File(root / "test/data-v0/data/main_data.hdf5", "r+") as file:
        if lost == "episode":
            file.move("episode_1", "episode_9")
        elif lost == "total_steps":
            del file["episode_1"].attrs["total_steps"]
        else:
            del file["episode_1"][lost]
    with pytest.raises(DatasetError, match=r"test/data-v0' is broken \(.*; delete or overwrite it"):
        open_pack("test/data-v0")
    if lost in ("rewards", "episode"):
        with pytest.raises(DatasetError, match="is broken"):
            dataset_info("test/data-v0")
    if lost == "episode":
        with pytest.raises(DatasetError, match="is broken"):
            dataset_seeds("test/data-v0")
    metadata = root / "test/data-v0/data/metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "retain": None}))
    assert dataset_extra("test/data-v0") == {}


def test_datasets_that_cannot_be_kept(root: Path) -> None:
    root.write_text("a file")
    assert list_datasets() == []
    with pytest.raises(DatasetError, match=f"cannot be kept in {root}: .*set MINARI_DATASETS_PATH"):
        write()
    with pytest.raises(DatasetError, match="cannot be kept"):
        open_dataset("test/data-v0")
    assert root.read_text() == "a file"


def seen(steps: int, value: Any) -> np.ndarray:
    """Observations of `BOX` with a value in the middle."""
    observations = np.zeros((steps + 1, 3))
    observations[1, 2] = value
    return observations


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"actions": np.array([0, 1, 4])}, r"actions at step 2 are 4, outside of Discrete\(4\)"),
        ({"actions": np.array([0, -1, 3])}, r"actions at step 1 are -1, outside of Discrete\(4\)"),
        ({"actions": np.array([0.0, 1.0, 2.0])}, "actions are float64, .* turn them into int64"),
        ({"observations": seen(3, np.nan)}, "observations at step 1 .*nan.*not finite numbers"),
        ({"observations": seen(3, np.inf)}, "observations at step 1 .*inf.*not finite numbers"),
        (
            {"observations": seen(3, 1e300)},
            "observations at step 1 .*not finite numbers of float32",
        ),
        ({"observations": seen(3, 0).astype(str)}, "observations are <U.*turn them into float32"),
        ({"rewards": np.array([0.0, np.nan, 1.0])}, "rewards at step 1 are nan: not finite"),
        ({"rewards": np.array([0.0, 1.0, -np.inf])}, "rewards at step 2 are -inf: not finite"),
        ({"rewards": np.array(["a", "b", "c"])}, "rewards are <U1, not numbers"),
    ],
)
def test_an_episode_that_does_not_fit_is_named_and_nothing_is_written(
    root: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=f"^episode 1 of 'test/data-v0' .*{message}") as error:
        write(episodes=[episode(3), episode(3, **wrong)])
    assert "\n" not in str(error.value)
    assert not dataset_exists("test/data-v0")
    assert list(root.glob(f"{store._TEMPORARY}*")) == []


def test_what_fits_is_taken_as_it_is() -> None:
    beyond = seen(2, 1.0 + 1e-6)  # rounding leads past the bounds of a box
    write(episodes=[episode(2, observations=beyond, rewards=np.array([1, -2]))])
    spaces = {
        "observation_space": gym.spaces.MultiDiscrete([2, 9]),
        "action_space": gym.spaces.Discrete(2, start=-1),
    }
    good = {"observations": np.array([[1, 8], [0, 0]]), "actions": np.array([-1])}
    write("test/whole-v0", episodes=[episode(1, **good)], **spaces)
    good["observations"][1, 0] = 2
    with pytest.raises(DatasetError, match=r"at step 1 are \[2 0\], outside of MultiDiscrete"):
        write("test/whole-v1", episodes=[episode(1, **good)], **spaces)
    bytes_ = gym.spaces.Box(0, 255, (3,), np.uint8)
    large = np.array([[0, 1, 256], [0, 0, 0]], np.uint16)
    with pytest.raises(DatasetError, match=r"at step 0 are .*256.*, outside of Box"):
        write("test/bytes-v0", episodes=[episode(1, observations=large)], observation_space=bytes_)


def test_lists_become_arrays() -> None:
    lists = Episode([[0.0, 1.0, 0.5]] * 3, [1, 2], [0.5, 1], terminated=True, truncated=False)  # type: ignore[arg-type]
    assert (len(lists), lists.observations.shape, lists.rewards.shape) == (2, (3, 3), (2,))
    write(episodes=[lists])
    assert open_dataset("test/data-v0")[0].actions.tolist() == [1, 2]
    with pytest.raises(DatasetError, match="the observations of an episode are no array"):
        Episode([[0.0], [0.0, 1.0]], [1], [0.0], True, False)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="the rewards of an episode are a single value"):
        Episode([[0.0], [1.0]], [1], 0.0, True, False)  # type: ignore[arg-type]
