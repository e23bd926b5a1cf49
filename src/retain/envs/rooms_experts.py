"""Experts for Visual Match and Key-to-Door, which see what any player sees.

They know the maps. From the first view of a room they tell where they are, and count their moves
from there. In every room they walk to the nearest thing worth having that is in view, else along
a round of lookouts.

Axes: B rows, V cells of a view, C cells of a board with its margin (G when it is a goal).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from retain.envs.experts import register_expert
from retain.envs.rooms import DISTRACTOR, EXPLORE, EXPLORE_LENGTH, REWARD
from retain.envs.rooms_maps import (
    APPLE,
    APPLE_ROOM,
    BORDER,
    COLOURS_P3,
    CUE,
    FLOOR,
    KEY,
    KEY_EXPLORE,
    KEY_REWARD,
    MATCH_EXPLORE,
    MATCH_REWARD,
    MOVES,
    NUM_CELLS,
    NUM_COLOURS,
    OBJECT,
    REACH,
    VIEW,
    WINDOW_V,
    Room,
    cell,
)

Ints = npt.NDArray[np.int64]

_BITS_V = 1 << np.arange(VIEW * VIEW)
# How far away a cell of the view is, in steps without walls between.
_FAR_V = np.array(
    [
        abs(down) + abs(right)
        for down in range(-REACH, REACH + 1)
        for right in range(-REACH, REACH + 1)
    ]
)
_APPLE_ROUND = (cell(2, 7), cell(4, 7), cell(4, 3), cell(2, 3))


@dataclass(frozen=True)
class _Guide:
    """What an expert knows of a room."""

    room: Room
    lookouts: tuple[int, ...]
    free_C: npt.NDArray[np.bool_]  # where one can walk
    next_GC: Ints  # the action at C on a shortest way to G
    signatures: dict[int, int]  # the walls in view at a start, as a number, to the start


@cache
def _guide(room: Room, lookouts: tuple[int, ...]) -> _Guide:
    free_C = room.board_C >= FLOOR
    free_C[room.cells("d")] = True
    things = {int(place) for mark in "123" for place in room.cells(mark)}
    next_GC = np.zeros((NUM_CELLS, NUM_CELLS), dtype=np.int64)
    for goal in np.flatnonzero(free_C).tolist():
        # Backwards from the goal. No way leads through a thing that is not the goal.
        queue, seen = deque([goal]), {goal}
        while queue:
            here = queue.popleft()
            for action, move in enumerate(MOVES.tolist()):
                before = here - move
                if free_C[before] and before not in seen:
                    seen.add(before)
                    next_GC[goal, before] = action
                    if before not in things:
                        queue.append(before)
    starts = room.cells("S")
    walls = (room.board_C[starts[:, None] + WINDOW_V] == BORDER) @ _BITS_V
    signatures = dict(zip(walls.tolist(), starts.tolist(), strict=True))
    return _Guide(room, lookouts, free_C, next_GC, signatures)


def _shows(pictures_BV3: npt.NDArray[np.uint8], code: int) -> npt.NDArray[np.bool_]:
    return np.asarray((pictures_BV3 == COLOURS_P3[code]).all(axis=-1))


class _RoomExpert:
    """The walker; a task says what is worth having."""

    def __init__(self, *guides: _Guide) -> None:
        self._guides = guides
        self._forget(0)

    def _forget(self, num_rows: int) -> None:
        self._phase_B = np.zeros(num_rows, dtype=np.int64)
        self._count_B = np.zeros(num_rows, dtype=np.int64)  # steps taken
        self._place_B = np.zeros(num_rows, dtype=np.int64)
        self._lookout_B = np.zeros(num_rows, dtype=np.int64)
        self._colour_B = np.zeros(num_rows, dtype=np.int64)  # the colour to remember
        self._action_B = np.zeros(num_rows, dtype=np.int64)  # the last action

    def _wanted(self, pictures_BV3: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """The cells in view that are worth a walk in the first and the last room."""
        raise NotImplementedError

    def __call__(
        self, observations: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations: The observations, shape [B, 3, 5, 5].
            reset_B: True where the observation is the first of an episode.
        """
        num_rows = len(observations)
        if len(self._phase_B) != num_rows:
            self._forget(num_rows)
        pictures_BV3 = observations.reshape(num_rows, 3, -1).swapaxes(1, 2)
        self._locate(_shows(pictures_BV3, BORDER) @ _BITS_V, reset_B)
        if reset_B.any():
            self._look(pictures_BV3, reset_B)

        apples_BV = _shows(pictures_BV3, APPLE)
        wanted_BV = np.where(
            (self._phase_B == DISTRACTOR)[:, None], apples_BV, self._wanted(pictures_BV3)
        )
        nearest_B = np.where(wanted_BV, _FAR_V, len(_FAR_V)).argmin(axis=1)
        goals_B = self._place_B + WINDOW_V[nearest_B]
        actions_B = np.zeros(num_rows, dtype=np.int64)
        for phase, guide in enumerate(self._guides):
            rows = np.flatnonzero(self._phase_B == phase)
            if not rows.size:
                continue
            stops = np.array(guide.lookouts)
            self._lookout_B[rows] += self._place_B[rows] == stops[self._lookout_B[rows]]
            self._lookout_B[rows] %= len(stops)
            stop = stops[self._lookout_B[rows]]
            goal = np.where(wanted_BV[rows].any(axis=1), goals_B[rows], stop)
            actions_B[rows] = guide.next_GC[goal, self._place_B[rows]]
        self._action_B = actions_B
        return actions_B

    def _look(self, pictures_BV3: npt.NDArray[np.uint8], first_B: npt.NDArray[np.bool_]) -> None:
        """Takes note of what an episode's first view shows."""

    def _locate(self, walls_B: Ints, reset_B: npt.NDArray[np.bool_]) -> None:
        """Keeps room and place, from the last action and the walls in view."""
        for phase, guide in enumerate(self._guides):
            rows = np.flatnonzero((self._phase_B == phase) & ~reset_B)
            ahead = self._place_B[rows] + MOVES[self._action_B[rows]]
            self._place_B[rows] = np.where(guide.free_C[ahead], ahead, self._place_B[rows])
        self._count_B = np.where(reset_B, 0, self._count_B + 1)
        # The first switch is known by the clock, the second by what the last room looks like.
        self._arrive(reset_B, EXPLORE, walls_B)
        self._arrive(self._count_B == EXPLORE_LENGTH, DISTRACTOR, walls_B)
        last = np.array(list(self._guides[REWARD].signatures))
        here_B = (self._phase_B == DISTRACTOR) & np.isin(walls_B, last)
        self._arrive(here_B, REWARD, walls_B)

    def _arrive(self, mask_B: npt.NDArray[np.bool_], phase: int, walls_B: Ints) -> None:
        known = self._guides[phase].signatures
        for row in np.flatnonzero(mask_B).tolist():
            self._phase_B[row], self._lookout_B[row] = phase, 0
            start = int(self._guides[phase].room.cells("S")[0])
            self._place_B[row] = known.get(int(walls_B[row]), start)


