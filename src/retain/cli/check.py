"""`retain check MODEL`: is a model held to the memory contract?"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro

from retain.cli.options import parse


@dataclasses.dataclass(kw_only=True)
class Options:
    """Try a model against every law of the memory contract; see docs/memory.md."""

    model: Annotated[str, tyro.conf.Positional]
    """Name of the model; with --plugin FILE, one of your own."""


def run(arguments: list[str]) -> int:
    """Runs the command; the status is 1 if a law is broken."""
    options = parse(Options, arguments, prog="retain check")
    from retain.cli.display import say
    from retain.contract import LAWS, TOKENS_PER_STEP, broken_laws
    from retain.models import MODELS

    MODELS.get(options.model)  # an unknown one is told before anything is said

    def report(law: str, what: str | None) -> None:
        say(f"  {law:<22}{'holds' if what is None else f'BROKEN: {what}'}")

    broken = 0
    for tokens in TOKENS_PER_STEP:
        say(f"{options.model}, {tokens} token{'s' * (tokens > 1)} a step")
        broken += len(broken_laws(options.model, tokens_per_step=tokens, report=report))
    trials = len(TOKENS_PER_STEP) * len(LAWS)
    said = f"{broken} of {trials} trials are broken" if broken else "every law holds"
    say(f"{options.model}: {said}")
    return 1 if broken else 0
