"""Speed of the environments: steps a second, one environment and batches, beside the packages.

    python benchmarks/env_speed.py

Each task is measured here at batch 1 and at batch 1024 (whole `step` calls of the vector
environment, resets and infos included, with random actions drawn beforehand), and beside it one
environment of the package that has the task:

  bsuite        its own MemoryChain, stepped as bsuite does (a step after the end is a reset)
  plain Python  for the T-Mazes, whose package is written for gym 0.21: a stand-in, the same
                rules in plain Python without any wrapper (tests/naive_tasks.py); and the same made
                by gymnasium.make, with its wrappers for order and time limit, as packages offer it
  pycolab       the two rooms as games on its engine (tests/parity/pycolab_rooms.py)

bsuite is measured where it is installed (`pip install bsuite==0.3.6`). Everything runs in one
process on one thread. The rivals take turns, round by round, so that a slow moment of the machine
meets all of them; the rate of a rival is its best round, and all rounds are written down.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from retain import envs
from retain.core.config import dump_json
from retain.core.provenance import provenance

RESULTS = Path(__file__).parent / "results" / "env_speed.json"
TESTS = Path(__file__).parent.parent / "tests"
BATCH = 1024
ACTIONS = 64  # random actions that are used over and over

Run = Callable[[], int]
"""Does a number of steps and returns it, counted over all rows."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One environment of ours and its rivals."""

    id: str
    options: dict[str, Any]
    rivals: dict[str, Callable[[], Run] | None]
    """How each is made; None where a package is not installed."""


def ours(id: str, num_envs: int, options: dict[str, Any]) -> Run:
    env = envs.make_vec(id, num_envs, **options)
    env.reset(seed=0)
    space = env.single_action_space
    assert isinstance(space, gym.spaces.Discrete)
    actions = np.random.default_rng(0).integers(0, space.n, size=(ACTIONS, num_envs))
    calls = 4000 if num_envs == 1 else 1000

    def run() -> int:
        for call in range(calls):
            env.step(actions[call % ACTIONS])
        return calls * num_envs

    return run


def ours_alone(id: str, options: dict[str, Any]) -> Run:
    """The single form, made by `retain.make` and so in Gymnasium's wrappers."""
    return _single(envs.make(id, **options), 4000)


def _single(env: gym.Env[Any, Any], steps: int) -> Run:
    space = env.action_space
    assert isinstance(space, gym.spaces.Discrete)
    actions = np.random.default_rng(0).integers(0, space.n, size=1024).tolist()
    env.reset(seed=0)

    def run() -> int:
        ended = True
        for call in range(steps):
            if ended:
                env.reset()
                ended = False
            else:
                _, _, terminated, truncated, _ = env.step(actions[call % 1024])
                ended = terminated or truncated
        return steps

    return run


def _chain_type() -> Any:
    """Bsuite's memory chain, imported without the rest of the package; None if there is none."""
    spec = importlib.util.find_spec("bsuite")
    if spec is None or spec.submodule_search_locations is None:
        return None
    package = types.ModuleType("bsuite")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["bsuite"] = package
    return importlib.import_module("bsuite.environments.memory_chain").MemoryChain


def bsuite_version() -> str | None:
    """The version of bsuite, None where it is not installed."""
    try:
        return metadata.version("bsuite")
    except metadata.PackageNotFoundError:
        return None


def bsuite(chain: Any, memory_length: int, num_bits: int) -> Run:
    env = chain(memory_length=memory_length, num_bits=num_bits, seed=0)
    actions = np.random.default_rng(0).integers(0, 2, size=1024).tolist()
    steps = 20000

    def run() -> int:
        for call in range(steps):
            env.step(actions[call % 1024])
        return steps

    return run


Game = Literal["visual_match", "key_to_door"]
GAMES: tuple[tuple[str, Game], ...] = (
    ("retain/VisualMatch-v0", "visual_match"),
    ("retain/KeyToDoor-v0", "key_to_door"),
)


