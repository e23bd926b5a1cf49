"""Visual Match and Key-to-Door: something seen or done in one room matters two rooms later.

An episode has three phases of fixed length, each in a room of its own: explore (15 steps), apples
(`distractor_length` steps), reward (15 steps in Visual Match, 10 in Key-to-Door). The player sees
the 5x5 cells around it. See `rooms_maps.py` for the boards.

* `retain/VisualMatch-v0`: in the first room a wall cell shows a colour; in the last one three
  coloured objects stand, and touching the one of that colour pays.
* `retain/KeyToDoor-v0`: in the first room lies a key; in the last one a door that opens only to
  a player who took it, and entering it pays.

Observation: uint8 of shape [3, 5, 5], channels first. Actions: 0 north, 1 south, 2 west, 3 east;
a move into a wall does nothing.

One step is one frame: the player moves as the board of the last frame allows, then what stands in
the player's cell takes effect, then apples grow again. The last frame of a phase counts, but is
not shown: the observation after it is the first of the next room. Only the episode's last frame
is shown.

The rules follow the passive Visual Match and the Key-to-Door of Ni et al., "When Do Transformers
Shine in RL? Decoupling Memory from Credit Assignment" (2023), who took them from Hung et al.,
"Optimizing Agent Behavior over Long Time Scales by Transporting Value" (2019).

Axes: B rows, R some of the rows, C cells of a board with its margin, V cells of a view, N numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.envs.batched import BatchedRules, Transition
from retain.envs.checks import check_count, check_number
from retain.envs.rooms_maps import (
    APPLE,
    APPLE_ROOM,
    CENTRE,
    COLOURS_P3,
    DOORWAY,
    FLOOR,
    MOVES,
    NUM_APPLE_CELLS,
    NUM_CELLS,
    PLAYER,
    VIEW,
    WINDOW_V,
    Room,
    unpadded,
)
from retain.envs.rooms_picture import Scene, as_picture, as_text

Rows = npt.NDArray[np.int64]

EXPLORE_LENGTH = 15
EXPLORE, DISTRACTOR, REWARD = range(3)  # the phases
_APPLE_CELLS = APPLE_ROOM.cells("o")
_PACKED_P = np.pad(COLOURS_P3, ((0, 0), (0, 1))).view(np.uint32)[:, 0].copy()


@dataclass(frozen=True, kw_only=True)
class RoomOptions:
    """What can be chosen about both tasks.

    Raises:
        ConfigError: If a value is out of range.
    """

    distractor_length: int = 60
    """Steps of the second phase: how long the first room has to be remembered."""
    num_apples: int = 10
    """Apples in the second room, at random ones of its 22 places."""
    apple_reward: float = 1.0
    """Reward for an apple; 0 leaves only the task itself."""
    apple_respawn: int = 20
    """An eaten apple is back after more than so many steps; 0: never."""
    success_reward: float = 5.0
    """Reward for the right object or for the door. Some later work pays 100."""

    def __post_init__(self) -> None:
        for name in ("distractor_length", "num_apples", "apple_respawn"):
            check_count(name, getattr(self, name), least=0)
        if self.num_apples > NUM_APPLE_CELLS:
            raise ConfigError(
                f"num_apples {self.num_apples} is too many: there are {NUM_APPLE_CELLS} places"
            )
        for name in ("apple_reward", "success_reward"):
            check_number(name, getattr(self, name))
        if self.success_reward <= 0:
            raise ConfigError(f"success_reward must be above 0, got {self.success_reward}")


class RoomRules(BatchedRules):
    """What both tasks have in common; see the module's text."""

    options: RoomOptions
    rooms: ClassVar[tuple[Room, Room, Room]]
    reward_length: ClassVar[int]
    num_draws: ClassVar[int]  # random numbers that an episode takes, apart from the apples'

    def __init__(self, options: RoomOptions, num_rows: int):
        super().__init__(options, num_rows)
        self.observation_space = gym.spaces.Box(0, 255, (3, VIEW, VIEW), dtype=np.uint8)
        self.action_space = gym.spaces.Discrete(4)
        lengths = (EXPLORE_LENGTH, options.distractor_length, self.reward_length)
        # The number of steps after which each phase is over.
        self.phase_ends: tuple[int, ...] = tuple(np.cumsum(lengths).tolist())

        # What an episode draws: where the apples are, and the boards and starts of its phases.
        self.apples_BN = np.zeros((num_rows, options.num_apples), dtype=np.int64)
        self.plans_B3C = np.zeros((num_rows, 3, NUM_CELLS), dtype=np.uint8)
        self.starts_B3 = np.zeros((num_rows, 3), dtype=np.int64)
        for phase, room in enumerate(self.rooms):
            self.plans_B3C[:, phase] = room.board_C
            self.starts_B3[:, phase] = room.cells("S")[0]
        self._draws_BN = np.zeros((num_rows, NUM_APPLE_CELLS + self.num_draws))

        # Where it stands. The board does not show the player.
        self.boards_BC = np.zeros((num_rows, NUM_CELLS), dtype=np.uint8)
        self.cells_B = self.starts_B3[:, EXPLORE].copy()
        self.time_B = np.zeros(num_rows, dtype=np.int64)
        self.phase_B = np.zeros(num_rows, dtype=np.int64)
        self.ended_B = np.ones(num_rows, dtype=np.bool_)
        self.success_B = np.zeros(num_rows, dtype=np.bool_)
        self.eaten_B = np.zeros(num_rows, dtype=np.int64)
        # An apple is back `period` steps after it was eaten, and a step eats one at most. So entry
        # t modulo the period holds the cell that was emptied then, or 0, until its turn comes.
        self._period = options.apple_respawn + 1
        self._emptied_BN = np.zeros((num_rows, self._period), dtype=np.int64)

        self._first_B = np.arange(num_rows) * NUM_CELLS  # where a row begins in `_flat`

    @property
    def _flat(self) -> npt.NDArray[np.uint8]:
        """The boards one after the other. Not kept, so that a copy of the rules has its own."""
        return self.boards_BC.reshape(-1)

    def begin(self, row: int, rng: np.random.Generator) -> None:
        """Draws the episode's random numbers; `reset` lays out the rooms of all rows at once."""
        rng.random(out=self._draws_BN[row])

    def reset(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Starts a new episode in each of `rows`; see `BatchedRules.reset`."""
        super().reset(rows, seeds)
        rows_R = np.asarray(rows, dtype=np.int64)
        draws_RN = self._draws_BN[rows_R]
        order_RN = draws_RN[:, :NUM_APPLE_CELLS].argsort(axis=1)[:, : self.options.num_apples]
        apples_RN = _APPLE_CELLS[order_RN]
        self.apples_BN[rows_R] = apples_RN
        self.plans_B3C[rows_R, DISTRACTOR] = APPLE_ROOM.board_C
        self.plans_B3C[rows_R[:, None], DISTRACTOR, apples_RN] = APPLE
        self._lay_out(rows_R, draws_RN[:, NUM_APPLE_CELLS:])
        self.time_B[rows_R] = self.eaten_B[rows_R] = 0
        self.ended_B[rows_R] = self.success_B[rows_R] = False
        self._emptied_BN[rows_R] = 0
        self._enter(rows_R, EXPLORE)

    def _lay_out(self, rows_R: Rows, draws_RN: npt.NDArray[np.float64]) -> None:
        """Makes the first and the last room of some rows from numbers drawn from [0, 1)."""
        raise NotImplementedError

    def _enter(self, rows_R: Rows, phase: int) -> None:
        self.phase_B[rows_R] = phase
        self.boards_BC[rows_R] = self.plans_B3C[rows_R, phase]
        self.cells_B[rows_R] = self.starts_B3[rows_R, phase]

    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Advances every running row; `actions_B` holds 0 north, 1 south, 2 west, 3 east."""
        running_B = ~self.ended_B
        moves_B = MOVES[actions_B]
        free_B = self._flat.take(self._first_B + self.cells_B + moves_B) >= FLOOR
        self.cells_B += moves_B * (free_B & running_B)
        self.time_B += running_B

        rewards_B = np.zeros(self.num_rows)
        found_B = self._flat.take(self._first_B + self.cells_B)
        events = np.flatnonzero((found_B > DOORWAY) & running_B)
        self._before_events()
        if events.size:
            apple_R = found_B[events] == APPLE
            rows_R = events[apple_R]
            rewards_B[rows_R] = self.options.apple_reward
            self.eaten_B[rows_R] += 1
            self.boards_BC[rows_R, self.cells_B[rows_R]] = FLOOR
            rest_R = events[~apple_R]
            if rest_R.size:
                self._happen(rest_R, found_B[rest_R], rewards_B)
        if self.options.apple_respawn:
            self._regrow(found_B == APPLE, running_B)

        for phase in (DISTRACTOR, REWARD):
            rows_R = np.flatnonzero(running_B & (self.time_B == self.phase_ends[phase - 1]))
            if rows_R.size:
                self._enter(rows_R, phase)
        terminated_B = running_B & (self.time_B == self.phase_ends[REWARD])
        self.ended_B |= terminated_B
        return Transition(rewards_B, terminated_B, np.zeros(self.num_rows, dtype=np.bool_))

    def _before_events(self) -> None:
        """What changes on the boards before anything happens to the player."""

    def _happen(
        self, rows_R: Rows, found_R: npt.NDArray[np.uint8], rewards_B: npt.NDArray[np.float64]
    ) -> None:
        """Lets what stands in the player's cell take effect; apples are dealt with already."""
        raise NotImplementedError

    def _regrow(self, eating_B: npt.NDArray[np.bool_], running_B: npt.NDArray[np.bool_]) -> None:
        rows_R = np.flatnonzero((self.phase_B == DISTRACTOR) & running_B)
        if not rows_R.size:
            return
        now_R = self.time_B[rows_R] % self._period
        due_R = self._emptied_BN[rows_R, now_R]
        self._emptied_BN[rows_R, now_R] = self.cells_B[rows_R] * eating_B[rows_R]
        back_R = np.flatnonzero(due_R)
        self.boards_BC[rows_R[back_R], due_R[back_R]] = APPLE

    def view(self) -> npt.NDArray[np.uint8]:
        """What the players see, as codes of `rooms_maps`; shape [B, V]."""
        places_BV = (self._first_B + self.cells_B)[:, None] + WINDOW_V
        codes_BV = self._flat[places_BV]
        # A door is drawn over the player, everything else under it.
        centre_B = codes_BV[:, CENTRE]
        codes_BV[:, CENTRE] = np.where(centre_B == DOORWAY, DOORWAY, PLAYER)
        return codes_BV

    def observe(self) -> npt.NDArray[np.uint8]:
        """The pictures of all rows, uint8 of shape [B, 3, 5, 5]."""
        codes_BV = self.view()
        # One look-up of four bytes is faster than three of one.
        colours_BV4 = _PACKED_P[codes_BV].view(np.uint8).reshape(*codes_BV.shape, 4)
        pictures_B3V = np.empty((self.num_rows, 3, VIEW * VIEW), dtype=np.uint8)
        for channel in range(3):
            pictures_B3V[:, channel] = colours_BV4[:, :, channel]
        return pictures_B3V.reshape(-1, 3, VIEW, VIEW)

    def end_info(self) -> dict[str, Any]:
        """Whether the last phase paid, and how many apples were eaten."""
        return {"success": self.success_B, "apples": self.eaten_B}

    def render(self, row: int, mode: str) -> str | npt.NDArray[np.uint8]:
        """Draws one row, as text (`ansi`) or as a picture (`rgb_array`)."""
        board_C = self.boards_BC[row].copy()
        place = self.cells_B[row]
        board_C[place] = DOORWAY if board_C[place] == DOORWAY else PLAYER
        scene = Scene(
            board=unpadded(board_C),
            view=self.view()[row].reshape(VIEW, VIEW),
            phase=int(self.phase_B[row]),
            time=int(self.time_B[row]),
            phase_ends=self.phase_ends,
            apples=int(self.eaten_B[row]),
            success=bool(self.success_B[row]) if self.ended_B[row] else None,
        )
        return as_text(scene) if mode == "ansi" else as_picture(scene)
