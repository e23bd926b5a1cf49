"""Passive Visual Match: a wall shows a colour; two rooms later, go to the object that has it.

The player is shut in one cell; of the eight walls around it one has a colour. After the apples it
stands before three objects, of which one has that colour. Touching any removes all three; touching
the right one pays. Rules common to both tasks, and the source, are in `rooms.py`.

Axes: B rows, R some of the rows, N numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.envs.batched import BatchedEnv, BatchedVectorEnv
from retain.envs.checks import check_count
from retain.envs.rooms import EXPLORE, REWARD, RoomOptions, RoomRules, Rows
from retain.envs.rooms_maps import (
    APPLE_ROOM,
    CUE,
    FLOOR,
    MATCH_EXPLORE,
    MATCH_REWARD,
    NUM_COLOURS,
    OBJECT,
)

Colours = Literal["fixed", "per_env", "per_episode"]


@dataclass(frozen=True, kw_only=True)
class VisualMatchOptions(RoomOptions):
    """What can be chosen about Visual Match."""

    colours: Colours = "fixed"
    """Which colour stands where in the last room. `fixed`: red, green, blue from left to right,
    in every environment; `per_episode`: shuffled in every episode; `per_env`: shuffled once for an
    environment with all its rows, which is the protocol of the published runs."""
    colour_seed: int | None = None
    """Seed of the shuffle of `per_env`. None takes a new one for every environment, as published:
    then two environments, say of training and of evaluation, differ in 5 of 6 cases."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.colours not in get_args(Colours):
            names = ", ".join(get_args(Colours))
            raise ConfigError(f"colours '{self.colours}' is not one of {names}")
        if self.colour_seed is not None:
            check_count("colour_seed", self.colour_seed, least=0)
            if self.colours != "per_env":
                raise ConfigError(
                    f"colour_seed has no effect with colours '{self.colours}'; use 'per_env'"
                )


class VisualMatchRules(RoomRules):
    """The rules of `num_rows` passive Visual Matches."""

    options: VisualMatchOptions
    rooms = (MATCH_EXPLORE, APPLE_ROOM, MATCH_REWARD)
    reward_length = 15
    num_draws = 2 + NUM_COLOURS

    _WALLS: ClassVar[Rows] = MATCH_EXPLORE.cells("?")
    _OBJECTS: ClassVar[Rows] = np.concatenate([MATCH_REWARD.cells(mark) for mark in "123"])

    def __init__(self, options: VisualMatchOptions, num_rows: int):
        super().__init__(options, num_rows)
        order_3 = np.arange(NUM_COLOURS)
        if options.colours == "per_env":
            order_3 = np.random.default_rng(options.colour_seed).permutation(NUM_COLOURS)
        # The colours of the three objects from left to right; 0 red, 1 green, 2 blue.
        self.colours_B3 = np.tile(order_3, (num_rows, 1))
        self.targets_B = np.zeros(num_rows, dtype=np.int64)  # the object that pays: 0, 1 or 2
        self.walls_B = np.zeros(num_rows, dtype=np.int64)  # the cell that shows its colour

    def _lay_out(self, rows_R: Rows, draws_RN: npt.NDArray[np.float64]) -> None:
        targets_R = (draws_RN[:, 0] * NUM_COLOURS).astype(np.int64)
        walls_R = self._WALLS[(draws_RN[:, 1] * len(self._WALLS)).astype(np.int64)]
        if self.options.colours == "per_episode":
            self.colours_B3[rows_R] = draws_RN[:, 2:].argsort(axis=1)
        colours_R3 = self.colours_B3[rows_R]
        self.targets_B[rows_R], self.walls_B[rows_R] = targets_R, walls_R
        shown_R = CUE + colours_R3[np.arange(len(rows_R)), targets_R]
        self.plans_B3C[rows_R, EXPLORE] = MATCH_EXPLORE.board_C
        self.plans_B3C[rows_R, EXPLORE, walls_R] = shown_R
        self.plans_B3C[rows_R[:, None], REWARD, self._OBJECTS] = OBJECT + colours_R3

    def hidden(self) -> dict[str, npt.NDArray[np.int64]]:
        """The colour that the wall shows: 0 red, 1 green, 2 blue."""
        return {"colour": self.colours_B3[np.arange(self.num_rows), self.targets_B]}

    def _happen(
        self, rows_R: Rows, found_R: npt.NDArray[np.uint8], rewards_B: npt.NDArray[np.float64]
    ) -> None:
        wanted_R = self.colours_B3[rows_R, self.targets_B[rows_R]]
        right_R = found_R == OBJECT + wanted_R
        rewards_B[rows_R] += self.options.success_reward * right_R
        self.success_B[rows_R] |= right_R
        self.boards_BC[rows_R[:, None], self._OBJECTS] = FLOOR


class VisualMatchEnv(BatchedEnv):
    """One `retain/VisualMatch-v0`; the options are those of `VisualMatchOptions`."""

    rules_type = VisualMatchRules
    options_type = VisualMatchOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class VisualMatchVectorEnv(BatchedVectorEnv):
    """Many Visual Matches in one batch; the options are those of `VisualMatchOptions`."""

    rules_type = VisualMatchRules
    options_type = VisualMatchOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012
