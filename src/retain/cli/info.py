"""`retain info NAME`: tells about a run, a dataset, an environment, a model, an agent, a recipe."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table
from rich.text import Text

from retain.cli.options import nearest, parse
from retain.core.errors import ConfigError, RetainError
from retain.core.registry import IMPORT_YOURS

_REQUIRED = object()


@dataclasses.dataclass(kw_only=True)
class Options:
    """Tell about a run folder, a dataset, an environment, a model, an agent or a recipe."""

    name: Annotated[str, tyro.conf.Positional]
    """A run's folder, or the name of what is asked about."""

    json: bool = False
    """Print JSON alone (runs, datasets and recipes)."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain info", config=(tyro.conf.FlagCreatePairsOff,))
    name = options.name
    if Path(name).is_dir() or name.startswith(("runs/", "./", "../", "/")):
        _show_run(Path(name), as_json=options.json)
        return
    from retain.data.store import list_datasets
    from retain.recipes import RECIPES

    if name in list_datasets():
        show_dataset(name, as_json=options.json)
        return
    if name in RECIPES:
        _show_recipe(name, as_json=options.json)
        return
    from retain.models import MODELS

    if name in MODELS:
        _check_text(options)
        _show_part(MODELS.get(name), name, "--model.")
        return
    from retain.agents import AGENTS

    if name in AGENTS:
        _check_text(options)
        _show_part(AGENTS.get(name), name, "--agent.")
        return
    import gymnasium as gym

    import retain.envs

    _ = retain.envs  # imported for what it registers
    if name in gym.registry or ":" in name:
        _check_text(options)
        _show_environment(name)
        return
    ours = [id for id in gym.registry if id.startswith("retain/")]
    known = [*list_datasets(), *RECIPES.names(), *MODELS.names(), *AGENTS.names(), *ours]
    raise RetainError(
        f"unknown run folder, dataset, recipe, model, agent or environment '{name}'; "
        f"{nearest(name, known) or '`retain list` lists what there is'}; {IMPORT_YOURS}"
    )


def _check_text(options: Options) -> None:
    """Checks that no JSON is asked for of what is told in words."""
    if options.json:
        raise RetainError(f"--json is for runs, datasets and recipes, not for '{options.name}'")


def show_dataset(name: str, *, as_json: bool = False) -> None:
    """Prints what a dataset holds."""
    from retain.cli.display import show
    from retain.data.store import dataset_info

    info = dataset_info(name).as_dict()
    if as_json:
        print(json.dumps(info, indent=2))
    else:
        show(_table(f"dataset {name}", info))


def _show_run(folder: Path, *, as_json: bool) -> None:
    from retain.cli.display import evaluation_table, show
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
        **_mastered(results["training"]),
    }  # fmt: skip
    show(_table(f"run {folder}", facts))
    if results["evaluations"]:
        show(evaluation_table("evaluations", results["evaluations"]))


def _mastered(training: dict[str, Any]) -> dict[str, str]:
    """What grew in training, and as far as it was mastered."""
    values = [f"{row['value']:,}" for row in training.get("curriculum", [])]
    return {"training: mastered": ", ".join(values)} if values else {}


def _show_recipe(name: str, *, as_json: bool) -> None:
    from retain.cli.display import console, say
    from retain.cli.train import recipe_options
    from retain.core.config import to_dict
    from retain.recipes import RECIPES, recipe

    if as_json:
        print(json.dumps(to_dict(recipe(name)), indent=2))
        return
    function = RECIPES.get(name)
    _say_document(inspect.getdoc(function), name)
    print(f"\n{recipe_options(function)[1]}\n")
    try:
        config = recipe(name)
    except ConfigError as error:  # it has no defaults without an argument
        say(str(error))
    else:
        console.print_json(data=to_dict(config))


def _show_part(part: Any, name: str, above: str) -> None:
    """Prints what a model or an agent is, and its settings."""
    from retain.cli.display import console

    _say_document(inspect.getdoc(inspect.getmodule(part)), name)
    console.print(f"\n{part.Config.__name__}, as flags of `retain train`:")
    table = Table.grid(padding=(0, 2))  # texts wrap within their column
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for flag, text in _fields(part.Config, above):
        table.add_row(f"  {flag}", text)
    console.print(table)


def _show_environment(name: str) -> None:
    from retain.cli.display import console
    from retain.core.spaces import in_words
    from retain.envs import make

    env = make(name)
    limit = env.spec.max_episode_steps if env.spec else None
    facts = {
        "observation space": in_words(env.observation_space),
        **_parts(env),
        "action space": in_words(env.action_space),
        "options": ", ".join(_defaults(env)),
        "episodes": "not cut by Gymnasium" if limit is None else f"cut after {limit:,} steps",
    }
    console.print(_table(f"environment {name}", facts))
    doc = inspect.getdoc(inspect.getmodule(type(env.unwrapped)))
    if doc:
        print()
        _say_document(doc)


def _parts(env: Any) -> dict[str, str]:
    """What an observation of several parts is made of, as long as it was not one array yet."""
    from gymnasium.wrappers import TransformObservation

    from retain.core.spaces import OneArray, in_path, in_words

    if not isinstance(env, TransformObservation) or not isinstance(env.func, OneArray):
        return {}
    parts = ", ".join(f"{in_path(path)} {in_words(space)}" for path, space in env.func.parts)
    left_out = ", ".join(env.func.left_out)
    return {"its parts": parts} | ({"left out": f"{left_out} (text)"} if left_out else {})


def _defaults(env: Any) -> Iterator[str]:
    """Yields the options of an environment, with the values that they have unless others are given.

    Those of its registration come before those of its class; what takes long to write is left out.
    """
    given = env.spec.kwargs if env.spec else {}
    for parameter in inspect.signature(type(env.unwrapped)).parameters.values():
        value = given.get(parameter.name, parameter.default)
        text = f"{parameter.name}={value}"
        yield parameter.name if value is parameter.empty or len(text) > 40 else text


def _say_document(doc: str | None, name: str = "") -> None:
    """Prints a docstring, after a name if there is one, with lines as long as the terminal's."""
    from retain.cli.display import console

    before = f"{name}: " if name else ""
    text = reflow(before + (doc or ""), console.width)
    console.print(Text.assemble((name, "bold"), text.removeprefix(name)), soft_wrap=True)


