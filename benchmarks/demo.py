"""The demo's table and figure in the README.

    python benchmarks/demo.py

Runs `retain demo`, which does nothing anew that is done, and keeps its results.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common import RESULTS, keep

from retain.cli.main import main

LABELS = {"rate": "RATE", "decision_transformer": "Decision Transformer"}

if __name__ == "__main__":
    status = main(["demo"])
    if status:
        sys.exit(status)
    for name, label in LABELS.items():
        keep(Path("runs/demo") / name, RESULTS / "demo" / f"{name}.json", label, "retain demo")
