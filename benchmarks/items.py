"""Many items: how many hints does a memory keep, and for how long?

    python benchmarks/items.py
    python benchmarks/items.py --hints 8 --models retaining

T-Maze with 2, 4, 8 and 16 named hints, trained on corridors of up to three segments with the hints
at random steps. Walked with the hints at random steps of 60 (120 with 16 hints) and 200 steps, and
with the hints at the start and a gap after them, at 300, 3,000 (100 episodes), 30,000 and 100,000
steps (20). Ten seeds of the claim (eight hints, the retaining valve), three of the others.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "items"
WALKS = ((300, 100), (3000, 100), (30_000, 20), (100_000, 20))
HINTS = (8, 2, 4, 16)
CLAIM = ("retaining", 8)
LENGTH = {2: 20, 4: 20, 8: 20, 16: 40}  # K: all hints and questions fit into one segment
MODELS = (
    ("RATE, retaining valve", "retaining", "tmaze_items/rate"),
    ("RATE, the paper's valve", "plain", "tmaze_items/rate-plain"),
    ("ELMUR", "elmur", "tmaze_items/elmur"),
    ("LSTM", "lstm", "tmaze_items/lstm"),
)


def experiment(label: str, key: str, recipe: str, hints: int) -> Experiment:
    """One model on corridors with so many hints."""
    return Experiment(
        label=f"{label}, {hints} hints",
        key=f"{key}-{hints}hints",
        recipe=recipe,
        seeds=range(10 if (key, hints) == CLAIM else 3),
        flags=("--num-hints", str(hints), "--context-length", str(LENGTH[hints])),
        values=(3 * LENGTH[hints], 200),
        walks=WALKS,
        options=(("hint_time", "start"),),
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--models", nargs="+", help="keys of the models; all by default")
    parser.add_argument("--hints", nargs="+", type=int, default=HINTS, help="numbers of hints")
    options = parser.parse_args()
    rows = [row for row in MODELS if options.models is None or row[1] in options.models]
    for hints in options.hints:
        run_all(SUITE, [experiment(*row, hints) for row in rows], options)
