"""Corridors that grow: how soon does each memory get to the longest corridor of Memory-RL?

    python benchmarks/growing_corridors.py
    python benchmarks/growing_corridors.py --at-once --accelerator cuda

DQN on the Passive T-Maze of 1,500 steps, the longest that Ni et al. (2023) trained in, for ten
million steps. Here the corridors have up to 25 steps at first, and up to twice as many whenever 95
of 100 are walked without an error, and training ends once 1,500 are. Then longer ones are walked. A
run that fails at one of the lengths from 10,000 on is not sent on a longer one. Beside them, with
`--at-once`, the same number of updates an episode in 6,700 episodes of 1,500 steps, the authors'
budget.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "growing_corridors"
LENGTH = 1500
WALKS = ((10_000, 20), (100_000, 20), (1_000_000, 10))
COMMON = ("--length", str(LENGTH), "--train.updates-per-episode", "2", "--train.no-tensorboard")
GROWING = (
    *("--train.curriculum-from", "25", "--train.env-kwargs", "min_corridor_length", "1"),
    *("--train.num-envs", "32", "--train.replay-episodes", "1000"),
    *("--train.exploration-fraction", "0.05"),
    *("--train.evaluate-every", "10000", "--train.log-every", "10000"),
)
#: More of the long episodes at a time, since an accelerator takes no longer for them.
AT_ONCE = (
    *("--train.episodes", "6700", "--train.num-envs", "256", "--train.evaluate-every", "700000"),
    *("--train.checkpoint-every", "4000000", "--train.log-every", "100000"),
)
#: Name, model and flags. A window of GPT-2 that reaches over 10,000 steps.
WINDOW = ("--model.context-length", "10002")
MODELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("rate", "rate", ("--model.context-length", "10")),
    ("lstm", "lstm", ()),
    ("gru", "gru", ()),
    ("gpt2, no positions", "gpt2", ("--model.positions", "none", *WINDOW)),
    ("gpt2", "gpt2", WINDOW),
)


def experiment(
    name: str, model: str, flags: tuple[str, ...], *, grow: bool = True, accelerator: str = "cpu"
) -> Experiment:
    """One model, in corridors that grow or in the longest at once."""
    device = () if accelerator == "cpu" else ("--train.accelerator", accelerator)
    key = name.replace(", ", "-").replace(" ", "-")
    return Experiment(
        label=name if grow else f"{name}, at once",
        key=key if grow else f"at-once-{key}",
        recipe="passive_tmaze/dqn",
        seeds=range(3),
        flags=("--model", model, *flags, *COMMON, *(GROWING if grow else AT_ONCE), *device),
        values=(LENGTH,),
        walks=WALKS if grow else (),
    )


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--at-once", action="store_true", help="in the longest from the start")
    parser.add_argument("--accelerator", default="cpu", help="where they are trained")
    options = parser.parse_args()
    rows = [
        experiment(*row, grow=not options.at_once, accelerator=options.accelerator)
        for row in MODELS
    ]
    run_all(SUITE, rows, options)