def reflow(doc: str, width: int) -> str:
    """Returns a docstring with its paragraphs and the items of its lists filled anew.

    Lines that are set in, such as formulas, stay lines of their own; a line that begins where the
    text of the item above it does goes on with that.
    """
    items: list[tuple[int, str]] = []  # where its text begins, and the text
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if items and line.strip() and items[-1][1] and indent == items[-1][0]:
            items[-1] = indent, f"{items[-1][1]} {line.strip()}"
            continue
        listed = re.match(r" *[-*] +|( +)\S+(?: \S+)*?  +", line)
        # A formula's column is none that text goes on in.
        begins = listed.end() if listed else indent if indent == 0 else -1
        items.append((begins, line))
    lines = []
    for begins, text in items:
        indent = len(text) - len(text.lstrip())
        after = " " * (begins if 0 <= begins <= 24 else indent + 2)
        lines += textwrap.wrap(
            text, max(width, 40), subsequent_indent=after, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def _fields(config: Any, above: str) -> Iterator[tuple[str, str]]:
    """Yields the fields of a configuration, as they are typed, each with what it means."""
    config_class = config if isinstance(config, type) else type(config)
    texts = _field_texts(config_class)
    try:
        hints = typing.get_type_hints(config_class)
    except NameError:  # an annotation that only type checkers can read
        hints = {}
    for field in dataclasses.fields(config_class):
        value = _default(field) if config_class is config else getattr(config, field.name)
        flag = above + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{flag}.")
            continue
        kind = _kind(hints.get(field.name, field.type))
        facts = f"({kind}; {'required' if value is _REQUIRED else f'default {value}'})"
        yield flag, f"{texts.get(field.name, '')} {facts}".strip()


def _field_texts(config_class: type) -> dict[str, str]:
    """The first sentences of the texts beneath a dataclass's fields, and beneath those inherited.

    They are read from the source, since Python keeps no text of a field.
    """
    found = {}
    for base in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # made without a file
            continue
        assert isinstance(tree.body[0], ast.ClassDef)
        for field, below in itertools.pairwise(tree.body[0].body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                text = " ".join(str(below.value.value).split())
                found[field.target.id] = re.split(r"(?<=\.) ", text)[0]
    return found


def _kind(hint: Any) -> str:
    """What a field can be, in a few words."""
    if typing.get_origin(hint) is Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_kind, typing.get_args(hint)))
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    factory = field.default_factory
    return factory() if factory is not dataclasses.MISSING else _REQUIRED


def _table(title: str, facts: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        table.add_row(key.replace("_", " "), str(value))
    return table
