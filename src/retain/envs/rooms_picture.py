"""Pictures of Visual Match and Key-to-Door: as text, and as an image.

Axes: H rows and W columns of a board.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retain.envs.rooms_maps import COLOURS_P3, HEIGHT, REACH, SYMBOLS, VIEW, WIDTH

CELL = 32  # pixels; sides that are multiples of 16 suit video encoders
PHASES = ("explore", "distractor", "reward")

INK = (24, 27, 38)
TRACK = (58, 64, 82)
BAR = (245, 178, 48)


@dataclass(frozen=True)
class Scene:
    """What is to be seen of one row."""

    board: npt.NDArray[np.uint8]  # codes, the player among them; shape [H, W]
    view: npt.NDArray[np.uint8]  # codes, shape [5, 5]
    phase: int
    time: int
    phase_ends: tuple[int, ...]
    apples: int  # eaten so far
    success: bool | None  # None while the episode runs


def as_text(scene: Scene) -> str:
    """Draws the board, beside it the player's view, and a status line.

    `A` is the player, `o` an apple, `k` the key, `d` the door, `I` the indicator; `R`, `G`, `B`
    is a wall that shows a colour, `r`, `g`, `b` an object that has it.
    """
    board = ["".join(SYMBOLS[code] for code in line) for line in scene.board]
    view = ["".join(SYMBOLS[code] for code in line) for line in scene.view]
    rule = "+" + "-" * VIEW + "+"
    beside = [rule, *(f"|{line}|" for line in view), rule]
    lines = [f"{left}   {right}".rstrip() for left, right in zip(board, beside, strict=True)]
    first = 0 if scene.phase == 0 else scene.phase_ends[scene.phase - 1]
    length = scene.phase_ends[scene.phase] - first
    status = f"step {scene.time}  {PHASES[scene.phase]} {scene.time - first}/{length}"
    status += f"  apples {scene.apples}"
    if scene.success is not None:
        status += "  success" if scene.success else "  failure"
    return "\n".join([*lines, status])


def as_picture(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draws the board and, to its right, the player's view; uint8 of shape [224, 544, 3].

    The bar below the view shows how much of the three phases is over.
    """
    image = np.empty((HEIGHT * CELL, (WIDTH + 1 + VIEW) * CELL, 3), dtype=np.uint8)
    image[:] = INK
    image[:, : WIDTH * CELL] = _enlarged(scene.board)
    left = (WIDTH + 1) * CELL - CELL // 2
    top = (HEIGHT // 2 - REACH) * CELL
    image[top : top + VIEW * CELL, left : left + VIEW * CELL] = _enlarged(scene.view)
    total, width = scene.phase_ends[-1], VIEW * CELL
    bar = slice(image.shape[0] - CELL // 2 - 4, image.shape[0] - CELL // 2 + 4)
    begin = 0
    for end in scene.phase_ends:
        ends = [left + round(width * share / total) for share in (begin, end)]
        done = left + round(width * min(max(scene.time, begin), end) / total)
        image[bar, ends[0] : ends[1] - 2] = TRACK
        image[bar, ends[0] : min(done, ends[1] - 2)] = BAR
        begin = end
    return image


def _enlarged(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return COLOURS_P3[codes].repeat(CELL, axis=0).repeat(CELL, axis=1)
