"""Options that several commands read alike."""

from __future__ import annotations

import json
from typing import Any

from retain.core.errors import ConfigError


def environment_options(texts: tuple[str, ...]) -> dict[str, Any]:
    """Reads options of an environment, each NAME=VALUE, with a value in JSON or a plain string.

    Raises:
        ConfigError: If a text is not of that form.
    """
    options = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"--option {text} is not of the form NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
