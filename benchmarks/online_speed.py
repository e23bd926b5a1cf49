"""Speed of online training against the usual way of research code, on the Passive T-Maze.

    python benchmarks/online_speed.py

The rival has one environment and, at each step, reads the whole history of the episode anew; ours
has many environments and reads one token of each from its streaming state. Both make the same
updates: the published ones (width 128, 64 episodes of 50 steps, one update for four steps). So
collecting and updating are timed apart, in turns, and added up for a million steps at two
update-to-data ratios: the published 0.25 and the 0.02 of the short budget.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from common import RESULTS

from retain.agents.online import OnlineAgent
from retain.core.config import dump_json
from retain.core.provenance import provenance
from retain.data.replay import EpisodeReplay
from retain.envs import make
from retain.recipes import recipe
from retain.training.config import OnlineRunConfig
from retain.training.experience import Collector
from retain.training.preparation import agent_of

STEPS = 1_000_000
RATIOS = {"published": 0.25, "short": 0.02}


def history_anew(agent: OnlineAgent, config: OnlineRunConfig, episodes: int) -> float:
    """Plays episodes one after the other, reading the history at each step; seconds per step."""
    env = make(config.environment.id, **config.environment.kwargs)
    steps, start = 0, time.perf_counter()
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        observations, over = [observation], False
        actions: list[int] = []
        rewards: list[float] = []
        while not over:
            length = len(actions)
            batch = {
                "observation": torch.as_tensor(np.stack(observations))[None],
                "action": torch.tensor(actions, dtype=torch.int64)[None],
                "reward": torch.tensor(rewards, dtype=torch.float32)[None],
                "mask": torch.ones(1, length, dtype=torch.bool),
                "previous_action": torch.zeros(1, dtype=torch.int64),
                "previous_reward": torch.zeros(1),
                "begins": torch.ones(1, dtype=torch.bool),
                "read_before": torch.zeros(1, dtype=torch.int64),
            }
            with torch.inference_mode():
                memory = agent.network.model.initial_state(1)
                features, _ = agent.network(batch, memory)
                action = int(agent.scores(features[:, -1]).argmax())
            observation, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            observations.append(observation)
            actions.append(action)
            rewards.append(float(reward))
            steps += 1
    return (time.perf_counter() - start) / steps


def streaming(agent: OnlineAgent, config: OnlineRunConfig, episodes: int) -> float:
    """Plays a round of episodes at once; seconds per step."""
    collector = Collector(agent, config.environment, seed=0)
    start = time.perf_counter()
    (stretch,) = collector.play(0, episodes, epsilon=0.1)
    seconds = time.perf_counter() - start
    collector.close()
    return seconds / int(stretch.batch.mask.sum())


def update(agent: OnlineAgent, config: OnlineRunConfig, replay: EpisodeReplay, count: int) -> float:
    """Makes updates; seconds for one."""
    agent.train()
    optimiser = torch.optim.AdamW([p for p in agent.parameters() if p.requires_grad], lr=3e-4)
    rng, start = np.random.default_rng(0), time.perf_counter()
    for _ in range(count):
        sample = vars(replay.sample(config.train.batch_size, rng))
        batch = {name: torch.from_numpy(array) for name, array in sample.items()}
        loss, _ = agent(batch, agent.network.model.initial_state(config.train.batch_size))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        agent.after_update()
    return (time.perf_counter() - start) / count


def measure(model: str, length: int, num_envs: int, rounds: int) -> dict[str, Any]:
    """Times everything in turns and keeps the best of each."""
    config = recipe("passive_tmaze/dqn", length=length, model=model, budget="published")
    assert isinstance(config, OnlineRunConfig)
    agent = agent_of(config)
    replay = EpisodeReplay(num_envs * (length + 2) + 1, agent.observation_space, agent.action_space)
    collector = Collector(agent, config.environment, seed=1)
    for stretch in collector.play(0, num_envs, epsilon=1.0):
        for episode in stretch.episodes():
            replay.add(*episode)
    times: dict[str, list[float]] = {"anew": [], "streaming": [], "update": []}
    for _ in range(rounds):
        times["anew"].append(history_anew(agent.eval(), config, 1))
        times["streaming"].append(streaming(agent.eval(), config, num_envs))
        times["update"].append(update(agent, config, replay, 3))
    best = {name: min(values) for name, values in times.items()}
    record: dict[str, Any] = {
        "model": model,
        "length": length,
        "num_envs": num_envs,
        "seconds_per_step_history_anew": best["anew"],
        "seconds_per_step_streaming": best["streaming"],
        "seconds_per_update": best["update"],
        "collecting_ratio": best["anew"] / best["streaming"],
    }
    for name, ratio in RATIOS.items():
        theirs = STEPS * (best["anew"] + ratio * best["update"])
        ours = STEPS * (best["streaming"] + ratio * best["update"])
        record[f"hours_of_a_million_steps_{name}"] = {
            "updates_per_step": ratio,
            "history_anew": theirs / 3600,
            "streaming": ours / 3600,
            "ratio": theirs / ours,
        }
    return record


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="the best of so many is kept")
    parser.add_argument("--num-envs", type=int, default=64, help="environments of ours")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    records = [
        measure(model, length, options.num_envs, options.rounds)
        for model in ("lstm", "gpt2")
        for length in (50, 250)
    ]
    for record in records:
        print(record)
    where = {**provenance(), "command": "python benchmarks/online_speed.py"}
    dump_json(RESULTS / "online_speed.json", {"provenance": where, "measurements": records})
