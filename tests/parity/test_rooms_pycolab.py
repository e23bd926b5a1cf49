"""Visual Match and Key-to-Door go, frame by frame, as they go on the pycolab engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from retain import envs
from retain.envs.key_to_door import KeyToDoorRules
from retain.envs.rooms import EXPLORE, RoomRules
from retain.envs.rooms_maps import REACH, STRIDE
from retain.envs.visual_match import VisualMatchRules

pytest.importorskip("pycolab")

from parity.pycolab_rooms import (
    APPLES,
    AROUND,
    KEYS,
    OBJECTS,
    STARTS,
    Hidden,
    PycolabRooms,
    Task,
)

IDS: dict[Task, str] = {
    "visual_match": "retain/VisualMatch-v0",
    "key_to_door": "retain/KeyToDoor-v0",
}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"distractor_length": 7, "success_reward": 100.0, "apple_reward": 0.5},
    {"distractor_length": 0},
    {"distractor_length": 130, "apple_respawn": 3},
    {"distractor_length": 60, "apple_respawn": 0, "apple_reward": -1.0},
]


def place(cell: int) -> tuple[int, int]:
    row, column = divmod(int(cell), STRIDE)
    return row - REACH, column - REACH


def hidden(rules: RoomRules, row: int) -> Hidden:
    """What the row's episode has drawn, in the words of the reference."""
    apples = [place(cell) for cell in rules.apples_BN[row]]
    if isinstance(rules, VisualMatchRules):
        return Hidden(
            apples,
            target=int(rules.targets_B[row]),
            wall=place(rules.walls_B[row]),
            colours=tuple(rules.colours_B3[row].tolist()),
        )
    assert isinstance(rules, KeyToDoorRules)
    key, start = rules.keys_B[row], rules.starts_B3[row, EXPLORE]
    return Hidden(apples, key=place(key), start=place(start))


@pytest.mark.parametrize("task", IDS)
@pytest.mark.parametrize("chosen", VARIANTS)
@pytest.mark.parametrize("player", ["random", "restless", "expert"])
def test_every_frame_is_the_same(task: Task, chosen: dict[str, Any], player: str) -> None:
    # Observations, rewards, ends and success. The restless player keeps a direction for a while,
    # so that it gets about; it goes north more often, so that it meets key, door and objects.
    colours = {"colours": "per_episode"} if task == "visual_match" else {}
    rows, rng = 8, np.random.default_rng(len(player))
    env = envs.make_vec(IDS[task], rows, autoreset_mode="Disabled", **chosen, **colours)
    expert = envs.expert(IDS[task])
    rules: RoomRules = env.unwrapped.rules  # type: ignore[attr-defined]
    for episode in range(2):
        ours, _ = env.reset(seed=100 * episode) if episode == 0 else env.reset()
        games = [PycolabRooms(task, **chosen) for _ in range(rows)]
        theirs = [game.reset(hidden(rules, row)) for row, game in enumerate(games)]
        np.testing.assert_array_equal(ours, theirs)
        actions_B, over = np.zeros(rows, dtype=np.int64), False
        reset_B = np.ones(rows, dtype=np.bool_)
        while not over:
            if player == "expert":
                actions_B = expert(ours, reset_B)
            else:
                turn = rng.random(rows) < (1.0 if player == "random" else 0.4)
                actions_B = np.where(turn, rng.choice(4, rows, p=[0.4, 0.2, 0.2, 0.2]), actions_B)
            reset_B[:] = False
            ours, rewards_B, terminated_B, truncated_B, infos = env.step(actions_B)
            steps = [game.step(int(action)) for game, action in zip(games, actions_B, strict=True)]
            np.testing.assert_array_equal(ours, [step[0] for step in steps])
            np.testing.assert_array_equal(rewards_B, [step[1] for step in steps])
            np.testing.assert_array_equal(terminated_B, [step[2] for step in steps])
            assert not truncated_B.any()
            over = bool(terminated_B.all())
        last = np.array([game.last_phase_reward for game in games])
        np.testing.assert_array_equal(infos["success"], last > 0)
        if player == "expert":
            assert infos["success"].all()


def test_all_that_can_be_drawn_is_drawn() -> None:
    # And nothing else: the sets are those of the reference.
    match = VisualMatchRules(envs.make(IDS["visual_match"]).unwrapped.rules.options, 600)  # type: ignore[attr-defined]
    match.reset(range(600), range(600))
    drawn = [hidden(match, row) for row in range(600)]
    assert {one.target for one in drawn} == set(range(len(OBJECTS)))
    assert {one.wall for one in drawn} == set(AROUND)
    assert {cell for one in drawn for cell in one.apples} == set(APPLES)
    assert all(len(set(one.apples)) == 10 for one in drawn)
    door = KeyToDoorRules(envs.make(IDS["key_to_door"]).unwrapped.rules.options, 600)  # type: ignore[attr-defined]
    door.reset(range(600), range(600))
    drawn = [hidden(door, row) for row in range(600)]
    assert {one.key for one in drawn} == set(KEYS)
    assert {one.start for one in drawn} == set(STARTS)
    shares = np.bincount([KEYS.index(one.key) for one in drawn]) / 600
    assert abs(shares - 0.1).max() < 0.05
