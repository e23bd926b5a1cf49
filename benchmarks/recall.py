"""Memory that must be rewritten, or must let things pass: replacements, distractors, keys.

    python benchmarks/recall.py
    python benchmarks/recall.py --models retaining --tasks pairs

T-Maze with four named hints at random steps, of which two are replaced later; with four distractors
and continuous noise; and associative recall of four pairs. Trained on three segments of 20 steps,
walked in distribution, to 300 and 3,000 (100 episodes), 30,000 and 100,000 steps (20); what happens
in an episode of the T-Maze happens at steps drawn from its whole corridor.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "recall"
WALKS = ((300, 100), (3000, 100), (30_000, 20), (100_000, 20))
LENGTH = 20  # K
ITEMS = ("--num-hints", "4")
#: Label, key, family of recipes, flags, and the lengths of the corridor or gap trained on.
TASKS = (
    ("4 hints, 2 replaced", "replaced", "tmaze_items", (*ITEMS, "--replacements", "2"), 60),
    (
        "4 hints, 4 distractors, continuous noise",
        "distractors",
        "tmaze_items",
        (*ITEMS, "--distractors", "4", "--noise", "continuous"),
        60,
    ),
    ("4 pairs by key", "pairs", "associative_recall", ("--num-pairs", "4"), 46),
)
MODELS = (
    ("RATE, retaining valve", "retaining", "rate"),
    ("RATE, the paper's valve", "plain", "rate-plain"),
    ("ELMUR", "elmur", "elmur"),
    ("LSTM", "lstm", "lstm"),
)
Task = tuple[str, str, str, tuple[str, ...], int]


def experiment(task: Task, label: str, key: str, recipe: str) -> Experiment:
    """One model on one task."""
    name, short, family, flags, trained = task
    return Experiment(
        label=f"{label}, {name}",
        key=f"{key}-{short}",
        recipe=f"{family}/{recipe}",
        seeds=range(3),
        flags=(*flags, "--context-length", str(LENGTH)),
        values=(trained,),
        walks=WALKS,
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--models", nargs="+", help="keys of the models; all by default")
    parser.add_argument("--tasks", nargs="+", help="keys of the tasks; all by default")
    options = parser.parse_args()
    models = [row for row in MODELS if options.models is None or row[1] in options.models]
    tasks = [row for row in TASKS if options.tasks is None or row[1] in options.tasks]
    run_all(SUITE, [experiment(task, *row) for row in models for task in tasks], options)
