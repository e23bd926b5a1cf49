"""New entries of dictionaries in a configuration, each given by a flag.

The parser has a flag for each entry that a dictionary of the defaults has. Here are the others: an
option of an environment that the recipe does not mention, `--environment.kwargs.noise continuous`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from retain.cli.options import scalar_of
from retain.core.errors import RetainError


def with_new_entries(config: Any, words: list[str]) -> tuple[Any, list[str]]:
    """Takes from the words what names an entry that is not there yet, and puts it there.

    Args:
        config: A dataclass, with dataclasses and dictionaries within.
        words: Flags and their values.

    Returns:
        The configuration with the new entries, and the words that are left.

    Raises:
        RetainError: If such a flag has no value, or one that no option takes.
    """
    changed, left, queue = config, [], list(words)
    while queue:
        word = queue.pop(0)
        flag, sign, value = word.partition("=")
        path = flag.removeprefix("--").replace("-", "_").split(".")
        if not flag.startswith("--") or not _is_new(config, path):
            left.append(word)
            continue
        if not sign:
            if not queue or queue[0].startswith("--"):
                raise RetainError(f"{flag} needs a value")
            value = queue.pop(0)
        changed = _with(changed, path, scalar_of(flag, value))
    return changed, left


def _is_new(config: Any, path: list[str]) -> bool:
    """Whether a path leads into a dictionary, and to none of its entries."""
    for name in path[:-1]:
        fields = {f.name for f in dataclasses.fields(config)} if _is_settings(config) else set()
        if name not in fields:
            return False
        config = getattr(config, name)
    return isinstance(config, dict) and bool(path[-1]) and path[-1] not in config


def _is_settings(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _with(config: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if isinstance(config, dict):
        return {**config, name: value}
    return dataclasses.replace(config, **{name: _with(getattr(config, name), rest, value)})
