"""`retain`: finds the command and turns errors into one line.

Nothing heavy is imported before the command is known, so that help comes at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from retain.core.errors import RetainError, UnknownNameError

#: Command -> what it does; each is a module of this package with a function ``run(arguments)``.
COMMANDS = {
    "train": "train a recipe",
    "resume": "go on with a run that was stopped",
    "evaluate": "let a run act, and record how it did",
    "inspect": "see the memory of a run: what changes it, what it holds, why it forgets",
    "plot": "draw success against length, learning curves, heat maps",
    "collect": "collect a dataset",
    "list": "list recipes, models, environments, datasets, runs",
    "info": "tell about a run, a dataset, an environment, a model or a recipe",
    "check": "try a model of your own against every law of the memory contract",
    "demo": "train RATE and a Decision Transformer on a T-Maze and compare them",
}

HELP = """\
usage: retain COMMAND ...

Reinforcement-learning agents that remember.

commands:
{commands}

Try:
  retain list
  retain train tmaze/rate --seed 0
  retain evaluate runs/tmaze-rate-seed0 --corridor-lengths 90 900 9600

`retain COMMAND --help` tells more. `--plugin FILE_OR_MODULE` with any of them imports your own
models, environments and recipes first.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What was typed after ``retain``; by default taken from the process.

    Returns:
        The exit status: 0, 2 for input that cannot be used, 130 when interrupted.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        _find_modules_here()
    try:
        return _dispatch(typed)
    except RetainError as error:
        print(f"retain: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        trains = typed[:1] in (["train"], ["resume"])
        hint = "; a run with a folder goes on by `retain resume FOLDER`" if trains else ""
        print(f"retain: interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _find_modules_here() -> None:
    """Lets `--plugin MODULE` and `module:id` find modules in the current folder.

    `python -m` does that, but a program that pip made does not. Here the folder comes last: a
    file in it that is called as a module of another package must not stand in for that.
    """
    if not sys.flags.safe_path and "" not in sys.path:
        sys.path.append("")


def _import_plugins(typed: list[str]) -> list[str]:
    """Imports what every `--plugin` names, and returns the other words."""
    rest: list[str] = []
    words = iter(typed)
    for word in words:
        if word != "--plugin":
            rest.append(word)
            continue
        from retain.core.plugins import import_plugin

        name = next(words, None)
        if name is None:
            raise RetainError("--plugin needs a Python file or a module name")
        import_plugin(name)
    return rest


def _dispatch(typed: list[str]) -> int:
    typed = _import_plugins(typed)
    if not typed or typed[0] in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        print(HELP.format(commands="\n".join(f"  {c:<{width}}  {t}" for c, t in COMMANDS.items())))
        return 0
    if typed[0] == "--version":
        from retain import __version__

        print(__version__)
        return 0
    command, *rest = typed
    if command not in COMMANDS:
        raise UnknownNameError("command", command, COMMANDS)
    status: int | None = importlib.import_module(f"retain.cli.{command}").run(rest)
    return status or 0
