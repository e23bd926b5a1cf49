"""The files of an inspection: `inspection.json`, `inspection.npz` and the figures.

Axes: B episodes, R entries, C components.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retain.core.config import dump_json, load_json
from retain.core.errors import RunError
from retain.inspection.attention import SegmentAttention
from retain.inspection.changes import Cause
from retain.inspection.recording import Recording, Window
from retain.inspection.summary import Inspection, mean_over_episodes
from retain.report import inspection_plots as plots

#: What the tokens of a step are, by their number; see `retain.tokens`.
TOKEN_NAMES = {1: ("step",), 3: ("return", "observation", "action")}
#: Steps that are marked as those at which the memory moved the most, and episodes in a heat map.
MOST_MARKS = 5
MOST_EPISODES = 2


def write(inspection: Inspection, folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Writes all files of an inspection.

    Args:
        inspection: What was found.
        folder: Where to; it is made if it is missing.
        about: What else the record says: the run.

    Returns:
        The record that was written.

    Raises:
        RunError: If the folder cannot be written to.
    """
    recording = inspection.recording
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "inspection.npz").open("wb") as file:
            np.savez_compressed(file, **_arrays(inspection))
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror or error}") from error
    changed_RB = np.where(recording.running_RB, recording.changed_RB, np.nan)
    exact_RB = np.where(recording.running_RB, recording.changed_RB == 0, np.nan)
    steps_R = recording.steps_R
    figures = {
        "memory": _memory(recording, folder / "memory.png"),
        "changes": plots.change_plot(
            folder / "changes.png",
            steps_R,
            mean_over_episodes(changed_RB),
            [_change(window, found) for window, found in inspection.causes],
            f"Components that a segment of {recording.window} steps changes (mean over episodes)",
        ),
        "drift": plots.drift_plot(
            folder / "drift.png",
            steps_R,
            mean_over_episodes(recording.to_previous_RB),
            mean_over_episodes(recording.to_first_RB),
            mean_over_episodes(exact_RB),
        ),
    }
    if inspection.probes:
        probes = {
            name: plots.Reading(p.accuracy_R, p.stderr_R, p.chance_R, p.between_R, p.within_R)
            for name, p in inspection.probes.items()
        }
        figures["probe"] = plots.probe_plot(
            folder / "probe.png",
            steps_R,
            probes,
            f"What a linear probe reads from the memory ({len(recording.lengths_B)} episodes)",
        )
    if inspection.attention:
        segments = [_attention(looks) for looks in inspection.attention]
        figures["attention"] = plots.attention_plot(folder / "attention.png", segments)
    names = {name: path.name for name, path in figures.items()}
    for old in {"probe.png", "attention.png"} - set(names.values()):
        (folder / old).unlink(missing_ok=True)  # of an earlier inspection
    record = {**about, **inspection.record, "figures": names}
    dump_json(folder / "inspection.json", record)
    return record


def add(folder: Path, name: str, value: dict[str, Any]) -> None:
    """Adds a part to the record of an inspection that was written."""
    record = load_json(folder / "inspection.json")
    dump_json(folder / "inspection.json", {**record, name: value})


def _arrays(inspection: Inspection) -> dict[str, Any]:
    recording = inspection.recording
    arrays = {
        "steps_R": recording.steps_R,
        "memory_RBC": recording.memory_RBC,
        "running_RB": recording.running_RB,
        "to_previous_RB": recording.to_previous_RB,
        "to_first_RB": recording.to_first_RB,
        "changed_RB": recording.changed_RB,
        "change_places_T": recording.change_places_T,
        "change_size_T": recording.change_size_T,
    }
    for name, label_RB in recording.hidden.items():
        arrays[f"hidden/{name}"] = label_RB
    for number, looks in enumerate(inspection.attention):
        arrays[f"write_NMS.{number}"] = looks.write_NMS
        arrays[f"to_memory_NT.{number}"] = looks.to_memory_NT
    return arrays


def _memory(recording: Recording, path: Path) -> Path:
    rows = [recording.shown]
    name, label_RB = next(iter(recording.hidden.items()), (None, None))
    alive_B = recording.running_RB.sum(axis=0)
    for row in np.argsort(-alive_B, kind="stable").tolist():
        new = label_RB is None or label_RB[-1, row] not in label_RB[-1, rows]
        if len(rows) < MOST_EPISODES and row not in rows and new:
            rows.append(row)
    # As long as all of them last.
    length = int(alive_B[rows].min())
    episodes = []
    for row in rows:
        label = "" if label_RB is None else f": {name} {label_RB[length - 1, row]}"
        episodes.append(plots.Episode(f"Episode {row}{label}", recording.memory_RBC[:length, row]))
    size_T, places_T = recording.change_size_T, recording.change_places_T
    most = [step for step in np.argsort(-size_T, kind="stable")[:MOST_MARKS] if size_T[step] > 0]
    marked = [] if (size_T > 0).mean() > 0.5 else places_T[most].tolist()
    return plots.memory_heatmap(
        path,
        recording.steps_R[:length],
        episodes,
        change_places_T=places_T,
        change_size_T=size_T,
        marked=marked,
    )


def _change(window: Window, found: list[Cause]) -> plots.Change:
    best = max(found, key=lambda cause: cause.moved)
    until = window.start + len(window.observations_T) - 1
    note = "no observation alone does it"
    if best.moved > 0:
        note = f"step {best.step:,}" + (f" and {best.num_steps - 1} more" * (best.num_steps > 1))
        if best.observation.size <= 6:
            note += f": {[round(float(x), 2) for x in best.observation.ravel()]}"
    components = "1 component" if window.changed == 1 else f"{window.changed} components"
    title = f"Steps {window.start:,} to {until:,}: {components} changed, by {window.size:.2g}"
    return plots.Change(
        title,
        np.array([cause.step for cause in found]),
        np.array([cause.moved for cause in found]),
        note,
    )


def _attention(looks: SegmentAttention) -> plots.Attention:
    first = looks.num_cached + looks.num_memory
    end = looks.write_NMS.shape[2] - looks.num_memory
    step = looks.tokens_per_step
    names = TOKEN_NAMES.get(step, tuple(f"token {number + 1}" for number in range(step)))
    groups: list[tuple[str, range]] = []
    if looks.num_cached:
        groups.append(("cached", range(looks.num_cached)))
    groups.append(("read", range(looks.num_cached, first)))
    groups += [(name, range(first + n, end, step)) for n, name in enumerate(names)]
    groups.append(("write", range(end, looks.write_NMS.shape[2])))
    steps = looks.to_memory_NT.shape[1]
    title = f"Segment of steps {looks.start:,} to {looks.start + steps - 1:,}"
    return plots.Attention(title, looks.write_NMS, groups, looks.to_memory_NT)
