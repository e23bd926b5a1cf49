"""Numbers on one scale, whatever the task measures them in.

Axes: N points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

#: Deviations beyond this are cut off: a number that was always the same until now has none to be
#: measured by.
LIMIT = 10.0
#: A number that varies by less than this, as a share of its mean, is a constant; what is left is
#: rounding.
CONSTANT = 1e-6
#: Points taken at once, so that data that are mapped from a disk are never in memory as a whole.
_AT_ONCE = 65_536


class Standardize(nn.Module):
    """Subtracts the mean and divides by the standard deviation of what has been observed.

    Mean and variance are buffers, and so a part of every checkpoint. They are put together from
    those of parts (Chan et al. 1983, "Algorithms for Computing the Sample Variance"), so it does
    not matter whether points come all at once, as in a dataset, or bit by bit, as in training
    online. Before any have come, numbers pass as they are.

    Args:
        shape: Shape of a point.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))

    def observe(self, points: npt.NDArray[Any]) -> None:
        """Takes further points into account, [N, *shape]."""
        for start in range(0, len(points), _AT_ONCE):
            self._observe(np.asarray(points[start : start + _AT_ONCE], dtype=np.float64))

    def _observe(self, points: npt.NDArray[np.float64]) -> None:
        before, new = int(self.count), len(points)
        total = before + new
        old_mean = self.mean.double().cpu().numpy()
        old_variance = self.variance.double().cpu().numpy()
        apart = points.mean(axis=0) - old_mean
        mean = old_mean + apart * (new / total)
        variance = (old_variance * before + points.var(axis=0) * new) / total
        variance = variance + apart**2 * (before / total) * (new / total)
        self.count.fill_(total)
        self.mean.copy_(torch.as_tensor(mean))
        self.variance.copy_(torch.as_tensor(variance))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., *shape] to deviations of the same shape."""
        deviation = self.variance.sqrt()
        constant = deviation <= CONSTANT * self.mean.abs()
        scale = torch.where(constant, torch.ones_like(deviation), deviation)
        return ((x.to(self.mean.dtype) - self.mean) / scale).clamp(-LIMIT, LIMIT)
