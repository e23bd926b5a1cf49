"""What the benchmarks share: many runs, a few at a time, each done once and kept as a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from retain.core.config import load_json, write_whole

RUNS = Path("runs/benchmarks")
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One recipe with changed settings, over several seeds."""

    label: str
    """The name in tables and figures."""
    key: str
    """The name in file names."""
    recipe: str
    """The recipe."""
    seeds: range
    """One run each."""
    flags: tuple[str, ...] = ()
    """Flags of `retain train`."""
    values: tuple[int, ...] = field(default=())
    """Lengths walked after training."""
    walks: tuple[tuple[int, int], ...] = ()
    """Longer lengths walked after those, and the episodes of each."""
    options: tuple[tuple[str, str], ...] = ()
    """Options of the environment on the longer walks."""
    plugin: str | None = None
    """File that registers the environment."""

    @property
    def before(self) -> list[str]:
        """Flags of `retain` itself."""
        return ["--plugin", self.plugin] if self.plugin else []


#: A run that succeeds less often than this at one of the `walks` is not sent on a longer one.
LOST = 0.75
#: Steps of all episodes together that are taken at once where actions repeat, on the `walks`; many
#: more would work on what is larger than a processor's cache.
AT_ONCE = 800


def job_parser(text: str | None) -> argparse.ArgumentParser:
    """Returns the flags that every script of many runs has, for `run_all`.

    Args:
        text: The script's text, which `--help` shows.
    """
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one thread")
    parser.add_argument("--seeds", type=int, help="at most so many seeds of each; all by default")
    return parser


def command(experiment: Experiment, seed: int, folder: Path) -> list[str]:
    """Returns what `retain` is called with for one run."""
    values = ["--evaluation.values", *map(str, experiment.values)] if experiment.values else []
    return [
        *experiment.before,
        "train",
        experiment.recipe,
        *("--seed", str(seed)),
        *("--name", folder.name),
        *("--runs", str(folder.parent)),
        *("--train.num-threads", "1"),
        *experiment.flags,
        *values,
    ]


def run_all(suite: str, experiments: list[Experiment], options: argparse.Namespace) -> None:
    """Runs what has no result file yet; a run that was stopped goes on where it was.

    Args:
        suite: Name of the folder of runs and of results.
        experiments: What to run.
        options: What `job_parser` has read: runs at a time, each on one thread, and seeds.
    """
    waiting = [(e, seed) for e in experiments for seed in e.seeds[: options.seeds]]
    waiting = [item for item in waiting if not _is_there(suite, *item)]
    # Seeds first, so that a suite that is stopped early has some seeds of everything.
    waiting.sort(key=lambda item: item[1])
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = []
    # One process makes many runs: many are short, and importing takes a while.
    context = get_context("spawn")
    with ProcessPoolExecutor(
        options.jobs, mp_context=context, initializer=_end_with_parent
    ) as pool:
        futures = {pool.submit(_run, suite, *item): item for item in waiting}
        for future in as_completed(futures):
            experiment, seed = futures[future]
            if not future.result():
                failed.append(f"{experiment.key} seed {seed}")
            print(f"{experiment.label}, seed {seed}", flush=True)
    if failed:
        sys.exit(f"these runs failed: {', '.join(failed)}; their logs are in {RUNS / suite}")


def _end_with_parent() -> None:
    """Ends this process when the one that started it is killed; its run can be gone on with."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(suite: str, experiment: Experiment, seed: int) -> bool:
    """Makes one run in a process of its own, and keeps its results; returns whether it ended."""
    from retain.cli.main import main

    folder = _folder(suite, experiment, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    arguments = command(experiment, seed, folder)
    if (folder / "config.json").exists():
        arguments = [*experiment.before, "resume", str(folder)]
    log = folder.with_suffix(".log").open("a", encoding="utf-8")
    with log, redirect_stdout(log), redirect_stderr(log):
        try:
            ended = main(arguments) == 0
        except SystemExit as stop:
            ended = stop.code in (0, None)
    if not ended:
        return False
    _walk(experiment, folder)
    _keep(suite, experiment, seed)
    return True


def _walk(experiment: Experiment, folder: Path) -> None:
    """Walks the longer lengths, as far as the run remembers; what has been walked stays."""
    from retain.api import evaluate
    from retain.training.runs import Run

    run, options = Run(folder), dict(experiment.options)
    trained_in = run.config.acts_in
    environment = replace(trained_in, kwargs={**trained_in.kwargs, **options})
    done = {
        record["value"]: record
        for record in load_json(folder / "results.json")["evaluations"]
        if all(record["kwargs"].get(name) == value for name, value in options.items())
    }
    for value, episodes in experiment.walks:
        record = done.get(value)
        if record is None:
            (record,) = evaluate(
                run,
                values=[value],
                episodes=episodes,
                environment=environment,
                lookahead=_lookahead(run.config.model.context_length, episodes),
            )
        if record["mean"] < LOST:
            break


def _lookahead(context_length: int, episodes: int) -> int:
    """Returns the steps that each episode takes at once: whole segments, at least one."""
    return max(1, AT_ONCE // episodes // context_length) * context_length


def _folder(suite: str, experiment: Experiment, seed: int) -> Path:
    return RUNS / suite / f"{experiment.key}-seed{seed}"


def _is_there(suite: str, experiment: Experiment, seed: int) -> bool:
    """Whether a run has a result file; one of another experiment must not pass for it."""
    path = _result_file(suite, experiment, seed)
    if not path.exists():
        return False
    label = load_json(path).get("label")
    if label != experiment.label:
        raise SystemExit(f"{path} is of '{label}', not of '{experiment.label}'; two share a key")
    return True


def _result_file(suite: str, experiment: Experiment, seed: int) -> Path:
    return RESULTS / suite / f"{experiment.key}-seed{seed}.json"


def _keep(suite: str, experiment: Experiment, seed: int) -> None:
    """Copies a run's results to the folder of results, with the suite's label."""
    folder = _folder(suite, experiment, seed)
    line = "retain " + " ".join(command(experiment, seed, folder))
    config = load_json(folder / "config.json")
    parameter = config["evaluation"]["parameter"]
    flag = f"--{parameter}s".replace("_", "-") if parameter else ""
    for value, episodes in experiment.walks:
        line += f" && retain evaluate {folder} {flag} {value} --episodes {episodes}"
        line += f" --lookahead {_lookahead(config['model']['context_length'], episodes)}"
        line += "".join(f" --option {name}={given}" for name, given in experiment.options)
    keep(folder, _result_file(suite, experiment, seed), experiment.label, line)


def keep(folder: Path, file: Path, label: str, line: str) -> None:
    """Copies a run's results to a file, with its name in tables and the command that made it."""
    results: dict[str, Any] = load_json(folder / "results.json")
    results["label"] = label
    results["provenance"]["command"] = line
    for record in results["evaluations"]:
        del record["lengths"]  # every episode's length follows from the task's options
    write_result(file, results)


def write_result(file: Path, results: dict[str, Any]) -> None:
    """Writes results to a file, with lists of numbers on one line."""
    write_whole(file, _short_lists(json.dumps(results, indent=1)) + "\n")


def _short_lists(text: str) -> str:
    """Puts lists of numbers on one line."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if inside:
            lines[-1] += line.strip() + (" " if line.rstrip().endswith(",") else "")
            inside = not line.strip().startswith("]")
        else:
            lines.append(line)
            inside = line.endswith("[") and "evaluations" not in line
    return "\n".join(lines)
