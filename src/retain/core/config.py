"""Configurations as JSON: dataclasses to plain dicts and back, and files written whole.

A configuration is a dataclass whose fields are numbers, strings, paths, enums, literals, lists,
tuples, dicts, optionals and unions of these, and other such dataclasses. A dataclass with the
class attribute `registered_name` carries it in its dict under the key "name", so that a field
annotated with a base class can hold any registered subclass.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import itertools
import json
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from retain.core.errors import ConfigError, RunError

C = TypeVar("C")
Resolve = Callable[[type, str], type]
"""Gives the concrete class for a base class and a registered name."""

NAME_KEY = "name"
_temporary_numbers = itertools.count()


def to_dict(config: Any) -> dict[str, Any]:
    """Returns a configuration as nested dicts of plain values.

    Tuples become lists, paths strings, enum members their names, and keys of dicts strings.

    Args:
        config: A dataclass instance.

    Raises:
        ConfigError: If a value is of a kind that JSON cannot hold.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(f"a configuration must be a dataclass instance, not {_show(config)}")
    plain: dict[str, Any] = _to_plain(config, "")
    return plain


def from_dict(cls: type[C], data: Any, resolve: Resolve | None = None) -> C:
    """Returns the configuration that `to_dict` wrote.

    Args:
        cls: The dataclass to build. Where the data carries a "name", it may be a base class.
        data: Nested dicts, as read from JSON. Fields that are absent take their defaults.
        resolve: Called with the annotated class and the "name" in the data; returns the concrete
            class. It may raise any error of its own for a name that it does not know.

    Raises:
        ConfigError: For an unknown key, a missing field without a default, or a value of the
            wrong type. The message starts with the dotted path of the field.
    """
    config: C = _build(cls, data, "", resolve)
    return config


# --- to plain values ----------------------------------------------------------------------------


def _to_plain(value: Any, path: str) -> Any:
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass_to_plain(value, path)
    if isinstance(value, Mapping):
        return {_plain_key(k, path): _to_plain(v, _join(path, k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(item, _join(path, i)) for i, item in enumerate(value)]
    raise ConfigError(f"{path or 'config'}: {_show(value)} cannot be written as JSON")


def _dataclass_to_plain(value: Any, path: str) -> dict[str, Any]:
    fields = [field for field in dataclasses.fields(value) if field.init]
    plain: dict[str, Any] = {}
    name = getattr(value, "registered_name", None)
    if name is not None:
        if any(field.name == NAME_KEY for field in fields):
            raise ConfigError(
                f"{type(value).__name__}: a class with a registered_name cannot have a field "
                f"'{NAME_KEY}'; rename the field"
            )
        plain[NAME_KEY] = name
    for field in fields:
        plain[field.name] = _to_plain(getattr(value, field.name), _join(path, field.name))
    return plain


def _plain_key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        return key.name
    if isinstance(key, str | int | float | Path | np.number) and not isinstance(key, bool):
        return str(key)
    raise ConfigError(f"{path or 'config'}: the key {_show(key)} cannot be written as JSON")


# --- from plain values --------------------------------------------------------------------------


def _build(cls: Any, data: Any, path: str, resolve: Resolve | None) -> Any:
    if not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{path or 'config'}: {_type_name(cls)} is not a dataclass")
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path or 'config'}: expected a dict of fields, got {_show(data)}")
    data = dict(data)
    cls = _concrete(typing.cast(type, cls), data, path, resolve)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in data:
        if key not in fields:
            raise ConfigError(f"{_join(path, key)}: unknown field; {_nearest(str(key), fields)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(path, name), resolve)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_join(path, name)}: missing, and it has no default")
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:  # the class's own checks
        raise ConfigError(f"{path}: {error}" if path else str(error)) from error


def _concrete(cls: type, data: dict[str, Any], path: str, resolve: Resolve | None) -> type:
    """Takes "name" out of the data and returns the class it stands for."""
    if NAME_KEY not in data or any(f.name == NAME_KEY for f in dataclasses.fields(cls)):
        return cls
    where = _join(path, NAME_KEY)
    own = getattr(cls, "registered_name", None)
    if own is None and resolve is None:
        raise ConfigError(f"{where}: unknown field; {_type_name(cls)} has no registered names")
    name = data.pop(NAME_KEY)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: expected a string, got {_show(name)}")
    if name == own:
        return cls
    if resolve is None:
        raise ConfigError(f"{where}: expected '{own}', got '{name}'")
    concrete = resolve(cls, name)
    if not (dataclasses.is_dataclass(concrete) and issubclass(concrete, cls)):
        raise ConfigError(f"{where}: '{name}' is not a kind of {cls.__name__}")
    return concrete


def _convert(hint: Any, value: Any, path: str, resolve: Resolve | None) -> Any:
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin is typing.Union or origin is types.UnionType:
        return _convert_union(args, value, path, resolve)
    if origin is typing.Literal:
        for choice in args:
            if type(choice) is type(value) and choice == value:
                return choice
        raise ConfigError(f"{path}: expected {_type_name(hint)}, got {_show(value)}")
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, resolve)
    if origin in (list, tuple, dict, Sequence, Iterable, Mapping):
        return _convert_container(origin, args, value, path, resolve)
    return _convert_scalar(hint, value, path)


