"""Options: the words of a command read, and what is wrong with them said in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import tyro

from retain.core.errors import ConfigError, RetainError

_WORDS = {"True": True, "False": False}  # as the help writes them

#: What Python says of a text that is not a number, and what is meant.
NOT_NUMBERS = {
    r"invalid literal for int\(\) with base 10: (.+)": r"\1 is not a whole number",
    r"could not convert string to float: (.+)": r"\1 is not a number",
}


def parse(
    options: type,
    arguments: list[str],
    *,
    prog: str,
    flags: Iterable[str] | None = None,
    **settings: Any,
) -> Any:
    """Reads the words of a command.

    Args:
        options: A dataclass of what can be given.
        arguments: The words.
        prog: The command, as it was typed.
        flags: All flags, to name the nearest of one that is unknown; None for the fields.
        **settings: Further arguments of `tyro.cli`.

    Returns:
        What `tyro.cli` returns; it prints the help, and ends the program after that.

    Raises:
        RetainError: If a word cannot be used. Settings that do not fit raise their own.
    """
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            found = tyro.cli(options, args=arguments, prog=prog, **settings)
    except SystemExit as ended:
        if not ended.code:
            raise
        _raise_own(ended)
        known = list(field_flags(options) if flags is None else flags)
        what = _one_line(told.getvalue(), known)
        raise RetainError(with_help(what, prog)) from None
    sys.stderr.write(told.getvalue())  # warnings
    return found


def help_last(arguments: list[str]) -> list[str]:
    """Puts a leading `--help` behind the name that it is about."""
    leading = 1 if arguments[:1] in (["-h"], ["--help"]) else 0
    return [*arguments[leading:], *arguments[:leading]]


def acting_options(options: Any) -> dict[str, Any]:
    """Returns the options of a command that say which policy of a run acts, and how."""
    names = ("checkpoint", "device", "greedy", "target_return")
    return {name: getattr(options, name) for name in names}


def field_flags(config: Any, above: str = "") -> Iterator[str]:
    """Yields the flags of a dataclass's fields, and of the dataclasses within an instance."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name, None)
        name = above + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from field_flags(value, f"{name}.")
        elif isinstance(value, dict) and value:  # a flag for each entry, and none for all
            yield from (f"--{name}.{key.replace('_', '-')}" for key in value)
        elif field.init:
            yield f"--{name}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns a question for the names that are nearest to a word, at most three, or nothing.

    A flag within a group is also near by its last part: `--train.betas` to `--betas`; and all that
    is within one to its name.
    """

    def nearness(name: str) -> float:
        if name.startswith(f"{word}."):
            return 1.0
        ends = [name]
        if "." in name and "." not in word:
            ends.append(f"--{name.rpartition('.')[2]}")
        return max(difflib.SequenceMatcher(None, end, word).ratio() for end in ends)

    scores = {name: nearness(name) for name in known}
    enough = max(0.6, max(scores.values(), default=0.0) - 0.1)
    near = [name for name in scores if scores[name] >= enough]
    near.sort(key=lambda name: -scores[name])  # of equals, those that come first
    return f"did you mean {' or '.join(near[:3])}?" if near else ""


def with_help(what: str, prog: str) -> str:
    """Returns what is wrong, and which command lists the options."""
    return f"{what}{'' if what.endswith('?') else ';'} `{prog} --help` lists the options"


def unknown_options(words: list[str], flags: Iterable[str]) -> str:
    """Says which options are unknown and which they may be.

    Args:
        words: Those that nothing takes; values of the options may be among them.
        flags: All flags there are.
    """
    known = list(flags)
    typed = [word.split("=")[0] for word in words if word.startswith("--")]
    if not typed:
        return f"nothing takes '{' '.join(words)}'"
    parts = []
    for flag in typed:
        asked = nearest(flag.replace("_", "-"), known)
        parts.append(f"unknown option {flag}{f'; {asked}' if asked else ''}")
    return "; ".join(parts)


def environment_options(texts: tuple[str, ...]) -> dict[str, Any]:
    """Reads options of an environment, each NAME=VALUE; see `value_of`.

    Raises:
        ConfigError: If a text is not of that form.
    """
    options = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"--option {text} is not of the form NAME=VALUE")
        options[name] = value_of(value)
    return options


def value_of(text: str) -> Any:
    """Reads True or False, a value in JSON, or else a plain string."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def scalar_of(flag: str, text: str) -> int | float | bool | str:
    """Reads a value of a flag: a number, a truth value, or else a text.

    Raises:
        RetainError: If it is something of several parts, or null.
    """
    value = value_of(text)
    if not isinstance(value, int | float | bool | str):
        raise RetainError(f"{flag}: '{text}' is not a number, True, False or a text")
    return value


def _raise_own(ended: BaseException) -> None:
    """Raises the setting's own error if that made the parser exit: it has one line."""
    cause: BaseException | None = ended
    while cause is not None:
        if isinstance(cause, RetainError):
            raise cause from None
        cause = cause.__context__


def _one_line(told: str, flags: list[str]) -> str:
    """What the parser said is wrong, without its frame and its long help.

    A text of another form than those known here is returned as it is.
    """
    text = _first_part(told)
    if match := re.match(r"Unrecognized options: (.+)", text):
        return unknown_options(match[1].split(", "), flags)
    if match := re.match(r"Error parsing (--\S+): (.+)", text):
        reason = match[2]
        for form, meant in NOT_NUMBERS.items():
            reason = re.sub(form, meant, reason)
        return f"{match[1]}: {reason}"
    form = r"invalid choice '(.*)' for argument '(.+?)'\. Expected one of \((.+?),?\)\."
    if match := re.match(form, text):
        choices = re.findall(r"'([^']*)'", match[3])
        asked = nearest(match[1], choices)
        return "; ".join(
            filter(None, (f"{match[2]}: '{match[1]}' is none of {', '.join(choices)}", asked))
        )
    if match := re.match(r"Missing value for argument '(.+?)'\. Expected (\d+) values?\.", text):
        return f"{match[1]} needs {'a value' if match[2] == '1' else f'{match[2]} values'}"
    if match := re.match(r"Missing from [^:]+: (\S+) (.+?) ?\(required\)", text):
        return f"{match[1]} is missing: {match[2].rstrip('.')}"
    return text.rstrip(".")


def _first_part(told: str) -> str:
    """The first part of the parser's box, below its title, on one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)  # without colours
    framed = "╭" in plain
    parts: list[list[str]] = [[]]
    for line in plain.splitlines():
        inside = line.strip("│ ")
        if inside and not inside.strip("─-"):  # a rule
            parts.append([])
        elif not inside.startswith(("╭", "╰")):
            parts[-1].append(inside)
    # Where the terminal knows no frames, the title stands above a rule of its own.
    first = parts[0] if framed or len(parts) == 1 else parts[1]
    return " ".join(" ".join(first).split())
