"""`retain`: finds the command and turns errors into one line.

Nothing heavy is imported before the command is known, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from retain.core.errors import Note, RetainError, UnknownNameError, first_line

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
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        warnings.showwarning = _show_warning
        _find_modules_here()
        if hasattr(sys.stdout, "reconfigure"):  # a sign that the terminal lacks is no error
            sys.stdout.reconfigure(errors="replace")
    try:
        try:
            plugins, words = _split_plugins(words)
            return _dispatch(plugins, words)
        finally:
            if sys.stdout is not None:  # what cannot be written is found now, not at the very end
                sys.stdout.flush()
    except RetainError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as interrupt:
        print(f"retain: interrupted{_way_on(words, interrupt)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _drop_output()
        return 0
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        return 0  # the same, as rich tells it
    except OSError as error:
        if not _can_write():
            _drop_output()
        files = ", ".join(str(f) for f in (error.filename, error.filename2) if f is not None)
        return _refuse(f"{error.strerror or first_line(error)}{f': {files}' if files else ''}")
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        return _refuse(f"there is too little memory; ask for less at once ({first_line(error)})")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning; one of ours as a line of its own, without its place in the code."""
    if issubclass(category, Note):
        print(f"retain: {message}", file=sys.stderr)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)


def _refuse(why: str) -> int:
    """Prints one line on what cannot be used, and returns the exit status."""
    print(f"retain: {' '.join(why.split())}", file=sys.stderr)
    return 2


def _lacks_memory(error: Exception) -> bool:
    """Whether an error is a failed allocation; torch has no kind of its own for that on a CPU."""
    words = ("out of memory", "not enough memory", "allocate memory", "tried to allocate")
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in words)


def _can_write() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _drop_output() -> None:
    """Sends what is still to be written nowhere, so that Python does not complain as it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _way_on(words: list[str], interrupt: KeyboardInterrupt) -> str:
    """How an interrupted run goes on; commands that train raise the interrupt with its folder."""
    if words[:1] not in (["train"], ["resume"]):
        return ""
    if interrupt.args:
        return f"; go on by `retain resume {interrupt.args[0]}`"
    return "; a run with a folder goes on by `retain resume FOLDER`"


def _find_modules_here() -> None:
    """Lets `--plugin MODULE` and `module:id` find modules in the current folder.

    `python -m` does that, but a program that pip made does not. Here the folder comes last: a
    file in it that is called as a module of another package must not stand in for that.
    """
    if not sys.flags.safe_path and "" not in sys.path:
        sys.path.append("")


def _split_plugins(typed: list[str]) -> tuple[list[str], list[str]]:
    """Returns what every `--plugin` names, and the other words."""
    names: list[str] = []
    rest: list[str] = []
    words = iter(typed)
    for word in words:
        flag, sign, name = word.partition("=")
        if flag != "--plugin":
            rest.append(word)
            continue
        name = name if sign else next(words, "")
        if not name:
            raise RetainError("--plugin needs a Python file or a module name")
        names.append(name)
    return names, rest


def _dispatch(plugins: list[str], typed: list[str]) -> int:
    for name in plugins:
        from retain.core.plugins import import_plugin

        import_plugin(name)
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
