"""Evaluation: a policy acts in many episodes at once; the record says exactly which."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from retain.agents.policy import Policy
from retain.core.errors import ConfigError
from retain.core.seeding import check_seed
from retain.core.spaces import in_words
from retain.envs import make_vec
from retain.envs.checks import check_option_names
from retain.report.statistics import mean_stderr
from retain.rollout import judged, play

Scalar = int | float | bool | str


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """An environment."""

    id: str
    """Gymnasium id; `module:id` imports the module first."""

    kwargs: dict[str, Scalar] = field(default_factory=dict)
    """Options of the environment."""

    def __post_init__(self) -> None:
        """Checks the names of the options."""
        check_option_names(self.id, self.kwargs)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a policy is evaluated."""

    episodes: int = 100
    """Episodes for each value of the parameter; episode e is reset with seed + e."""

    seed: int = 1_000_000
    """Seed of the first episode, far from those that data are collected with; that of a run with
    seed s begins 10,000 s later."""

    num_envs: int = 100
    """Episodes played at once."""

    lookahead: int = 1
    """Steps taken at once where actions repeat: the same episodes in less time. 1: one by one. Best
    a multiple of `model.context_length`."""

    parameter: str | None = None
    """Option of the environment that is varied; None to evaluate in the environment as it is."""

    values: tuple[int, ...] = ()
    """Values of the parameter after training."""

    values_in_training: tuple[int, ...] = ()
    """Values of the parameter during training; the best checkpoint is that with the best mean at
    the last of them."""

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("episodes", "num_envs", "lookahead"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"evaluation.{name} must be at least 1, not {getattr(self, name)}"
                )
        check_seed("evaluation.seed", self.seed)
        if (self.values or self.values_in_training) and self.parameter is None:
            raise ConfigError("evaluation.values need evaluation.parameter, the option to set")


def evaluate_policy(
    policy: Policy,
    environment: EnvironmentConfig,
    *,
    episodes: int,
    seed: int,
    num_envs: int = 100,
    parameter: str | None = None,
    value: Scalar | None = None,
    lookahead: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plays episodes and returns their record.

    Args:
        policy: The policy; it acts in evaluation mode and is left in the mode it came in.
        environment: Where it acts.
        episodes: Number of episodes.
        seed: Seed of the first episode; the others count up from it.
        num_envs: Episodes played at once.
        parameter: An option of the environment to set.
        value: Its value.
        lookahead: Steps taken at once where actions repeat; see `retain.rollout.play`.
        report: Called as it goes, with the episodes that have ended and the steps that those being
            played have taken.

    Returns:
        The record, as described in `retain.report.results`: the metric is "success" where the
        environment reports it and "return" elsewhere; the standard error is over the episodes, and
        NaN of one alone. Where only some episodes end with a report, the others were no success.

    Raises:
        ConfigError: If a number is not positive, the seed is out of range, the policy does not fit
            the environment, or `lookahead` is more than 1 and the environment cannot be put back.
    """
    for name, given in (("episodes", episodes), ("num_envs", num_envs), ("lookahead", lookahead)):
        if given < 1:
            raise ConfigError(f"{name} must be at least 1, not {given}")
    check_seed("seed", seed)
    kwargs: dict[str, Any] = dict(environment.kwargs)
    if parameter is not None and value is not None:
        kwargs[parameter] = value
    check_option_names(environment.id, kwargs)
    training = policy.training
    start = time.perf_counter()
    parts = []
    device = next(policy.parameters()).device
    # Sampled actions come from torch's generators: seeded here, and put back afterwards, so that
    # an evaluation can be repeated and does not disturb the training around it.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for first in range(0, episodes, num_envs):
            seeds = [seed + e for e in range(first, min(first + num_envs, episodes))]
            env = make_vec(environment.id, num_envs=len(seeds), independent_rows=True, **kwargs)
            try:
                check_spaces(policy, env.single_observation_space, env.single_action_space)
                parts.append(play(policy, env, seeds, lookahead, _counted_from(first, report)))
            finally:
                env.close()
                policy.train(training)
    returns = np.concatenate([part.return_B for part in parts])
    lengths = np.concatenate([part.length_B for part in parts])
    successes = judged(np.concatenate([part.success_B for part in parts]))
    metric, scores = ("return", returns) if successes is None else ("success", successes)
    mean, stderr = mean_stderr(scores)
    return_mean, return_stderr = mean_stderr(returns)
    return {
        "environment": environment.id,
        "parameter": parameter,
        "value": value,
        "kwargs": kwargs,
        "episodes": episodes,
        "seeds": [seed, seed + episodes - 1],
        "lookahead": lookahead if policy.looks_ahead else 1,
        "metric": metric,
        "mean": mean,
        "stderr": stderr,
        "return_mean": return_mean,
        "return_stderr": return_stderr,
        "returns": returns.tolist(),
        "lengths": lengths.tolist(),
        "seconds": time.perf_counter() - start,
    }


def is_better(metric: str, mean: float, best_metric: str | None, best: float) -> bool:
    """Whether an evaluation is better than the best so far, each with its metric.

    An environment that reports nothing but successes has a return as its metric before the first
    of them; success then counts, and returns no longer do.
    """
    if best_metric is None or metric == best_metric:
        return mean > best
    return metric == "success"


def _scale(space: Any, what: str) -> Any:
    """What a policy takes for granted of the numbers of a space, beside their count."""
    if what == "action":
        return np.dtype(space.dtype).kind
    return int(space.high.max(initial=0)) if space.dtype == np.uint8 else None


def _counted_from(
    first: int, report: Callable[[int, int], None] | None
) -> Callable[[int, int], None] | None:
    """Adds the episodes of earlier batches to what is reported."""
    return None if report is None else lambda ended, steps: report(first + ended, steps)


def check_spaces(policy: Policy, observation_space: Any, action_space: Any) -> None:
    """Checks that a policy can act in an environment.

    Observations may have other bounds than in training, unless they are bytes, which are scaled by
    them; actions may not: a policy of a box of actions fills the bounds that it was made for.

    Raises:
        ConfigError: If a space is of another kind or size, or the actions have other bounds.
    """
    sizes = ("shape", "n", "start")
    for what, mine, theirs, same in (
        ("observation", policy.observation_space, observation_space, sizes),
        ("action", policy.action_space, action_space, (*sizes, "low", "high")),
    ):
        alike = (
            type(mine) is type(theirs)
            and all(
                np.array_equal(getattr(mine, name, 0), getattr(theirs, name, 0)) for name in same
            )
            and _scale(mine, what) == _scale(theirs, what)
        )
        if not alike:
            raise ConfigError(
                f"the policy's {what} space is {in_words(mine)}, but the environment's is "
                f"{in_words(theirs)}; "
                "it needs an environment with the space that it is trained in"
            )
