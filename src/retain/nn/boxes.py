"""Boxes of actions in units of their own.

Axes: ... leading axes (batch, time), N components of a box.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor, nn

from retain.core.errors import ConfigError

#: A bound as far away as this is none.
FAR = 1e18


class BoxUnits(nn.Module):
    """Maps the actions of a box to numbers and back; the components stand in a row.

    The unit of a component is half the width of the box, and 1 where it has not two bounds; zero
    is the middle, or else what is nearest to zero. A component whose bounds are the same is zero.

    Args:
        space: The action space.

    Raises:
        ConfigError: If there is no number of torch's precision between some bounds.
    """

    low: Tensor
    high: Tensor
    middle: Tensor
    unit: Tensor
    free: Tensor
    """Where there is more than one action, [N]."""
    bounded: Tensor
    """Where there are two bounds, [N]."""

    def __init__(self, space: spaces.Box):
        super().__init__()
        self.shape: tuple[int, ...] = space.shape
        self.num_components = math.prod(space.shape)
        low = np.where(space.low < -FAR, -np.inf, space.low).astype(np.float64).flatten()
        high = np.where(space.high > FAR, np.inf, space.high).astype(np.float64).flatten()
        bounded = np.isfinite(low) & np.isfinite(high)
        with np.errstate(invalid="ignore"):  # of bounds that are infinite
            middle = np.where(bounded, (low + high) / 2, np.clip(0.0, low, high))
            unit = np.where(bounded, np.maximum(high - low, 1e-6) / 2, 1.0)
        dtype = torch.zeros(()).numpy().dtype
        buffers = {
            "low": _rounded_up(low, dtype),
            "high": -_rounded_up(-high, dtype),
            "middle": middle.astype(dtype),
            "unit": unit.astype(dtype),
            "bounded": bounded,
        }
        if (buffers["low"] > buffers["high"]).any():
            raise ConfigError(
                f"action space {space} has bounds with no number of {dtype} between them; wrap the "
                "environment so that it has none"
            )
        buffers["free"] = buffers["low"] < buffers["high"]
        for name, values in buffers.items():
            self.register_buffer(name, torch.as_tensor(values), persistent=False)

    def forward(self, action: Tensor) -> Tensor:
        """Maps actions [..., *shape] to numbers [..., N], which are from -1 to 1 in a box."""
        leading = action.shape[: action.dim() - len(self.shape)]
        action = action.to(self.middle.dtype).reshape(*leading, self.num_components)
        return torch.where(self.free, (action - self.middle) / self.unit, 0.0)

    def action(self, number: Tensor) -> Tensor:
        """Maps numbers [..., N] to actions [..., *shape], which may lie outside of the box."""
        return (self.middle + self.unit * number).view(*number.shape[:-1], *self.shape)

    def within(self, action: Tensor) -> Tensor:
        """Returns the nearest actions of the box."""
        return action.clamp(self.low.view(self.shape), self.high.view(self.shape))


def _rounded_up(bound: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Returns lower bounds in a dtype: what lies beyond by a rounding error is refused."""
    nearest = bound.astype(dtype)
    return np.where(nearest < bound, np.nextafter(nearest, dtype.type(np.inf)), nearest)
