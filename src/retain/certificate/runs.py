"""Certificates of trained runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from retain.certificate.record import Certificate
from retain.certificate.search import certify
from retain.core.errors import ConfigError
from retain.evaluation import Scalar
from retain.training.runs import Run


def certify_run(
    run: Run | str | Path,
    *,
    checkpoint: str = "last",
    device: str = "cpu",
    value: Scalar | None = None,
    options: dict[str, Scalar] | None = None,
    **settings: Any,
) -> Certificate:
    """Looks for inputs that change what a trained run's memory holds.

    Args:
        run: The run, or its folder.
        checkpoint: ``last``, ``best`` or the name of a checkpoint's folder.
        device: Where the policy runs.
        value: Value of the parameter that the run's evaluations vary, for the episodes played; None
            for the greatest that was watched in training.
        options: Options of the environment that differ from the run's.
        **settings: See `certify`.

    Raises:
        ConfigError: If the run cannot be certified; see `certify`.
        RunError: If the run or the checkpoint is not there, or damaged.
    """
    run = run if isinstance(run, Run) else Run(run)
    config = run.config
    parameter, watched = config.evaluation.parameter, config.evaluation.values_in_training
    if value is not None and parameter is None:
        raise ConfigError("a value was given, but the run's evaluations vary no parameter")
    chosen: dict[str, Scalar] = {}
    if parameter is not None and (value is not None or watched):
        chosen[parameter] = max(watched) if value is None else value
    kwargs = {**config.environment.kwargs, **chosen, **(options or {})}
    return certify(
        run.load(checkpoint, device),
        dataclasses.replace(config.environment, kwargs=kwargs),
        context_length=config.model.context_length,
        **settings,
    )
