"""Length trained on against length tested on: who goes on remembering?

    python benchmarks/lengths.py                  # trained on up to 300 steps
    python benchmarks/lengths.py --longest 900 --accelerator cuda    # as in the paper
    python benchmarks/lengths.py --growing        # 150 to 900, in corridors that grow when mastered
    python benchmarks/lengths.py --by-shares      # 600 and 900, in corridors that grow by schedule
                                                  # (--accelerator cuda: minutes instead of an hour)

T-Maze, seven models trained on corridors of up to 9 ... 900 steps in three segments (the Decision
Transformer in one), and walked for 9 ... 9600 steps, twenty episodes each. A run that has lost the
hint at one length (success below 0.75) beyond the one it was trained on is not sent further.

All see corridors of every length from the first update on, at 600 and 900 as well, where the
recipes would begin with short ones. `--growing` makes runs that begin with 25 steps, and go on to
twice as many when an evaluation has 0.95 at the present length; `--by-shares` those that go on
after equal shares of the first half of the updates, as the recipes once did.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

from retain.recipes.tmaze import LONG, MASTERED, SHORT

SUITE = "lengths"
GROWING = "lengths_growing"
BY_SHARES = "lengths_by_shares"
TRAINED = (9, 30, 90, 150, 300, 600, 900)
GROWN, GROWN_BY_SHARES = (150, 300, 600, 900), (600, 900)
TESTED = (9, 30, 90, 150, 300, 600, 900, 1200, 2400, 4800, 9600)
MODELS = (
    ("RATE", "rate"),
    ("Decision Transformer", "decision_transformer"),
    ("RMT", "rmt"),
    ("Transformer-XL", "transformer_xl"),
    ("LSTM", "lstm"),
    ("GRU", "gru"),
    ("ELMUR", "elmur"),
)


def experiment(label: str, name: str, trained: int, accelerator: str = "cpu") -> Experiment:
    """One model, trained on corridors of up to `trained` steps."""
    length = trained if name == "decision_transformer" else trained // 3
    flags = ["--context-length", str(length), "--evaluation.episodes", "20"]
    if trained > LONG:
        flags += ["--train.curriculum-from", "None", "--train.curriculum-score", "None"]
        flags += ["--train.evaluate-every", "100"]
        if name == "rate":
            flags += ["--train.memory-cost-start", "0", "--train.memory-cost-warmup", "1"]
    if accelerator != "cpu":  # a call costs more than what it computes: whole segments in one
        flags += [*on(accelerator), "--evaluation.lookahead", str(length)]
    return Experiment(
        label=label,
        key=f"{name}-{trained}",
        recipe=f"tmaze/{name}",
        seeds=range(3),
        flags=tuple(flags),
        values=tuple(value for value in TESTED if value <= trained),
        walks=tuple((value, 20) for value in TESTED if value > trained),
    )


def on(accelerator: str) -> list[str]:
    """Returns the flags that train on an accelerator."""
    return [] if accelerator == "cpu" else ["--train.accelerator", accelerator]


def growing(
    label: str, name: str, trained: int, accelerator: str = "cpu", *, mastered: bool = True
) -> Experiment:
    """One model, trained on corridors that grow to `trained` steps, when mastered or by shares."""
    length = trained if name == "decision_transformer" else trained // 3
    grow = ["--train.curriculum-from", str(SHORT)]
    grow += ["--train.curriculum-score", str(MASTERED) if mastered else "None"]
    grow += ["--train.evaluate-every", "50" if mastered else "100"]
    if name == "rate":  # as its recipe has it where corridors grow
        grow += ["--train.memory-cost-start", "0.6", "--train.memory-cost-warmup", "0.4"]
    return Experiment(
        label=label,
        key=f"{name}-{trained}",
        recipe=f"tmaze/{name}",
        seeds=range(3),
        flags=(
            *("--context-length", str(length), "--evaluation.episodes", "20"),
            *("--evaluation.lookahead", str(length)),
            *("--evaluation.values-in-training", str(trained)),
            *grow,
            *on(accelerator),
        ),
        values=(trained,),
        walks=tuple((value, 20) for value in TESTED if value > trained),
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--longest", type=int, default=300, help="longest length to train on")
    parser.add_argument("--accelerator", default="cpu", help="cpu, or cuda for the long ones")
    parser.add_argument("--growing", action="store_true", help="corridors that grow when mastered")
    parser.add_argument("--by-shares", action="store_true", help="corridors that grow by schedule")
    parser.add_argument("--models", nargs="+", help="names of the models; all by default")
    options = parser.parse_args()
    models = [row for row in MODELS if options.models is None or row[1] in options.models]
    if options.growing or options.by_shares:
        for trained in GROWN if options.growing else GROWN_BY_SHARES:
            rows = [
                growing(*model, trained, options.accelerator, mastered=options.growing)
                for model in models
            ]
            run_all(GROWING if options.growing else BY_SHARES, rows, options)
        raise SystemExit
    for trained in TRAINED:
        if trained <= options.longest:
            rows = [experiment(*model, trained, options.accelerator) for model in models]
            run_all(SUITE, rows, options)
