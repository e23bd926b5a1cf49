"""A channel of noise that every row draws from its own generator, a block at a time.

Axes: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Noise = Literal["discrete", "continuous", "none"]
NOISE_BLOCK = 256  # values drawn at once per row


class RowNoise:
    """The noise of `num_rows` rows, one number per row and step.

    Args:
        kind: `discrete`: -1, 0 or 1; `continuous`: from -1 to 1; `none`: always 0, nothing drawn.
        num_rows: Number of rows.
    """

    def __init__(self, kind: Noise, num_rows: int):
        self.kind = kind
        # Value i of a row's block is the noise at time i modulo the block.
        self._block = np.zeros((num_rows, NOISE_BLOCK), dtype=np.float32)
        self._rows = np.arange(num_rows)

    def draw(self, row: int, rng: np.random.Generator | None) -> None:
        """Draws the next block of a row: at an episode's start and whenever one is used up."""
        if self.kind == "none" or rng is None:
            return
        if self.kind == "discrete":
            self._block[row] = rng.integers(-1, 2, size=NOISE_BLOCK, dtype=np.int8)
        else:
            self._block[row] = rng.uniform(-1.0, 1.0, size=NOISE_BLOCK)

    def advance(
        self,
        time_B: npt.NDArray[np.int64],
        moved_B: npt.NDArray[np.bool_],
        generators: Sequence[np.random.Generator | None],
    ) -> None:
        """Draws anew for the rows that have just moved past the end of their block."""
        if self.kind == "none":
            return
        spent_B = moved_B & (time_B % NOISE_BLOCK == 0)
        if spent_B.any():
            for row in np.flatnonzero(spent_B).tolist():
                self.draw(row, generators[row])

    def at(self, time_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The noise of every row at its own time, shape [B]."""
        return np.asarray(self._block[self._rows, time_B % NOISE_BLOCK])
