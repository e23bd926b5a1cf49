"""Certificates of trained runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retain.certificate.record import Certificate
from retain.certificate.search import certify
from retain.evaluation import Scalar
from retain.training.runs import Run


def certify_run(
    run: Run | str | Path,
    *,
    checkpoint: str = "last",
    device: str = "cpu",
    greedy: bool = False,
    target_return: float | None = None,
    value: Scalar | None = None,
    options: dict[str, Scalar] | None = None,
    **settings: Any,
) -> Certificate:
    """Looks for inputs that change what a trained run's memory holds.

    Args:
        run: The run, or its folder.
        checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
        device: Where the policy runs.
        greedy: Certifies the best actions of a policy that samples.
        target_return: What the policy is asked for, if not what the run's settings say.
        value: Value of the option that the run's evaluations vary, for the episodes played; by
            default the last of those evaluated during training.
        options: Options of the environment that differ from the run's.
        **settings: See `certify`.

    Raises:
        ConfigError: If the run cannot be certified; see `certify`.
        RunError: If the run or the checkpoint is not there, or damaged.
    """
    run = run if isinstance(run, Run) else Run(run)
    return certify(
        run.load(checkpoint, device, greedy=greedy, target_return=target_return),
        run.environment(value, options),
        context_length=run.config.model.context_length,
        **settings,
    )
