"""Length trained on against length tested on: who goes on remembering?

    python benchmarks/lengths.py                  # trained on up to 300 steps
    python benchmarks/lengths.py --longest 900 --accelerator cuda    # as in the paper

T-Maze, seven models trained on corridors of up to 9 ... 900 steps in three segments (the Decision
Transformer in one), and walked for 9 ... 9600 steps, twenty episodes each. A run that has lost the
hint at one length (success below 0.75) beyond the one it was trained on is not sent further.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "lengths"
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
    if accelerator != "cpu":  # a call costs more than what it computes: whole segments in one
        flags += ["--train.accelerator", accelerator, "--evaluation.lookahead", str(length)]
    return Experiment(
        label=label,
        key=f"{name}-{trained}",
        recipe=f"tmaze/{name}",
        seeds=range(3),
        flags=tuple(flags),
        values=tuple(value for value in TESTED if value <= trained),
        walks=tuple((value, 20) for value in TESTED if value > trained),
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--longest", type=int, default=300, help="longest length to train on")
    parser.add_argument("--accelerator", default="cpu", help="cpu, or cuda for the long ones")
    options = parser.parse_args()
    for trained in TRAINED:
        if trained <= options.longest:
            rows = [experiment(*model, trained, options.accelerator) for model in MODELS]
            run_all(SUITE, rows, options)
