"""The rules of Visual Match and Key-to-Door; tests/parity holds them against pycolab."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from retain import envs
from retain.core.errors import ConfigError
from retain.envs.key_to_door import KeyToDoorEnv, KeyToDoorVectorEnv
from retain.envs.rooms import REWARD, RoomRules
from retain.envs.rooms_maps import (
    APPLE_ROOM,
    COLOURS_P3,
    EAST,
    INDICATOR,
    MATCH_EXPLORE,
    NORTH,
    SOUTH,
    WEST,
    cell,
    unpadded,
)
from retain.envs.visual_match import VisualMatchEnv, VisualMatchVectorEnv

MATCH, DOOR = "retain/VisualMatch-v0", "retain/KeyToDoor-v0"
IDS = [MATCH, DOOR]
CLASSES: dict[str, tuple[Any, Any]] = {
    MATCH: (VisualMatchEnv, VisualMatchVectorEnv),
    DOOR: (KeyToDoorEnv, KeyToDoorVectorEnv),
}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    (MATCH, {"distractor_length": 3, "colours": "per_episode"}),
    (MATCH, {"distractor_length": 30, "apple_respawn": 2, "num_apples": 22}),
    (MATCH, {"distractor_length": 0, "colours": "per_env", "colour_seed": 4}),
    (DOOR, {"distractor_length": 3, "success_reward": 100.0}),
    (DOOR, {"distractor_length": 30, "apple_respawn": 2, "apple_reward": 0.5}),
    (DOOR, {"distractor_length": 0, "num_apples": 0}),
]
BACKGROUND, WALL = (204, 204, 204), (25, 25, 25)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
PLAYER, KEY, HATCH, APPLE = (228, 148, 109), (159, 81, 44), (134, 206, 235), (140, 178, 0)
quick = settings(deadline=None, max_examples=15)


def compare(ours: Any, theirs: Any) -> None:
    assert data_equivalence(ours, theirs, exact=True), f"{ours}\n{theirs}"


def pixel(observation: np.ndarray, down: int, right: int) -> tuple[int, ...]:
    return tuple(observation[:, 2 + down, 2 + right].tolist())


def rules_of(env: Any) -> RoomRules:
    return env.unwrapped.rules


def walk(env: Any, moves: list[int]) -> tuple[np.ndarray, float, bool]:
    """Takes the moves; returns the last observation, the sum of rewards and whether it ended."""
    total, ended = 0.0, False
    for move in moves:
        observation, reward, ended, truncated, _ = env.step(move)
        assert not truncated
        total += reward
    return observation, total, ended


def to_the_key(rules: RoomRules) -> list[int]:
    """The moves of row 0 from the lower part, through the middle of the gap, to the key."""
    row, column = divmod(int(rules.cells_B[0]) - cell(0, 0), 15)
    key_row, key_column = divmod(int(rules.keys_B[0]) - cell(0, 0), 15)  # type: ignore[attr-defined]

    def sideways(by: int) -> list[int]:
        return [EAST if by > 0 else WEST] * abs(by)

    up = [NORTH] * (row - 2)
    return [*sideways(5 - column), *up, *sideways(key_column - 5), *[NORTH] * (2 - key_row)]


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_accepts_it(id: str) -> None:
    env = gym.make(id, distractor_length=4, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)
    space = env.observation_space
    assert isinstance(space, gym.spaces.Box)
    assert (space.shape, space.dtype) == ((3, 5, 5), np.uint8)
    assert (space.low.max(), space.high.min()) == (0, 255)
    assert env.action_space == gym.spaces.Discrete(4)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("id", "chosen"), VARIANTS)
def test_it_equals_gymnasiums_batch_of_single_ones(
    id: str, chosen: dict[str, Any], mode: AutoresetMode
) -> None:
    single, batch = CLASSES[id]
    ours = batch(4, autoreset_mode=mode, **chosen)
    theirs = SyncVectorEnv([lambda: single(**chosen)] * 4, autoreset_mode=mode)
    assert ours.observation_space == theirs.observation_space
    assert ours.metadata == theirs.metadata
    compare(ours.reset(seed=[4, 9, 9, 0]), theirs.reset(seed=[4, 9, 9, 0]))
    rng, episodes = np.random.default_rng(0), 0
    for number in range(100):
        actions_B = rng.choice(4, size=4, p=[0.4, 0.2, 0.2, 0.2])
        step = ours.step(actions_B)
        compare(step, theirs.step(actions_B))
        ended_B = step[2] | step[3]
        episodes += int(ended_B.sum())
        if mode is AutoresetMode.DISABLED and (ended_B.any() or number == 20):
            # Once in the midst of an episode, so that the rows fall out of step.
            mask_B = ended_B if ended_B.any() else np.array([True, False, False, True])
            seeds = [None, 7, None, 8]
            compare(
                ours.reset(seed=seeds, options={"reset_mask": mask_B}),
                theirs.reset(seed=seeds, options={"reset_mask": mask_B}),
            )
    assert episodes >= 4


@quick
@given(
    st.sampled_from(VARIANTS),
    st.lists(st.integers(0, 10**12), min_size=1, max_size=5),
    st.integers(0, 2**32),
)
def test_a_row_depends_on_its_own_seed_alone(
    variant: tuple[str, dict[str, Any]], seeds: list[int], luck: int
) -> None:
    id, chosen = variant
    single, batch = CLASSES[id]
    env, alone, row = batch(len(seeds), **chosen), single(**chosen), luck % len(seeds)
    observations, _ = env.reset(seed=seeds)
    np.testing.assert_array_equal(observations[row], alone.reset(seed=seeds[row])[0])
    rng = np.random.default_rng(luck)
    for _ in range(25):
        actions_B = rng.integers(4, size=len(seeds))
        observations, rewards_B, *_ = env.step(actions_B)
        observation, reward, *_ = alone.step(actions_B[row])
        np.testing.assert_array_equal(observations[row], observation)
        assert rewards_B[row] == reward


@pytest.mark.parametrize(("id", "last"), [(MATCH, 15), (DOOR, 10)])
@pytest.mark.parametrize("length", [0, 1, 60, 250])
def test_an_episode_has_its_exact_length(id: str, last: int, length: int) -> None:
    env = envs.make(id, distractor_length=length)
    env.reset(seed=0)
    for number in range(1, 15 + length + last + 1):
        *_, terminated, truncated, info = env.step(number % 4)
        assert terminated == (number == 15 + length + last)
        assert not truncated
        assert set(info) == ({"success", "apples"} if terminated else set())
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("length", [0, 5, 60, 200])
def test_the_expert_always_succeeds(id: str, length: int) -> None:
    rows = 200
    chosen = {"colours": "per_episode"} if id == MATCH else {}
    env = envs.make_vec(id, rows, distractor_length=length, autoreset_mode="SameStep", **chosen)
    expert, reset_B = envs.expert(id), np.ones(rows, dtype=np.bool_)
    observations, _ = env.reset(seed=1)
    episodes, total_B = 0, np.zeros(rows)
    while episodes < 2:
        observations, rewards_B, reset_B, _, infos = env.step(expert(observations, reset_B))
        total_B += rewards_B
        if reset_B.any():
            final = infos["final_info"]
            assert final["success"].all()
            np.testing.assert_allclose(total_B, 5 + final["apples"])
            total_B[:] = 0
            episodes += 1
            if length == 60:
                assert abs(final["apples"].mean() - 20.8) < 0.6


@pytest.mark.parametrize(("id", "chance"), [(MATCH, 0.05), (DOOR, 0.02)])
def test_random_actions_succeed_as_rarely_as_the_documents_say(id: str, chance: float) -> None:
    rows, rng = 2000, np.random.default_rng(0)
    env = envs.make_vec(id, rows, autoreset_mode="Disabled")
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, ended_B, _, infos = env.step(rng.integers(4, size=rows))
        ended = bool(ended_B.all())
    assert abs(infos["success"].mean() - chance) < 0.015


def test_the_view_gets_the_small_convolutions() -> None:
    from retain.nn.encoders import ImageEncoder, encode

    encoder = encode(envs.make(MATCH).observation_space, 100, what="observation")
    assert isinstance(encoder, ImageEncoder)
    assert not encoder.channels_last
    assert encoder.linear.in_features == 144  # 16 channels of 3x3


def test_experts_serve_any_number_of_rows_out_of_step() -> None:
    # One after the other, and rows that are reset in the midst of an episode.
    expert = envs.expert(DOOR)
    for rows in (3, 1):
        env = KeyToDoorVectorEnv(rows, distractor_length=9, autoreset_mode="Disabled")
        observations, _ = env.reset(seed=5)
        reset_B, ended = np.ones(rows, dtype=np.bool_), 0
        for number in range(120):
            observations, _, ended_B, _, infos = env.step(expert(observations, reset_B))
            reset_B = ended_B.copy()
            if ended_B.any():
                assert infos["success"][ended_B].all()
                ended += int(ended_B.sum())
            if number == 20:
                reset_B[0] = True
            if reset_B.any():
                observations, _ = env.reset(options={"reset_mask": reset_B})
        assert ended >= 3 * rows - 1


def test_the_first_room_of_visual_match_shows_the_target_and_is_sealed() -> None:
    env = envs.make(MATCH)
    seen = set()
    for seed in range(60):
        first, _ = env.reset(seed=seed)
        around = [
            pixel(first, *place)
            for place in itertools.product((-1, 0, 1), repeat=2)
            if place != (0, 0)
        ]
        coloured = [colour for colour in around if colour != WALL]
        assert coloured in ([RED], [GREEN], [BLUE])
        seen.add((coloured[0], around.index(coloured[0])))
        assert pixel(first, 0, 0) == PLAYER
        assert pixel(first, -2, 2) == pixel(first, 2, 0) == BACKGROUND
        target = rules_of(env).targets_B[0]  # type: ignore[attr-defined]
        assert coloured[0] == (RED, GREEN, BLUE)[target]
        for move in (NORTH, SOUTH, WEST, EAST):
            observation, *_ = env.step(move)
            np.testing.assert_array_equal(observation, first)
    assert len(seen) > 20
    assert len(MATCH_EXPLORE.cells("?")) == 8


@pytest.mark.parametrize("choice", range(3))
def test_touching_an_object_removes_all_and_only_the_right_one_pays(choice: int) -> None:
    # Straight north to the middle one, else along the row of the alcove's mouth.
    path = {
        0: [NORTH, NORTH, WEST, WEST, WEST, NORTH, NORTH],
        1: [NORTH] * 4,
        2: [NORTH, NORTH, EAST, EAST, EAST, NORTH, NORTH],
    }[choice]
    env = envs.make(MATCH, distractor_length=2, success_reward=100.0, colours="per_episode")
    outcomes = set()
    for seed in range(20):
        env.reset(seed=seed)
        walk(env, [NORTH] * 17)
        before, reward, _ = walk(env, path[:-1])
        colour = pixel(before, -1, 0)
        assert colour in (RED, GREEN, BLUE)
        after, reward, _ = walk(env, path[-1:])
        right = bool(rules_of(env).targets_B[0] == choice)  # type: ignore[attr-defined]
        assert reward == (100.0 if right else 0.0)
        shown = after.reshape(3, -1).T.tolist()
        assert not any(list(one) in shown for one in (RED, GREEN, BLUE))
        # Coming back to the place, or to another one, pays nothing any more.
        rest = 15 - len(path)
        _, more, _ = walk(env, [SOUTH, NORTH, *[EAST] * (rest - 3)])
        assert more == 0
        *_, terminated, _, info = env.step(EAST)
        assert terminated
        assert info["success"] is right
        outcomes.add(right)
    assert outcomes == {True, False}


def test_where_the_colours_stand() -> None:
    def colours(env: Any) -> np.ndarray:
        return np.array(rules_of(env).colours_B3)  # type: ignore[attr-defined]

    env = envs.make_vec(MATCH, 50)
    env.reset(seed=0)
    assert (colours(env) == [0, 1, 2]).all()

    env = envs.make_vec(MATCH, 300, colours="per_episode")
    env.reset(seed=0)
    assert len(np.unique(colours(env), axis=0)) == 6
    assert (np.sort(colours(env)) == [0, 1, 2]).all()
    before = colours(env)
    env.reset()
    assert (colours(env) != before).any()
    env.reset(seed=0)
    np.testing.assert_array_equal(colours(env), before)

    # One map for all rows and all episodes, named by its seed; without one, a new one each time.
    env = envs.make_vec(MATCH, 5, colours="per_env", colour_seed=3)
    env.reset(seed=0)
    before = colours(env)
    assert (before == before[0]).all()
    env.reset(seed=77)
    np.testing.assert_array_equal(colours(env), before)
    alone = envs.make(MATCH, colours="per_env", colour_seed=3)
    alone.reset()
    np.testing.assert_array_equal(colours(alone)[0], before[0])
    unseeded = [colours(envs.make(MATCH, colours="per_env"))[0] for _ in range(60)]
    assert len({tuple(order) for order in unseeded}) > 2
    # Whichever the map, the apples and the target of a seed are the same.
    other = envs.make(MATCH, colours="per_episode")
    other.reset(seed=8)
    alone.reset(seed=8)
    np.testing.assert_array_equal(rules_of(alone).apples_BN, rules_of(other).apples_BN)


def test_the_key_flashes_once_and_opens_the_door() -> None:
    env = envs.make(DOOR, distractor_length=1)
    white = tuple(COLOURS_P3[INDICATOR].tolist())
    assert white == (255, 255, 255)
    for seed in range(20):
        env.reset(seed=seed)
        rules = rules_of(env)
        path = to_the_key(rules)
        before, reward, _ = walk(env, path[:-1])
        board = unpadded(rules.boards_BC[0])
        assert reward == 0
        assert [pixel(before, *place) == KEY for place in ((-1, 0), (0, -1), (0, 1))].count(True)
        observation, reward, _ = walk(env, path[-1:])
        assert reward == 0
        row, column = divmod(int(rules.cells_B[0]) - cell(0, 0), 15)
        assert pixel(observation, -row, 5 - column) == white
        observation, *_ = env.step(NORTH if row == 1 else SOUTH)
        assert white not in map(tuple, observation.reshape(3, -1).T.tolist())
        assert KEY not in map(tuple, observation.reshape(3, -1).T.tolist())
        assert (unpadded(rules.boards_BC[0]) == np.where(board == 10, 7, board)).all()
        walk(env, [SOUTH] * (16 - len(path) - 1))
        assert rules.phase_B[0] == REWARD
        observation, *_ = env.step(NORTH)
        assert pixel(observation, -1, 0) == HATCH
        observation, reward, *_ = env.step(NORTH)
        assert reward == 5
        assert pixel(observation, 0, 0) == HATCH  # the door covers the player
        # It stays open, but pays once; behind it one can walk about.
        _, reward, ended = walk(env, [NORTH, SOUTH, NORTH, WEST, SOUTH, NORTH, NORTH])
        assert (reward, ended) == (0, False)
        *_, terminated, _, info = env.step(WEST)
        assert terminated
        assert info["success"] is True


def test_the_door_is_shut_without_the_key() -> None:
    env = envs.make(DOOR, distractor_length=1)
    env.reset(seed=0)
    walk(env, [SOUTH] * 16)
    observation, reward, _ = walk(env, [NORTH] * 9)
    assert reward == 0
    assert pixel(observation, -1, 0) == HATCH
    assert pixel(observation, 0, 0) == PLAYER
    *_, terminated, _, info = env.step(NORTH)
    assert terminated
    assert info["success"] is False


def test_a_key_taken_in_the_last_frame_counts() -> None:
    env = envs.make(DOOR, distractor_length=0)
    env.reset(seed=3)
    path = to_the_key(rules_of(env))
    walk(env, [SOUTH] * 5)  # to the lower wall, and against it
    path = to_the_key(rules_of(env))
    # Back and forth against the wall until just enough frames are left.
    walk(env, [SOUTH] * (10 - len(path)) + path)
    assert rules_of(env).phase_B[0] == REWARD
    _, reward, _ = walk(env, [NORTH, NORTH])
    assert reward == 5


@pytest.mark.parametrize("respawn", [1, 3, 20])
def test_an_apple_is_back_after_more_than_so_many_steps(respawn: int) -> None:
    env = envs.make(MATCH, distractor_length=80, num_apples=22, apple_respawn=respawn)
    env.reset(seed=0)
    rules = rules_of(env)
    observation, reward, _ = walk(env, [NORTH] * 15)
    assert (reward, pixel(observation, 0, -2)) == (0, APPLE)
    walk(env, [EAST])
    observation, reward, _ = walk(env, [EAST])  # to (5, 7), where an apple is
    assert reward == 1
    eaten = cell(5, 7)
    assert rules.boards_BC[0, eaten] == 7
    for number in range(1, respawn + 1):  # against the lower wall, on the spot
        _, reward, *_ = env.step(SOUTH)
        assert reward == 0, number
        assert rules.boards_BC[0, eaten] == 7
    observation, reward, *_ = env.step(SOUTH)
    # It is back under the player, who hides it, and is eaten in the next frame.
    assert rules.boards_BC[0, eaten] == 9
    assert reward == 0
    assert pixel(observation, 0, 0) == PLAYER
    assert env.step(SOUTH)[1] == 1


def test_apples_may_be_worth_nothing_or_never_come_back() -> None:
    for chosen, wanted in (
        ({"apple_reward": 0.0, "num_apples": 22}, {0.0}),
        ({"num_apples": 0}, {0.0}),
        ({"apple_reward": -2.5, "num_apples": 22, "apple_respawn": 0}, {0.0, -2.5}),
    ):
        env = envs.make_vec(DOOR, 20, distractor_length=300, **chosen)
        env.reset(seed=0)
        rng, rewards = np.random.default_rng(0), []
        for _ in range(315):
            rewards.append(env.step(rng.integers(4, size=20))[1])
        assert set(np.unique(rewards)) == wanted
        if not chosen.get("apple_respawn", 20):
            assert rules_of(env).eaten_B.max() <= 22


def test_the_apples_are_ten_of_a_chequerboard() -> None:
    places = APPLE_ROOM.cells("o")
    assert len(places) == 22
    env = envs.make_vec(MATCH, 400)
    env.reset(seed=0)
    apples_BN = rules_of(env).apples_BN
    assert apples_BN.shape == (400, 10)
    assert all(len(set(row)) == 10 for row in apples_BN.tolist())
    counts = [int((apples_BN == place).sum()) for place in places]
    assert sum(counts) == 4000
    # 10/22 of 400, within five standard deviations.
    assert all(abs(count - 4000 / 22) < 50 for count in counts)


def test_a_copy_goes_on_alone() -> None:
    env = VisualMatchVectorEnv(3, distractor_length=20)
    env.reset(seed=0)
    for _ in range(20):
        env.step([NORTH, EAST, WEST])
    other = copy.deepcopy(env)
    before = env.rules.observe()
    for _ in range(5):
        other.step([EAST, WEST, NORTH])
    np.testing.assert_array_equal(env.rules.observe(), before)
    for _ in range(5):
        step = env.step([EAST, WEST, NORTH])
    compare(env.rules.observe(), other.rules.observe())
    assert step[0].flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("id", IDS)
def test_pictures(id: str) -> None:
    text, image = (
        envs.make(id, distractor_length=4, render_mode=mode) for mode in ("ansi", "rgb_array")
    )
    for env in (text, image):
        env.reset(seed=2)
    board: Any = text.render()
    assert board.count("A") == 2  # on the board and in the view
    assert "explore 0/15" in board
    if id == MATCH:
        assert sum(board.count(letter) for letter in "RGB") == 2
    for number in range(15 + 4 + (15 if id == MATCH else 10)):
        picture: Any = image.render()
        assert (picture.shape, picture.dtype) == ((224, 544, 3), np.uint8)
        # The view in the picture is the observation.
        observation, *_ = image.step(number % 4)
        drawn = np.asarray(image.render())[48:192:32, 368:528:32].transpose(2, 0, 1)
        np.testing.assert_array_equal(drawn, observation)
        text.step(number % 4)
    board = text.render()
    assert board.splitlines()[-1].endswith(("success", "failure"))
    assert all(len(line) <= 21 for line in board.splitlines()[:-1])


BAD: list[tuple[str, dict[str, Any], str]] = [
    *(
        (id, {"distractor_length": -1}, "distractor_length must be at least 0, got -1")
        for id in IDS
    ),
    (DOOR, {"distractor_length": 1.5}, "distractor_length must be a whole number, got 1.5"),
    (DOOR, {"num_apples": 23}, "num_apples 23 is too many: there are 22 places"),
    (DOOR, {"num_apples": -1}, "num_apples must be at least 0"),
    (MATCH, {"apple_respawn": -3}, "apple_respawn must be at least 0"),
    (MATCH, {"apple_reward": math.nan}, "apple_reward must be a finite number, got nan"),
    (MATCH, {"success_reward": "5"}, "success_reward must be a finite number, got '5'"),
    (MATCH, {"success_reward": 0.0}, "success_reward must be above 0, got 0.0"),
    (MATCH, {"colours": "random"}, "colours 'random' is not one of fixed, per_env, per_episode"),
    (MATCH, {"colours": "per_env", "colour_seed": -1}, "colour_seed must be at least 0"),
    (MATCH, {"colour_seed": 1}, "colour_seed has no effect with colours 'fixed'; use 'per_env'"),
    (DOOR, {"colours": "fixed"}, "has no option 'colours'; its options: apple_respawn"),
]


@pytest.mark.parametrize(("id", "chosen", "message"), BAD)
def test_bad_options_are_refused(id: str, chosen: dict[str, Any], message: str) -> None:
    for make in (envs.make, lambda id, **kwargs: envs.make_vec(id, 2, **kwargs)):
        with pytest.raises(ConfigError) as caught:
            make(id, **chosen)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
