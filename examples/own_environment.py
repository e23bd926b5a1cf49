r"""Your own Gymnasium environment: define it, collect data in it, train on the data, evaluate.

    python examples/own_environment.py
    python examples/own_environment.py --delay 30 --updates 1500 --episodes 2000

The environment shows one of several symbols, then nothing for a while, then asks for the symbol.
The data come from a player that forgets now and then. Its failures carry a return-to-go of 0, so
the agent, which is asked for a return of 1, need not copy them.

After a run, the command line can use the same file:

    retain --plugin examples/own_environment.py evaluate runs/own-environment --delays 8 40

It can also train an agent by acting, with any model:

    retain --plugin examples/own_environment.py train gymnasium/dqn --model gru \
        --env example/Recall-v0 --option delay=8 --steps 9
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium as gym
import numpy as np

import retain

ID = "example/Recall-v0"


class Recall(gym.Env[np.ndarray, int]):
    """Shows a symbol once and asks for it `delay` steps later.

    Observation: one number for each symbol (1 for the one shown), and a last one that is 1 when the
    question is asked. Action: a symbol; only the answer to the question counts.

    Args:
        delay: Steps between the symbol and the question.
        symbols: How many symbols there are.
    """

    def __init__(self, delay: int = 8, symbols: int = 3):
        self.delay, self.symbols = delay, symbols
        self.observation_space = gym.spaces.Box(0.0, 1.0, (symbols + 1,), np.float32)
        self.action_space = gym.spaces.Discrete(symbols)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draws a symbol from the environment's own generator and shows it."""
        super().reset(seed=seed)
        self.symbol = int(self.np_random.integers(self.symbols))
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Goes on by a step; the answer to the question ends the episode."""
        if self.time < self.delay:
            self.time += 1
            return self._observe(), 0.0, False, False, {}
        right = int(action) == self.symbol
        # "success" at the end of an episode makes `retain` report success instead of the return.
        return self._observe(), float(right), True, False, {"success": right}

    def _observe(self) -> np.ndarray:
        observation = np.zeros(self.symbols + 1, dtype=np.float32)
        if self.time == 0:
            observation[self.symbol] = 1.0
        observation[-1] = self.time == self.delay
        return observation


# As text: then the dataset can name it, and another process that imports this file finds it.
gym.register(ID, entry_point=f"{__name__}:Recall")


class ForgetfulPlayer:
    """Plays many copies of `Recall` at once; forgets the symbol in a share of the episodes.

    Args:
        symbols: How many symbols there are.
        forgets: The share of episodes.
        seed: Of what is forgotten and guessed.
    """

    def __init__(self, symbols: int, forgets: float, seed: int):
        self.symbols, self.forgets = symbols, forgets
        self.rng = np.random.default_rng(seed)
        self.answer_B = np.zeros(0, dtype=np.int64)

    def __call__(self, observations_BO: np.ndarray, reset_B: np.ndarray) -> np.ndarray:
        """Returns an action for each row; `reset_B` is true where an episode begins."""
        rows = len(observations_BO)
        if len(self.answer_B) != rows:
            self.answer_B = np.zeros(rows, dtype=np.int64)
        shown_B = observations_BO[:, :-1].argmax(axis=1)
        guess_B = self.rng.integers(self.symbols, size=rows)
        forgets_B = self.rng.random(rows) < self.forgets
        self.answer_B = np.where(reset_B, np.where(forgets_B, guess_B, shown_B), self.answer_B)
        asked_B = observations_BO[:, -1] > 0
        # Before the question any action will do. They are all 0, so that they give nothing away:
        # with the symbol among the actions, the agent could read it there instead of remembering.
        return np.where(asked_B, self.answer_B, 0)


def main() -> None:
    """Collects, trains, evaluates and acts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--delay", type=int, default=8)
    parser.add_argument("--symbols", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=600, help="in the dataset")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--name", default="own-environment", help="of the run's folder")
    arguments = parser.parse_args()

    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.models.rate import RATEConfig
    from retain.training.config import DataConfig, RunConfig, TrainConfig

    kwargs = {"delay": arguments.delay, "symbols": arguments.symbols}
    dataset = retain.collect(
        retain.CollectConfig(
            env_id=ID,
            env_kwargs=kwargs,
            episodes=arguments.episodes,
            dataset_id="example/recall-v0",
        ),
        behaviour=ForgetfulPlayer(arguments.symbols, forgets=0.3, seed=arguments.seed),
        overwrite=True,
    )
    print(retain.dataset_info(dataset).as_dict())

    # An episode has delay + 1 steps. It is read in three segments, so the symbol is in the first
    # one and the question in the last: without memory the answer is a guess.
    segment = -(-(arguments.delay + 1) // 3)
    config = RunConfig(
        recipe="example/recall",  # the name in plots and tables
        seed=arguments.seed,
        environment=EnvironmentConfig(id=ID, kwargs=kwargs),
        data=DataConfig(dataset=dataset, num_segments=3),
        model=RATEConfig(
            width=32,
            context_length=segment,
            num_layers=2,
            num_heads=2,
            num_memory_tokens=3,
        ),
        train=TrainConfig(updates=arguments.updates, learning_rate=2e-3, num_threads=1),
        # The option `delay` is varied: as it was in training, and five times as long.
        evaluation=EvaluationConfig(
            parameter="delay", values=(arguments.delay, 5 * arguments.delay), episodes=100
        ),
    )
    run = retain.train(config, name=arguments.name, runs=arguments.runs, report=show)
    for record in run.results()["evaluations"]:
        print(f"delay {record['value']}: success {record['mean']:.2f} ± {record['stderr']:.2f}")

    # Acting by hand, in one environment.
    env, agent = retain.make(ID, **kwargs), retain.load(run)
    observation, _ = env.reset(seed=7)
    reward, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation, reward))
        over = terminated or truncated
    print(f"one episode by hand: return {reward:.0f}")


def show(update: int, metrics: dict[str, float]) -> None:
    """Prints a line for every hundredth update."""
    if update % 100 == 0:
        print(f"update {update}: " + "  ".join(f"{k} {v:.3g}" for k, v in metrics.items()))


if __name__ == "__main__":
    main()
