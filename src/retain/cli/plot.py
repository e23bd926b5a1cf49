"""`retain plot KIND FILES`: figures and tables from result files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from retain.core.config import write_whole
from retain.core.errors import ConfigError, RunError

DEFAULT_NAMES = {
    "success": "success_vs_length.png",
    "curves": "learning_curves.png",
    "heatmap": "length_heatmap.png",
}


@dataclasses.dataclass(kw_only=True)
class Options:
    """Draw figures, or print tables, from results: run folders, results files, or globs of them.

    success: success against length, one line for each recipe, with the standard error over seeds.
    curves: a logged metric against updates. heatmap: trained length by tested length. table: a
    Markdown table. csv: the same as comma-separated values.
    """

    kind: Annotated[Literal["success", "curves", "heatmap", "table", "csv"], tyro.conf.Positional]
    """What to draw."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders, results files, or globs."""

    out: Path | None = None
    """File to write; its ending (png, pdf, svg) chooses the format. Tables are printed if none."""

    key: str = "train/loss"
    """curves: the metric."""

    metric: str = "success"
    """success, heatmap: the metric."""

    chance: float | None = None
    """success: draw a line where an agent that guesses would be."""

    title: str | None = None
    """Above the figure."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = tyro.cli(Options, args=arguments, prog="retain plot")
    if not options.files:
        raise ConfigError("name run folders or results files to draw from")
    from retain.cli.display import console

    if options.kind in ("table", "csv"):
        text = _table(options)
        if options.out is None:
            print(text)
            return
        write_whole(options.out, text + "\n")
        console.print(f"written: {options.out}")
        return
    console.print(f"written: {draw(options)}")


def draw(options: Options) -> Path:
    """Draws one figure and returns its file."""
    from retain.report import plots
    from retain.report.results import load_results

    out = options.out or Path(DEFAULT_NAMES[options.kind])
    if options.kind == "curves":
        groups = _groups(options.files)
        return plots.learning_curves(groups, options.key, out, title=options.title)
    results = load_results(list(options.files))
    if options.kind == "heatmap":
        return plots.length_heatmap(results, out, metric=options.metric, title=options.title)
    return plots.success_vs_length(
        results, out, metric=options.metric, chance=options.chance, title=options.title
    )


def _table(options: Options) -> str:
    from retain.report import tables
    from retain.report.results import load_results

    results = load_results(list(options.files))
    return tables.markdown_table(results) if options.kind == "table" else tables.csv_table(results)


def _groups(files: tuple[str, ...]) -> dict[str, list[str | Path]]:
    """Run folders by the recipe that they began as."""
    from retain.core.config import load_json

    groups: dict[str, list[str | Path]] = {}
    for text in files:
        folder = Path(text)
        # pathlib matches only relative patterns
        pattern = str(folder.relative_to(folder.anchor))
        found = [folder]
        if not folder.exists():
            matches = sorted(Path(folder.anchor).glob(pattern))
            found = [path for path in matches if path.is_dir()]
        if not found:
            raise RunError(f"{text} is not a run folder and matches none")
        for path in found:
            config = load_json(path / "config.json")
            recipe = config.get("recipe") if isinstance(config, dict) else None
            groups.setdefault(recipe or path.name, []).append(path)
    return groups
