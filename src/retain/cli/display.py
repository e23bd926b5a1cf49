"""What commands show: a progress bar or lines while training, tables of evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from retain.training.runs import Run

# What is shown can hold any sign: names of runs and texts of recipes are no markup.
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
console = Console(**_PLAIN)


def say(text: str) -> None:
    """Prints text whose lines stay whole in files and job logs, for other programs to find."""
    console.print(text, soft_wrap=True)


def show(table: Table) -> None:
    """Prints a table; in files and job logs it is as wide as what it says."""
    wide = console if console.is_terminal else Console(**_PLAIN, width=10_000)
    wide.print(table)


def evaluated(metrics: dict[str, float]) -> str:
    """Returns what evaluations brought, in a few words; of many lengths, the worst and the best."""
    parts: dict[str, list[str]] = {}
    for name in metrics:
        parts.setdefault(name.partition("/")[0], []).append(name)
    texts = []
    for metric, names in parts.items():
        if len(names) <= 3:
            texts += [f"{name} {metrics[name]:.2f}" for name in names]
            continue
        values = [metrics[name] for name in names]
        texts.append(f"{metric} {min(values):.2f} to {max(values):.2f} at {len(names)} values")
    return "  ".join(texts)


class TrainingDisplay:
    """Shows training as it goes: a bar in a terminal, a line now and then elsewhere.

    Args:
        title: What is trained.
        total: How far training goes.
        unit: What that counts.
    """

    def __init__(self, title: str, total: int, unit: str = "update"):
        self.title = title
        self.total = total
        self.unit = unit
        self._last_line = 0.0
        self._last: tuple[int, float] | None = None
        self._speed: float | None = None  # until two steps are known
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=10),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[loss]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, speed="", loss="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, done: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of a step of training."""
        evaluations = {k.removeprefix("eval/"): v for k, v in metrics.items() if "eval/" in k}
        if evaluations:
            say(f"{self.title}  {self.unit} {done:,}: {evaluated(evaluations)}")
            return
        now = time.monotonic()
        if self._last is not None and now > self._last[1]:
            self._speed = (done - self._last[0]) / (now - self._last[1])
        self._last = done, now
        # Two numbers, so that the bar has room in a terminal of 80 columns.
        shown = {"train/return": "return {:.2f}", "train/success": "success {:.2f}"}
        shown |= {"train/loss": "loss {:.4f}", "train/accuracy": "accuracy {:.3f}"}
        parts = [form.format(metrics[k]) for k, form in shown.items() if k in metrics]
        text = "  ".join(parts[:2])
        speed = self._speed
        if console.is_terminal:
            shown_speed = "" if speed is None else f"{speed:,.1f}/s"
            self._progress.update(self._task, completed=done, speed=shown_speed, loss=text)
        elif now - self._last_line > 15 or done >= self.total:
            self._last_line = now
            line = [f"{self.title}  {self.unit} {done:,}/{self.total:,}", text]
            if speed:
                left = max(self.total - done, 0) / speed  # the last steps may lead past the end
                line += [f"{speed:,.1f} {self.unit}s/s", f"{left:.0f} s left"]
            say("  ".join(part for part in line if part))


