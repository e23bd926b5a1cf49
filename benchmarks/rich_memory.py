"""Does the retaining valve lose where memory is rich and short?

    python benchmarks/rich_memory.py

bsuite's memory size (3, 5 and 10 bits, one of them asked for two steps later) and the distributed
memory task (the majority of bits shown at scattered steps) with A2C, ten seeds: RATE with the
retaining valve, and with the paper's.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "rich_memory"
TASKS = (
    ("memory size, 3 bits", "memory_size-3", "memory_size/a2c", ("--bits", "3")),
    ("memory size, 5 bits", "memory_size-5", "memory_size/a2c", ("--bits", "5")),
    ("memory size, 10 bits", "memory_size-10", "memory_size/a2c", ("--bits", "10")),
    ("distributed memory", "distributed", "distributed_memory/a2c", ()),
)
VALVES = (("the retaining valve", "retaining"), ("the paper's valve", "cross_attention"))


def experiment(task: tuple[str, str, str, tuple[str, ...]], label: str, kind: str) -> Experiment:
    """One task with one valve."""
    name, key, recipe, flags = task
    return Experiment(
        label=f"{name}, {label}",
        key=f"{key}-{kind}",
        recipe=recipe,
        seeds=range(10),
        flags=(*flags, "--model", "rate", "--model.valve.kind", kind, "--train.no-tensorboard"),
    )


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    run_all(SUITE, [experiment(task, *valve) for task in TASKS for valve in VALVES], options)
