"""Means of what happens between two lines of metrics."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from retain.rollout import Episodes


class Averages:
    """Means of what has come since the last line of metrics, and how fast it came.

    `state` is what a checkpoint keeps; `env_steps` and `updates` are counted by the loop that owns
    this.
    """

    def __init__(self) -> None:
        self.hears_of_success = False
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.start_clock()

    def start_clock(self) -> None:
        """Counts steps and updates for each second from now on."""
        self.since = time.perf_counter()
        self.env_steps = self.updates = 0

    def state(self) -> dict[str, Any]:
        """What cannot be counted anew."""
        names = ("sums", "counts", "hears_of_success")
        return {name: getattr(self, name) for name in names}

    def add(self, name: str, values: Any) -> None:
        """Takes in one number, or several."""
        array = np.asarray(values, dtype=np.float64)
        self.sums[name] = self.sums.get(name, 0.0) + float(array.sum())
        self.counts[name] = self.counts.get(name, 0) + array.size

    def episodes(self, ended: Episodes) -> None:
        """Takes in episodes that are over."""
        self.add("train/return", ended.return_B)
        self.add("train/length", ended.length_B)
        self.hears_of_success |= bool((~np.isnan(ended.success_B)).any())
        if self.hears_of_success:  # who reports nothing has not succeeded
            self.add("train/success", np.nan_to_num(ended.success_B))

    def means(self) -> dict[str, float]:
        """Returns the metrics."""
        seconds = max(time.perf_counter() - self.since, 1e-9)
        means = {k: self.sums[k] / self.counts[k] for k in self.sums if self.counts[k]}
        means["train/env_steps_per_second"] = self.env_steps / seconds
        means["train/updates_per_second"] = self.updates / seconds
        return means
