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
CONSTANT = 1e-12
#: Points taken at once, so that data that are mapped from a disk are never in memory as a whole.
_AT_ONCE = 65_536


class Moments(nn.Module):
    """The mean and the standard deviation of what has been observed.

    Both are buffers, and so a part of every checkpoint. They are put together from those of parts
    (Chan et al. 1983, "Algorithms for Computing the Sample Variance"), so it does not matter
    whether points come all at once, as in a dataset, or bit by bit, as in training online.

    Args:
        shape: Shape of a point.
    """

    count: Tensor
    mean: Tensor
    mean_rest: Tensor
    deviation: Tensor
    deviation_rest: Tensor

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        # What is lost of a number in single precision is kept beside it: many small changes add up,
        # and not every device has doubles.
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("mean_rest", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.register_buffer("deviation_rest", torch.zeros(shape))

    def observe(self, points: npt.NDArray[Any]) -> None:
        """Takes further points into account, [N, *shape]."""
        for start in range(0, len(points), _AT_ONCE):
            part = np.asarray(points[start : start + _AT_ONCE], dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):  # what training tells of itself
                self._observe(part)

    def _observe(self, points: npt.NDArray[np.float64]) -> None:
        before, new = int(self.count), len(points)
        total = before + new
        old_mean, old_deviation = self._double("mean"), self._double("deviation")
        apart = points.mean(axis=0) - old_mean
        variance = (old_deviation**2 * before + points.var(axis=0) * new) / total
        variance = variance + apart**2 * (before / total) * (new / total)
        self.count.fill_(total)
        self._store("mean", old_mean + apart * (new / total))
        self._store("deviation", np.sqrt(variance))

    def _double(self, name: str) -> Any:
        parts = (getattr(self, name), getattr(self, f"{name}_rest"))
        one, rest = (part.cpu().numpy().astype(np.float64) for part in parts)
        return one + rest

    def _store(self, name: str, value: Any) -> None:
        number: Tensor = getattr(self, name)
        number.copy_(torch.as_tensor(value))
        rest = value - number.cpu().numpy().astype(np.float64)
        getattr(self, f"{name}_rest").copy_(torch.as_tensor(rest))

    def unit(self) -> Tensor:
        """Returns the deviation, and 1 where nothing varies or nothing has been observed."""
        constant = self.deviation <= CONSTANT * self.mean.abs()
        return torch.where(constant, torch.ones_like(self.deviation), self.deviation)


class Standardize(Moments):
    """Subtracts the mean and divides by the standard deviation of what has been observed.

    Before anything has been, numbers pass as they are, up to the limit.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., *shape] to deviations of the same shape."""
        # In the numbers' own precision: of a time in seconds, singles do not have the minutes.
        precise = torch.promote_types(x.dtype, self.mean.dtype)
        centred = x.to(precise) - self.mean.to(precise) - self.mean_rest.to(precise)
        return (centred.to(self.mean.dtype) / self.unit()).clamp(-LIMIT, LIMIT)


class RewardScale(Moments):
    """Divides rewards by the standard deviation of discounted returns.

    What is observed is the sum of the rewards so far in an episode, at each of its steps, with
    those of earlier steps discounted (Engstrom et al. 2020, arXiv 2005.12729, section 3). The mean
    stays: whether a reward is good or bad is not a matter of scale.
    """

    def __init__(self) -> None:
        super().__init__(())

    def forward(self, reward: Tensor) -> Tensor:
        """Maps rewards [...] to shares of a deviation, up to the limit."""
        return (reward.to(self.mean.dtype) / self.unit()).clamp(-LIMIT, LIMIT)
