"""bsuite's memory length and memory size with PPO, beside A2C of `memory_chain.py`.

    python benchmarks/memory_chain_ppo.py

As many episodes, 10,000 and sixteen at a time, and an update for each episode instead of one for
each sixteen; three seeds. A choice of the models and settings of `memory_chain.py`.
"""

from __future__ import annotations

from dataclasses import replace

import memory_chain
from common import Experiment, job_parser, run_all

SUITE = "memory_chain_ppo"
MODELS = ("lstm", "gpt2", "gtrxl", "rate")
SETTINGS = (("memory_size", 5), ("memory_length", 13))


def experiment(task: str, value: int, model: str) -> Experiment:
    return replace(memory_chain.experiment(task, value, model), recipe=f"{task}/ppo")


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    for setting in SETTINGS:
        run_all(SUITE, [experiment(*setting, model) for model in MODELS], options)
