"""Modules of the user's own, imported so that they register what they define."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from retain.core.errors import ConfigError

_imported: list[str] = []


def imported_plugins() -> list[str]:
    """Names of what `import_plugin` has imported, for a further process to do the same."""
    return list(_imported)


def import_plugin(name: str) -> None:
    """Imports a Python file, or a module by its name.

    Args:
        name: Path of a ``.py`` file, or a dotted module name.

    Raises:
        ConfigError: If there is no such file or module.
    """
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise ConfigError(f"plugin {name} does not exist")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None  # a .py file always has one
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        _imported.append(str(path.resolve()))
        return
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"plugin {name} cannot be imported: {error}") from None
    _imported.append(name)
