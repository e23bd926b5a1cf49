"""Tasks that grow: how soon does each memory get to the longest task of Memory-RL?

    python benchmarks/growing.py
    python benchmarks/growing.py --at-once

The T-Mazes of 1,500 (passive) and 500 steps (active), Visual Match with 1,000 steps between and
Key-to-Door with 500: the longest that Ni et al. (2023) trained in, for seven to ten million steps.
Here tasks are short at first, and twice as long whenever 95 of 100 episodes are right; a T-Maze run
ends once it masters the longest, and then walks longer ones. A run that fails at one of these
lengths is not sent on a longer one. Then memory length 100, with A2C, for the models of which some
runs fail there without growing, and the Active T-Maze of 50 steps. With `--at-once` the Passive
T-Maze of 1,500 steps from the first episode on, with as many updates for each, for a million steps.
"""

from __future__ import annotations

from dataclasses import replace

from common import Experiment, job_parser, run_all

SUITE = "growing"
#: GPT-2 without positions: what is seen behind the corridors trained in is nothing new to it.
#: Its window reaches over 10,000 steps, and costs nothing in shorter episodes.
PLACELESS = ("--model.positions", "none", "--model.context-length", "10004")
WALKS = {
    "passive_tmaze": ((10_000, 20), (100_000, 20), (1_000_000, 10)),
    "active_tmaze": ((1500, 100), (10_000, 20), (100_000, 20)),
}
LENGTHS = {
    "passive_tmaze": 1500, "active_tmaze": 500, "visual_match": 1000, "key_to_door": 500,
    "memory_length": 100,
}  # fmt: skip
#: Task, name and model, and flags.
ROWS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("passive_tmaze", "lstm", "lstm", ()),
    ("passive_tmaze", "rate", "rate", ()),
    ("passive_tmaze", "gru", "gru", ()),
    ("passive_tmaze", "gpt2, no positions", "gpt2", PLACELESS),
    ("active_tmaze", "lstm", "lstm", ()),
    ("active_tmaze", "rate", "rate", ()),
    ("active_tmaze", "gru", "gru", ()),
    ("active_tmaze", "gpt2, no positions", "gpt2", PLACELESS),
    ("visual_match", "gpt2", "gpt2", ()),
    ("visual_match", "lstm", "lstm", ()),
    ("key_to_door", "lstm", "lstm", ()),
    ("key_to_door", "gpt2", "gpt2", ()),
    ("memory_length", "lstm", "lstm", ()),
    ("memory_length", "gru", "gru", ()),
    ("memory_length", "rezero", "rezero", ()),
    ("memory_length", "gtrxl", "gtrxl", ()),
    ("memory_length", "rate", "rate", ()),
)
#: At a length in between, with the recipe's models as they are: task, length and models.
BETWEEN = ("active_tmaze", 50, ("lstm", "gpt2"))
#: The recipe with its growth taken back, and for fifty times the steps that it needs.
AT_ONCE = (
    *("--train.curriculum-from", "None", "--train.episodes", "670"),
    *("--train.env-kwargs.min-corridor-length", "1500"),
    *("--train.evaluate-every", "100000", "--train.log-every", "100000"),
)


def experiment(
    task: str, name: str, model: str, flags: tuple[str, ...], length: int | None = None
) -> Experiment:
    """One model in a task that grows, to the longest unless a length is given."""
    longest = length is None
    return Experiment(
        label=name,
        key=f"{task}-{_plain(name)}" if longest else f"{task}-{length}-{_plain(name)}",
        recipe=f"{task}/growing",
        seeds=range(3),
        flags=(
            "--model",
            model,
            *flags,
            "--length",
            str(length or LENGTHS[task]),
            "--train.no-tensorboard",
        ),
        walks=WALKS.get(task, ()) if longest else (),
    )


def between(model: str) -> Experiment:
    """One model, grown to the length in between."""
    task, length, _ = BETWEEN
    return experiment(task, model, model, (), length)


def at_once(task: str, name: str, model: str, flags: tuple[str, ...]) -> Experiment:
    """One model in the longest Passive T-Maze from the start."""
    grown = experiment(task, name, model, flags)
    return replace(
        grown,
        label=f"{name}, at once",
        key=f"{task}-at-once-{_plain(name)}",
        flags=(*grown.flags, *AT_ONCE),
        walks=(),
    )


def _plain(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--at-once", action="store_true", help="in the longest from the start")
    options = parser.parse_args()
    if options.at_once:
        rows = [row for row in ROWS if row[0] == "passive_tmaze"]
        run_all(SUITE, [at_once(*row) for row in rows], options)
    else:
        run_all(SUITE, [experiment(*row) for row in ROWS], options)
        run_all(SUITE, [between(model) for model in BETWEEN[2]], options)
