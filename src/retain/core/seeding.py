"""Random numbers: one seed gives independent streams, and their state can be kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from retain.core.errors import ConfigError

#: The greatest seed: what is made of it (a thousand times as much, one for each episode) must fit
#: into the 64 bits that torch takes.
MAX_SEED = 2**32 - 1


def check_seed(name: str, seed: int) -> None:
    """Checks that a seed can be used.

    Args:
        name: What it is called, for the message.
        seed: The seed.

    Raises:
        ConfigError: If it is negative or too large.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"{name} must be from 0 to {MAX_SEED}, not {seed}")


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
