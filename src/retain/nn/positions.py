"""Sinusoidal encodings of signed distances.

Axes: P distances, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RelativePositions(nn.Module):
    """Encodings of the distance from a query back to a key, as in Transformer-XL.

    The encoding of distance p is [sin(p w), cos(p w)] with w_i = 10000^(-2i/D), the two halves side
    by side (Dai et al. 2019, arXiv 1901.02860). Distances may be negative: memory tokens attend to
    each other in both directions, and a key that comes later has a distance below zero. (The
    published code reads another row's score there.)

    Args:
        width: Width D of an encoding; even.
        furthest: The largest distance back.
        ahead: The largest distance ahead.
    """

    def __init__(self, width: int, furthest: int, ahead: int):
        super().__init__()
        frequency = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        distance = torch.arange(furthest, -ahead - 1, -1, dtype=torch.float64)
        angle = distance[:, None] * frequency
        table = torch.cat([angle.sin(), angle.cos()], dim=-1)
        self.furthest = furthest
        self.ahead = ahead
        self.table_PD: Tensor
        self.register_buffer("table_PD", table.to(torch.get_default_dtype()), persistent=False)

    def between(self, furthest: int, nearest: int) -> Tensor:
        """Returns the encodings of the distances furthest, furthest-1, ..., nearest; [P, D]."""
        start = self.furthest - furthest
        return self.table_PD[start : self.furthest - nearest + 1]
