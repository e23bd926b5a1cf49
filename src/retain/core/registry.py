"""Named things: models, environments, recipes.

A registry maps a name to a class or a function. Its entries are found by importing every module
of one package, so that a new model, say, is one new file; other distributions add theirs through
the entry-point group `retain.plugins`, whose entries are modules imported for their effect.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from retain.core.errors import ConfigError, UnknownNameError

#: What to do about a model, say, that is the user's own.
IMPORT_YOURS = "one of your own has to be imported first, by --plugin on the command line"

T = TypeVar("T")
E = TypeVar("E")  # what is registered keeps its own, narrower type
_plugins_loaded = False


def load_plugins() -> None:
    """Imports every module named by the entry-point group `retain.plugins`, once."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for entry_point in entry_points(group="retain.plugins"):
        entry_point.load()


class Registry(Generic[T]):
    """A mapping from names to things of one kind.

    Args:
        kind: What the things are, in the singular, for error messages ("model").
        package: The package whose modules register entries; imported when first asked.
        otherwise: What to do if none of its names is meant, for error messages.
    """

    def __init__(self, kind: str, package: str, otherwise: str = ""):
        self.kind = kind
        self._otherwise = otherwise
        self._package = package
        self._entries: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[E], E]:
        """Returns a decorator that registers its argument under `name`.

        Raises:
            ConfigError: If another thing already has the name.
        """

        def add(entry: E) -> E:
            present = self._entries.get(name)
            if present is not None and _identity(present) != _identity(entry):
                raise ConfigError(
                    f"{self.kind} '{name}' is registered twice: by {_identity(present)} "
                    f"and by {_identity(entry)}; rename one of them"
                )
            self._entries[name] = cast(T, entry)
            return entry

        return add

    def get(self, name: str) -> T:
        """Returns the entry called `name`.

        Raises:
            UnknownNameError: If there is none; the message has the nearest names.
            ConfigError: If a plugin has taken the name of something that comes with the library.
        """
        self._discover()  # also where the name is known: it may be taken twice
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries, self._otherwise)
        return self._entries[name]

    def of(self, config: Any) -> T:
        """Returns the entry that a configuration names.

        Raises:
            ConfigError: If it names none.
            UnknownNameError: If there is none of its name.
        """
        if not config.registered_name:
            raise ConfigError(
                f"{type(config).__name__} has no registered_name; give the class the name that "
                f"its {self.kind} is registered under"
            )
        return self.get(config.registered_name)

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        load_plugins()


def _identity(entry: object) -> str:
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"
