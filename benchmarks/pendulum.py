"""A pendulum whose velocity is hidden, with SAC: what is a memory worth in continuous control?

    python benchmarks/pendulum.py

`examples/hidden_velocity.py`: Gymnasium's pendulum shows where it is, and not how fast it turns.
Neither does the token have the reward, which tells a part of it. 16,000 steps, 80 episodes, an
update for every two steps from eight whole episodes; three seeds. The last row is shown the
velocity, and has no use for a memory.
"""

from __future__ import annotations

from common import Experiment, job_parser, run_all

SUITE = "pendulum"
PLUGIN = "examples/hidden_velocity.py"
HIDDEN, SHOWN = "example/HiddenVelocity-v0", "Pendulum-v1"
ROWS = (
    ("`gru`", "gru", HIDDEN),
    ("`memoryless`", "memoryless", HIDDEN),
    ("`memoryless`, the velocity shown", "memoryless-shown", SHOWN),
)
FLAGS = (
    *("--train.env-steps", "16000", "--train.num-envs", "1", "--train.batch-size", "8"),
    *("--train.updates-per-step", "0.5", "--agent.discount", "0.95", "--agent.skip"),
    *("--agent.tokens.reward-width", "0"),
    *("--train.evaluate-every", "2000", "--evaluation.episodes", "20"),
)


def experiment(label: str, key: str, environment: str) -> Experiment:
    """One model, with the velocity or without."""
    model = key.split("-")[0]
    return Experiment(
        label=label,
        key=key,
        recipe="gymnasium/sac",
        seeds=range(3),
        flags=("--env", environment, "--model", model, *FLAGS),
        plugin=PLUGIN,
    )


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    run_all(SUITE, [experiment(*row) for row in ROWS], options)
