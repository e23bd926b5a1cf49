"""A pendulum whose velocity is hidden: continuous actions, and something to remember.

    python examples/hidden_velocity.py
    python examples/hidden_velocity.py --model memoryless

The pendulum of Gymnasium shows where it is and how fast it turns. Here it shows where it is alone,
so how fast it turns has to be made out from what was seen before. The agent is SAC. It takes some
ten minutes on one core.

The command line can use the same file:

    retain --plugin examples/hidden_velocity.py train gymnasium/sac --model gru \
        --env example/HiddenVelocity-v0
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import TransformObservation

import retain

ID = "example/HiddenVelocity-v0"
SEEN = 2  # cosine and sine of the angle; the third number is the velocity


def hidden_velocity(**options: Any) -> gym.Env[Any, Any]:
    """Returns Gymnasium's pendulum without its velocity; it ends after 200 steps, see below."""
    pendulum = gym.make("Pendulum-v1", max_episode_steps=-1, **options).unwrapped
    space = gym.spaces.Box(-1.0, 1.0, (SEEN,), np.float32)
    return TransformObservation(pendulum, lambda observation: observation[:SEEN], space)


gym.register(ID, entry_point=f"{__name__}:hidden_velocity", max_episode_steps=200)


def main() -> None:
    """Trains and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="gru", help="any model; `retain list models` has them")
    parser.add_argument("--episodes", type=int, default=80)
    parser.add_argument("--updates-per-episode", type=float, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--name", default="hidden-velocity", help="of the run's folder")
    arguments = parser.parse_args()

    config = retain.recipe("gymnasium/sac", env=ID, model=arguments.model)
    config = replace(
        config,
        seed=arguments.seed,
        agent=replace(
            config.agent,
            discount=0.95,
            skip=True,  # what is seen now need not come through the memory
            # The reward tells a part of the velocity, so it is left out.
            tokens=replace(config.agent.tokens, reward_width=0),
        ),
        train=replace(
            config.train,
            env_steps=None,
            episodes=arguments.episodes,
            num_envs=1,
            random_episodes=min(10, arguments.episodes // 4),
            updates_per_episode=arguments.updates_per_episode,
            batch_size=8,
            evaluate_every=2000,
        ),
        evaluation=replace(config.evaluation, episodes=20),
    )
    run = retain.train(config, name=arguments.name, runs=arguments.runs, report=show)
    (record,) = run.results()["evaluations"]
    print(f"return {record['return_mean']:.0f} ± {record['return_stderr']:.0f}")


def show(episode: int, metrics: dict[str, float]) -> None:
    """Prints the evaluations."""
    if "eval/return" in metrics:
        print(f"episode {episode}: return {metrics['eval/return']:.0f}", flush=True)


if __name__ == "__main__":
    main()
