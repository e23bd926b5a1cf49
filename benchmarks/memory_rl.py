"""Memory-RL's tasks: how long each memory remembers, and how far back it assigns credit.

    python benchmarks/memory_rl.py
    python benchmarks/memory_rl.py --growing --accelerator cuda

DQN on the T-Mazes and SAC-Discrete on the pixel tasks, with an LSTM and with GPT-2, by the recipes'
short budgets: 4,000 to 10,000 episodes (40,000 on the active T-Maze), where the authors play 6,700
to 40,000, and one update for fifty steps (for seventeen on the pixel tasks) instead of for four. A
T-Maze run ends once 100 episodes bring 0.995 on average.

With `--growing`, corridors grow from 25 steps to 1,500, the authors' longest, whenever the present
ones are mastered; beside them, what the same budget brings with 1,500 from the start.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

from retain.recipes.memory_rl import EPISODES

SUITE = "memory_rl"
SEEDS = range(3)

#: Recipe, length and models, in the order in which they are run: what takes long comes last.
TIERS = (
    ("passive_tmaze/dqn", 50, ("lstm", "gpt2")),
    ("active_tmaze/dqn", 20, ("lstm",)),
    ("visual_match/sac_discrete", 60, ("lstm",)),
    ("key_to_door/sac_discrete", 60, ("lstm",)),
    ("passive_tmaze/dqn", 250, ("lstm", "gpt2")),
    ("visual_match/sac_discrete", 60, ("gpt2",)),
    ("key_to_door/sac_discrete", 60, ("gpt2",)),
    ("active_tmaze/dqn", 20, ("gpt2",)),
    ("active_tmaze/dqn", 50, ("lstm",)),
    ("passive_tmaze/dqn", 500, ("gpt2",)),
    ("active_tmaze/dqn", 50, ("gpt2",)),
)
#: How the Passive T-Maze of 1,500 steps is trained: more at once, and four updates an episode.
LONGEST = (
    *("--length", "1500", "--train.episodes", "20000", "--train.num-envs", "64"),
    *("--train.updates-per-episode", "4", "--train.replay-capacity", "300000"),
    *("--train.exploration-fraction", "0.05", "--train.log-every", "20000"),
    *("--train.evaluate-every", "20000", "--train.checkpoint-every", "2000000"),
    *("--train.env-kwargs", "min_corridor_length", "1"),
)
GROWING = "growing_corridors"
TASKS = tuple(dict.fromkeys((recipe, length) for recipe, length, _ in TIERS))
MODELS = ("lstm", "gpt2")


def experiment(recipe: str, length: int, model: str, seeds: range = SEEDS) -> Experiment:
    task = recipe.split("/")[0]
    return Experiment(
        label=model,
        key=f"{task}-{length}-{model}",
        recipe=recipe,
        seeds=seeds,
        flags=("--length", str(length), "--model", model, "--train.no-tensorboard"),
    )


def growing(model: str, *, grow: bool = True, accelerator: str = "cpu") -> Experiment:
    """The Passive T-Maze of 1,500 steps, by corridors that grow or at once."""
    flags = ["--model", model, *LONGEST, "--train.no-tensorboard"]
    if grow:
        flags += ["--train.curriculum-from", "25"]
    if accelerator != "cpu":
        flags += ["--train.accelerator", accelerator]
    name = model if grow else f"{model}-at-once"
    return Experiment(
        label=name, key=name, recipe="passive_tmaze/dqn", seeds=SEEDS, flags=tuple(flags)
    )


def published_steps(task: str, length: int) -> int:
    """Returns the steps of the environment in the authors' run."""
    extra = {"passive_tmaze": 1, "active_tmaze": 3, "visual_match": 30, "key_to_door": 25}
    return EPISODES[task][length] * (length + extra[task])


if __name__ == "__main__":
    parser = job_parser(__doc__)
    parser.add_argument("--growing", action="store_true", help="corridors that grow to 1,500 steps")
    parser.add_argument("--accelerator", default="cpu", help="where the long ones are trained")
    options = parser.parse_args()
    if options.growing:
        rows = [
            growing(model, grow=grow, accelerator=options.accelerator)
            for model in MODELS
            for grow in (True, False)
        ]
        run_all(GROWING, rows, options)
        raise SystemExit
    for recipe, length, models in TIERS:  # all seeds of one before the next
        run_all(SUITE, [experiment(recipe, length, model) for model in models], options)
