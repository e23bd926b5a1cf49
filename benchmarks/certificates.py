"""Certificates of the runs of `retention.py` with K = 10 and K = 3: is the memory proved to hold?

    python benchmarks/certificates.py

Goes through each run of the retaining valve whose folder is there, as `retain inspect --certify`
does, and keeps each certificate as a file.
"""

from __future__ import annotations

import json

from common import RESULTS, RUNS

from retain.certificate import certify_run
from retain.core.config import write_whole
from retain.core.provenance import provenance

SUITE = "certificates"
LENGTHS = (3, 10)  # K; with longer segments there are too many inputs to list


def main() -> None:
    """Certifies what has not been."""
    for length in LENGTHS:
        for folder in sorted((RUNS / "retention").glob(f"retaining-k{length}-seed*")):
            file = RESULTS / SUITE / f"{folder.name}.json"
            if file.exists() or not (folder / "results.json").exists():
                continue
            certificate = certify_run(folder, value=15 * length)
            command = f"retain inspect {folder} --value {15 * length} --certify"
            record = {
                "run": folder.name,
                "context_length": length,
                **certificate.to_json(),
                "provenance": {**provenance(), "command": command},
            }
            write_whole(file, json.dumps(record, indent=1) + "\n")
            print(f"{folder.name}: {certificate.verdict}", flush=True)


if __name__ == "__main__":
    main()