@contextmanager
def acting(parameter: str | None) -> Iterator[Callable[[Any, int, int], None] | None]:
    """Shows in a terminal how far an evaluation is; yields what is to be called as it goes."""
    if not console.is_terminal:
        yield None
        return
    name = (parameter or "").replace("_", " ")
    with console.status("acting") as status:
        last = 0.0

        def report(value: Any, episodes: int, steps: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.2:  # there may be thousands of steps a second
                last = now
                at = "" if value is None else f" at {name} {value}"
                status.update(f"acting{at}: {episodes:,} episodes ended, step {steps:,}")

        yield report


def show_training(run: Run) -> None:
    """Prints the evaluations of a trained run, and its best checkpoint where that did better."""
    results = run.results()
    if results["evaluations"]:
        show(evaluation_table(run.name, results["evaluations"]))
    elif run.config.environment is None:
        say(
            f"{run.name}: not evaluated, since it names no environment; see `retain evaluate --env`"
        )
    if line := _best_line(results["training"]):
        say(line)


def _best_line(training: dict[str, Any]) -> str:
    """Names the best checkpoint, if it did better in training than the last evaluation there."""
    from retain.report.results import as_number

    history = training.get("history") or []
    known = [entry for entry in history if entry["mean"] is not None]
    if not known:
        return ""
    best = max(known, key=lambda entry: entry["mean"])  # of equals, the first
    if best["mean"] <= as_number(history[-1]["mean"]):
        return ""
    step = f"step {best['env_steps']:,}" if "env_steps" in best else f"update {best['update']:,}"
    return f"best {best['mean']:.2f} at {step}: --checkpoint best"


def evaluation_table(title: str, records: list[dict[str, Any]]) -> Table:
    """Returns a table of evaluations, one a row."""
    from retain.report.results import as_number
    from retain.report.statistics import with_error

    header, labels = _labels(records)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(header, justify="right")
    options = _differing_options(records)
    if any(options):
        table.add_column("options")
    # Of one setting there may be several checkpoints and episodes of several seeds.
    others = {
        "step": [str(record.get("step")) for record in records],
        "first seed": [str((record.get("seeds") or [""])[0]) for record in records],
    }
    others = {name: texts for name, texts in others.items() if len(set(texts)) > 1}
    for name in others:
        table.add_column(name, justify="right")
    metrics = _differ(records, "metric")
    table.add_column("score" if metrics else records[0]["metric"], justify="right")
    # Where the return is success by another name, a second column would say the same.
    also_return = any(r.get("return_mean", r["mean"]) != r["mean"] for r in records)
    if also_return:
        table.add_column("return", justify="right")
    for name in ("mean length", "episodes", "steps/s"):
        table.add_column(name, justify="right")
    for column in table.columns:  # names of environments often differ at their ends alone
        column.overflow = "fold"
    for i, record in enumerate(records):
        score = with_error(as_number(record["mean"]), as_number(record["stderr"]))
        steps = sum(n or 0 for n in record.get("lengths") or [])
        seconds = record.get("seconds")
        table.add_row(
            labels[i],
            *([options[i]] if any(options) else []),
            *(texts[i] for texts in others.values()),
            f"{record['metric']} {score}" if metrics else score,
            *([_mean_return(record)] if also_return else []),
            f"{steps / record['episodes']:.0f}" if steps else "",
            str(record["episodes"]),
            f"{steps / seconds:,.0f}" if steps and seconds else "",
        )
    return table


def _differ(records: list[dict[str, Any]], name: str) -> bool:
    return any(record.get(name) != records[0].get(name) for record in records)


def _labels(records: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """What the first column is called, and what it says of each record."""
    parameters = [(record.get("parameter") or "").replace("_", " ") for record in records]
    several, places = len(set(parameters)) > 1, _differ(records, "environment")
    labels = []
    for record, parameter in zip(records, parameters, strict=True):
        parts = [record["environment"]] if places or not parameter else []
        if parameter:
            parts += [parameter] if several else []
            parts.append(str(record.get("value")))
        labels.append(" ".join(parts))
    return ("setting" if several else parameters[0] or "environment"), labels


def _differing_options(records: list[dict[str, Any]]) -> list[str]:
    """Says of each record what else tells it apart: options, best actions, what was asked for."""
    from retain.report.results import acting_notes

    kwargs = [record.get("kwargs") or {} for record in records]
    names = list({name: None for given in kwargs for name in given})
    differing = [n for n in names if any(k.get(n) != kwargs[0].get(n) for k in kwargs)]
    greedy = _differ(records, "greedy")
    texts = []
    for record, given in zip(records, kwargs, strict=True):
        parts = [options_text(given, [n for n in differing if n != record.get("parameter")])]
        parts += [note for note in acting_notes(record) if greedy or note != "greedy"]
        texts.append("  ".join(filter(None, parts)))
    return texts


def options_text(kwargs: dict[str, Any], names: Iterable[str]) -> str:
    """Returns those options of an environment that it has of `names`, on one line."""
    return "  ".join(f"{name} {kwargs[name]}" for name in names if name in kwargs)


def _mean_return(record: dict[str, Any]) -> str:
    from retain.report.results import as_number
    from retain.report.statistics import with_error

    if "return_mean" not in record:  # older records have the returns alone
        return ""
    return with_error(as_number(record["return_mean"]), as_number(record.get("return_stderr")))
