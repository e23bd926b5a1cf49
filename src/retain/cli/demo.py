"""`retain demo`: RATE and a Decision Transformer on a T-Maze, from data to plot."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import tyro

from retain.core.config import dump_json
from retain.core.errors import ConfigError, RunError
from retain.recipes.tmaze import DEMO, LENGTHS


@dataclasses.dataclass(kw_only=True)
class Options:
    """Train RATE and a Decision Transformer on corridors of up to 90 steps; walk up to 9600.

    What is already done is not done again; delete the folder to begin anew.
    """

    out: Path = Path("runs/demo")
    """Folder of the demo."""

    seed: int = 0
    """Seed of both runs."""

    lengths: tuple[int, ...] = LENGTHS
    """Corridor lengths to walk."""

    episodes: int = 100
    """Episodes for each length."""

    updates: int | None = None
    """Updates of each run; None for the recipe's own number."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = tyro.cli(Options, args=arguments, prog="retain demo")
    if not options.lengths or options.episodes < 1:
        raise ConfigError("the demo needs at least one of --lengths and one of --episodes")
    from retain.cli.display import console

    began = time.perf_counter()
    console.print(
        "A hint is shown once, at the start of a corridor. At its end the agent must\n"
        "turn to the side that the hint named. Both agents learn from corridors of at\n"
        "most 90 steps.\n"
    )
    records = {name: _one(name, recipe, options) for name, recipe in DEMO.items()}
    figure = _report(options, records)
    console.print(f"\nresults: {options.out / 'results.json'}\nfigure:  {figure}")
    console.print(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")


def _one(name: str, recipe_name: str, options: Options) -> list[dict[str, Any]]:
    """Trains and evaluates one model, or picks up where an earlier call stopped."""
    from retain import api
    from retain.cli.display import TrainingDisplay, console
    from retain.recipes import recipe
    from retain.training.config import RunConfig
    from retain.training.runs import Run

    config = recipe(recipe_name)
    assert isinstance(config, RunConfig)  # the demo compares what learns from the same data
    config = dataclasses.replace(config, seed=options.seed)
    if options.updates is not None:
        train = dataclasses.replace(config.train, updates=options.updates)
        config = dataclasses.replace(config, train=train)
    folder = options.out / name
    with TrainingDisplay(name, config.train.total, config.train.unit) as display:
        if not folder.exists():
            run = api.train(
                config, name=name, runs=options.out, report=display, final_evaluation=False
            )
        else:
            run = Run(folder)
            if run.config != config:
                raise RunError(
                    f"{folder} was made with other settings; delete {options.out} to begin anew"
                )
            if not run.results()["training"]:
                api.resume(run, report=display, final_evaluation=False)
    done = {
        r["value"]: r for r in run.results()["evaluations"] if r["episodes"] == options.episodes
    }
    for length in options.lengths:
        if length not in done:
            record = api.evaluate(run, values=[length], episodes=options.episodes)[0]
            done[length] = record
            console.print(
                f"{name}  corridor of {length}: success {record['mean']:.2f}  "
                f"({record['seconds']:.0f} s)"
            )
    return [done[length] for length in options.lengths]


def _report(options: Options, records: dict[str, list[dict[str, Any]]]) -> Path:
    """Prints the table, writes ``results.json`` and draws the figure."""
    from rich.table import Table

    from retain.cli.display import console
    from retain.core.provenance import provenance
    from retain.report.plots import success_vs_length
    from retain.report.results import load_results

    table = Table(title="success by length of the corridor", title_justify="left")
    table.add_column("corridor length", justify="right")
    for name in records:
        table.add_column(name.replace("_", " "), justify="right")
    for length, row in zip(options.lengths, zip(*records.values(), strict=True), strict=True):
        table.add_row(str(length), *(f"{r['mean']:.2f} ± {r['stderr']:.2f}" for r in row))
    models = {
        name: {
            str(r["value"]): {key: r[key] for key in ("mean", "stderr", "episodes")}
            for r in evaluations
        }
        for name, evaluations in records.items()
    }
    console.print()
    console.print(table)
    dump_json(options.out / "results.json", {"models": models, "provenance": provenance()})
    results = load_results([options.out / name for name in records])
    for result in results:
        wanted = [r for r in result["evaluations"] if r["value"] in options.lengths]
        result["evaluations"] = wanted
    return success_vs_length(
        results,
        options.out / "success_vs_length.png",
        chance=0.5,
        title="One hint, remembered for the length of a corridor",
    )
