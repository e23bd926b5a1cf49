"""All sequences of some steps, read as a tree: what they have in common is read once.

Models are causal, so that the sequences that begin alike share the state after their beginning. Of
S inputs a step, S^K sequences have about S^K * S / (S - 1) different beginnings of all lengths
together, so a step is read once or twice for each sequence instead of K times. Every branch is read
step by step, as in acting.

Axes: B branches, T steps, C choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from retain.certificate.reading import Reader, lead
from retain.memory import MemoryState

Array = npt.NDArray[Any]

#: Branches that are read at once. With the caches of a small transformer some ten megabytes, and as
#: many again for each of the last steps; larger batches are no faster.
BRANCHES = 243


@dataclass(frozen=True)
class Choices:
    """What can be told at one step."""

    observation_C: Array
    signal_C: Array
    action: int
    """A guess at what the policy does; corrected where it is wrong."""

    def __len__(self) -> int:
        return len(self.signal_C)


@dataclass(frozen=True)
class Branches:
    """Sequences of one length, and the states after them."""

    state: MemoryState
    path_BT: npt.NDArray[np.int64]
    """The number of the choice at every step."""
    action_BT: npt.NDArray[np.int64]
    """What the policy did."""
    gap: float
    """Smallest lead of the best action over the second best, at the last step."""

    @property
    def length(self) -> int:
        """Steps read."""
        return self.path_BT.shape[1]

    def seen(self, row: int, choices: list[Choices]) -> Array:
        """Returns the observations of one branch, [T, ...]."""
        path = self.path_BT[row]
        return np.stack([c.observation_C[n] for c, n in zip(choices, path, strict=False)])


def grow(reader: Reader, root: MemoryState, choices: list[Choices]) -> Iterator[Branches]:
    """Yields all sequences of all lengths from 0 to that of `choices`, a part at a time.

    Args:
        reader: Reads.
        root: The state to begin from, of one row.
        choices: What can be told at each step.
    """
    none = np.zeros((1, 0), dtype=np.int64)
    yield from _grow(reader, Branches(root, none, none, float("inf")), choices)


def _grow(reader: Reader, branches: Branches, choices: list[Choices]) -> Iterator[Branches]:
    yield branches
    if branches.length == len(choices):
        return
    here = choices[branches.length]
    parents = max(1, BRANCHES // len(here))
    for start in range(0, len(branches.path_BT), parents):
        yield from _grow(reader, _step(reader, branches, start, parents, here), choices)


@torch.inference_mode()
def _step(reader: Reader, branches: Branches, start: int, parents: int, here: Choices) -> Branches:
    parent_B = np.arange(start, min(start + parents, len(branches.path_BT))).repeat(len(here))
    choice_B = np.tile(np.arange(len(here)), len(parent_B) // len(here))
    observation, signal = reader.tensors(
        here.observation_C[choice_B][:, None], here.signal_C[choice_B][:, None]
    )
    index = torch.as_tensor(parent_B, device=reader.device)
    action = torch.full((len(parent_B), 1), here.action, device=reader.device)
    while True:
        # The action is read before it is told, so a second pass mends every guess.
        state = branches.state.rows(index)
        prediction, after = reader.subject.predict(state, observation, signal, action, donate=True)
        chosen = reader.subject.choose(prediction)
        if torch.equal(chosen, action):
            break
        action = chosen
    return Branches(
        after,
        np.concatenate([branches.path_BT[parent_B], choice_B[:, None]], axis=1),
        np.concatenate([branches.action_BT[parent_B], chosen.cpu().numpy()], axis=1),
        lead(prediction),
    )


@torch.inference_mode()
def ask(
    reader: Reader, branches: Branches, observation_T: Array, signal_T: Array, action_T: Array
) -> tuple[npt.NDArray[np.int64], float]:
    """Reads an ending behind every branch.

    Args:
        reader: Reads.
        branches: What came before.
        observation_T: What is seen.
        signal_T: What is told beside it.
        action_T: A guess at the actions, corrected until the policy agrees.

    Returns:
        The actions that the policy takes there, given its own earlier ones, [B, T], and their lead.
    """
    rows = len(branches.path_BT)
    told = [np.repeat(array[None], rows, axis=0) for array in (observation_T, signal_T, action_T)]
    observation, signal, action = reader.tensors(*told)
    while True:  # a wrong guess can mislead later steps alone, so every pass mends one at least
        prediction, _ = reader.subject.predict(
            branches.state, observation, signal, action, asking=True
        )
        chosen = reader.subject.choose(prediction)
        if torch.equal(chosen, action):
            return chosen.cpu().numpy(), lead(prediction)
        action = chosen
