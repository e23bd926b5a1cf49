"""RATE on the T-Maze: does it remember, and what does it take to learn to?

    python benchmarks/tmaze_memory.py

Trains on corridors of up to 90 steps (3 segments of 30) and walks corridors of 90, 900 and 9600
steps, ten seeds for the recipe's own valve and for the paper's, and a few for ways of training that
cannot learn what to write: the gradient stopped at every segment, and the published procedure.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

VALUES = (90, 900, 9600)
SUITE = "tmaze_memory"

EXPERIMENTS = [
    Experiment(
        label="RATE, ternary gated memory",
        key="rate",
        recipe="tmaze/rate",
        seeds=range(10),
        values=VALUES,
    ),
    Experiment(
        label="RATE, the paper's valve",
        key="rate-plain",
        recipe="tmaze/rate-plain",
        seeds=range(10),
        values=VALUES,
    ),
    Experiment(
        label="RATE, ternary gated memory, bptt_segments=1",
        key="rate-bptt1",
        recipe="tmaze/rate",
        seeds=range(5),
        flags=("--train.bptt-segments", "1"),
        values=VALUES,
    ),
    Experiment(
        label="RATE as published, same number of updates",
        key="rate-paper",
        recipe="tmaze/rate-paper",
        seeds=range(5),
        values=VALUES,
    ),
    Experiment(
        label="RATE as published, three times the updates",
        key="rate-paper-2400",
        recipe="tmaze/rate-paper",
        seeds=range(3),
        flags=("--train.updates", "2400", "--train.evaluate-every", "300"),
        values=VALUES,
    ),
]

if __name__ == "__main__":
    run_all(SUITE, EXPERIMENTS, job_parser(__doc__).parse_args())
