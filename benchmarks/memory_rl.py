"""Memory-RL's tasks: how long each memory remembers, and how far back it assigns credit.

    python benchmarks/memory_rl.py

DQN on the T-Mazes and SAC-Discrete on the pixel tasks, with an LSTM and with GPT-2, by the recipes'
short budgets: 4,000 to 10,000 episodes (40,000 on the active T-Maze), where the authors play 6,700
to 40,000, and one update for fifty steps (for seventeen on the pixel tasks) instead of for four. A
T-Maze run ends once 100 episodes bring 0.995 on average.
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


def published_steps(task: str, length: int) -> int:
    """Returns the steps of the environment in the authors' run."""
    extra = {"passive_tmaze": 1, "active_tmaze": 3, "visual_match": 30, "key_to_door": 25}
    return EPISODES[task][length] * (length + extra[task])


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    for recipe, length, models in TIERS:  # all seeds of one before the next
        run_all(SUITE, [experiment(recipe, length, model) for model in models], options)
