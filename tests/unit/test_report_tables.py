from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest

from retain.core.errors import ConfigError
from retain.report.results import Point
from retain.report.tables import csv_table, format_cell, markdown_table, update_block


def point(label: str = "tmaze/rate", value: Any = 90, mean: float = 1.0, **changes: Any) -> Point:
    values: dict[str, Any] = {
        "label": label,
        "environment": "retain/TMaze-v0",
        "parameter": "corridor_length",
        "value": value,
        "metric": "success",
        "mean": mean,
        "stderr": 0.0,
        "spread": "runs",
        "runs": 10,
        "episodes": 1000,
        **changes,
    }
    return Point(**values)


def test_markdown() -> None:
    table = markdown_table(
        [
            point(value=900, mean=0.987, stderr=0.0123),
            point(value=90),
            point("a|b\nc", 90, 0.5, stderr=math.nan, runs=1, spread="episodes"),
        ]
    )
    assert table.splitlines() == [
        "| corridor_length | 90 | 900 |",
        "| --- | ---: | ---: |",
        "| tmaze/rate | 1.00 ± 0.00 (10) | 0.99 ± 0.01 (10) |",
        "| a\\|b c | 0.50 (1) |  |",
        "",
        "Mean ± standard error over runs (number of runs); where there is one run, over its "
        "episodes.",
    ]


def test_markdown_from_results_says_that_one_run_has_episodes() -> None:
    entry = {"environment": "e", "metric": "return", "episodes": 9, "step": 1}
    result = {
        "recipe": "r",
        "run": "x",
        "model": "m",
        "seed": 0,
        "evaluations": [{**entry, "mean": 12.345, "stderr": 1.0}],
    }
    assert markdown_table([result], digits=1).splitlines() == [
        "| runs | return |",
        "| --- | ---: |",
        "| r | 12.3 ± 1.0 (1) |",
        "",
        "Mean ± standard error over the episodes of one run (number of runs).",
    ]


def test_environments_get_tables_of_their_own() -> None:
    table = markdown_table([point(), point(environment="other", parameter=None, value=None)])
    assert "**retain/TMaze-v0: success by corridor_length**\n\n| corridor_length | 90 |" in table
    assert "**other: success**\n\n| runs | success |" in table
    assert table.endswith("Mean ± standard error over runs (number of runs).")


def test_no_evaluation() -> None:
    with pytest.raises(ConfigError, match="hold no evaluation"):
        markdown_table([])


def test_cell_without_a_number() -> None:
    assert format_cell(point(mean=math.nan)) == "no number (10)"


def test_csv_keeps_full_precision() -> None:
    text = csv_table([point(mean=1 / 3, stderr=math.nan), point("a,b", None, parameter=None)])
    first, second = csv.DictReader(io.StringIO(text))
    assert float(first["mean"]) == 1 / 3
    assert first["stderr"] == ""
    assert (second["label"], second["parameter"], second["value"]) == ("a,b", "", "")
    assert text.endswith("\n")
    assert "\r" not in text


DOCUMENT = """# Title

<!-- table: one -->
old
<!-- /table -->
between
<!-- table: two -->
<!-- /table -->
end
"""


def test_update_block(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_text(DOCUMENT)
    assert update_block(file, "one", "\n| new |\n") is True
    assert file.read_text() == DOCUMENT.replace("old", "| new |")
    assert update_block(file, "one", "| new |") is False
    assert update_block(file, "two", "x\ny") is True
    assert file.read_text().endswith("<!-- table: two -->\nx\ny\n<!-- /table -->\nend\n")
    assert [p.name for p in tmp_path.iterdir()] == ["a.md"]


def test_update_block_keeps_the_line_ends(tmp_path: Path) -> None:
    file = tmp_path / "a.md"
    file.write_bytes(b"<!-- table: one -->\r\nold\r\n<!-- /table -->\r\n")
    update_block(file, "one", "a\nb")
    assert file.read_bytes() == b"<!-- table: one -->\r\na\r\nb\r\n<!-- /table -->\r\n"


@pytest.mark.parametrize(
    ("document", "name", "text", "message"),
    [
        (DOCUMENT, "three", "x", r"the block <!-- table: three --> is not there"),
        (DOCUMENT + "<!-- table: one -->", "one", "x", "is twice; it must be there once"),
        ("<!-- table: one -->\nold", "one", "x", "is not closed; add the line <!-- /table -->"),
        ("<!-- table: one -->\n" + DOCUMENT[50:], "one", "x", "is not closed"),
        (DOCUMENT, "one", "<!-- /table -->", "holds the marker of a block"),
        (DOCUMENT, "one", "<!-- table: x -->", "holds the marker of a block"),
    ],
)
def test_update_block_refuses(
    tmp_path: Path, document: str, name: str, text: str, message: str
) -> None:
    file = tmp_path / "a.md"
    file.write_text(document)
    with pytest.raises(ConfigError, match=message):
        update_block(file, name, text)
    assert file.read_text() == document


def test_update_block_of_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.md does not exist"):
        update_block(tmp_path / "a.md", "one", "x")
    with pytest.raises(ConfigError, match="cannot read"):
        update_block(tmp_path, "one", "x")