class PlainTMaze(gym.Env[Any, Any]):
    """The plain T-Maze as an environment that `gymnasium.make` can wrap."""

    def __init__(self, maze: Any):
        self.maze = maze
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begins an episode."""
        super().reset(seed=seed)
        return self.maze.reset(int(np.random.choice([-1, 1]))), {}

    def step(self, action: int) -> Any:
        """Takes a step."""
        observation, reward, done = self.maze.step(action)
        return observation, reward, done, False, {}


def plain(corridor_length: int, oracle_distance: int, *, wrapped: bool) -> Run:
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    from naive_tasks import NaiveTMaze

    maze = NaiveTMaze(corridor_length, oracle_distance)
    if wrapped:
        id = "benchmark/PlainTMaze-v0"
        if id not in gym.registry:
            gym.register(id, entry_point=lambda **options: PlainTMaze(**options))
        limit = maze.horizon
        return _single(
            gym.make(id, maze=maze, max_episode_steps=limit, disable_env_checker=True), 20000
        )
    actions = np.random.default_rng(0).integers(0, 4, size=1024).tolist()
    steps = 20000

    def run() -> int:
        done = True
        for call in range(steps):
            if done:
                maze.reset(1)
                done = False
            else:
                _, _, done = maze.step(actions[call % 1024])
        return steps

    return run


def pycolab(game: Game) -> Run:
    """A game on the pycolab engine, the reference of the tests."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    from parity.pycolab_rooms import PycolabRooms, random_hidden

    rooms, rng = PycolabRooms(game), np.random.default_rng(0)
    actions = rng.integers(0, 4, size=1024).tolist()
    steps = 1000

    def run() -> int:
        over = True
        for call in range(steps):
            if over:
                rooms.reset(random_hidden(rng))
                over = False
            else:
                _, _, over = rooms.step(actions[call % 1024])
        return steps

    return run


def tasks() -> list[Task]:
    """What is measured. A new environment adds its line here, with the rivals it has."""
    chain = _chain_type()
    absent = importlib.util.find_spec("pycolab") is None

    def of_bsuite(memory_length: int, num_bits: int) -> dict[str, Callable[[], Run] | None]:
        make = None if chain is None else lambda: bsuite(chain, memory_length, num_bits)
        return {"bsuite": make}

    def of_plain(corridor: int, distance: int) -> dict[str, Callable[[], Run] | None]:
        return {
            "plain Python": lambda: plain(corridor, distance, wrapped=False),
            "plain Python, gymnasium.make": lambda: plain(corridor, distance, wrapped=True),
        }

    def length(memory_length: int) -> Task:
        options = {"memory_length": memory_length}
        return Task(
            id="retain/MemoryLength-v0", options=options, rivals=of_bsuite(memory_length, 1)
        )

    def size(num_bits: int) -> Task:
        options = {"num_bits": num_bits}
        return Task(id="retain/MemorySize-v0", options=options, rivals=of_bsuite(2, num_bits))

    return [
        Task(id="retain/PassiveTMaze-v0", options={"corridor_length": 50}, rivals=of_plain(50, 0)),
        Task(
            id="retain/PassiveTMaze-v0", options={"corridor_length": 1500}, rivals=of_plain(1500, 0)
        ),
        Task(id="retain/ActiveTMaze-v0", options={"corridor_length": 20}, rivals=of_plain(20, 1)),
        *(length(value) for value in (10, 100)),
        *(size(value) for value in (5, 40)),
        Task(id="retain/DistributedMemory-v0", options={}, rivals={}),
        *(
            Task(id=id, options={}, rivals={"pycolab": None if absent else partial(pycolab, game)})
            for id, game in GAMES
        ),
    ]


def measure(task: Task, rounds: int) -> dict[str, Any]:
    """Measures ours and the rivals in turns; steps a second of every round."""
    own = {
        "ours, single": ours_alone(task.id, task.options),
        "ours, batch 1": ours(task.id, 1, task.options),
        f"ours, batch {BATCH}": ours(task.id, BATCH, task.options),
    }
    runs = own | {name: make() for name, make in task.rivals.items() if make is not None}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            steps = run()
            if turn:  # the first is to warm up
                rates[name].append(round(steps / (time.perf_counter() - start)))
    best = {name: max(values) for name, values in rates.items()}
    batch = best[f"ours, batch {BATCH}"]
    ratios = {name: round(batch / best[name], 1) for name in best if name not in own}
    return {
        "id": task.id,
        "options": task.options,
        "steps_per_second": best,
        "rounds": rates,
        "batch_over": ratios,
        "not_installed": [name for name, make in task.rivals.items() if make is None],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    records = []
    for task in tasks():
        records.append(measure(task, arguments.rounds))
        record = records[-1]
        options = " ".join(f"{key}={value}" for key, value in record["options"].items())
        print(f"{record['id']} {options}", flush=True)
        for name, rate in record["steps_per_second"].items():
            ratio = record["batch_over"].get(name)
            more = f"  (batch {BATCH}: {ratio} times)" if ratio else ""
            print(f"  {name:30s} {rate:>13,.0f} steps/s{more}", flush=True)
        for name in record["not_installed"]:
            print(f"  {name:30s} not installed")
    found: dict[str, Any] = {"batch": BATCH, "environments": records, "provenance": provenance()}
    found["provenance"]["versions"]["bsuite"] = bsuite_version()
    dump_json(arguments.out, found)


if __name__ == "__main__":
    main()
