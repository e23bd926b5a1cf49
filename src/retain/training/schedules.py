"""Schedules: the learning rate, the memory's own cost, the length of episodes."""

from __future__ import annotations

import math

from retain.training.settings import LoopConfig, TrainConfig


def learning_rate(config: LoopConfig, update: int, spent: float) -> float:
    """Returns the learning rate of one update.

    It rises linearly to the peak over the warm-up, then goes on as the schedule says. Past the end
    of the training it stays where it ended: a cosine that is not held there would rise again.

    Args:
        config: The training's settings.
        update: Number of the update, counted from 0.
        spent: Share of the training that is spent, or of what comes after the warm-up.
    """
    if update < config.warmup_updates:
        return config.learning_rate * (update + 1) / config.warmup_updates
    spent = min(1.0, spent)
    if config.schedule == "constant":
        factor = 1.0
    elif config.schedule == "linear":
        factor = 1.0 - spent * (1.0 - config.final_learning_rate)
    else:
        wave = (1.0 + math.cos(math.pi * spent)) / 2
        factor = config.final_learning_rate + (1.0 - config.final_learning_rate) * wave
    return config.learning_rate * factor


def spent_updates(config: TrainConfig, update: int) -> float:
    """Returns the share of the updates after the warm-up that came before one."""
    return (update - config.warmup_updates) / max(1, config.updates - config.warmup_updates)


def memory_cost_weight(config: TrainConfig, update: int, grown_at: float = 0) -> float:
    """Returns the weight, from 0 to 1, of what the memory itself asks for in one update.

    It is zero up to `memory_cost_start`, and while episodes grow by mastery, and then rises with
    the cube of the progress: a small cost is enough to close the gates of a memory that is not yet
    of use (Adam makes steps of one size of small gradients too), and by the time that it would be,
    nothing can be written any more. However late it begins, it is 1 by the last update.

    Args:
        config: The training's settings.
        update: Number of the update, counted from 0.
        grown_at: How many updates there were while episodes grew by mastery; infinite if they grow.
    """
    begins = max(config.memory_cost_start * config.updates, grown_at)
    if update < begins:
        return 0.0
    rising = min(config.memory_cost_warmup * config.updates, config.updates - begins)
    return min(1.0, (update - begins) / rising) ** 3 if rising > 0 else 1.0


def longest_episode(
    config: TrainConfig, update: int, context_length: int, num_segments: int
) -> int | None:
    """Returns the steps of the longest episode that one update is trained on; None: no limit.

    This is the curriculum by shares of the updates; that by mastery is `retain.training.growth`.

    Args:
        config: The training's settings.
        update: Number of the update, counted from 0.
        context_length: Steps of a segment, K.
        num_segments: Segments of a whole training sequence, N.
    """
    if config.curriculum:
        stage = min(num_segments, 1 + update * num_segments // config.updates)
        return stage * context_length if stage < num_segments else None
    if config.curriculum_from is None:
        return None
    doublings = math.log2(context_length * num_segments / config.curriculum_from)
    stages = max(0, math.ceil(doublings))
    stage = 2 * update * stages // config.updates
    return config.curriculum_from * 2**stage if stage < stages else None
