"""Key-to-Door: take a key, pick apples for a while, then open a door with the key.

The first room has a lower part, where the player starts, and an upper one, where the key lies. The
last room has a door in its wall. It is shut for a player without the key; going into it with the
key pays, and uses the key up. In the step that takes the key, and in no other, the middle of the
board's upper edge turns white. Rules common to both tasks, and the source, are in `rooms.py`.

Axes: B rows, R some of the rows, N numbers.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from retain.envs.batched import BatchedEnv, BatchedVectorEnv
from retain.envs.rooms import EXPLORE, REWARD, RoomOptions, RoomRules, Rows
from retain.envs.rooms_maps import (
    APPLE_ROOM,
    BORDER,
    DOOR,
    DOORWAY,
    FLOOR,
    INDICATOR,
    INDICATOR_CELL,
    KEY,
    KEY_EXPLORE,
    KEY_REWARD,
)


class KeyToDoorOptions(RoomOptions):
    """What can be chosen about Key-to-Door: nothing but what both tasks have."""


class KeyToDoorRules(RoomRules):
    """The rules of `num_rows` Key-to-Doors."""

    options: KeyToDoorOptions
    rooms = (KEY_EXPLORE, APPLE_ROOM, KEY_REWARD)
    reward_length = 10
    num_draws = 2

    _KEYS: ClassVar[Rows] = KEY_EXPLORE.cells("k")
    _STARTS: ClassVar[Rows] = KEY_EXPLORE.cells("S")
    _DOOR: ClassVar[int] = int(KEY_REWARD.cells("d")[0])

    def __init__(self, options: KeyToDoorOptions, num_rows: int):
        super().__init__(options, num_rows)
        self.keys_B = np.zeros(num_rows, dtype=np.int64)  # the cell where the key lies at first
        self._flash_B = np.zeros(num_rows, dtype=np.bool_)  # the indicator is shown

    def _lay_out(self, rows_R: Rows, draws_RN: npt.NDArray[np.float64]) -> None:
        keys_R = self._KEYS[(draws_RN[:, 0] * len(self._KEYS)).astype(np.int64)]
        self.keys_B[rows_R] = keys_R
        starts_R = self._STARTS[(draws_RN[:, 1] * len(self._STARTS)).astype(np.int64)]
        self.starts_B3[rows_R, EXPLORE] = starts_R
        self.plans_B3C[rows_R, EXPLORE] = KEY_EXPLORE.board_C
        self.plans_B3C[rows_R, EXPLORE, keys_R] = KEY
        self.plans_B3C[rows_R, REWARD] = KEY_REWARD.board_C

    def _enter(self, rows_R: Rows, phase: int) -> None:
        super()._enter(rows_R, phase)
        self._flash_B[rows_R] = False

    def _before_events(self) -> None:
        if self._flash_B.any():
            self.boards_BC[self._flash_B, INDICATOR_CELL] = BORDER
            self._flash_B[:] = False

    def hidden(self) -> dict[str, npt.NDArray[np.int64]]:
        """Whether the player has taken the key."""
        return {"key": (self.plans_B3C[:, REWARD, self._DOOR] == DOOR).astype(np.int64)}

    def _happen(
        self, rows_R: Rows, found_R: npt.NDArray[np.uint8], rewards_B: npt.NDArray[np.float64]
    ) -> None:
        key_R = rows_R[found_R == KEY]
        self.boards_BC[key_R, self.cells_B[key_R]] = FLOOR
        self.boards_BC[key_R, INDICATOR_CELL] = INDICATOR
        self._flash_B[key_R] = True
        # With the key the door of the last room is one that can be walked on and pays.
        self.plans_B3C[key_R, REWARD, self._DOOR] = DOOR
        door_R = rows_R[found_R == DOOR]
        self.boards_BC[door_R, self._DOOR] = DOORWAY
        rewards_B[door_R] += self.options.success_reward
        self.success_B[door_R] = True


class KeyToDoorEnv(BatchedEnv):
    """One `retain/KeyToDoor-v0`; the options are those of `KeyToDoorOptions`."""

    rules_type = KeyToDoorRules
    options_type = KeyToDoorOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class KeyToDoorVectorEnv(BatchedVectorEnv):
    """Many Key-to-Doors in one batch; the options are those of `KeyToDoorOptions`."""

    rules_type = KeyToDoorRules
    options_type = KeyToDoorOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012
