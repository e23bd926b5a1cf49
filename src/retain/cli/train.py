"""`retain train RECIPE`: every field of the recipe's configuration is a flag.

So it is with a run in the recipe's place, whose settings are the defaults then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retain.cli.entries import with_new_entries
from retain.cli.options import (
    environment_options,
    field_flags,
    help_last,
    unknown_options,
    with_help,
)
from retain.cli.options import parse as read
from retain.core.errors import ConfigError, RetainError
from retain.recipes import ARGUMENTS, RECIPES, recipe

if TYPE_CHECKING:
    from retain.training.config import AnyRunConfig

USAGE = """\
usage: retain train RECIPE [options]
       retain train RUN [options]      anew, with the settings of a run or of a file of results

recipes:
{recipes}

`retain train RECIPE --help` lists the options of a recipe with their defaults."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    arguments = help_last(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE.format(recipes="\n".join(f"  {name}" for name in RECIPES.names())))
        return
    if arguments[0].startswith("-"):
        raise RetainError("the recipe comes first: retain train RECIPE [options]")
    name, *rest = arguments
    options, config = parse(name, rest)

    from retain import api
    from retain.cli.display import TrainingDisplay, say, show_training
    from retain.training.runs import default_name

    runs = api.RUNS if options.runs is None else options.runs
    folder = runs / (options.name or default_name(config))
    display = TrainingDisplay(config.recipe, config.train.total, config.train.unit)
    with display, interruptible(folder):
        trained = api.train(
            config,
            name=options.name,
            runs=runs,
            report=display,
            final_evaluation=not options.no_evaluation,
        )
    show_training(trained)
    say(f"run folder: {trained.folder}")


@contextlib.contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Lets an interrupt say which run it stopped, if there is one yet to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / "config.json").exists():
            raise KeyboardInterrupt(folder) from None
        raise


