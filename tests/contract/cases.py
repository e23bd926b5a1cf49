"""Small configurations of every registered model.

A model without an entry is tried with `DEFAULT`, so that a new model needs no change here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from retain.contract.trials import Subject
from retain.memory import ModelConfig, SequenceModel
from retain.models import MODELS, build
from retain.nn.valve import ValveConfig

WIDTH = 16


@dataclass(frozen=True)
class Case:
    """One configuration of a model."""

    label: str
    overrides: dict[str, Any] = field(default_factory=dict)
    tokens_per_step: int = 1
    context_length: int = 4
    tight: bool = False
    model: str = ""

    def __str__(self) -> str:
        return f"{self.model}-{self.label}"

    def config(self) -> ModelConfig:
        config_class = MODELS.get(self.model).Config
        return config_class(
            width=WIDTH, **({"context_length": self.context_length} | self.overrides)
        )

    def make_model(self) -> SequenceModel:
        return build(self.config(), tokens_per_step=self.tokens_per_step)

    def subject(self) -> Subject:
        segment = self.context_length * self.tokens_per_step
        return Subject(self.make_model, WIDTH, segment, self.tight)


THREE = {"tokens_per_step": 3, "context_length": 2}
DEFAULT = [Case("default"), Case("three tokens a step", **THREE)]


def rate(label: str, valve: str = "cross_attention", **options: Any) -> Case:
    place = {name: options.pop(name) for name in [*THREE, "tight"] if name in options}
    gate, levels = options.pop("gate", "component"), options.pop("levels", 3)
    made = ValveConfig(kind=valve, num_heads=2, gate=gate, levels=levels)
    return Case(label, {"num_memory_tokens": 2, "valve": made} | options, **place)


RECURRENT = [
    Case("default", context_length=5),
    Case("two layers", {"num_layers": 2}, context_length=3),
    Case("another width", {"hidden": 7}, **THREE),
    Case("long spans", {"chrono": 9}),
    Case("the same width, mapped", {"hidden": WIDTH, "num_layers": 2}, **THREE),
]
WITH_CACHE = [
    Case("default", {"cache_length": 5}, context_length=3),
    Case("short cache", {"cache_length": 1}, tight=True),
    Case("three tokens a step", {"cache_length": 7}, **THREE),
    Case("cache of several segments", {"cache_length": 14, "num_layers": 1}),
]

# One segment is 4 tokens (6 with THREE), and 2 memory tokens more at each end in RATE.
CASES: dict[str, list[Case]] = {
    "rate": [
        rate("cross_attention"),
        rate("cross_attention_reversed", "cross_attention_reversed", **THREE),
        rate("gate", "gate"),
        rate("gru", "gru", **THREE),
        rate("lstm", "lstm"),
        rate("none", "none", **THREE),
        rate("retaining", "retaining"),
        rate("retaining, hard gates", "retaining", gate="hard_component", levels=0, **THREE),
        rate("retaining, a gate a token", "retaining", gate="hard_token", levels=2),
        rate("feed-forward", feed_forward=24, num_memory_tokens=3),
        rate("trxl_i", block="trxl_i", cache_length=3),
        rate("trxl_i with feed-forward", block="trxl_i", feed_forward=24),
        rate("gtrxl", block="gtrxl", **THREE),
        rate("gtrxl with feed-forward", "lstm", block="gtrxl", feed_forward=24, cache_length=3),
        rate("short cache", cache_length=3, num_memory_tokens=1),
        rate("cache of several segments", "gru", cache_length=19),
        rate("cache of several segments, three tokens", cache_length=25, **THREE),
        rate("no memory tokens", num_memory_tokens=0, tight=True),
        rate("no memory tokens, cache", num_memory_tokens=0, cache_length=5, tight=True),
        rate("as published", twofold_residual=True, shared_initial_memory=True, cache_length=16),
        rate("one token a segment", context_length=1, cache_length=3),
        rate("one layer", num_layers=1, num_heads=1, head_width=6),
    ],
    "rmt": [
        Case("default", {"num_memory_tokens": 3}),
        Case("three tokens a step", {"num_memory_tokens": 2, "block": "gtrxl"}, **THREE),
        Case("no feed-forward", {"num_memory_tokens": 1, "feed_forward": None}),
        Case("no memory tokens", {"num_memory_tokens": 0}, tight=True),
    ],
    "transformer_xl": [
        Case("no cache", {"cache_length": 0}, tight=True),
        Case("short cache", {"cache_length": 1}, tight=True),
        # A chain of hops from segment end to segment end makes these two as far-reaching as said.
        Case("cache", {"cache_length": 5}, tight=True),
        Case("three tokens a step", {"cache_length": 7, "block": "trxl_i"}, **THREE, tight=True),
        Case("cache of several segments", {"cache_length": 14, "block": "gtrxl"}),
        Case("one layer", {"cache_length": 6, "num_layers": 1}, tight=True),
    ],
    "elmur": [
        Case("default"),
        Case("three tokens a step", {"num_slots": 3, "max_distance": 5}, **THREE),
        # One slot, or one token a segment, leaves nothing to choose among: queries go unused.
        Case("one layer", {"blend": 0.3, "num_layers": 1, "num_heads": 1}),
        Case("replaced", {"blend": 1.0, "head_width": 6, "feed_forward": 7}),
        Case("as published", {"blend_empty": True, "blend": 0.4}, context_length=3),
        Case("two tokens a segment", {"num_slots": 4}, context_length=2),
    ],
    "stable_hadamard": [
        Case("default"),
        Case("three tokens a step", {"memory_width": 7, "num_calibrations": 3}, **THREE),
        Case("single calibration", {"memory_width": 9, "calibration": "single"}),
        Case("no limit", {"memory_width": 8, "limit": None}, context_length=3),
        Case("limit met", {"memory_width": 11, "limit": 1.5}),
    ],
    "decision_transformer": [
        Case("default", tight=True),
        Case("three tokens a step", {"num_layers": 2, "num_heads": 2}, **THREE, tight=True),
        Case("last time embedding", {"max_timestep": 3, "num_layers": 1}, tight=True),
        Case("gelu", {"activation": "gelu", "num_layers": 1}, **THREE),
        Case("one step of context", {"num_layers": 1}, 3, 1, tight=True),
    ],
    "lstm": RECURRENT,
    "gru": RECURRENT,
    "memoryless": DEFAULT,
    "gtrxl": WITH_CACHE,
    "rezero": [
        *WITH_CACHE,
        Case("no feed-forward", {"cache_length": 5, "feed_forward": None}, tight=True),
    ],
    # The window is a segment, 4 tokens or 6, unless `context_length` or `cache_length` says else.
    "gpt2": [
        Case("default", tight=True),
        Case("two layers, odd window", {"num_layers": 2, "num_heads": 2}, 1, 5, tight=True),
        Case("three tokens a step", {"positions": "learned", "num_heads": 4}, **THREE, tight=True),
        Case("window of one", {"positions": "none"}, context_length=1, tight=True),
        Case("window longer than the calls", {"context_length": 90, "num_layers": 2}),
    ],
    "canonical": [
        Case("default", tight=True),
        Case("two layers", {"num_layers": 2, "num_heads": 2}, **THREE, tight=True),
        Case("window of one", {"num_heads": 4}, context_length=1, tight=True),
    ],
    "linformer": [
        Case("default", tight=True),
        Case("two layers", {"num_layers": 2, "num_heads": 2}, **THREE, tight=True),
        Case("window of two", {"num_rows": 3}, context_length=2, tight=True),
        Case("window of one", {"num_rows": 1}, context_length=1, tight=True),
    ],
    "universal": [
        Case("default", {"max_ponder": 3}),
        Case("weighted", {"act": "weighted", "num_heads": 2}, **THREE),
        Case("one ponder step", {"max_ponder": 1}, context_length=5, tight=True),
        Case("threshold never reached", {"threshold": 0.99, "max_ponder": 2}, tight=True),
        Case("window of one", {"max_ponder": 4}, context_length=1, tight=True),
    ],
    "integrated": [
        Case("default", {"cache_length": 5, "max_ponder": 3}),
        Case("weighted", {"cache_length": 2, "act": "weighted", "num_heads": 2}, **THREE),
        Case("one ponder step", {"max_ponder": 1, "cache_length": 3}, tight=True),
    ],
    "integrated_recurrent": [
        Case("default", {"cache_length": 5, "max_ponder": 3}),
        Case("three tokens a step", {"cache_length": 1, "num_heads": 2}, **THREE),
    ],
    "gtrxl_recurrent": [
        Case("default", {"cache_length": 5}),
        Case("two layers", {"cache_length": 2, "num_layers": 2, "num_heads": 2}, **THREE),
        Case("cache longer than the calls"),
    ],
}


def all_cases() -> list[Case]:
    """Every configuration of every registered model."""
    return [
        replace(case, model=name) for name in MODELS.names() for case in CASES.get(name, DEFAULT)
    ]
