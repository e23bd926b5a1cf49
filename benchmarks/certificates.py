"""Certificates of runs of `retention.py` and `short_corridors.py`: is the memory proved to hold?

    python benchmarks/certificates.py

Goes through each run of the retaining valve whose folder is there, as `retain inspect --certify`
does, and keeps each certificate as a file: those with K = 3 and K = 10, since with longer segments
there are too many inputs to list, and those that learned by acting on short corridors.
"""

from __future__ import annotations

import json

from common import RESULTS, RUNS

from retain.certificate import certify_run
from retain.core.config import write_whole
from retain.core.provenance import provenance

SUITE = "certificates"
#: How it was learned, folder of runs, their names, and the corridor that episodes are played in.
GROUPS = (
    ("offline", "retention", "retaining-k3-seed*", 45),
    ("offline", "retention", "retaining-k10-seed*", 150),
    ("by acting", "short_corridors", "rate-seed*", 290),
    ("by acting, active", "short_corridors", "active-rate-seed*", 190),
)


def main() -> None:
    """Certifies what has not been."""
    for learned, suite, names, length in GROUPS:
        for folder in sorted((RUNS / suite).glob(names)):
            name = folder.name if suite == "retention" else f"{suite}-{folder.name}"
            file = RESULTS / SUITE / f"{name}.json"
            if file.exists() or not (folder / "results.json").exists():
                continue
            certificate = certify_run(folder, value=length)
            command = f"retain inspect {folder} --value {length} --certify"
            record = {
                "run": folder.name,
                "learned": learned,
                **certificate.to_json(),
                "provenance": {**provenance(), "command": command},
            }
            write_whole(file, json.dumps(record, indent=1) + "\n")
            print(f"{folder.name}: {certificate.verdict}", flush=True)


if __name__ == "__main__":
    main()
