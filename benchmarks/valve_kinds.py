"""Valve kinds: which of them keep one hint for longer than they were trained to?

    python benchmarks/valve_kinds.py

Trains on corridors of up to 150 steps (5 segments of 30, as the paper's ablation) and walks
corridors of 150, 360, 600 and 900 steps, three seeds for each kind.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

VALUES = (150, 360, 600, 900)
SUITE = "valve_kinds"
KINDS = (
    "none",
    "cross_attention",
    "cross_attention_reversed",
    "gate",
    "gru",
    "lstm",
    "retaining",
)


def experiment(kind: str) -> Experiment:
    recipe = "tmaze/rate" if kind == "retaining" else "tmaze/rate-plain"
    return Experiment(
        label=kind,
        key=kind,
        recipe=recipe,
        seeds=range(3),
        flags=("--num-segments", "5", "--model.valve.kind", kind),
        values=VALUES,
    )


if __name__ == "__main__":
    run_all(SUITE, [experiment(kind) for kind in KINDS], job_parser(__doc__).parse_args())
