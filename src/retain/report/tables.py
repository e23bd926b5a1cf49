"""Tables from results: Markdown for people, CSV for programs, and blocks inside documents."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

from retain.core.config import write_whole
from retain.core.errors import ConfigError
from retain.report.checks import Result
from retain.report.results import Point, Value, points, sort_key
from retain.report.statistics import with_error

END = "<!-- /table -->"


def markdown_table(results: Sequence[Result] | Sequence[Point], digits: int = 2) -> str:
    """Returns results as GitHub Markdown: a line per label, a column per value of the parameter.

    Environments, metrics and parameters that differ get tables of their own, each under a bold
    line. The last line says what the standard errors are over.

    Args:
        results: As `load_results` gives them, or points already merged.
        digits: After the decimal point.

    Raises:
        ConfigError: If there is no evaluation.
    """
    merged = _points(results)
    groups: dict[tuple[str, str, str | None], list[Point]] = {}
    for point in merged:
        groups.setdefault((point.environment, point.metric, point.parameter), []).append(point)
    parts = []
    for (environment, metric, parameter), group in groups.items():
        if len(groups) > 1:
            by = f" by {parameter}" if parameter else ""
            parts.append(f"**{_escape(environment)}: {_escape(metric + by)}**")
        parts.append(_one_table(group, digits))
    parts.append(_caption(merged))
    return "\n\n".join(parts)


def _one_table(group: list[Point], digits: int) -> str:
    names = list(dict.fromkeys(point.label for point in group))
    values = sorted({point.value for point in group}, key=sort_key)
    cells = {(point.label, point.value): format_cell(point, digits) for point in group}
    first = group[0]
    lines = [
        [first.parameter or "runs", *(_header(value, first.metric) for value in values)],
        ["---", *("---:" for _ in values)],
        *([name, *(cells.get((name, value), "") for value in values)] for name in names),
    ]
    return "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines)


def format_cell(point: Point, digits: int = 2) -> str:
    """Returns `mean ± standard error (runs)`; parts that are not known are left out."""
    if math.isnan(point.mean):
        return f"no number ({point.runs})"
    return f"{with_error(point.mean, point.stderr, digits)} ({point.runs})"


def _caption(merged: list[Point]) -> str:
    kinds = {point.spread for point in merged}
    if kinds == {"runs"}:
        return "Mean ± standard error over runs (number of runs)."
    if kinds == {"episodes"}:
        return "Mean ± standard error over the episodes of one run (number of runs)."
    return (
        "Mean ± standard error over runs (number of runs); where there is one run, over its "
        "episodes."
    )


def _header(value: Value, metric: str) -> str:
    return metric if value is None else str(value)


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def csv_table(results: Sequence[Result] | Sequence[Point]) -> str:
    """Returns results as CSV with a header: one line per label and setting, full precision.

    Numbers that are not known are empty.
    """
    fields = [field.name for field in dataclasses.fields(Point)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for point in _points(results):
        values = [getattr(point, name) for name in fields]
        writer.writerow(
            "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
            for value in values
        )
    return text.getvalue()


def update_block(file: str | Path, name: str, text: str) -> bool:
    """Replaces a generated table in a document.

    The table stands between the lines `<!-- table: name -->` and `<!-- /table -->`, which stay.

    Args:
        file: The document.
        name: Of the block.
        text: The new content.

    Returns:
        Whether the document changed.

    Raises:
        ConfigError: If the document is missing, or the block is missing, not closed, or there
            twice, or the new content holds a marker itself.
    """
    file = Path(file)
    start = f"<!-- table: {name} -->"
    if END in text or "<!-- table:" in text:
        raise ConfigError(f"the text for the table '{name}' holds the marker of a block")
    try:
        with file.open(encoding="utf-8", newline="") as stream:  # keeps the line ends
            document = stream.read()
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    if document.count(start) != 1:
        found = "twice" if start in document else "not there"
        raise ConfigError(f"{file}: the block {start} is {found}; it must be there once")
    head, rest = document.split(start)
    body, end, tail = rest.partition(END)
    if not end or "<!-- table:" in body:
        raise ConfigError(f"{file}: the block {start} is not closed; add the line {END}")
    newline = "\r\n" if "\r\n" in document else "\n"
    content = newline.join(text.strip("\r\n").splitlines())
    updated = f"{head}{start}{newline}{content}{newline}{END}{tail}"
    if updated == document:
        return False
    write_whole(file, updated)
    return True


def _points(results: Sequence[Result] | Sequence[Point]) -> list[Point]:
    ready = [item for item in results if isinstance(item, Point)]
    if ready:
        return ready
    return points([item for item in results if not isinstance(item, Point)])
