"""Length trained on against length tested on: who goes on remembering?

    python benchmarks/lengths.py                  # trained on up to 300 steps
    python benchmarks/lengths.py --longest 900 --accelerator cuda    # as in the paper
    python benchmarks/lengths.py --growing        # 600 and 900, from short corridors to long ones
                                                  # (--accelerator cuda: minutes instead of an hour)

T-Maze, seven models trained on corridors of up to 9 ... 900 steps in three segments (the Decision
Transformer in one), and walked for 9 ... 9600 steps, twenty episodes each. A run that has lost the
hint at one length (success below 0.75) beyond the one it was trained on is not sent further.

All see corridors of every length from the first update on, at 600 and 900 as well, where the
recipes would begin with short ones; `--growing` makes the runs that do.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

from retain.recipes.tmaze import LONG

SUITE = "lengths"
GROWING = "lengths_growing"
TRAINED = (9, 30, 90, 150, 300, 600, 900)
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
        flags += ["--train.curriculum-from", "None"]
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


def growing(label: str, name: str, trained: int, accelerator: str = "cpu") -> Experiment:
    """One model, trained on corridors that grow to `trained` steps, as its recipe has it."""
    length = trained if name == "decision_transformer" else trained // 3
    return Experiment(
        label=label,
        key=f"{name}-{trained}",
        recipe=f"tmaze/{name}",
        seeds=range(3),
        flags=(
            *("--context-length", str(length), "--evaluation.episodes", "20"),
            *("--evaluation.lookahead", str(length)),
            *("--evaluation.values-in-training", str(trained)),
            *on(accelerator),
        ),
        values=(trained,),
        walks=tuple((value, 20) for value in TESTED if value > trained),
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--longest", type=int, default=300, help="longest length to train on")
    parser.add_argument("--accelerator", default="cpu", help="cpu, or cuda for the long ones")
    parser.add_argument("--growing", action="store_true", help="runs that begin with short ones")
    parser.add_argument("--models", nargs="+", help="names of the models; all by default")
    options = parser.parse_args()
    models = [row for row in MODELS if options.models is None or row[1] in options.models]
    if options.growing:
        for trained in (length for length in TRAINED if length > LONG):
            rows = [growing(*model, trained, options.accelerator) for model in models]
            run_all(GROWING, rows, options)
        raise SystemExit
    for trained in TRAINED:
        if trained <= options.longest:
            rows = [experiment(*model, trained, options.accelerator) for model in models]
            run_all(SUITE, rows, options)
