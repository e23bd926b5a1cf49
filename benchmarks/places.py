"""Asked at every step of a segment: is a memory that holds read rightly at each of them?

    python benchmarks/places.py

The long walks of `retention.py` are multiples of K, so the question always comes at the same step
of a segment. Here each run with the retaining valve whose folder is there, of those whose segments
are too long for a certificate, walks 500 corridors of any length from 10 K to 11 K steps.
"""

from __future__ import annotations

from dataclasses import replace

import retention
from common import RESULTS, RUNS, write_result

from retain.api import evaluate
from retain.training.runs import Run

SUITE = "places"
LENGTHS = (30, 50)  # K
EPISODES = 500


def main() -> None:
    """Walks with every run that has no result file yet."""
    for k in LENGTHS:
        for folder in sorted((RUNS / retention.SUITE).glob(f"retaining-k{k}-seed*[0-9]")):
            file = RESULTS / SUITE / f"{folder.name}.json"
            if file.exists() or not (folder / "results.json").exists():
                continue
            run = Run(folder)
            where = run.config.acts_in
            where = replace(where, kwargs={**where.kwargs, "min_corridor_length": 10 * k})
            records = evaluate(
                run, values=[11 * k], environment=where, episodes=EPISODES, lookahead=k
            )
            line = (
                f"retain evaluate {folder} --corridor-lengths {11 * k} --episodes {EPISODES} "
                f"--option min_corridor_length={10 * k} --lookahead {k}"
            )
            result = {**run.results(), "evaluations": records, "label": f"K = {k}"}
            result["provenance"] = {**result["provenance"], "command": line}
            write_result(file, result)
            print(f"{folder.name}: {records[0]['mean']:.3f}", flush=True)


if __name__ == "__main__":
    main()
