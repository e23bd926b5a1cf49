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
    from retain.cli.display import TrainingDisplay, evaluation_table, show
    from retain.training.runs import Run

    stopped = Run(options.run)
    with TrainingDisplay(
        stopped.config.recipe, stopped.config.train.total, stopped.config.train.unit
    ) as display:
        api.resume(stopped, report=display, final_evaluation=not options.no_evaluation)
    results = stopped.results()
    if results["evaluations"]:
        show(evaluation_table(stopped.name, results["evaluations"]))
