"""The memory-mapped form of a dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core.errors import DatasetError
from retain.data import pack as pack_module
from retain.data.pack import open_pack, pack_episodes
from retain.data.store import Episode, list_datasets, write_dataset

ID = "test/data-v0"
SPACES: list[tuple[gym.Space[Any], gym.Space[Any]]] = [
    (gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(4)),
    (gym.spaces.Discrete(9), gym.spaces.Box(-1, 1, (2,), np.float32)),
    (gym.spaces.Box(0, 255, (33, 34, 3), np.uint8), gym.spaces.Discrete(2)),
    (gym.spaces.Box(-1, 1, (), np.float64), gym.spaces.Box(-1, 1, (1,), np.float64)),
]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "root"))
    return tmp_path / "root"


def make(lengths: list[int], observation: gym.Space, action: gym.Space) -> list[Episode]:
    rng = np.random.default_rng(sum(lengths))
    observation.seed(1)
    action.seed(2)
    return [
        Episode(
            observations=np.stack([observation.sample() for _ in range(steps + 1)]),
            actions=np.stack([action.sample() for _ in range(steps)]),
            rewards=rng.normal(size=steps),
            terminated=number % 2 == 0,
            truncated=number % 2 == 1,
        )
        for number, steps in enumerate(lengths)
    ]


def write(episodes: list[Episode], observation: gym.Space, action: gym.Space) -> None:
    write_dataset(
        ID,
        episodes,
        env_id=None,
        observation_space=observation,
        action_space=action,
        description="",
        overwrite=True,
    )


def check(pack: Any, episodes: list[Episode]) -> None:
    assert pack.num_steps == sum(len(episode) for episode in episodes)
    assert pack.num_episodes == len(episodes)
    assert pack.lengths.tolist() == [len(episode) for episode in episodes]
    for number, episode in enumerate(episodes):
        begin = pack.starts[number]
        assert pack.terminated[number] == episode.terminated
        for step in range(len(episode)):
            at = begin + step
            np.testing.assert_array_equal(pack.observations[at], episode.observations[step])
            np.testing.assert_array_equal(pack.actions[at], episode.actions[step])
            assert pack.rewards[at] == np.float32(episode.rewards[step])
            assert pack.returns_to_go[at] == pytest.approx(sum(episode.rewards[step:]), abs=1e-6)


@pytest.mark.parametrize("spaces", SPACES)
def test_a_pack_holds_what_the_dataset_holds(spaces: tuple[gym.Space, gym.Space]) -> None:
    episodes = make([3, 1, 4, 1, 5], *spaces)
    write(episodes, *spaces)
    pack = open_pack(ID)
    check(pack, episodes)
    assert (pack.observation_space, pack.action_space) == spaces
    for array, space in ((pack.observations, spaces[0]), (pack.actions, spaces[1])):
        assert array.dtype == space.dtype
        assert not array.flags.writeable
        assert isinstance(array, np.memmap)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=6))
def test_episodes_in_memory_are_packed_alike(lengths: list[int]) -> None:
    episodes = make(lengths, *SPACES[0])
    pack = pack_episodes(episodes, observation_space=SPACES[0][0], action_space=SPACES[0][1])
    check(pack, episodes)


def test_a_pack_is_built_once_and_anew_when_the_data_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds = []
    build = pack_module._build
    monkeypatch.setattr(pack_module, "_build", lambda *args: (builds.append(1), build(*args)))
    first = make([2, 3], *SPACES[0])
    write(first, *SPACES[0])
    old = open_pack(ID)
    check(open_pack(ID), first)
    assert len(builds) == 1

    # Changed in place, through Minari.
    data = open_dataset_for_writing()
    more = make([4], *SPACES[0])
    data.update_dataset_from_buffer(
        [
            minari.data_collector.EpisodeBuffer(
                observations=more[0].observations,
                actions=more[0].actions,
                rewards=more[0].rewards,
                terminations=np.array([False] * 3 + [True]),
                truncations=np.zeros(4, dtype=bool),
            )
        ]
    )
    check(open_pack(ID), first + more)
    assert len(builds) == 2
    check(old, first)  # whoever has the old one open keeps it

    # A damaged pack is built anew, too.
    folder = root / ID / "retain_pack"
    for name, content in (("meta.json", "{"), ("actions.npy", ""), ("rewards.npy", None)):
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(content)
        check(open_pack(ID), first + more)
    assert len(builds) == 5

    assert list_datasets() == [ID]  # it is not in Minari's way
    assert minari.load_dataset(ID).total_episodes == 3
    assert [path.name for path in (root / ID).iterdir() if path.name.startswith(".")] == []


def open_dataset_for_writing() -> minari.MinariDataset:
    return minari.load_dataset(ID)


def test_a_failed_build_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(make([2, 3], *SPACES[0]), *SPACES[0])
    copy, calls = pack_module._copy, []

    def fail(target: Any, source: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        copy(target, source)

    monkeypatch.setattr(pack_module, "_copy", fail)
    with pytest.raises(KeyboardInterrupt):
        open_pack(ID)
    assert [path.name for path in (root / ID).iterdir()] == ["data"]
    assert open_pack(ID).num_steps == 5


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(DatasetError, match="no dataset"):
        open_pack(ID)
    both = gym.spaces.MultiBinary(2)
    episodes = make([2], SPACES[0][0], both)
    with pytest.raises(DatasetError, match="observation space Text; only Box and Discrete"):
        pack_episodes(episodes, observation_space=gym.spaces.Text(3), action_space=both)
    with pytest.raises(DatasetError, match="action space MultiBinary"):
        pack_episodes(episodes, observation_space=SPACES[0][0], action_space=both)
    with pytest.raises(DatasetError, match="no episode"):
        pack_episodes([], observation_space=SPACES[0][0], action_space=SPACES[0][1])
    # Fractions do not fit whole numbers, nor four numbers three.
    episodes = make([2], *SPACES[0])
    whole = gym.spaces.Box(0, 9, (3,), np.uint8)
    with pytest.raises(DatasetError, match="episode 0 of 'in memory' does not fit its spaces"):
        pack_episodes(episodes, observation_space=whole, action_space=SPACES[0][1])
    wide = gym.spaces.Box(-1, 1, (4,), np.float32)
    with pytest.raises(DatasetError, match="shape"):
        pack_episodes(episodes, observation_space=wide, action_space=SPACES[0][1])


def test_several_bits_are_numbers_side_by_side() -> None:
    bits = gym.spaces.MultiBinary((2, 3))
    episodes = make([4, 2], bits, SPACES[0][1])
    write(episodes, bits, SPACES[0][1])
    in_memory = pack_episodes(episodes, observation_space=bits, action_space=SPACES[0][1])
    for pack in (open_pack(ID), in_memory):
        assert pack.observation_space == gym.spaces.flatten_space(bits)
        seen = np.concatenate([episode.observations[:-1].reshape(-1, 6) for episode in episodes])
        np.testing.assert_array_equal(pack.observations, seen)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("actions", 9, r"actions at step 2 are 9, outside of Discrete\(4\)"),
        ("observations", np.nan, "observations at step 2 .*not finite"),
        ("rewards", np.inf, "rewards at step 2 are inf: not finite"),
    ],
)
def test_data_of_others_are_compared_with_their_spaces(
    root: Path, part: str, value: float, message: str
) -> None:
    episodes = make([2, 3], *SPACES[0])
    write(episodes, *SPACES[0])
    with h5py.File(root / ID / "data" / "main_data.hdf5", "r+") as file:
        file[f"episode_1/{part}"][2] = value
    with pytest.raises(DatasetError, match=f"episode 1 of '{ID}' does not fit .*{message}"):
        open_pack(ID)
    assert [path.name for path in (root / ID).iterdir()] == ["data"]


def test_what_was_seen_last_is_not_asked_for(root: Path) -> None:
    write(make([2], *SPACES[0]), *SPACES[0])
    with h5py.File(root / ID / "data" / "main_data.hdf5", "r+") as file:
        file["episode_0/observations"][2] = np.nan
    assert open_pack(ID).num_steps == 2


def test_packs_of_the_same_data_have_the_same_hash() -> None:
    episodes = make([2, 3], *SPACES[0])
    write(episodes, *SPACES[0])
    first = open_pack(ID).content
    write(episodes, *SPACES[0])  # other files
    assert open_pack(ID).content == first == open_pack(ID).content
    spaces = {"observation_space": SPACES[0][0], "action_space": SPACES[0][1]}
    assert pack_episodes(episodes, **spaces).content == first
    found = {first}
    for part in ("observations", "actions", "rewards"):
        changed = getattr(episodes[1], part).copy()
        changed[0] = 0 if changed[0].any() else 1
        new = replace(episodes[1], **{part: changed})
        found.add(pack_episodes([episodes[0], new], **spaces).content)
    found.add(pack_episodes([replace(e, terminated=False) for e in episodes], **spaces).content)
    found.add(pack_episodes(episodes[::-1], **spaces).content)
    assert len(found) == 6
