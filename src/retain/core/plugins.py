"""Modules of the user's own, imported so that they register what they define."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from retain.core.errors import ConfigError, RetainError, first_line

_imported: list[str] = []


def imported_plugins() -> list[str]:
    """Names of what `import_plugin` has imported, for a further process to do the same."""
    return list(_imported)


def import_plugin(name: str) -> None:
    """Imports a Python file, or a module by its name.

    Args:
        name: Path of a ``.py`` file, or a dotted module name.

    Raises:
        ConfigError: If there is no such file or module, or it fails.
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
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # it can fail in any way
            if sys.modules.get(path.stem) is module:
                del sys.modules[path.stem]
            raise _failed(name, error, f"python {name}") from error
        _imported.append(str(path.resolve()))
        return
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failed(name, error, f"python -c 'import {name}'") from error
    _imported.append(name)


def _failed(name: str, error: BaseException, command: str) -> ConfigError:
    """Returns the error of a plugin that fails; the command shows its traceback."""
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        return ConfigError(f"plugin {name} cannot be imported: {error}")
    if isinstance(error, RetainError):
        return ConfigError(f"plugin {name}: {error}")
    if isinstance(error, SystemExit):
        return ConfigError(f"plugin {name} ends the program (exit status {error.code})")
    what = f"{type(error).__name__}: {first_line(error)}"
    return ConfigError(f"plugin {name} fails with {what}; `{command}` shows where")