def _convert_scalar(hint: Any, value: Any, path: str) -> Any:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if isinstance(value, str) and value in hint.__members__:
            return hint[value]
    elif hint in (None, type(None)):
        if value is None:
            return None
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint in (bool, str):
        if isinstance(value, hint):
            return value
    elif hint is Path:
        if isinstance(value, str | Path):
            return Path(value)
    else:
        raise ConfigError(f"{path}: a field of type {_type_name(hint)} cannot be read from JSON")
    raise ConfigError(f"{path}: expected {_type_name(hint)}, got {_show(value)}")


def _convert_union(args: tuple[Any, ...], value: Any, path: str, resolve: Resolve | None) -> Any:
    # An arm of exactly the value's type wins, so that 1 stays an integer in `float | int`.
    arms = sorted(args, key=lambda arm: arm is not type(value))
    errors = []
    for arm in arms:
        try:
            return _convert(arm, value, path, resolve)
        except ConfigError as error:
            errors.append((arm, error))
    # The most useful message is that of the one arm that could have been meant.
    meant = [error for arm, error in errors if _same_shape(arm, value)]
    if len(meant) == 1:
        raise meant[0]
    expected = " or ".join(_type_name(arm) for arm in args)
    raise ConfigError(f"{path}: expected {expected}, got {_show(value)}")


def _same_shape(arm: Any, value: Any) -> bool:
    if isinstance(value, Mapping):
        return dataclasses.is_dataclass(arm) or typing.get_origin(arm) is dict
    if isinstance(value, list | tuple):
        return (typing.get_origin(arm) or arm) in (list, tuple, Sequence)
    return False


def _convert_container(
    origin: Any, args: tuple[Any, ...], value: Any, path: str, resolve: Resolve | None
) -> Any:
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: expected a dict, got {_show(value)}")
        key_hint, item_hint = args or (Any, Any)
        return {
            _convert_key(key_hint, k, path): _convert(item_hint, v, _join(path, k), resolve)
            for k, v in value.items()
        }
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}: expected a list, got {_show(value)}")
    if origin is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise ConfigError(f"{path}: expected {len(args)} values, got {_show(value)}")
        hints = list(args)
    else:
        hints = [args[0] if args else Any] * len(value)
    items = [
        _convert(hint, item, _join(path, i), resolve)
        for i, (hint, item) in enumerate(zip(hints, value, strict=True))
    ]
    return items if origin is list else tuple(items)


def _convert_key(hint: Any, key: Any, path: str) -> Any:
    """Reads a key of a dict, which JSON holds as a string."""
    if hint in (int, float) and isinstance(key, str):
        try:
            return hint(key)
        except ValueError:
            expected = _type_name(hint)
            raise ConfigError(f"{path}: expected {expected} as key, got {_show(key)}") from None
    return _convert(hint, key, f"{path} (key)", None)


# --- words --------------------------------------------------------------------------------------

_WORDS = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    type(None): "null",
    None: "null",
}


def _type_name(hint: Any) -> str:
    if hint in _WORDS:
        return _WORDS[hint]
    if typing.get_origin(hint) is typing.Literal:
        return _one_of(typing.get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _one_of(hint.__members__)
    if typing.get_origin(hint) in (list, tuple, Sequence, Iterable):
        return "a list"
    if typing.get_origin(hint) in (dict, Mapping):
        return "a dict"
    return getattr(hint, "__name__", None) or str(hint)


def _one_of(choices: Iterable[Any]) -> str:
    return " or ".join(repr(choice) for choice in choices)


def _show(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _nearest(key: str, names: Iterable[str]) -> str:
    known = sorted(names)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"


# --- files --------------------------------------------------------------------------------------


def dump_json(path: str | Path, obj: Any) -> None:
    """Writes a JSON file whole or not at all.

    The text goes to a temporary file in the same folder, which then takes the place of `path`.
    Dataclasses are written as `to_dict` gives them. JSON has no word for NaN and infinity; they
    are written as null.

    Args:
        path: The file; its folder is made if it is missing.
        obj: Dataclasses, dicts, lists, numbers, strings, numpy arrays, and nestings of these.

    Raises:
        ConfigError: If a value cannot be written as JSON.
        RunError: If the file cannot be written.
    """
    write_whole(path, json.dumps(_finite(_to_plain(obj, "")), indent=2, allow_nan=False) + "\n")


def write_whole(path: str | Path, text: str) -> None:
    """Writes a text file whole or not at all, so that nobody ever reads half of it.

    Args:
        path: The file; its folder is made if it is missing. Where it is a link, the file that it
            leads to is written; a pipe or a device gets the text as it comes.
        text: The new content; written as UTF-8 and without a change of line ends.

    Raises:
        RunError: If the file cannot be written; an older one is left as it was.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))  # a link stays a link
    try:
        # /dev/stdout may lead to a regular file that the shell is writing.
        streams = ("/dev/std", "/dev/fd/", "/proc/")
        if str(path).startswith(streams) or (path.exists() and not path.is_file()):
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(text)
            return
        # One name per writer, so that two processes never write into one temporary file.
        number = f"{os.getpid()}-{next(_temporary_numbers)}"
        temporary = target.with_name(f".{target.name}.{number}.tmp")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def load_json(path: str | Path) -> Any:
    """Reads a JSON file.

    Raises:
        RunError: If the file is missing, cannot be read, or is not whole JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # broken JSON, or not UTF-8
        line = getattr(error, "lineno", None)
        place = f" (line {line})" if line else ""
        raise RunError(
            f"{path} is not whole JSON{place}: it is half-written, damaged, or another kind of "
            "file; mend it, or move it away"
        ) from error


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