def parse(name: str, arguments: list[str]) -> tuple[Any, Any]:
    """Returns the command's own options and the configuration.

    The recipe's keyword arguments are parsed first, since the defaults of the fields depend on
    them; what is left are fields.

    Args:
        name: A recipe; or a run's folder, or a JSON file with the settings of a run.
        arguments: The words after it.
    """
    import tyro

    given = _settings_in(Path(name)) if _is_path(name) else None
    function = _no_arguments if given is not None else RECIPES.get(name)
    options_type, notes, typed_as_pairs = recipe_options(function)
    first = [argument for argument in arguments if argument not in ("-h", "--help")]
    wants_help = len(first) < len(arguments)
    if wants_help:
        print(notes + "\n")
    options: Any
    arguments_flags = list(field_flags(options_type))
    typed = f"retain train {name}"
    options, rest = read(
        options_type,
        first,
        prog=typed,
        return_unknown_args=True,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    own = {"name", "runs", "no_evaluation"}
    chosen = {k: v for k, v in vars(options).items() if k not in own}
    chosen |= {k: environment_options(chosen[k]) for k in typed_as_pairs}
    try:
        config = recipe(name, **chosen) if given is None else given
    except ConfigError as error:
        missing = re.search(r"--[\w-]+(?= [A-Z]+\b)", str(error))
        if not wants_help or missing is None:
            _check_flags(rest, arguments_flags, typed)
            raise
        print(f"the fields of the configuration are shown once {missing[0]} is given")
        raise SystemExit(0) from None
    config, rest = with_new_entries(config, rest)
    config = read(
        type(config),
        ["--help"] if wants_help else rest,
        prog=typed,
        flags=[*arguments_flags, *field_flags(config)],
        default=config,
        description=inspect.getdoc(function) if given is None else f"Train anew as {name}.",
        config=(tyro.conf.AvoidSubcommands,),
    )
    return options, config


def _is_path(name: str) -> bool:
    """Whether a word is meant as a path, rather than as a recipe; the file may be missing."""
    path = Path(name)
    beside = path.parent.name != "" and path.parent.is_dir()
    return name not in RECIPES and (path.exists() or path.suffix == ".json" or beside)


def _settings_in(path: Path) -> AnyRunConfig:
    """Reads the settings of a run: from its folder, its ``config.json``, or a file of results.

    Raises:
        RetainError: If there are none.
    """
    from retain.core.config import load_json
    from retain.training.checkpoints import WEIGHTS
    from retain.training.config import config_from_dict
    from retain.training.runs import Run, anew

    wanted = "give a run's folder, its config.json, a file of results, or a recipe"
    if (path / WEIGHTS).exists():
        raise RetainError(f"{path} is a checkpoint; {wanted}")
    if path.is_file() and path.suffix != ".json":
        raise RetainError(f"{path} is a file of another kind; {wanted}")
    if path.suffix != ".json":
        return anew(Run(path).config, path)
    data = load_json(path)
    if isinstance(data, dict) and isinstance(data.get("config"), dict):
        data = data["config"]
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise RetainError(f"{path} holds no settings of a run; {wanted}")
    return anew(config_from_dict(data), path.parent)


def _no_arguments() -> None:
    """Stands for the recipe where there is none."""


def _check_flags(words: list[str], known: list[str], typed: str) -> None:
    """Checks what is left for the fields, where a recipe cannot be made without an argument.

    Of the fields, only the names of those that all runs have are known then.

    Raises:
        RetainError: If an option can be neither an argument nor a field: a slip, most likely.
    """
    from retain.training.config import OnlineRunConfig, RunConfig

    fields = {f"--{f.name}" for c in (RunConfig, OnlineRunConfig) for f in dataclasses.fields(c)}
    flags = [word.split("=")[0] for word in words if word.startswith("--")]
    slips = [flag for flag in flags if "." not in flag and flag not in fields]
    if slips:
        raise RetainError(with_help(unknown_options(slips, known), typed))


def recipe_options(function: Any) -> tuple[type, str, list[str]]:
    """Returns the command's options and the recipe's arguments, for the parser.

    Returns:
        A dataclass of them, a text on them, and the names of those that are options of an
        environment: they are typed NAME=VALUE, as `retain collect` takes them.
    """
    import tyro

    hints = typing.get_type_hints(function, _recipe_names(function))
    fields: list[tuple[str, Any, Any]] = [
        ("name", str | None, None),
        ("runs", Path | None, None),
        ("no_evaluation", bool, False),
    ]
    lines = [
        "options of the command and arguments of the recipe:",
        f"  --name NAME          name of the run folder (default: {_named_by(function)})",
        "  --runs FOLDER        folder of all runs (default: runs)",
        "  --no-evaluation      do not evaluate after training",
    ]
    typed_as_pairs = []
    for parameter in inspect.signature(function).parameters.values():
        kind, default = hints[parameter.name], parameter.default
        if any(typing.get_origin(part) is dict for part in (kind, *typing.get_args(kind))):
            typed_as_pairs.append(parameter.name)
            kind, default = tyro.conf.UseAppendAction[tuple[str, ...]], ()
        fields.append((parameter.name, kind, default))
        lines.append(f"  --{parameter.name.replace('_', '-'):<18} {_meaning(parameter, kind)}")
    options = dataclasses.make_dataclass(
        "Options", [(n, t, dataclasses.field(default=d)) for n, t, d in fields], kw_only=True
    )
    return options, "\n".join(lines), typed_as_pairs


def _named_by(function: Any) -> str:
    """What a run of a recipe is named by; see `retain.training.runs.default_name`."""
    from retain.training.config import OnlineRunConfig

    returned = typing.get_type_hints(function, _recipe_names(function)).get("return")
    online = returned is OnlineRunConfig
    return "recipe, numbers of the task, model, seed" if online else "recipe and seed"


def _meaning(parameter: inspect.Parameter, kind: Any) -> str:
    """A line on an argument of a recipe: what it is, what it can be, and what it is by default."""
    text = ARGUMENTS.get(parameter.name, "argument of the recipe")
    if typing.get_origin(kind) is typing.Literal:
        text += f": {', '.join(map(str, typing.get_args(kind)))}"
    # Without a default it follows from other arguments, or is asked for.
    return text if parameter.default is None else f"{text} (default: {parameter.default})"


def _recipe_names(function: Any) -> dict[str, Any]:
    """Names that annotations of a recipe may use without importing torch for them."""
    from retain.training.config import OnlineRunConfig, RunConfig

    return {
        **inspect.unwrap(function).__globals__,
        "RunConfig": RunConfig,
        "OnlineRunConfig": OnlineRunConfig,
    }