@register_expert("retain/VisualMatch-v0")
class VisualMatchExpert(_RoomExpert):
    """Finds the object of the colour it saw, always; eats apples that come into its view."""

    def __init__(self) -> None:
        # Two cells below the middle object, then one to the side for either of the others.
        lookouts = (cell(3, 5), cell(3, 4), cell(3, 6))
        super().__init__(
            _guide(MATCH_EXPLORE, (int(MATCH_EXPLORE.cells("S")[0]),)),
            _guide(APPLE_ROOM, _APPLE_ROUND),
            _guide(MATCH_REWARD, lookouts),
        )

    def _look(self, pictures_BV3: npt.NDArray[np.uint8], first_B: npt.NDArray[np.bool_]) -> None:
        for colour in range(NUM_COLOURS):
            seen_B = _shows(pictures_BV3, CUE + colour).any(axis=1)
            self._colour_B[first_B & seen_B] = colour

    def _wanted(self, pictures_BV3: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        colour_B3 = COLOURS_P3[OBJECT + self._colour_B]
        match_BV = (pictures_BV3 == colour_B3[:, None]).all(axis=-1)
        return np.asarray(match_BV & (self._phase_B == REWARD)[:, None])


@register_expert("retain/KeyToDoor-v0")
class KeyToDoorExpert(_RoomExpert):
    """Takes the key and opens the door, always; eats apples that come into its view."""

    def __init__(self) -> None:
        super().__init__(
            _guide(KEY_EXPLORE, (cell(2, 5),)),
            _guide(APPLE_ROOM, _APPLE_ROUND),
            _guide(KEY_REWARD, tuple(KEY_REWARD.cells("d").tolist())),
        )

    def _wanted(self, pictures_BV3: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        return _shows(pictures_BV3, KEY)
