"""Tables and figures of how long memories hold, for `tables.py`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import certificates
import growing
import items
import lengths
import places
import recall
import retention
import rich_memory
import short_corridors
from common import LOST, RESULTS

from retain.core.config import load_json
from retain.report.plots import length_heatmap, success_vs_length
from retain.report.results import load_results
from retain.report.statistics import mean_stderr

Run = dict[str, Any]
HELD = 0.995
#: Lengths beyond training that the table of growing corridors shows.
LATER = (1200, 2400, 4800, 9600)
TRAINING = ("seconds to train", "updates until solved")


def _records(run: Run, options: dict[str, str]) -> dict[int, Run]:
    """What one run did with these options of the environment, by length."""
    return {
        e["value"]: e
        for e in run["evaluations"]
        if all(e["kwargs"].get(name) == value for name, value in options.items())
    }


def _walked(run: Run, values: Sequence[int], **options: str) -> list[float]:
    """Success of one run at each length; a run that got lost stays as it was last seen."""
    found = {value: e["mean"] for value, e in _records(run, options).items()}
    scores: list[float] = []
    for value in values:
        if value not in found:
            if not scores or scores[-1] >= LOST:
                break  # not walked yet
            scores.append(scores[-1])
        else:
            scores.append(found[value])
    return scores


def _drawn(run: Run, label: str, values: Sequence[int], **options: str) -> Run:
    """One run as a figure has it: where it was not sent, it stays as it was last seen."""
    known = _records(run, options)
    records: list[Run] = []
    last: Run = {}
    for value, score in zip(values, _walked(run, values, **options), strict=False):
        last = known.get(value, last)
        records.append({**last, "value": value, "mean": score})
    return {**run, "label": label, "evaluations": records}


def _cells(group: list[Run], values: tuple[int, ...], **options: str) -> list[str]:
    """Mean, error and how many runs hold, at each length."""
    walked = [_walked(run, values, **options) for run in group]
    cells = []
    for column in range(len(values)):
        scores = [scores[column] for scores in walked if len(scores) > column]
        if not scores:
            cells.append("")
            continue
        mean, error = mean_stderr(scores) if len(scores) > 1 else (scores[0], 0.0)
        spread = f" ± {error:.2f}" if len(scores) > 1 else ""
        held = sum(score >= HELD for score in scores)
        cells.append(f"{mean:.2f}{spread} ({held} of {len(scores)})")
    return cells


def _groups(suite: str) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in load_results(RESULTS / suite):
        groups[run["label"]].append(run)
    return groups


def _training(group: list[Run]) -> list[str]:
    """Seconds of training, and updates until solved."""
    cells = []
    for key in ("seconds", "solved_at_update"):
        values = [run["training"][key] for run in group if run["training"].get(key) is not None]
        cells.append(f"{sum(values) / len(values):.0f}" if values else "never")
    return cells


def retention_table(figures: Path) -> str:
    """Success by length, for each model and K; and as a figure, for K = 10."""
    groups, rows = _groups(retention.SUITE), []
    drawn = [
        _drawn(run, label, (30, *(value for value, _ in retention.WALKS)))
        for label, *_ in retention.MODELS
        for run in groups.get(f"{label}, K = 10", [])
    ]
    if drawn:
        success_vs_length(
            drawn, figures / "retention.png", chance=0.5, title="Trained on corridors of 30 steps"
        )
    for length in sorted(retention.LENGTHS):
        for label, *_ in (*retention.MODELS, *retention.KINDS):
            group = groups.get(f"{label}, K = {length}")
            if group:
                values = (3 * length, *(value for value, _ in retention.WALKS))
                rows.append([str(length), label, *_cells(group, values), *_training(group)])
    head = ["K", "model", "3 K", *(f"{value:,}" for value, _ in retention.WALKS)]
    return _markdown([*head, *TRAINING], rows)


def short_corridors_table(figures: Path) -> str:
    """Success by length after learning by acting on short corridors; and as figures."""
    passive = (short_corridors.EXPERIMENTS, short_corridors.VALUES, short_corridors.WALKS)
    active = (short_corridors.ACTIVE, short_corridors.ACTIVE_VALUES, short_corridors.ACTIVE_WALKS)
    groups, tables = _groups(short_corridors.SUITE), []
    for name, (experiments, first, walks) in (("passive", passive), ("active", active)):
        values = (*first, *(value for value, _ in walks))
        labels = [each.label for each in experiments if each.label in groups]
        if not labels:
            continue
        success_vs_length(
            [_drawn(run, _model(label), values) for label in labels for run in groups[label]],
            figures / f"short_corridors_{name}.png",
            chance=0.5,
            title=f"{name.capitalize()} T-Maze, learned in corridors of 1 to {first[0]} steps",
        )
        rows = []
        for label in labels:
            group = groups[label]
            taught = [[run["training"][key] for run in group] for key in ("env_steps", "seconds")]
            steps, seconds = (f"{sum(found) / len(found):,.0f}" for found in taught)
            watched = min(len(run["config"]["evaluation"]["values_in_training"]) for run in group)
            mark = " *" if watched == 2 else ""
            rows.append([f"`{_model(label)}`{mark}", steps, seconds, *_cells(group, values)])
        head = [f"{name} T-Maze", "steps", "seconds", *(f"{value:,}" for value in values)]
        tables.append(_markdown(head, rows))
    tables.append(
        "Success: mean ± standard error over runs, and how many of them made no mistake. Steps and "
        "seconds of training, until it ended by itself or the budget was spent; the seconds are of "
        "unlike machines. *: training ended once the longest corridor and ten times it were "
        "walked. A run with less than 0.75 was not sent further and counts as it was last seen."
    )
    return "\n\n".join(tables)


def growing_walks_table() -> str:
    """Success on walks that are longer than the longest corridor that a task grew to."""
    found, tables = load_results(RESULTS / growing.SUITE), []
    for task, walks in growing.WALKS.items():
        values, rows = tuple(value for value, _ in walks), []
        for name in (name for other, name, *_ in growing.ROWS if other == task):
            group = [r for r in found if r["recipe"] == f"{task}/growing" and r["label"] == name]
            if group:
                rows.append([f"`{name}`", *_cells(group, values)])
        maze = task.split("_")[0]
        if rows:
            tables.append(_markdown([f"{maze} T-Maze", *(f"{n:,}" for n in values)], rows))
    tables.append(
        "Success: mean ± standard error over runs, and how many of them made no mistake. A run "
        "with less than 0.75 was not sent further and counts as it was last seen."
    )
    return "\n\n".join(tables)


def _model(label: str) -> str:
    """The model that a label names; what follows the comma says which maze."""
    return label.split(",")[0]


def ablation_table() -> str:
    """Success by length, with one thing changed at a time."""
    groups, rows = _groups(retention.ABLATIONS), []
    main, names = _groups(retention.SUITE), {row[1:]: row[0] for row in retention.MODELS}
    for row in retention.ROWS:
        label, name = row[0], names.get(row[1:])
        group = main.get(f"{name}, K = 10") if name else groups.get(label)
        if group:
            values = (30, *(value for value, _ in retention.SHORT))
            rows.append([label, *_cells(group, values), *_training(group)])
    head = ["valve", "30", *(f"{value:,}" for value, _ in retention.SHORT)]
    return _markdown([*head, *TRAINING], rows)


def items_table(figures: Path) -> str:
    """Success by number of hints and length of the gap; and as a figure, for eight hints."""
    groups, rows = _groups(items.SUITE), []
    _, most = items.CLAIM
    gaps = tuple(value for value, _ in items.WALKS)
    drawn = [
        _drawn(run, label, gaps, hint_time="start")
        for label, *_ in items.MODELS
        for run in groups.get(f"{label}, {most} hints", [])
    ]
    if drawn:
        success_vs_length(
            drawn, figures / "items.png", chance=0.5**most, title=f"{most} hints, then a gap"
        )
    for hints in sorted(items.HINTS):
        for label, *_ in items.MODELS:
            group = groups.get(f"{label}, {hints} hints")
            if group:
                random = _cells(group, (3 * items.LENGTH[hints], 200), hint_time="random")
                gap = _cells(group, gaps, hint_time="start")
                rows.append([str(hints), label, *random, *gap, *_training(group)[:1]])
    walks = [f"at the start, {value:,}" for value, _ in items.WALKS]
    head = ["hints", "model", "at random, 3 K", "at random, 200", *walks, "seconds to train"]
    return _markdown(head, rows)


def recall_table() -> str:
    """Success by task and length: replacements, distractors, keys."""
    groups, rows = _groups(recall.SUITE), []
    for task, *_, trained in recall.TASKS:
        for label, *_ in recall.MODELS:
            group = groups.get(f"{label}, {task}")
            if group:
                cells = _cells(group, (trained, *(value for value, _ in recall.WALKS)))
                rows.append([task, label, *cells, *_training(group)[:1]])
    head = ["task", "model", "trained on", *(f"{value:,}" for value, _ in recall.WALKS)]
    return _markdown([*head, "seconds to train"], rows)


def rich_table() -> str:
    """Final success by task and valve."""
    groups, rows = _groups(rich_memory.SUITE), []
    for task, *_ in rich_memory.TASKS:
        cells = []
        for label, _ in rich_memory.VALVES:
            scores = [run["evaluations"][-1]["mean"] for run in groups.get(f"{task}, {label}", [])]
            mean, error = mean_stderr(scores) if len(scores) > 1 else (float("nan"), 0.0)
            cells.append(f"{mean:.2f} ± {error:.2f} ({len(scores)})" if len(scores) > 1 else "")
        rows.append([task, *cells])
    return _markdown(["task", *(label for label, _ in rich_memory.VALVES)], rows)


def _verdict(found: dict[str, Any]) -> str:
    """The verdict, and where there is a witness, in how many steps it comes to a wrong answer."""
    ways = (found["witness"] or {}).get("ways")
    if not ways:
        return str(found["verdict"])
    shown = [ways[0]["beginning"], *(part["observations"] for part in ways[0]["segments"])]
    # Then a part of a segment, of which the last is the question.
    steps = sum(map(len, shown)) + len(found["witness"]["observations"]) - 1
    return f"{found['verdict']}: wrong after {steps:,} steps"


def places_table() -> str:
    """Success where the question comes at every step of a segment, by K."""
    scores: dict[str, list[float]] = defaultdict(list)
    for run in load_results(RESULTS / places.SUITE):
        scores[str(run["label"])].append(run["evaluations"][-1]["mean"])
    rows = [
        "| RATE, retaining valve | runs | without a mistake | success |",
        "|---|---:|---:|---:|",
    ]
    for label in sorted(scores):
        found = scores[label]
        mean, stderr = mean_stderr(found)
        right = sum(score == 1 for score in found)
        rows.append(f"| {label} | {len(found)} | {right} | {mean:.2f} ± {stderr:.2f} |")
    return "\n".join(rows)


def certificate_table() -> str:
    """What could be proved of each run."""
    groups = list(dict.fromkeys((learned, model) for model, learned, *_ in certificates.GROUPS))
    rows = []
    for file in (RESULTS / certificates.SUITE).glob("*.json"):
        found = load_json(file)
        margins = [found[key] for key in ("writing_margin", "margin", "decision_margin")]
        group = found.get("learned", "offline"), found.get("model", "RATE")  # the first do not say
        seed = int(found["run"].rpartition("seed")[2])
        cells = [
            *group,
            str(found["context_length"]),
            str(seed),
            _verdict(found),
            str(found["states"]),
            f"{found['beginnings_read']:,}",
            f"{found['transitions']:,}",
            f"{found['decisions']:,}",
            *("" if margin is None else f"{margin:.2g}" for margin in margins),
            f"{found['seconds']:.0f}",
        ]
        rows.append((groups.index(group), found["context_length"], seed, cells))
    head = ["learned", "model", "K", "seed", "verdict", "memories", "beginnings", "segments"]
    head += ["endings", "writing", "holding", "deciding", "seconds"]
    return _markdown(head, [cells for *_, cells in sorted(rows)])


def lengths_table(figures: Path) -> str:
    """Success by length trained on and length tested on, as a figure for all models."""
    runs = load_results(RESULTS / lengths.SUITE)
    order = [label for label, _ in lengths.MODELS]
    runs.sort(key=lambda run: order.index(run["label"]))
    walked = [{**_drawn(run, run["label"], lengths.TESTED), "recipe": run["label"]} for run in runs]
    length_heatmap(walked, figures / "lengths.png", title="Success on the T-Maze")
    cells = Counter((run["label"], run["training"]["length"]) for run in runs)
    least, most = min(cells.values()), max(cells.values())
    number = f"{most}" if least == most else f"{least} to {most}"
    return (
        "![Success by length trained on and length tested on](figures/lengths.png)\n\n"
        f"Runs a cell: {number}. "
        f"A run below {LOST} at a length beyond its own keeps that value further on."
    )


def lengths_growing_table(suite: str) -> str:
    """Success of models that began with short corridors, by length trained on and tested on."""
    groups, rows = _groups(suite), []
    for trained in lengths.TRAINED:
        for label, _ in lengths.MODELS:
            group = [r for r in groups.get(label, []) if r["training"]["length"] == trained]
            if group:
                own = _cells(group, (trained,))
                tested = tuple(value for value in lengths.TESTED if value > trained)
                later = dict(zip(tested, _cells(group, tested), strict=True))
                cells = [later.get(value, "") for value in LATER]
                rows.append([str(trained), label, *own, *cells, *_training(group)])
    return _markdown(
        ["trained on", "model", "there", *(f"{value:,}" for value in LATER), *TRAINING], rows
    )


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
