"""One table of all: which memory for which task?

    python benchmarks/all_models.py

Every model on five tasks, by the short budgets, three seeds each. The runs are shared with
`memory_rl.py` and `memory_chain.py`: what one of them has done, the others take over. All of it is
about twelve core-hours; it can be stopped and gone on with at any time.
"""

from __future__ import annotations

import memory_chain
import memory_rl
from common import job_parser, run_all

MODELS = (*memory_chain.MODELS, "rmt", "linformer", "canonical", "elmur", "stable_hadamard")
PIXELS = (("visual_match/sac_discrete", 60), ("key_to_door/sac_discrete", 60))

if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    for setting in memory_chain.FIRST:
        experiments = [memory_chain.experiment(*setting, model) for model in MODELS]
        run_all(memory_chain.SUITE, experiments, options)
    for task in (("passive_tmaze/dqn", 50), *PIXELS):
        experiments = [memory_rl.experiment(*task, model) for model in MODELS]
        run_all(memory_rl.SUITE, experiments, options)
