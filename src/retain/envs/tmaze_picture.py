"""Pictures of the T-Maze: as text, and as an image drawn with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW = 21  # cells of the corridor that are shown at once
CELL = 32  # pixels; sides that are multiples of 16 suit video encoders

Colour = tuple[int, int, int]
BACKGROUND: Colour = (24, 27, 38)
FLOOR: Colour = (214, 218, 226)
START: Colour = (186, 194, 208)
GOAL: Colour = (76, 175, 110)
OTHER: Colour = (214, 96, 88)
AGENT: Colour = (52, 106, 214)
HINT: Colour = (245, 178, 48)
INK: Colour = (250, 250, 252)
TRACK: Colour = (58, 64, 82)


@dataclass(frozen=True)
class Scene:
    """What is to be seen of one row."""

    length: int  # cells of the corridor in this episode
    longest: int  # cells of the longest corridor there can be; it fixes the picture's size
    x: int
    y: int
    time: int
    hint: int  # the hint shown now, or 0
    goal: int  # the right side for the question asked now
    question: int  # its number, from 1
    num_hints: int
    success: bool | None  # None while the episode runs
    item: int = 0  # the question that the hint is for, from 1; 0 if it does not say
    distractor: bool = False  # whether the hint means nothing

    @property
    def window(self) -> range:
        """The cells shown: all, or those around the agent."""
        width = min(self.length, WINDOW)
        first = min(max(self.x - width // 2, 0), self.length - width)
        return range(first, first + width)


def as_text(scene: Scene) -> str:
    """Draws the corridor, the agent `A`, the goal `G` and the other arm `x`, and a status line."""
    cells = scene.window
    up, down = ("G", "x") if scene.goal > 0 else ("x", "G")
    up, down = ("A" if scene.y > 0 else up), ("A" if scene.y < 0 else down)
    floor = "".join(" A" if x == scene.x and scene.y == 0 else " ·" for x in cells)
    left = "│" if cells[0] == 0 else "┄"
    edge, foot = ("┌", "└") if cells[0] == 0 else ("─", "─")
    if cells[-1] < scene.length - 1:
        wall = "─" * (2 * len(cells) + 2)
        lines = ["", "", edge + wall, f"{left}{floor} ┄", foot + wall, "", ""]
    else:
        pad, wall = " " * (2 * len(cells) - 2), "─" * (2 * len(cells) - 3)
        shaft = len(cells) == 1  # the start is the junction
        lines = [
            f"{pad}┌───┐",
            f"{pad}│ {up} │",
            "│   │" if shaft else f"{edge}{wall}┘   │",
            f"{left}{floor} │",
            "│   │" if shaft else f"{foot}{wall}┐   │",
            f"{pad}│ {down} │",
            f"{pad}└───┘",
        ]
    hint = {1: "up", -1: "down", 0: "-"}[scene.hint]
    status = f"step {scene.time}  cell {scene.x + 1}/{scene.length}  hint {hint}"
    if scene.item and scene.num_hints > 1:
        status += f" for {scene.item}"
    if scene.distractor:
        status += " (means nothing)"
    if scene.num_hints > 1:
        status += f"  question {scene.question}/{scene.num_hints}"
    if scene.success is not None:
        status += "  right" if scene.success else "  wrong"
    return "\n".join([*lines, status])


def as_picture(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draws the maze in colour, uint8 of shape [height, width, 3].

    The goal's arm is green, the other red; the agent is a blue disc, with an amber ring and an
    arrow while it is shown a hint; the ring is dark if the hint means nothing. The bar below says
    how much of the corridor is behind it. With several hints, dots above count the answers, and a
    hint that says which question it is for lights that dot in amber.
    """
    shown = min(scene.longest, WINDOW)
    height, width = 5 * CELL + CELL // 2, (shown + 2) * CELL
    image = np.empty((height, width, 3), dtype=np.float64)
    image[:] = BACKGROUND
    cells = scene.window
    for column, x in enumerate(cells):
        _tile(image, 2, column + 1, START if x == 0 else FLOOR)
        if x == scene.length - 1:
            _tile(image, 1, column + 1, GOAL if scene.goal > 0 else OTHER)
            _tile(image, 3, column + 1, GOAL if scene.goal < 0 else OTHER)
    centre_y = (2 - scene.y + 0.5) * CELL
    centre_x = (scene.x - cells[0] + 1.5) * CELL
    if scene.hint:
        _disc(image, centre_y, centre_x, 0.46 * CELL, TRACK if scene.distractor else HINT)
    _disc(image, centre_y, centre_x, 0.34 * CELL, AGENT)
    if scene.hint:
        _arrow(image, centre_y, centre_x, 0.2 * CELL, scene.hint)
    if scene.success is not None:
        _disc(image, centre_y, centre_x, 0.14 * CELL, INK)
    if scene.num_hints > 1:  # one dot per question, bright once it is answered
        answered = scene.num_hints if scene.success is not None else scene.question - 1
        for number in range(min(scene.num_hints, 2 * shown)):
            colour = INK if number < answered else TRACK
            colour = HINT if number + 1 == scene.item else colour
            _disc(image, 0.5 * CELL, (1.25 + 0.5 * number) * CELL, 0.16 * CELL, colour)
    top, left, right = int(4.5 * CELL), CELL, width - CELL
    image[top : top + 4, left:right] = TRACK
    done = scene.x / max(scene.length - 1, 1) if scene.length > 1 else 1.0
    image[top : top + 4, left : left + round(done * (right - left))] = AGENT
    return np.asarray(image.round(), dtype=np.uint8)


def _tile(image: npt.NDArray[np.float64], row: int, column: int, colour: Colour) -> None:
    top, left = row * CELL, column * CELL
    image[top + 1 : top + CELL - 1, left + 1 : left + CELL - 1] = colour


def _disc(
    image: npt.NDArray[np.float64], y: float, x: float, radius: float, colour: Colour
) -> None:
    patch, down, right = _patch(image, y, x)
    # The edge is one pixel wide, so that the disc looks round.
    _blend(patch, np.clip(radius + 0.5 - np.hypot(down, right), 0.0, 1.0), colour)


def _arrow(image: npt.NDArray[np.float64], y: float, x: float, size: float, direction: int) -> None:
    patch, down, right = _patch(image, y, x)
    along = -down * direction  # grows towards the arrow's tip
    inside = (size - along) / 2 - np.abs(right)
    cover = np.clip(inside + 0.5, 0.0, 1.0) * np.clip(along + size + 0.5, 0.0, 1.0)
    _blend(patch, cover, INK)


def _patch(
    image: npt.NDArray[np.float64], y: float, x: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The cell around a point, and how far down and right of the point its pixels are."""
    top, left = int(y - CELL / 2), int(x - CELL / 2)
    side = np.arange(CELL, dtype=np.float64) + 0.5
    patch = image[top : top + CELL, left : left + CELL]
    down, right = side + (top - y), side + (left - x)
    return patch, down[:, None], right[None, :]


def _blend(patch: npt.NDArray[np.float64], cover: npt.NDArray[np.float64], colour: Colour) -> None:
    patch += cover[..., None] * (np.array(colour, dtype=np.float64) - patch)
