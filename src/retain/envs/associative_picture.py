"""Pictures of associative recall: as a line of text, and as an image drawn with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CELL = 32  # pixels; sides that are multiples of 16 suit video encoders
SHOWN = 24  # keys or values that are drawn at most

Colour = tuple[int, int, int]
BACKGROUND: Colour = (24, 27, 38)
TRACK: Colour = (58, 64, 82)
KEY: Colour = (245, 178, 48)
VALUE: Colour = (76, 175, 110)
ASKED: Colour = (52, 106, 214)
INK: Colour = (250, 250, 252)


@dataclass(frozen=True)
class Scene:
    """What is to be seen of one row."""

    num_keys: int
    num_values: int
    time: int
    phase_ends: tuple[int, int, int]  # times at which storing, the gap and the questions are over
    key: int  # the key shown or asked, or -1
    value: int  # the value shown, or -1
    asked: bool
    right: int  # right answers so far
    num_questions: int

    @property
    def ended(self) -> bool:
        """Whether the episode is over."""
        return self.time >= self.phase_ends[2]


def as_text(scene: Scene) -> str:
    """Draws a row in a line; keys count from 0, values from 1 as the actions that name them do."""
    stored, waited, steps = scene.phase_ends
    phase = "store" if scene.time < stored else "gap" if scene.time < waited else "ask"
    line = f"step {scene.time}/{steps}  {'end' if scene.ended else phase}"
    if scene.asked:
        line += f"  key {scene.key} = ?"
    elif scene.key >= 0:
        line += f"  key {scene.key} = {scene.value + 1}"
    return f"{line}  right {scene.right}/{scene.num_questions}"


def as_picture(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draws the keys above and the values below, uint8 of shape [height, width, 3].

    A pair that is shown is lit in amber and green, a key that is asked for in blue. The three bars
    below are the phases, as far as they are over; the squares above are the questions, bright for
    right answers.
    """
    columns = min(max(scene.num_keys, scene.num_values, scene.num_questions), SHOWN)
    image = np.empty((6 * CELL, (max(columns, 4) + 2) * CELL, 3), dtype=np.uint8)
    image[:] = BACKGROUND
    for question in range(min(scene.num_questions, columns)):
        colour = INK if question < scene.right else TRACK
        _square(image, 0.75, question + 1, 0.4, colour)
    for key in range(min(scene.num_keys, columns)):
        lit = key == min(scene.key, columns - 1)
        _square(image, 2, key + 1, 0.9, (ASKED if scene.asked else KEY) if lit else TRACK)
    for value in range(min(scene.num_values, columns)):
        lit = value == min(scene.value, columns - 1)
        _square(image, 3.25, value + 1, 0.9, VALUE if lit else TRACK)
    begin, width = 0, image.shape[1] - 2 * CELL
    for phase, end in enumerate(scene.phase_ends):
        left = CELL + phase * width // 3
        full = width // 3 - 4
        share = (min(max(scene.time, begin), end) - begin) / (end - begin) if end > begin else 1.0
        done = round(share * full) if scene.time >= begin else 0
        image[5 * CELL : 5 * CELL + 6, left : left + full] = TRACK
        image[5 * CELL : 5 * CELL + 6, left : left + done] = ASKED
        begin = end
    return image


def _square(
    image: npt.NDArray[np.uint8], row: float, column: float, share: float, colour: Colour
) -> None:
    """Fills the middle of a cell; `share` of its side is filled."""
    side, margin = round(share * CELL), round((1 - share) / 2 * CELL)
    top, left = round(row * CELL) + margin, round(column * CELL) + margin
    image[top : top + side, left : left + side] = colour
