"""`retain demo`: RATE and a Decision Transformer on a T-Maze, from data to plot."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from retain.cli.options import parse
from retain.core.config import dump_json
from retain.core.errors import ConfigError, RunError
from retain.recipes.tmaze import DEMO, LENGTHS

FAR_EPISODES = 20  # of the longest walk
LOST = 0.75  # a success below this at the last length is a hint that is lost
LOOKAHEAD = 90  # steps taken at once where actions repeat: the same episodes in less time


@dataclasses.dataclass(kw_only=True)
class Options:
    """Train RATE and a Decision Transformer on corridors of up to 90 steps; walk up to 100,000.

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

    far: int | None = 100_000
    """A last, longer corridor, for the models that still remember then; None for no such walk."""

    updates: int | None = None
    """Updates of each run; None for the recipe's own number."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain demo")
    if not options.lengths or options.episodes < 1:
        raise ConfigError("the demo needs at least one of --lengths and one of --episodes")
    if options.far is not None and options.far <= max(options.lengths):
        raise ConfigError(
            f"--far {options.far} must be longer than the other --lengths, or None for no such walk"
        )
    from retain.cli.display import console, say

    began = time.perf_counter()
    console.print(
        "A hint is shown once, at the start of a corridor. At its end the agent must\n"
        "turn to the side that the hint named. Both agents learn from corridors of at\n"
        "most 90 steps.\n"
    )
    records = {name: _one(name, recipe, options) for name, recipe in DEMO.items()}
    figure = _report(options, records)
    say(f"\nresults: {options.out / 'results.json'}\nfigure:  {figure}")
    say(f"done in {(time.perf_counter() - began) / 60:.1f} minutes")


def _one(name: str, recipe_name: str, options: Options) -> list[dict[str, Any]]:
    """Trains and evaluates one model, or picks up where an earlier call stopped."""
    from retain import api
    from retain.cli.display import TrainingDisplay, say
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
    done = {(r["value"], r["episodes"]): r for r in run.results()["evaluations"]}
    walks = [(length, options.episodes) for length in options.lengths]
    if options.far is not None:
        walks.append((options.far, min(options.episodes, FAR_EPISODES)))
    records: list[dict[str, Any]] = []
    for length, episodes in walks:
        if length == options.far and records[-1]["mean"] < LOST:
            say(f"{name}  has lost the hint and is not sent further")
            break
        record = done.get((length, episodes))
        if record is None:
            record = api.evaluate(run, values=[length], episodes=episodes, lookahead=LOOKAHEAD)[0]
            say(
                f"{name}  corridor of {length}: success {record['mean']:.2f}  "
                f"({record['seconds']:.0f} s)"
            )
        records.append(record)
    return records


def _report(options: Options, records: dict[str, list[dict[str, Any]]]) -> Path:
    """Prints the table, writes ``results.json`` and draws the figure."""
    from rich.table import Table

    from retain.cli.display import console, show
    from retain.core.provenance import provenance
    from retain.report.plots import success_vs_length
    from retain.report.results import load_results
    from retain.report.statistics import with_error

    table = Table(title="success by length of the corridor", title_justify="left")
    table.add_column("corridor length", justify="right")
    for name in records:
        table.add_column(name.replace("_", " "), justify="right")
    walked = {name: {r["value"]: r for r in found} for name, found in records.items()}
    lengths = sorted({length for found in walked.values() for length in found})
    for length in lengths:
        row = [found.get(length) for found in walked.values()]
        cells = (with_error(r["mean"], r["stderr"]) if r else "lost" for r in row)
        table.add_row(str(length), *cells)
    models = {
        name: {
            str(r["value"]): {key: r[key] for key in ("mean", "stderr", "episodes")}
            for r in evaluations
        }
        for name, evaluations in records.items()
    }
    console.print()
    show(table)
    dump_json(options.out / "results.json", {"models": models, "provenance": provenance()})
    results = load_results([options.out / name for name in records])
    for result in results:
        wanted = [r for r in result["evaluations"] if r["value"] in lengths]
        result["evaluations"] = wanted
    return success_vs_length(
        results,
        options.out / "success_vs_length.png",
        chance=0.5,
        title="One hint, remembered for the length of a corridor",
    )
