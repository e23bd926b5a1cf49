"""Holding a registered model to all laws of the memory contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch

from retain.contract.laws import LAWS
from retain.contract.trials import Subject
from retain.core.errors import ConfigError, ModelError
from retain.memory import ModelConfig
from retain.models import MODELS, build

Report = Callable[[str, str | None], None]

#: Agents that learn by acting read one token a step, offline ones three.
TOKENS_PER_STEP = (1, 3)

#: Sizes that make any model small; those of its fields that have these names get them.
SMALL: dict[str, Any] = {
    "width": 16,
    "context_length": 4,
    "num_heads": 2,
    "head_width": 8,
    "cache_length": 5,
    "max_ponder": 3,
}


def broken_laws(
    model: str | ModelConfig, *, tokens_per_step: int = 1, report: Report | None = None
) -> dict[str, str]:
    """Tries a model against every law, in float64 and without dropout.

    Args:
        model: The name of a registered model, made small; or a configuration, taken as it is.
        tokens_per_step: Tokens of a step: 1 for agents that learn by acting, 3 for offline ones.
        report: Called with each law's name when it was tried, and with what broke it or None.

    Returns:
        Of each law that is broken: what happened.

    Raises:
        UnknownNameError: If there is no such model.
        ConfigError: If the model cannot be built.
    """
    config = _small(model) if isinstance(model, str) else model
    subject = Subject(
        lambda: build(config, tokens_per_step=tokens_per_step),
        config.width,
        config.context_length * tokens_per_step,
    )
    broken = {}
    state = torch.get_rng_state()
    try:
        _build(subject)
        for name, law in LAWS.items():
            try:
                law(subject)
            except Exception as error:  # a model may fail in any way
                broken[name] = _told(error)
            if report is not None:
                report(name, broken.get(name))
    finally:
        torch.set_rng_state(state)
    return broken


def check_model(model: str | ModelConfig) -> None:
    """Raises unless a model obeys every law, with one token a step and with three.

    Args:
        model: As for `broken_laws`.

    Raises:
        ModelError: If a law is broken.
        UnknownNameError: If there is no such model.
        ConfigError: If the model cannot be built.
    """
    for tokens in TOKENS_PER_STEP:
        broken = broken_laws(model, tokens_per_step=tokens)
        if broken:
            told = "; ".join(f"{name}: {what}" for name, what in broken.items())
            raise ModelError(
                f"the model breaks {len(broken)} of {len(LAWS)} laws of the memory contract, with "
                f"{tokens} token{'s' * (tokens > 1)} a step: {told}"
            )


def _small(name: str) -> ModelConfig:
    config_class = MODELS.get(name).Config
    known = {field.name for field in fields(config_class)}
    return replace(config_class(), **{k: v for k, v in SMALL.items() if k in known})


def _build(subject: Subject) -> None:
    try:
        subject.model()
    except Exception as error:
        raise ConfigError(f"the model cannot be built: {_told(error)}") from error


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, AssertionError) and text else f"{type(error).__name__}: {text}"
