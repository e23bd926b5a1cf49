"""One table of all: which memory for which task?

    python benchmarks/all_models.py

Every model on five tasks, three seeds each: DQN on the Passive T-Maze, A2C on memory length and
memory size, SAC-Discrete on Visual Match and Key-to-Door. The tasks are short, so that all of it is
three to four hours on two cores; it can be stopped and gone on with at any time. Memory length and
size are runs of `memory_chain.py`: what one of the two has done, the other takes over.
"""

from __future__ import annotations

import memory_chain
from common import Experiment, job_parser, run_all

SUITE = "all_models"
MODELS = (*memory_chain.MODELS, "rmt", "linformer", "canonical", "elmur", "stable_hadamard")

#: These lengths are learned in fewer episodes than the recipes' own.
FEWER_EPISODES = ("--train.episodes", "2000")
#: Recipes, lengths, and what is changed in the short budget.
TASKS: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("passive_tmaze/dqn", 20, ()),
    ("key_to_door/sac_discrete", 10, FEWER_EPISODES),
    ("visual_match/sac_discrete", 10, FEWER_EPISODES),
)


def experiment(recipe: str, length: int, changes: tuple[str, ...], model: str) -> Experiment:
    task = recipe.split("/")[0]
    return Experiment(
        label=model,
        key=f"{task}-{length}-{model}",
        recipe=recipe,
        seeds=range(3),
        flags=("--length", str(length), "--model", model, "--train.no-tensorboard", *changes),
    )


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    for setting in memory_chain.FIRST:
        experiments = [memory_chain.experiment(*setting, model) for model in MODELS]
        run_all(memory_chain.SUITE, experiments, options)
    for task in TASKS:
        run_all(SUITE, [experiment(*task, model) for model in MODELS], options)
