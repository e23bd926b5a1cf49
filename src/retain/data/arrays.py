"""Episodes of flat arrays, the form that D4RL and d3rlpy have: a row for each step of all of them.

Axes: S steps of all episodes one after another, T steps of one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from retain.core.errors import DatasetError
from retain.data.store import Episode


def episodes_of(
    observations: npt.ArrayLike,
    actions: npt.ArrayLike,
    rewards: npt.ArrayLike,
    terminals: npt.ArrayLike,
    timeouts: npt.ArrayLike | None = None,
    *,
    next_observations: npt.ArrayLike | None = None,
) -> Iterator[Episode]:
    """Yields the episodes of flat arrays, for `write_dataset`.

    An episode ends with each step that is a terminal or a timeout, and what is left after the last
    of them was cut. What was seen after an episode's last action is in `next_observations`; without
    them it is not known, and the last observation stands for it, which is not trained on.

    Args:
        observations: Shape [S, ...]: what was seen before each action.
        actions: Shape [S, ...].
        rewards: Shape [S].
        terminals: Shape [S]: true where an episode ended for good.
        timeouts: Shape [S]: true where one was cut; None for nowhere.
        next_observations: Shape [S, ...]: what was seen after each action; None if that is unknown.

    Raises:
        DatasetError: If there is no step, or the arrays have not the same number of them.
    """
    seen, done = np.asarray(observations), np.asarray(actions)
    gained, ended = np.asarray(rewards), np.asarray(terminals).astype(np.bool_)
    cut = np.zeros_like(ended) if timeouts is None else np.asarray(timeouts).astype(np.bool_)
    after = seen if next_observations is None else np.asarray(next_observations)
    named = {"observations": seen, "actions": done, "rewards": gained, "terminals": ended}
    named |= {"timeouts": cut, "next_observations": after}
    sizes = {name: array.shape[:1] for name, array in named.items()}
    if len(set(sizes.values())) > 1 or sizes["actions"] in ((), (0,)):
        told = ", ".join(f"{name} {size[0] if size else 'one'}" for name, size in sizes.items())
        raise DatasetError(
            f"all arrays must have a row for each step, at least one; they have {told}"
        )
    if gained.ndim > 1 or ended.ndim > 1 or cut.ndim > 1:
        raise DatasetError("rewards, terminals and timeouts must have one number for each step")
    stops = np.flatnonzero(ended | cut) + 1
    if not stops.size or stops[-1] < len(done):
        stops = np.append(stops, len(done))
    for start, stop in zip([0, *stops[:-1].tolist()], stops.tolist(), strict=True):
        last = stop - 1
        yield Episode(
            observations=np.concatenate([seen[start:stop], after[last:stop]]),
            actions=done[start:stop],
            rewards=gained[start:stop],
            terminated=bool(ended[last]),
            truncated=not ended[last],
        )
