"""`retain info NAME`: tells about a run, a dataset, an environment, a model, an agent, a recipe."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from retain.cli.options import parse
from retain.core.errors import ConfigError, UnknownNameError


@dataclasses.dataclass(kw_only=True)
class Options:
    """Tell about a run folder, a dataset, an environment, a model, an agent or a recipe."""

    name: Annotated[str, tyro.conf.Positional]
    """A run's folder, or the name of what is asked about."""

    json: bool = False
    """Print JSON instead of a table (runs and datasets)."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain info", config=(tyro.conf.FlagCreatePairsOff,))
    from retain.cli.display import console

    name = options.name
    if Path(name).is_dir():
        _show_run(Path(name), console, as_json=options.json)
        return
    from retain.data.store import list_datasets
    from retain.recipes import RECIPES

    if name in list_datasets():
        show_dataset(name, console, as_json=options.json)
        return
    if name in RECIPES:
        _show_recipe(name, console)
        return
    from retain.models import MODELS

    if name in MODELS:
        _show_part(MODELS.get(name), name, console)
        return
    from retain.agents import AGENTS

    if name in AGENTS:
        _show_part(AGENTS.get(name), name, console)
        return
    import gymnasium as gym

    import retain.envs

    _ = retain.envs  # imported for what it registers
    if name in gym.registry:
        _show_environment(name, console)
        return
    ours = [id for id in gym.registry if id.startswith("retain/")]
    known = [*list_datasets(), *RECIPES.names(), *MODELS.names(), *AGENTS.names(), *ours]
    raise UnknownNameError("run folder, dataset, recipe, model, agent or environment", name, known)


def show_dataset(name: str, console: Console, *, as_json: bool = False) -> None:
    """Prints what a dataset holds."""
    from retain.data.store import dataset_info

    info = dataset_info(name).as_dict()
    if as_json:
        print(json.dumps(info, indent=2))
    else:
        console.print(_table(f"dataset {name}", info))


def _show_run(folder: Path, console: Console, *, as_json: bool) -> None:
    from retain.cli.display import evaluation_table
    from retain.training.runs import Run

    run = Run(folder)
    results = run.results()
    if as_json:
        print(json.dumps(results, indent=2))
        return
    policy = run.policy()
    memory = policy.acting_state(1).memory
    facts: dict[str, Any] = {
        "recipe": run.config.recipe,
        "seed": run.config.seed,
        "model": run.config.model.registered_name,
        "parameters": f"{sum(p.numel() for p in policy.parameters()):,}",
        "memory of one environment": f"{memory.num_bytes() / 1024:.1f} KiB",
        "checkpoints": ", ".join(
            sorted(p.name for p in (folder / "checkpoints").glob("[!.]*"))
        ) or "none",
        **{
            f"training: {name}": value
            for name, value in results["training"].items()
            if value is not None and not isinstance(value, list)
        },
    }  # fmt: skip
    console.print(_table(f"run {folder}", facts))
    if results["evaluations"]:
        console.print(evaluation_table("evaluations", results["evaluations"]))


def _show_recipe(name: str, console: Console) -> None:
    from retain.core.config import to_dict
    from retain.recipes import RECIPES, recipe

    console.print(f"[bold]{name}[/bold]: {inspect.getdoc(RECIPES.get(name))}")
    try:
        config = recipe(name)
    except ConfigError as error:  # it has no defaults without an argument
        console.print(str(error))
    else:
        console.print_json(data=to_dict(config))


def _show_part(part: Any, name: str, console: Console) -> None:
    """Prints what a model or an agent is, and its settings."""
    module = inspect.getmodule(part)
    console.print(f"[bold]{name}[/bold]: {inspect.getdoc(module)}\n")
    fields = {f.name: f"{f.type} = {_default(f)}" for f in dataclasses.fields(part.Config)}
    console.print(_table(f"{part.Config.__name__}", fields))


def _show_environment(name: str, console: Console) -> None:
    from retain.envs import make

    env = make(name)
    facts = {
        "observation space": env.observation_space,
        "action space": env.action_space,
        "options": ", ".join(inspect.signature(type(env.unwrapped)).parameters),
    }
    console.print(_table(f"environment {name}", facts))
    doc = inspect.getdoc(inspect.getmodule(type(env.unwrapped)))
    if doc:
        console.print(f"\n{doc}", markup=False)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    factory = field.default_factory
    return factory() if factory is not dataclasses.MISSING else "required"


def _table(title: str, facts: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        table.add_row(key.replace("_", " "), str(value))
    return table
