"""Agents: one file for each learning rule, over any registered model.

`AGENTS` finds them; asking it for a name imports the agents (and with them torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retain.core.registry import IMPORT_YOURS, Registry

if TYPE_CHECKING:
    from retain.agents.policy import Policy

AGENTS: Registry[type[Policy]] = Registry("agent", __name__, IMPORT_YOURS)
