"""Your own data: write episodes as a Minari dataset, train on them with random starts, evaluate.

    python examples/own_dataset.py
    python examples/own_dataset.py --episodes 200 --updates 600

The episodes are those of a clumsy controller of CartPole. Where they come from does not matter:
logs of a machine would be turned into `EpisodeBuffer`s in the same way. Where there is no
environment to evaluate in, leave out `environment` and `evaluation`, and let `retain.load(run)` act
in a loop of your own.

The same dataset can be used from the command line, with any model:

    retain info example/clumsy-cartpole-v0
    retain train minari/sequence_policy --dataset example/clumsy-cartpole-v0 --model gtrxl
"""

from __future__ import annotations

import argparse

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer

import retain

DATASET = "example/clumsy-cartpole-v0"
ENVIRONMENT = "CartPole-v1"
LONGEST = 100


def play(episode: int, clumsiness: float) -> EpisodeBuffer:
    """Plays one episode and returns it in Minari's form.

    Args:
        episode: Its number, which is its seed too.
        clumsiness: Share of random actions.

    Returns:
        Arrays over time. There is one observation more than actions: the last one is what was seen
        after the last action.
    """
    env = gym.make(ENVIRONMENT, max_episode_steps=LONGEST)
    rng = np.random.default_rng(episode)
    observation, _ = env.reset(seed=episode)
    observations, actions, rewards, terminations, truncations = [observation], [], [], [], []
    over = False
    while not over:
        _, velocity, angle, turning = observation
        action = int(angle + 0.3 * turning + 0.02 * velocity > 0)
        if rng.random() < clumsiness:
            action = int(rng.integers(2))
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
        terminations.append(terminated)
        truncations.append(truncated)
        over = terminated or truncated
    env.close()
    return EpisodeBuffer(
        seed=episode,
        observations=np.stack(observations),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminations=np.array(terminations),
        truncations=np.array(truncations),
    )


def write(episodes: int) -> None:
    """Writes the dataset with Minari's own function, in place of an older one."""
    if DATASET in retain.list_datasets():
        minari.delete_dataset(DATASET)
    env = gym.make(ENVIRONMENT, max_episode_steps=LONGEST)
    minari.create_dataset_from_buffers(
        DATASET,
        # Controllers of different skill, so that the returns differ.
        buffer=[play(number, clumsiness=0.8 * (number % 3) / 2) for number in range(episodes)],
        env=env,
        eval_env=env,
        observation_space=env.observation_space,
        action_space=env.action_space,
        algorithm_name="clumsy controller",
        description="CartPole, played with 0, 40 or 80 % of random actions",
        # Who made the data, and with which code: Minari reminds you of what is missing.
        author="a reader",
        author_email="reader@example.org",
        code_permalink="examples/own_dataset.py",
        # Without this Minari compresses images with loss. Here there are none; keep the habit.
        jpeg_encoding=False,
    )
    env.close()


def main() -> None:
    """Writes the data, trains on them and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--episodes", type=int, default=60, help="in the dataset")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--context-length", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--name", default="own-dataset", help="of the run's folder")
    arguments = parser.parse_args()

    write(arguments.episodes)
    info = retain.dataset_info(DATASET)
    print(f"{info.episodes} episodes, {info.steps} steps, mean return {info.mean_return:.0f}")

    from retain.agents.sequence_policy import SequencePolicyConfig
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.models.rmt import RMTConfig
    from retain.training.config import DataConfig, RunConfig, TrainConfig

    config = RunConfig(
        recipe="example/clumsy-cartpole",  # the name in plots and tables
        seed=arguments.seed,
        environment=EnvironmentConfig(id=ENVIRONMENT, kwargs={"max_episode_steps": LONGEST}),
        # Two segments a sequence; with random starts, windows of long episodes are seen from
        # anywhere and not from the first step only.
        data=DataConfig(dataset=DATASET, num_segments=2, start="random"),
        model=RMTConfig(
            width=32, context_length=arguments.context_length, num_heads=2, num_memory_tokens=2
        ),
        # Returns go up to LONGEST; the model sees them divided by it, about 1.
        agent=SequencePolicyConfig(target_return=LONGEST, return_scale=LONGEST),
        train=TrainConfig(updates=arguments.updates, schedule="cosine", num_threads=1),
        # No `parameter`: the environment is played as it is.
        evaluation=EvaluationConfig(episodes=10, num_envs=10),
    )
    run = retain.train(config, name=arguments.name, runs=arguments.runs)
    record = run.results()["evaluations"][-1]
    print(f"{record['metric']} {record['mean']:.1f} ± {record['stderr']:.1f} of {LONGEST}")


if __name__ == "__main__":
    main()
