"""Random numbers: one seed gives independent streams, and their state can be kept."""

from __future__ import annotations

from typing import Any

import numpy as np


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Returns the numpy generator of one stream of a seed.

    Args:
        seed: The run's seed.
        *stream: Numbers that name the stream; different streams are independent.
    """
    # A spawn key, and not more entropy: numpy pads entropy with zeros, so that stream 0 would be
    # the same as no stream.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Returns the state of a generator as plain numbers (fit for JSON)."""
    return dict(rng.bit_generator.state)


def restore_generator(state: dict[str, Any]) -> np.random.Generator:
    """Returns a generator that goes on where `generator_state` was taken."""
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    return rng
