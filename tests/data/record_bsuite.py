"""Writes what bsuite's memory chain does into bsuite_memory_chain.json, for the parity test.

    pip install bsuite==0.3.6 && python tests/data/record_bsuite.py

bsuite is published as a source archive only and needs some hundreds of megabytes, so it is no
dependency of the tests. Its `memory_chain` alone needs no more than dm_env and numpy.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).parent / "bsuite_memory_chain.json"
SETTINGS = ((1, 1), (2, 1), (3, 1), (10, 1), (1, 3), (2, 2), (2, 5), (2, 40), (5, 7))
EPISODES = 4


def memory_chain() -> Any:
    """Imports bsuite's module without the rest of the package."""
    spec = importlib.util.find_spec("bsuite")
    if spec is None or spec.submodule_search_locations is None:
        sys.exit("bsuite is not installed; run: pip install bsuite==0.3.6")
    package = types.ModuleType("bsuite")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["bsuite"] = package
    return importlib.import_module("bsuite.environments.memory_chain").MemoryChain


def record(chain: Any, memory_length: int, num_bits: int, rng: np.random.Generator) -> list[Any]:
    """Plays episodes with random actions; what is hidden is read from the environment."""
    env = chain(memory_length=memory_length, num_bits=num_bits, seed=memory_length + num_bits)
    episodes = []
    for _ in range(EPISODES):
        step = env.reset()
        episode: dict[str, Any] = {
            "bits": env._context.tolist(),
            "query": int(env._query),
            "actions": [],
            "observations": [step.observation[0].tolist()],
            "rewards": [],
        }
        while not step.last():
            episode["actions"].append(int(rng.integers(2)))
            step = env.step(episode["actions"][-1])
            episode["observations"].append(step.observation[0].tolist())
            episode["rewards"].append(float(step.reward))
        episodes.append(episode)
    return episodes


def version() -> str | None:
    """The version of bsuite, None where its files lie on the path without being installed."""
    try:
        return metadata.version("bsuite")
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    chain, rng = memory_chain(), np.random.default_rng(0)
    settings = [
        {
            "memory_length": length,
            "num_bits": bits,
            "episodes": record(chain, length, bits, rng),
        }
        for length, bits in SETTINGS
    ]
    text = json.dumps({"package": "bsuite", "version": version(), "settings": settings})
    OUT.write_text(text.replace('{"bits"', '\n{"bits"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
