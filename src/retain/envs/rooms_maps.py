"""The maps of Visual Match and Key-to-Door: what stands where, and in which colour.

A room is a board of 7 rows and 11 columns. It is stored with a margin of two cells on each side,
so that the view around a player at the board's edge is a plain slice; a cell is named by its
index in that larger, flattened board.

Axes: C cells of a board with its margin, N cells of one kind, P codes, V cells of a view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.int64]

HEIGHT, WIDTH = 7, 11
REACH = 2  # cells seen to each side of the player
VIEW = 2 * REACH + 1
STRIDE = WIDTH + 2 * REACH
NUM_CELLS = STRIDE * (HEIGHT + 2 * REACH)

NORTH, SOUTH, WEST, EAST = range(4)
MOVES = np.array([-STRIDE, STRIDE, -1, 1], dtype=np.int64)

# What can stand in a cell. The order carries the rules: from FLOOR on it can be walked on, and
# after DOORWAY it is something that happens to a player who comes there.
OUTSIDE, BORDER, SHUT, INDICATOR, CUE = 0, 1, 2, 3, 4  # CUE + colour: a coloured wall
FLOOR, DOORWAY = 7, 8  # DOORWAY: a door that has been used
APPLE, KEY, DOOR, OBJECT = 9, 10, 11, 12  # OBJECT + colour
PLAYER = 15
NUM_CODES = 16
NUM_COLOURS = 3
COLOUR_NAMES = ("red", "green", "blue")

SYMBOLS = " #dI" + "RGB" + " d" + "okd" + "rgb" + "A"
"""One letter per code, for pictures made of text."""

_PER_MILLE: dict[tuple[int, ...], tuple[int, int, int]] = {
    (OUTSIDE, FLOOR): (800, 800, 800),
    (BORDER,): (100, 100, 100),
    (SHUT, DOOR, DOORWAY): (529, 808, 922),
    (INDICATOR,): (1000, 1000, 1000),
    (APPLE,): (550, 700, 0),
    (KEY,): (627, 321, 176),
    (CUE, OBJECT): (1000, 0, 0),
    (CUE + 1, OBJECT + 1): (0, 1000, 0),
    (CUE + 2, OBJECT + 2): (0, 0, 1000),
    (PLAYER,): (898, 584, 430),
}


def _colours() -> npt.NDArray[np.uint8]:
    colours_P3 = np.zeros((NUM_CODES, 3), dtype=np.uint8)
    for codes, per_mille in _PER_MILLE.items():
        # Rounded down, as a cast to bytes does it.
        colours_P3[list(codes)] = [share * 255 // 1000 for share in per_mille]
    return colours_P3


COLOURS_P3 = _colours()


def cell(row: int, column: int) -> int:
    """The index of a board's cell, counted from the board's upper left corner."""
    return (row + REACH) * STRIDE + column + REACH


# Where the cells of a view lie, relative to the player's; row by row.
WINDOW_V = np.array(
    [
        down * STRIDE + right
        for down in range(-REACH, REACH + 1)
        for right in range(-REACH, REACH + 1)
    ],
    dtype=np.int64,
)
CENTRE = VIEW * VIEW // 2


@dataclass(frozen=True)
class Room:
    """A board as it is before anything is drawn, and the cells with a meaning.

    Args:
        text: The board's rows. `#` wall, `S` where the player can start, `o` where apples can
            be, `k` where the key can be, `?` walls that can show the colour, `1` `2` `3` the
            objects, `d` the door; anything else is floor.
    """

    text: tuple[str, ...]
    board_C: npt.NDArray[np.uint8] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        board_C = np.full(NUM_CELLS, OUTSIDE, dtype=np.uint8)
        for row, line in enumerate(self.text):
            for column, letter in enumerate(line):
                code = {"#": BORDER, "?": BORDER, "d": SHUT}.get(letter, FLOOR)
                board_C[cell(row, column)] = code
        object.__setattr__(self, "board_C", board_C)

    def cells(self, letter: str) -> Cells:
        """The cells with this letter, row by row; shape [N]."""
        found = [
            cell(row, column)
            for row, line in enumerate(self.text)
            for column, other in enumerate(line)
            if other == letter
        ]
        return np.array(found, dtype=np.int64)


APPLE_ROOM = Room(
    (
        "###########",
        "#o o o o o#",
        "# o o o o #",
        "#o o o o o#",
        "# o o o o #",
        "#o o S o o#",
        "###########",
    )
)
MATCH_EXPLORE = Room(
    (
        "           ",
        "    ???    ",
        "    ?S?    ",
        "    ???    ",
        "           ",
        "           ",
        "           ",
    )
)
MATCH_REWARD = Room(
    (
        "###########",
        "# 1  2  3 #",
        "#         #",
        "#         #",
        "####   ####",
        "   # S #   ",
        "   #####   ",
    )
)
KEY_EXPLORE = Room(
    (
        "  #######  ",
        "  #kkkkk#  ",
        "  #kkkkk#  ",
        "  ##   ##  ",
        "  #SSSSS#  ",
        "  #SSSSS#  ",
        "  #######  ",
    )
)
KEY_REWARD = Room(
    (
        "           ",
        "   ##d##   ",
        "   #   #   ",
        "   # S #   ",
        "   #   #   ",
        "   #####   ",
        "           ",
    )
)
INDICATOR_CELL = cell(0, 5)
NUM_APPLE_CELLS = len(APPLE_ROOM.cells("o"))


def unpadded(board_C: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The board without its margin, shape [7, 11]."""
    inner = slice(REACH, -REACH)
    return np.asarray(board_C.reshape(-1, STRIDE)[inner, inner])
