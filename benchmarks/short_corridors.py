"""Learning to remember where it is cheap: DQN on short T-Mazes, then far longer ones.

    python benchmarks/short_corridors.py

Trains on corridors of 1 to 29 steps until those of 19 to 29 and of 280 to 290 are walked without an
error, or for 6,000 episodes, and walks corridors of 29 up to 1,000,000 steps; Memory-RL trains at
each length, up to 1,500 (Ni et al. 2023). Ten seeds of RATE, three of the others. A run that fails
at one of the lengths from 1,500 on is not sent on a longer one. Then the active T-Maze, where the
side must be fetched first: corridors of 1 to 19 steps, and walks of 19 up to 100,000 (Memory-RL: up
to 500).
"""

from __future__ import annotations

from dataclasses import replace

from common import Experiment, job_parser, run_all

SUITE = "short_corridors"
VALUES = (29, 290)
WALKS = ((1500, 100), (10_000, 100), (100_000, 20), (1_000_000, 10))
ACTIVE_VALUES = (19, 190)
ACTIVE_WALKS = ((500, 100), (10_000, 100), (100_000, 20))

#: The paper's valve, for what the retaining one brings.
PLAIN = ("--model.valve.kind", "cross_attention")
#: Name, model, seeds and flags. Windows and caches reach over the authors' longest corridor.
Row = tuple[str, str, int, tuple[str, ...]]
MODELS: tuple[Row, ...] = (
    ("rate", "rate", 10, ()),
    ("rate-plain", "rate", 3, PLAIN),
    ("lstm", "lstm", 3, ()),
    ("gru", "gru", 3, ()),
    ("gpt2", "gpt2", 3, ("--model.context-length", "1502")),
    ("stable_hadamard", "stable_hadamard", 3, ()),
    ("elmur", "elmur", 3, ()),
    ("rmt", "rmt", 3, ()),
    ("transformer_xl", "transformer_xl", 3, ("--model.cache-length", "1502")),
)
ACTIVE_MODELS: tuple[Row, ...] = (
    ("rate", "rate", 10, ()),
    ("rate-plain", "rate", 3, PLAIN),
    ("lstm", "lstm", 3, ()),
    ("gru", "gru", 3, ()),
    ("gpt2", "gpt2", 3, ("--model.context-length", "504")),
)


def experiment(name: str, model: str, seeds: int, flags: tuple[str, ...]) -> Experiment:
    return Experiment(
        label=name,
        key=name,
        recipe="passive_tmaze/short_corridors",
        seeds=range(seeds),
        flags=("--model", model, "--train.no-tensorboard", *flags),
        values=VALUES,
        walks=WALKS,
    )


def active(row: Row) -> Experiment:
    plain = experiment(*row)
    return replace(
        plain,
        label=f"{plain.label}, active",
        key=f"active-{plain.key}",
        recipe="active_tmaze/short_corridors",
        values=ACTIVE_VALUES,
        walks=ACTIVE_WALKS,
    )


EXPERIMENTS = [experiment(*row) for row in MODELS]
ACTIVE = [active(row) for row in ACTIVE_MODELS]

if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    run_all(SUITE, EXPERIMENTS, options)
    run_all(SUITE, ACTIVE, options)
