"""`retain plot KIND FILES`: figures and tables from result files."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from retain.cli.options import parse
from retain.core.config import write_whole
from retain.core.errors import ConfigError, RunError

DEFAULT_NAMES = {
    "success": "success_vs_length.png",
    "curves": "learning_curves.png",
    "heatmap": "length_heatmap.png",
    "final": "final_scores.png",
    "bars": "final_bars.png",
    "grid": "final_grid.png",
    "growth": "growth.png",
}


@dataclasses.dataclass(kw_only=True)
class Options:
    """Draw figures, or print tables, from results: run folders, results files, or globs of them.

    success: success against length, one line for each recipe, with the standard error over seeds.
    curves: a logged metric over training, with a 95 % confidence band or the standard error.
    heatmap: trained length by tested length. final: the final score against an option of the
    environment trained in, one line for each model. bars: the same as bars for each setting of the
    environment. grid: the same as a table of colours, models by tasks. growth: what runs whose
    environment grew had mastered by which step. table: a Markdown table of all evaluations. csv:
    the same as comma-separated values.
    """

    kind: Annotated[
        Literal["success", "curves", "heatmap", "final", "bars", "grid", "growth", "table", "csv"],
        tyro.conf.Positional,
    ]
    """What to draw."""

    files: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders, results files, or globs."""

    out: Path | None = None
    """File to write; its ending (png, pdf, svg; for curves also csv) chooses the format. Tables are
    printed if none."""

    key: str = "train/loss"
    """curves: the metric."""

    x: Literal["step", "updates", "env_steps", "episodes"] = "step"
    """curves: what the axis counts: the step of the log (updates of offline runs, environment steps
    of online ones), updates, or what an online run has played."""

    smooth: int = 1
    """curves: how many of the latest values are averaged."""

    hold: bool = False
    """curves: go on with the last value of a run that ended early, as solved runs do."""

    band: Literal["confidence", "standard_error", "none"] = "confidence"
    """curves: what is drawn around the mean over runs; the 95 % confidence interval of two or three
    runs is far wider than they are."""

    group: str | None = None
    """What runs are put together by: recipe, model, agent, run, or settings such as
    train.learning_rate; several with commas between them. None: by label or recipe, and for final,
    bars, grid and growth by label or model."""

    parameter: str | None = None
    """final: the option of the environment, such as corridor_length."""

    log_x: bool = False
    """final: a logarithmic axis."""

    metric: str | None = None
    """success, heatmap: the metric, success if none is named. final, bars, grid: the one that all
    runs (grid: of a task) report, and where they differ the return, if none is named."""

    environment: str | None = None
    """success, heatmap: the environment's id, where the results have several."""

    chance: float | None = None
    """success, final, bars: draw a line where an agent that guesses would be."""

    title: str | None = None
    """Above the figure."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain plot")
    if not options.files:
        raise ConfigError("name run folders or results files to draw from")
    for text in options.files:
        if any("**" in part and part != "**" for part in Path(text).parts):
            raise ConfigError(f"pattern {text}: ** must stand alone between slashes; use * here")
    from retain.cli.display import say

    if options.kind in ("table", "csv"):
        text = _table(options)
        if options.out is None:
            print(text)
            return
        write_whole(options.out, text + "\n")
        if not str(options.out).startswith("/dev/"):  # the line would go among the text
            say(f"written: {options.out}")
        return
    say(f"written: {draw(options)}")


def draw(options: Options) -> Path:
    """Draws one figure and returns its file."""
    if options.chance is not None and not math.isfinite(options.chance):
        raise ConfigError(f"--chance must be a number, not {options.chance}")
    success = options.kind == "success" and options.metric in (None, "success")
    if success and not 0 <= (options.chance or 0) <= 1:
        raise ConfigError(f"--chance is a success, from 0 to 1, not {options.chance}")
    from retain.report import plots
    from retain.report.final import grouped
    from retain.report.results import load_results

    out = options.out or Path(DEFAULT_NAMES[options.kind])
    title = options.title
    if options.kind == "curves":
        groups = _groups(options.files, options.group or "recipe")
        return plots.learning_curves(
            groups,
            options.key,
            out,
            x=options.x,
            smooth=options.smooth,
            hold=options.hold,
            band=options.band,
            title=title,
        )
    if options.kind == "final" and options.parameter is None:
        raise ConfigError(
            "name the option of the environment that the axis shows, such as "
            "--parameter corridor_length"
        )
    results = load_results(list(options.files), _left_out)
    if options.kind in ("success", "heatmap"):
        results = grouped(results, options.group)
    if options.kind in ("final", "bars", "grid"):
        return _draw_final(options, results, out)
    if options.kind == "growth":
        from retain.report.growth import mastered_vs_steps

        return mastered_vs_steps(results, out, group=options.group, title=title)
    metric, environment = options.metric or "success", options.environment
    if options.kind == "heatmap":
        return plots.length_heatmap(
            results, out, environment=environment, metric=metric, title=title
        )
    return plots.success_vs_length(
        results, out, environment=environment, metric=metric, chance=options.chance, title=title
    )


def _draw_final(options: Options, results: list[dict[str, Any]], out: Path) -> Path:
    from retain.report import final_plots

    metric, group, chance = options.metric, options.group, options.chance
    if options.kind == "grid":
        return final_plots.score_grid(results, out, metric=metric, group=group, title=options.title)
    if options.parameter is None or options.kind == "bars":
        return final_plots.score_bars(
            results, out, metric=metric, group=group, chance=chance, title=options.title
        )
    return final_plots.score_vs_option(
        results,
        options.parameter,
        out,
        metric=metric,
        group=group,
        chance=chance,
        log_x=options.log_x,
        title=options.title,
    )


def _table(options: Options) -> str:
    from retain.report import tables
    from retain.report.final import grouped
    from retain.report.results import load_results

    results = grouped(load_results(list(options.files), _left_out), options.group)
    if options.kind == "table":
        return tables.markdown_table(results)
    return tables.csv_table(results).removesuffix("\n")


def _left_out(folder: Path) -> None:
    """Says that a run which a pattern names has nothing to show yet."""
    print(f"retain: left out {folder}: it has no results yet", file=sys.stderr)


def _groups(files: tuple[str, ...], group: str) -> dict[str, list[str | Path]]:
    """Runs, or their results files, by what they are grouped by."""
    from retain.core.config import load_json
    from retain.report.final import name_of
    from retain.report.metrics import has_metrics
    from retain.report.results import told_apart

    named: dict[Path, tuple[Path, str, Any]] = {}
    for text in files:
        folder = Path(text)
        # pathlib matches only relative patterns
        pattern = str(folder.relative_to(folder.anchor))
        found = [folder]
        if not folder.exists():
            matches = sorted(Path(folder.anchor).glob(pattern))
            found = [path for path in matches if path.is_dir() or path.suffix == ".json"]
            for path in [path for path in found if path.is_dir() and not has_metrics(path)]:
                _left_out(path)
                found.remove(path)
        if not found:
            raise RunError(f"{text} is not a run folder or results file, and matches none")
        for path in found:
            whole = load_json(path if path.is_file() else path / "config.json")
            whole = whole if isinstance(whole, dict) else {}
            config = whole.get("config")
            config = config if isinstance(config, dict) else whole
            model = config.get("model")  # of a results file without a configuration, its name
            model = model.get("name") if isinstance(model, dict) else model
            about = {"recipe": config.get("recipe"), "model": model, "run": path.name}
            about = {key: value for key, value in about.items() if value is not None}
            alone = group in ("recipe", "model")  # a file that does not say it has its own name
            name = about.get(group) if alone else name_of({**about, "config": config}, group)
            seed = config.get("seed", whole.get("seed"))
            # A run that is named twice is one.
            named.setdefault(path.resolve(), (path, str(name or path.name), seed))
    members = list(named.values())
    groups: dict[str, list[str | Path]] = {}
    titles = told_apart(
        [name for _, name, _ in members],
        [seed for *_, seed in members],
        [path.name for path, *_ in members],
        [str(path) for path, *_ in members],
    )
    for (path, *_), title in zip(members, titles, strict=True):
        groups.setdefault(title, []).append(path)
    return groups
