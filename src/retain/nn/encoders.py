"""Encoders, chosen by the space of what they encode, never by an environment's name.

Axes: ... leading axes (batch, time), D width, A actions.
"""

from __future__ import annotations

import math

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.nn.boxes import BoxUnits
from retain.nn.standardize import Standardize


def encode(space: gym.Space, width: int, *, what: str, normalize: bool = False) -> nn.Module:
    """Returns a module that maps points of a space, [..., *shape], to vectors [..., D].

    Boxes of bytes with two to four axes, of at least 3x3 pixels, are images or stacks of images and
    get convolutions; other boxes are flattened and get a linear layer, bytes after they are scaled
    to at most 1; discrete spaces get an embedding.

    Args:
        space: The space.
        width: Width D.
        what: What is encoded, for the error message.
        normalize: Standardise numbers by those that have been observed; bytes and indices are on a
            scale that is known, and stay as they are.

    Raises:
        ConfigError: If the space is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return IndexEncoder(int(space.n), int(space.start), width)
    if isinstance(space, spaces.Box):
        largest = max(1, int(space.high.max(initial=0))) if space.dtype == "uint8" else 1
        if space.dtype == "uint8" and _is_image(space.shape):
            return ImageEncoder(space.shape, width, largest)
        if largest > 1:
            return BytesEncoder(space.shape, width, largest)
        if normalize and space.dtype != "uint8":
            return StandardizedEncoder(space.shape, width)
        return VectorEncoder(space.shape, width)
    raise ConfigError(
        f"{what} space {space} is not supported; use Box or Discrete, "
        "for example with gymnasium.wrappers.FlattenObservation"
    )


def encode_action(space: gym.Space, width: int, *, normalize: bool = False) -> nn.Module:
    """Returns a module that maps actions, [..., *shape], to vectors [..., D].

    Args:
        space: The action space.
        width: Width D.
        normalize: Measure the actions of a box of numbers in units of the box.

    Raises:
        ConfigError: If the space is neither Box nor Discrete.
    """
    if normalize and isinstance(space, spaces.Box) and space.dtype != "uint8":
        return BoxEncoder(space, width)
    return encode(space, width, what="action")


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3, 4) and min(_channels_first(shape)[1:]) >= 3


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns (channels, height, width), with the images of a stack as further channels."""
    if len(shape) == 2:
        return (1, *shape)
    if len(shape) == 4:
        channels, height, width = _channels_first(shape[1:])
        return (shape[0] * channels, height, width)
    return (shape[2], shape[0], shape[1]) if _channels_last(shape) else shape


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the channels come last: they are the shorter one of both ends of an image."""
    return len(shape) > 2 and shape[-1] < shape[-3]


class VectorEncoder(nn.Module):
    """A linear layer over flattened numbers."""

    def __init__(self, shape: tuple[int, ...], width: int):
        super().__init__()
        self.num_axes = len(shape)
        self.linear = nn.Linear(math.prod(shape), width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., *shape] to [..., D]."""
        if self.num_axes == 0:
            x = x.unsqueeze(-1)
        elif self.num_axes > 1:
            x = x.flatten(-self.num_axes)
        return self.linear(x.to(self.linear.weight.dtype))


class BytesEncoder(nn.Module):
    """A linear layer over flattened bytes, scaled to at most 1: it hardly learns from 0 to 255.

    Its weights have a name of their own, so that weights for bytes as they are do not pass for it.

    Args:
        shape: Shape of a point.
        width: Width D.
        largest: The largest byte there can be.
    """

    def __init__(self, shape: tuple[int, ...], width: int, largest: int = 255):
        super().__init__()
        self.largest = largest
        self.scaled = VectorEncoder(shape, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps bytes [..., *shape] to [..., D]."""
        return self.scaled(x.to(self.scaled.linear.weight.dtype) / self.largest)


class StandardizedEncoder(nn.Module):
    """A linear layer over flattened numbers, standardised by those that have been observed.

    Args:
        shape: Shape of a point.
        width: Width D.
    """

    def __init__(self, shape: tuple[int, ...], width: int):
        super().__init__()
        self.standardize = Standardize(shape)
        self.standardized = VectorEncoder(shape, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., *shape] to [..., D]."""
        return self.standardized(self.standardize(x))


class BoxEncoder(nn.Module):
    """A linear layer over the actions of a box, in units of the box.

    Args:
        space: The box.
        width: Width D.
    """

    def __init__(self, space: spaces.Box, width: int):
        super().__init__()
        self.units = BoxUnits(space)
        self.in_units = nn.Linear(self.units.num_components, width)

    def forward(self, action: Tensor) -> Tensor:
        """Maps [..., *shape] to [..., D]."""
        return self.in_units(self.units(action))


class IndexEncoder(nn.Module):
    """An embedding of whole numbers, followed by tanh."""

    def __init__(self, count: int, start: int, width: int):
        super().__init__()
        self.start = start
        self.embedding = nn.Embedding(count, width)

    def forward(self, index: Tensor) -> Tensor:
        """Maps whole numbers [...] to [..., D]."""
        return torch.tanh(self.embedding(index.long() - self.start))


class ImageEncoder(nn.Module):
    """Convolutions over bytes, scaled to at most 1, then a linear layer.

    The stack is the one of DQN (32 of 8x8 by 4, 64 of 4x4 by 2, 64 of 3x3), or, for images of less
    than 36 pixels, two layers of 2x2.

    Args:
        shape: (channels, height, width), (height, width, channels), or (height, width). The axis of
            the channels is the shorter one of the first and the last. One of the former two may
            come after the length of a stack.
        width: Width D.
        largest: The largest byte there can be.
    """

    largest: Tensor

    def __init__(self, shape: tuple[int, ...], width: int, largest: int = 255):
        super().__init__()
        self.shape = shape
        # Kept with the weights where it is not 255, so that weights for other bytes do not pass.
        self.register_buffer("largest", torch.tensor(float(largest)), persistent=largest != 255)
        self.channels_last = _channels_last(shape)
        shape = _channels_first(shape)
        if min(shape[1:]) >= 36:
            layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
        else:
            layers = [(8, 2, 1), (16, 2, 1)]
        modules: list[nn.Module] = []
        channels = shape[0]
        for filters, size, stride in layers:
            modules += [nn.Conv2d(channels, filters, size, stride), nn.ReLU()]
            channels = filters
        self.convolutions = nn.Sequential(*modules, nn.Flatten())
        with torch.no_grad():
            features = self.convolutions(torch.zeros(1, *shape)).shape[1]
        self.linear = nn.Linear(features, width)

    def forward(self, image: Tensor) -> Tensor:
        """Maps bytes [..., *shape] to [..., D]."""
        lead = image.shape[: image.dim() - len(self.shape)]
        flat = image.reshape(-1, *self.shape).to(self.linear.weight.dtype)
        flat = flat / self.largest
        if len(self.shape) == 2:
            flat = flat.unsqueeze(1)
        elif self.channels_last:
            flat = flat.movedim(-1, -3)
        if len(self.shape) == 4:
            flat = flat.flatten(1, 2)
        return self.linear(self.convolutions(flat)).view(*lead, -1)
