"""Draws the figure of docs/grid_rooms.md: a frame of each phase of both tasks, as the expert plays.

python benchmarks/draw_rooms.py --out docs/figures/grid_rooms.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import retain
from retain.envs import expert

# One row per task: the id, and after how many steps its three frames are taken.
ROWS = {
    "retain/VisualMatch-v0": (0, 22, 78),
    "retain/KeyToDoor-v0": (3, 26, 76),
}
TITLES = ("explore", "distractor", "reward")


def frames(env_id: str, steps: tuple[int, ...], seed: int) -> list[np.ndarray]:
    env, policy = retain.make(env_id, render_mode="rgb_array"), expert(env_id)
    observation, _ = env.reset(seed=seed)
    pictures: list[np.ndarray] = []
    for step in range(max(steps) + 1):
        if step in steps:
            pictures.append(np.asarray(env.render()))
        action = policy(observation[None], np.array([step == 0]))[0]
        observation, *_ = env.step(int(action))
    return pictures


def draw(seed: int = 0) -> Figure:
    figure, axes = plt.subplots(2, 3, figsize=(9.6, 3.0), layout="constrained")
    for axes_of_task, (env_id, steps) in zip(axes, ROWS.items(), strict=True):
        pictures = frames(env_id, steps, seed)
        name = env_id.partition("/")[2]
        for axis, picture, title, step in zip(axes_of_task, pictures, TITLES, steps, strict=True):
            axis.imshow(picture)
            axis.set_title(f"{name}: {title}, step {step}", fontsize=8)
            axis.axis("off")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/grid_rooms.png"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw(arguments.seed).savefig(arguments.out, dpi=110, metadata={"Software": None})
