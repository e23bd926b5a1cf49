"""`retain resume RUN`: goes on from the last checkpoint, to the same numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from retain.cli.options import parse


@dataclasses.dataclass(kw_only=True)
class Options:
    """Go on with a run that was stopped, from its last checkpoint."""

    run: Path
    """The run's folder."""

    until: int | None = None
    """Train further than the run was told to: updates, steps or episodes, as it counts."""

    no_evaluation: bool = False
    """Do not evaluate after training."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(
        Options,
        arguments,
        prog="retain resume",
        config=(tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff),
    )
    from retain import api
    from retain.cli.display import TrainingDisplay, show_training
    from retain.cli.train import interruptible
    from retain.training.runs import Run

    stopped = Run(options.run)
    if options.until is not None:
        stopped.prolong(options.until)
    config = stopped.config
    display = TrainingDisplay(config.recipe, config.train.total, config.train.unit)
    with display, interruptible(stopped.folder):
        api.resume(stopped, report=display, final_evaluation=not options.no_evaluation)
    show_training(stopped)
