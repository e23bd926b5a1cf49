"""`retain list`: what there is to train, run and look at."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from retain.cli.options import parse
from retain.core.errors import RunError

What = Literal["all", "recipes", "models", "agents", "environments", "datasets", "runs"]


@dataclasses.dataclass(kw_only=True)
class Options:
    """List recipes, models, agents, environments, datasets and runs."""

    what: Annotated[What, tyro.conf.Positional] = "all"
    """What to list."""

    runs: Path = Path("runs")
    """Folder of the runs."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain list")
    asked = options.what == "runs" or options.runs != Path("runs")
    if asked and not options.runs.is_dir():
        raise RunError(f"folder {options.runs} does not exist; give that of the runs as --runs")
    from rich.table import Table
    from rich.text import Text

    from retain.cli.display import console

    for kind in ("recipes", "models", "agents", "environments", "datasets", "runs"):
        if options.what not in ("all", kind):
            continue
        if options.what == "all":
            console.print(kind, style="bold")
        entries = _entries(kind, options.runs)
        if kind in ("recipes", "models", "agents"):
            table = Table.grid(padding=(0, 2))  # texts wrap within their column
            table.add_column(no_wrap=True)
            table.add_column(style="dim")
            for name, text in entries:
                table.add_row(f"  {name}", text)
            console.print(table)
            continue
        for name, text in entries:  # for other programs to read, so a line each
            line = Text.assemble(f"  {name:<28} ", (text, "dim")) if text else f"  {name}"
            console.print(line, soft_wrap=True)
        if options.what == kind == "runs" and not entries:  # other programs read no run's name here
            print(f"retain: there are no runs in {options.runs}", file=sys.stderr)


def _entries(kind: str, runs: Path) -> list[tuple[str, str]]:
    if kind == "recipes":
        from retain.recipes import RECIPES

        return [(name, _first_line(RECIPES.get(name))) for name in RECIPES.names()]
    if kind == "models":
        from retain.models import MODELS

        return [(name, _first_line(MODELS.get(name))) for name in MODELS.names()]
    if kind == "agents":
        from retain.agents import AGENTS

        return [(name, _first_line(AGENTS.get(name))) for name in AGENTS.names()]
    if kind == "environments":
        import gymnasium as gym

        import retain.envs

        _ = retain.envs  # imported for what it registers
        ids = [id for id in gym.registry if id.startswith("retain/")]
        return [(id, "") for id in sorted(ids)]
    if kind == "datasets":
        from retain.data.store import list_datasets

        return [(id, "") for id in list_datasets()]
    from retain.core.config import load_json

    found = []
    for path in sorted(runs.glob("**/config.json")):
        try:
            config = load_json(path)
            text = f"{config.get('recipe')} seed {config.get('seed')}"
            text += _standing(path.parent, config)
        except (RunError, AttributeError, ValueError):  # one broken run must not hide the others
            text = "damaged"
        found.append((str(path.parent), text))
    return found


def _standing(run: Path, config: dict[str, Any]) -> str:
    """Says where a run stands whose training has not ended: at its last checkpoint."""
    from retain.core.config import load_json

    results = run / "results.json"
    if results.exists() and load_json(results).get("training"):
        return ""
    last = run / "checkpoints" / "last"
    at = int(last.readlink().name.removeprefix("step-")) if last.is_symlink() else 0
    unit, total = ("update", "updates") if "data" in config else ("step", "env_steps")
    end = config.get("train", {}).get(total)
    # Without an end in steps it ends after so many episodes, which a checkpoint is not named after.
    return f", at {unit} {at:,} of {end:,}" if end else f", at {unit} {at:,}, not ended"


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().split("\n")[0]
