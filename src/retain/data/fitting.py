"""Whether arrays are what their spaces say, before anything is trained on them.

Training would stumble over wrong data much later, and blame something else.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.spaces import in_words


def check_episode(
    observations: npt.NDArray[Any],
    actions: npt.NDArray[Any],
    rewards: npt.NDArray[Any],
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
) -> None:
    """Checks what an episode is made of: its points by `check_points`, and that rewards are finite.

    Raises:
        ValueError: If something does not fit.
    """
    check_points("observations", observations, observation_space)
    check_points("actions", actions, action_space)
    check_rewards(rewards)


def check_points(what: str, points: npt.NDArray[Any], space: gym.Space[Any]) -> None:
    """Checks points of a space, one in each row.

    Their shape, their kind, the range of whole numbers, and that others are finite. Whether they
    lie within the bounds of a box is not asked: rounding leads past them, and training needs none.

    Args:
        what: What they are, for the message.
        points: The points, shape [T, ...].
        space: The space.

    Raises:
        ValueError: If a point does not fit.
    """
    if space.shape is None or points.shape[1:] != space.shape:
        raise ValueError(
            f"its {what} have shape {points.shape[1:]}, but the space is {in_words(space)}"
        )
    if space.dtype is None:
        return
    wanted = np.dtype(space.dtype)
    if not np.can_cast(points.dtype, wanted, casting="same_kind"):
        raise ValueError(
            f"its {what} are {points.dtype}, but the space is {in_words(space)}; "
            f"turn them into {wanted}"
        )
    if isinstance(space, gym.spaces.Box) and points.dtype == wanted and wanted.kind != "f":
        return
    if wanted.kind in "iu":
        low, high = _range(space, wanted)
        wrong = ((points < low) | (points > high)).reshape(len(points), -1).any(axis=1)
        if wrong.any():
            step = int(wrong.argmax())
            raise ValueError(
                f"its {what} at step {step} are {_shown(points[step])}, outside of "
                f"{in_words(space)}"
            )
    elif wanted.kind == "f":
        _check_finite(what, points, wanted)


def check_rewards(rewards: npt.NDArray[Any]) -> None:
    """Checks the rewards of an episode.

    Raises:
        ValueError: If they are not numbers, or one is not finite in single precision.
    """
    if not np.can_cast(rewards.dtype, np.float32, casting="same_kind"):
        raise ValueError(f"its rewards are {rewards.dtype}, not numbers")
    _check_finite("rewards", rewards, np.dtype(np.float32))


def _check_finite(what: str, numbers: npt.NDArray[Any], wanted: np.dtype[Any]) -> None:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told below
        finite = np.isfinite(numbers.astype(wanted, copy=False)).reshape(len(numbers), -1)
    wrong = ~finite.all(axis=1)
    if wrong.any():
        step = int(wrong.argmax())
        raise ValueError(
            f"its {what} at step {step} are {_shown(numbers[step])}: not finite numbers of "
            f"{wanted}; leave such episodes out, or put a number there"
        )


def _range(space: gym.Space[Any], wanted: np.dtype[Any]) -> tuple[Any, Any]:
    """The least and the greatest whole numbers of a space."""
    if isinstance(space, gym.spaces.Discrete):
        return int(space.start), int(space.start) + int(space.n) - 1
    if isinstance(space, gym.spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, gym.spaces.MultiBinary):
        return 0, 1
    return np.iinfo(wanted).min, np.iinfo(wanted).max


def _shown(value: Any) -> str:
    """A point on one line, cut short if it is large."""
    return np.array2string(np.asarray(value), threshold=6, edgeitems=2).replace("\n", "")
