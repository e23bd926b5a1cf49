"""A linear probe: what can be read from a memory by one linear map.

The map is a ridge regression onto one-hot labels, in its closed form, and its accuracy is measured
on episodes that it was not fitted to (k folds, with the classes spread evenly over them). The
components are centred but not scaled: a difference that is small beside the rest of the memory
counts as little as it would for the model itself.

Axes: B episodes, C components, R entries, F folds, Y classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retain.inspection.recording import Array, Floats, distance

#: Ridge, as a share of the memory's variance (summed over components).
RIDGE = 1e-3
#: Fewer episodes than this are not probed.
FEWEST = 8


@dataclass(frozen=True)
class Probe:
    """Accuracy of the probe for one hidden variable, at each entry; NaN where it was not probed."""

    accuracy_R: Floats
    stderr_R: Floats
    """Its standard error over episodes."""
    chance_R: Floats
    """Share of the most frequent label: what a guess gets without looking."""
    between_R: Floats
    """Distance between the mean memories of two labels, the mean over pairs of labels."""
    within_R: Floats
    """Distance of a memory to the mean of its label, the mean over episodes."""


def probe(memory_RBC: Array, running_RB: Array, label_RB: Array, num_folds: int = 5) -> Probe:
    """Fits a probe at every entry.

    Args:
        memory_RBC: The memory.
        running_RB: The episodes to use.
        label_RB: The hidden variable, whole numbers.
        num_folds: F; each is left out once.
    """
    entries = len(memory_RBC)
    accuracy_R, stderr_R, chance_R, between_R, within_R = np.full((5, entries), np.nan)
    for entry in range(entries):
        chosen_B = np.flatnonzero(running_RB[entry])
        if len(chosen_B) < FEWEST:
            continue
        label_B = label_RB[entry, chosen_B]
        _, counts = np.unique(label_B, return_counts=True)
        chance_R[entry] = counts.max() / counts.sum()
        if len(counts) < 2:
            continue
        between_R[entry], within_R[entry] = separation(memory_RBC[entry, chosen_B], label_B)
        guess_B = predictions(memory_RBC[entry, chosen_B], label_B, num_folds)
        accuracy = float((guess_B == label_B).mean())
        accuracy_R[entry] = accuracy
        stderr_R[entry] = np.sqrt(accuracy * (1 - accuracy) / len(label_B))
    return Probe(accuracy_R, stderr_R, chance_R, between_R, within_R)


def separation(memory_BC: Array, label_B: Array) -> tuple[float, float]:
    """Returns how far the memories of two labels lie apart, and how far those of one do.

    Args:
        memory_BC: The memories.
        label_B: Their labels, at least two different ones.
    """
    classes, index_B = np.unique(label_B, return_inverse=True)
    memory_BC = memory_BC.astype(np.float64)
    mean_YC = np.stack([memory_BC[index_B == y].mean(axis=0) for y in range(len(classes))])
    one, other = np.triu_indices(len(classes), k=1)
    between = float(distance(mean_YC[one], mean_YC[other]).mean())
    return between, float(distance(memory_BC, mean_YC[index_B]).mean())


def predictions(memory_BC: Array, label_B: Array, num_folds: int = 5) -> Array:
    """Returns what the probe says of each episode when it was not fitted to it, [B]."""
    classes, index_B = np.unique(label_B, return_inverse=True)
    fold_B = _folds(index_B, min(num_folds, len(label_B)))
    guess_B = np.zeros(len(label_B), dtype=np.int64)
    memory_BC = memory_BC.astype(np.float64)
    hot_BY = np.eye(len(classes))[index_B]
    for fold in range(fold_B.max() + 1):
        left_B = fold_B == fold
        fitted_BC, target_BY = memory_BC[~left_B], hot_BY[~left_B]
        mean_C, mean_Y = fitted_BC.mean(axis=0), target_BY.mean(axis=0)
        fitted_BC = fitted_BC - mean_C
        # In the space of episodes, of which there are mostly fewer than components.
        inner_BB = fitted_BC @ fitted_BC.T
        ridge = RIDGE * np.trace(inner_BB) + 1e-30
        weight_BY = np.linalg.solve(inner_BB + ridge * np.eye(len(inner_BB)), target_BY - mean_Y)
        score_BY = (memory_BC[left_B] - mean_C) @ fitted_BC.T @ weight_BY + mean_Y
        guess_B[left_B] = score_BY.argmax(axis=1)
    return np.asarray(classes[guess_B])


def _folds(index_B: Array, num_folds: int) -> Array:
    """Deals the episodes of each class out to the folds, beginning with the first.

    What is most frequent in a fold is then so among the others too: were it not, a probe of a
    memory that holds nothing would be wrong more often than a guess.
    """
    if num_folds >= len(index_B):
        return np.arange(len(index_B))
    fold_B = np.zeros(len(index_B), dtype=np.int64)
    for label in np.unique(index_B):
        here = np.flatnonzero(index_B == label)
        fold_B[here] = np.arange(len(here)) % num_folds
    return fold_B
