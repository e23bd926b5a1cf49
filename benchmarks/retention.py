"""Recall after a million steps: which memory holds one hint, and what does it take?

    python benchmarks/retention.py            # the main rows: K = 10 and 30, then 3 and 50
    python benchmarks/retention.py --kinds    # the same for the other kinds of valve
    python benchmarks/retention.py --ablations

T-Maze, trained on three segments of K steps, walked in distribution (3 K, 100 episodes) and on to
300, 3,000 (100 episodes), 30,000 (20), 300,000 and 1,000,000 steps (4), by acting at every step. A
run that has lost the hint at one length (success below 0.75) is not sent on a longer walk. The
ablations change one thing of the retaining valve at a time, and walk up to 30,000 steps; the valve
itself and the paper's have their runs among the main rows.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "retention"
ABLATIONS = "retention_ablations"
WALKS = ((300, 100), (3000, 100), (30_000, 20), (300_000, 4), (1_000_000, 4))
SHORT = WALKS[:3]
SEEDS = range(10)
LENGTHS = (10, 30, 3, 50)  # K; the first two are the claim

#: Label, key, recipe, flags.
Row = tuple[str, str, str, tuple[str, ...]]
MODELS: tuple[Row, ...] = (
    ("RATE, retaining valve", "retaining", "tmaze/rate", ()),
    ("RATE, the paper's valve", "plain", "tmaze/rate-plain", ()),
    ("ELMUR", "elmur", "tmaze/elmur", ()),
    ("RMT", "rmt", "tmaze/rmt", ()),
    ("Stable Hadamard Memory", "stable_hadamard", "tmaze/stable_hadamard", ()),
    ("LSTM", "lstm", "tmaze/lstm", ()),
    ("GRU", "gru", "tmaze/gru", ()),
)
PLAIN = "tmaze/rate-plain"
#: The kinds of valve that the paper compares its own with; `gru` alone is the model of that name.
KINDS: tuple[Row, ...] = (
    ("RATE, the paper's kind `gate`", "gate", PLAIN, ("--model.valve.kind", "gate")),
    ("RATE, the paper's kind `gru`", "gru-valve", PLAIN, ("--model.valve.kind", "gru")),
    ("RATE, no valve", "none", PLAIN, ("--model.valve.kind", "none")),
)
OLD = ("--num-segments", "12", "--train.bptt-segments", "3")

ROWS: tuple[Row, ...] = (
    ("the retaining valve", *MODELS[0][1:]),
    ("free numbers (levels 0)", "levels0", "tmaze/rate", ("--model.valve.levels", "0")),
    ("2 levels", "levels2", "tmaze/rate", ("--model.valve.levels", "2")),
    ("5 levels", "levels5", "tmaze/rate", ("--model.valve.levels", "5")),
    ("no gate", "gate-none", "tmaze/rate", ("--model.valve.gate", "none")),
    ("a gate a token", "gate-token", "tmaze/rate", ("--model.valve.gate", "token")),
    ("hard gates", "gate-hard", "tmaze/rate", ("--model.valve.gate", "hard_component")),
    (
        "hard gates, free numbers",
        "gate-hard-levels0",
        "tmaze/rate",
        ("--model.valve.gate", "hard_component", "--model.valve.levels", "0"),
    ),
    (
        "hard gates a token, free numbers",
        "token-hard-levels0",
        "tmaze/rate",
        ("--model.valve.gate", "hard_token", "--model.valve.levels", "0"),
    ),
    ("no dither", "dither0", "tmaze/rate", ("--model.valve.dither", "0")),
    ("no cost", "cost0", "tmaze/rate", ("--model.valve.cost", "0")),
    ("no commitment", "commitment0", "tmaze/rate", ("--model.valve.commitment", "0")),
    (
        "rounding and gates alone",
        "dither0-cost0-commitment0",
        "tmaze/rate",
        (
            *("--model.valve.dither", "0", "--model.valve.cost", "0"),
            *("--model.valve.commitment", "0"),
        ),
    ),
    (
        "cost and commitment from the start",
        "warmup0",
        "tmaze/rate",
        ("--train.memory-cost-warmup", "0"),
    ),
    ("the paper's valve", *MODELS[1][1:]),
    ("the paper's valve, old memories", "plain-old", PLAIN, OLD),
    *((row[0].removeprefix("RATE, "), row[1].removesuffix("-valve"), *row[2:]) for row in KINDS),
)


def experiment(
    label: str, key: str, recipe: str, flags: tuple[str, ...], length: int, *, main: bool = True
) -> Experiment:
    """One row, trained on segments of `length` steps."""
    return Experiment(
        label=f"{label}, K = {length}" if main else label,
        key=f"{key}-k{length}",
        recipe=recipe,
        seeds=SEEDS,
        flags=("--context-length", str(length), *flags),
        values=(3 * length,),
        walks=WALKS if main else SHORT,
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--ablations", action="store_true", help="the ablations, at K = 10")
    which.add_argument("--kinds", action="store_true", help="the paper's other kinds of valve")
    parser.add_argument("--models", nargs="+", help="keys of the rows to make; all by default")
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS, help="K")
    options = parser.parse_args()
    chosen = ROWS if options.ablations else KINDS if options.kinds else MODELS
    rows = [row for row in chosen if options.models is None or row[1] in options.models]
    if options.ablations:
        known = {row[1:] for row in MODELS}
        rows = [row for row in rows if row[1:] not in known]
        run_all(ABLATIONS, [experiment(*row, 10, main=False) for row in rows], options)
    else:
        for length in options.lengths:
            run_all(SUITE, [experiment(*row, length) for row in rows], options)
