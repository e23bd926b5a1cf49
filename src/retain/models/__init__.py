"""Sequence models, one file each, registered by name.

`MODELS` finds them; asking it for a name imports the models (and with them torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retain.core.registry import IMPORT_YOURS, Registry

if TYPE_CHECKING:
    from retain.memory import ModelConfig, SequenceModel

MODELS: Registry[type[SequenceModel]] = Registry("model", __name__, IMPORT_YOURS)


def build(config: ModelConfig, *, tokens_per_step: int) -> SequenceModel:
    """Builds the model that a configuration belongs to.

    Args:
        config: The configuration of a registered model.
        tokens_per_step: Tokens that make one step of the environment.
    """
    return MODELS.of(config)(config, tokens_per_step=tokens_per_step)
