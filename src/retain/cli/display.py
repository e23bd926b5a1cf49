"""What commands show: a progress bar or lines while training, tables of evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

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

console = Console(highlight=False)


def say(text: str) -> None:
    """Prints text whose lines stay whole in files and job logs, for other programs to find."""
    console.print(text, soft_wrap=True, markup=False)


def show(table: Table) -> None:
    """Prints a table; in files and job logs it is as wide as what it says."""
    wide = console if console.is_terminal else Console(highlight=False, width=10_000)
    wide.print(table)


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
            TextColumn("[bold]{task.description}"),
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
            values = "  ".join(f"{name} {value:.2f}" for name, value in evaluations.items())
            say(f"{self.title}  {self.unit} {done:,}: {values}")
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
                left = (self.total - done) / speed
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


def evaluation_table(title: str, records: list[dict[str, Any]]) -> Table:
    """Returns a table of evaluations, one a row."""
    from retain.report.statistics import with_error

    parameter = (records[0]["parameter"] or "environment").replace("_", " ")
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(parameter, justify="right")
    differing = _differing_options(records)
    if differing:
        table.add_column("options")
    table.add_column(records[0]["metric"], justify="right")
    # Where the return is success by another name, a second column would say the same.
    also_return = any(r.get("return_mean", r["mean"]) != r["mean"] for r in records)
    if also_return:
        table.add_column("return", justify="right")
    for name in ("mean length", "episodes", "steps/s"):
        table.add_column(name, justify="right")
    for column in table.columns:  # names of environments often differ at their ends alone
        column.overflow = "fold"
    for record in records:
        label = record["value"] if record["parameter"] else record["environment"]
        steps = sum(record["lengths"])
        table.add_row(
            str(label),
            *([options_text(record["kwargs"], differing)] if differing else []),
            with_error(record["mean"], record["stderr"]),
            *([_mean_return(record)] if also_return else []),
            f"{steps / record['episodes']:.0f}",
            str(record["episodes"]),
            f"{steps / record['seconds']:,.0f}",
        )
    return table


def _differing_options(records: list[dict[str, Any]]) -> list[str]:
    """The environment's options that tell evaluations apart, beside the one with a column."""
    varied = {record["parameter"] for record in records}
    names = {name: None for record in records for name in record["kwargs"]}
    return [
        name
        for name in names
        if name not in varied
        and any(r["kwargs"].get(name) != records[0]["kwargs"].get(name) for r in records)
    ]


def options_text(kwargs: dict[str, Any], names: Iterable[str]) -> str:
    """Returns those options of an environment that it has of `names`, on one line."""
    return "  ".join(f"{name} {kwargs[name]}" for name in names if name in kwargs)


def _mean_return(record: dict[str, Any]) -> str:
    from retain.report.statistics import with_error

    if "return_mean" not in record:  # older records have the returns alone
        return ""
    return with_error(record["return_mean"], record["return_stderr"])
