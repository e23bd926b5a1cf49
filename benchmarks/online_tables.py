"""Tables and figures of the agents that learn by acting, from the committed result files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import all_models
import growing
import memory_chain
import memory_chain_ppo
import memory_rl
import pendulum
from common import RESULTS, Experiment

from retain.core.config import load_json
from retain.report.final_plots import score_grid, score_vs_option
from retain.report.growth import mastered_vs_steps, whole_mastered
from retain.report.plots import learning_curves
from retain.report.results import load_results
from retain.report.statistics import mean_stderr

#: Mean returns of the published table over 23 lengths and over 17 sizes (Makkink 2021, table 4.1).
PUBLISHED = {
    "memoryless": ("0.04", "0.02"),
    "lstm": ("0.83", "0.31"),
    "transformer_xl": ("0.29", "0.04"),
    "gtrxl_recurrent": ("0.86", "0.15"),
    "rezero": ("0.44", "0.06"),
    "universal": ("0.65", "0.08"),
    "integrated_recurrent": ("0.72", "0.19"),
}
NAMES = {
    "passive_tmaze": "Passive T-Maze",
    "active_tmaze": "Active T-Maze",
    "visual_match": "Passive Visual Match",
    "key_to_door": "Key-to-Door",
    "memory_length": "memory length",
}
Group = dict[tuple[str, str], list[dict[str, Any]]]


def chain_table(figures: Path) -> str:
    """Final return by model: memory length and memory size, and their published means.

    Args:
        figures: Folder of the figures that are drawn beside it.
    """
    parts = []
    for number, (task, option) in enumerate(
        (("memory_length", "memory_length"), ("memory_size", "num_bits"))
    ):
        found = _by(memory_chain.SUITE, task, lambda result: str(_option(result)))
        values = sorted({value for _, value in found}, key=int)
        if not values:
            continue
        rows = [
            f"| {task.replace('_', ' ')} | {' | '.join(values)} | mean | published mean |",
            f"|---|{'---:|' * (len(values) + 2)}",
        ]
        for model in all_models.MODELS:
            cells = [_cell(found.get((model, value), []), _return) for value in values]
            if not any(cells):
                continue
            means = [mean_stderr([_return(r) for r in found[model, v]])[0] for v in values
                     if (model, v) in found]  # fmt: skip
            mean = f"{sum(means) / len(means):.2f}" if len(means) == len(values) else ""
            name = memory_chain.PUBLISHED.get(model)
            published = f"{PUBLISHED[model][number]} ({name})" if name else ""
            rows.append(f"| `{model}` | {' | '.join(cells)} | {mean} | {published} |")
        parts.append("\n".join(rows))
        groups = (group for (model, _), group in found.items() if model in memory_chain.MODELS)
        shown = [result for group in groups for result in group]
        score_vs_option(
            shown,
            option,
            figures / f"{task}.png",
            metric="return",
            group="model",
            title=f"{task.replace('_', ' ').capitalize()}: return after 10,000 episodes",
        )
    parts.append(
        "Mean return of 100 episodes ± standard error over runs (number of runs); 1 is best, 0 is "
        "guessing. The published means are over all of 23 lengths and 17 sizes, ours over those "
        "shown."
    )
    return "\n\n".join(parts)


def chain_ppo_table() -> str:
    """Final return of A2C and of PPO, from the same episodes."""
    settings = memory_chain_ppo.SETTINGS
    names = [f"{task.replace('_', ' ')} {value}" for task, value in settings]
    heads = [f"{name}: {agent}" for name in names for agent in ("A2C", "PPO")]
    rows = [f"| model | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    groups = {
        (suite, task): _by(suite, task, lambda result: str(_option(result)))
        for suite in (memory_chain.SUITE, memory_chain_ppo.SUITE)
        for task in dict(settings)
    }
    for model in memory_chain_ppo.MODELS:
        found = [
            groups[suite, task].get((model, str(value)), [])
            for task, value in settings
            for suite in (memory_chain.SUITE, memory_chain_ppo.SUITE)
        ]
        if any(found[1::2]):
            rows.append(f"| `{model}` | {' | '.join(_cell(f, _return) for f in found)} |")
    return "\n".join(
        [
            *rows,
            "",
            "Mean return of 100 episodes ± standard error over runs (number of runs); 1 is best, 0 "
            "is guessing. 10,000 episodes each, 625 updates of A2C and 10,000 of PPO.",
        ]
    )


def credit_table(figures: Path) -> str:
    """How the T-Mazes and the pixel tasks ended, and what it took.

    Args:
        figures: Folder of the figures that are drawn beside it.
    """
    draw_curves(figures)
    rows = [
        "| task | length | model | return | success | steps until 0.99 | seconds until 0.99 | "
        "published budget |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for recipe, length in memory_rl.TASKS:
        task = recipe.split("/")[0]
        found = _by(memory_rl.SUITE, task, lambda result: str(_option(result)))
        for model in memory_rl.MODELS:
            group = found.get((model, str(length)), [])
            if not group:
                continue
            cells = [_cell(group, _return), _cell(group, _success)]
            for key in ("env_steps", "seconds"):
                cells.append(_until(group, key) if "tmaze" in task else "")
            budget = memory_rl.published_steps(task, length)
            rows.append(
                f"| {NAMES[task]} | {length} | `{model}` | {' | '.join(cells)} | {budget:,} steps |"
            )
    rows += [
        "",
        "Return and success of 100 episodes at the end, mean ± standard error over runs (number of "
        "runs). Until 0.99: at the first evaluation in training with that mean return, over the "
        "runs that got there. Each run had one core of two, shared with other work.",
    ]
    return "\n".join(rows)


def growing_table(figures: Path) -> str:
    """When each model mastered the longest of each task that grew, and what it did there.

    Args:
        figures: Folder of the figures that are drawn beside it.
    """
    found = load_results(RESULTS / growing.SUITE)
    for task in growing.WALKS:
        names = [name for other, name, *_ in growing.ROWS if other == task]
        longest = [r for r in found if _task(r) == task and _option(r) == growing.LENGTHS[task]]
        group = [r for r in longest if r["label"] in names]
        group.sort(key=lambda run: names.index(run["label"]))
        title = f"{NAMES[task]}, corridors that grow"
        mastered_vs_steps(group, figures / f"growing_{task}.png", title=title)
    rows = [
        "| task | length | model | mastered | steps | seconds | success | return | "
        "published budget |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    between, shorter, models = growing.BETWEEN
    lines = [(between, shorter, model) for model in models]
    lines += [(task, growing.LENGTHS[task], name) for task, name, *_ in growing.ROWS]
    lines.sort(key=lambda line: list(growing.LENGTHS).index(line[0]))
    for task, length, name in lines:
        for label in (name, f"{name}, at once"):
            group = [
                r
                for r in found
                if r["label"] == label and _task(r) == task and _option(r) == length
            ]
            if not group:
                continue
            there = [whole_mastered(run) for run in group]
            when = [entry for entry in there if entry]
            cells = [f"{len(when)} of {len(group)}"]
            for key in ("env_steps", "seconds"):
                cells.append(_spread([entry[key] for entry in when]) if when else "")
            cells += [_cell(group, _first), _cell(group, _first_return)]
            # Of memory length, the authors play 10,000 episodes, whatever the length.
            chain = task == "memory_length"
            steps = 10_000 * (length + 1) if chain else memory_rl.published_steps(task, length)
            budget = f"{steps:,} steps"
            line = [NAMES[task], f"{length:,}", f"`{label}`", *cells, budget]
            rows.append(f"| {' | '.join(line)} |")
    rows += [
        "",
        "Mastered: runs of which an evaluation in training, at the length, had a success of 0.95; "
        "steps and seconds until then, mean ± standard error over these. Success and return of 100 "
        "episodes of that length at the end of the training.",
    ]
    return "\n".join(rows)


def draw_curves(figures: Path) -> None:
    """Draws the evaluations in training: return of the T-Mazes, success of the pixel tasks.

    Args:
        figures: Folder of the figures.
    """
    for recipe, length in memory_rl.TASKS:
        task = recipe.split("/")[0]
        files: dict[str, list[str | Path]] = {}
        for model in memory_rl.MODELS:
            key = memory_rl.experiment(recipe, length, model).key
            found = sorted((RESULTS / memory_rl.SUITE).glob(f"{key}-seed*.json"))
            if found:
                files[model] = list(found)
        if files:
            learning_curves(
                files,
                "eval/return" if "tmaze" in task else "eval/success",
                figures / f"{task}_{length}.png",
                x="env_steps",
                hold=True,
                title=f"{NAMES[task]}, {length} steps",
            )


def everything_table(figures: Path) -> str:
    """Every model on every task, as far as it has been run.

    Args:
        figures: Folder of the figure of the same.
    """
    tasks = [
        (all_models.SUITE, "passive_tmaze", "20", "Passive T-Maze 20", "0.50"),
        (memory_chain.SUITE, "memory_length", "13", "memory length 13", "0.50"),
        (memory_chain.SUITE, "memory_size", "5", "memory size 5", "0.50"),
        (all_models.SUITE, "visual_match", "10", "Visual Match 10", "0.33"),
        (all_models.SUITE, "key_to_door", "10", "Key-to-Door 10", "0.00"),
    ]
    rows = [
        f"| model | {' | '.join(header for *_, header, _ in tasks)} | seconds |",
        f"|---|{'---:|' * (len(tasks) + 1)}",
        f"| guessing | {' | '.join(chance for *_, chance in tasks)} | |",
    ]
    found = [_by(suite, task, lambda result: str(_option(result))) for suite, task, *_ in tasks]
    drawn: list[dict[str, Any]] = []
    for model in all_models.MODELS:
        groups = [
            runs.get((model, value), [])
            for runs, (_, _, value, *_) in zip(found, tasks, strict=True)
        ]
        drawn += [result for group in groups for result in group]
        cells = [_cell(group, _success) for group in groups]
        # Runs that nothing else disturbed are the fastest.
        seconds = min((run["training"]["seconds"] for run in groups[-1]), default=None)
        cells.append("" if seconds is None else f"{seconds:.0f}")
        rows.append(f"| `{model}` | {' | '.join(cells)} |")
    score_grid(drawn, figures / "all_models.png", metric="success", group="model")
    rows += [
        "",
        "Success in 100 episodes at the end, mean ± standard error over runs (number of runs); an "
        "empty cell has not been run. Seconds: what training on Key-to-Door took on one core, the "
        "fastest of the runs; all make the same number of steps and updates.",
    ]
    return "\n".join(rows)


def online_speed_table() -> str:
    """Milliseconds of a step and of an update, and how a million steps compare."""
    found = load_json(RESULTS / "online_speed.json")
    rows = [
        "| model | length | step, history anew | step, streaming | ratio | update | "
        "10⁶ steps, 0.25 updates a step | ratio | 10⁶ steps, 0.02 | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for record in found["measurements"]:
        cells = [
            f"{1e3 * record['seconds_per_step_history_anew']:.2f} ms",
            f"{1e3 * record['seconds_per_step_streaming']:.3f} ms",
            f"{record['collecting_ratio']:.0f}",
            f"{1e3 * record['seconds_per_update']:.0f} ms",
        ]
        for name in ("published", "short"):
            total = record[f"hours_of_a_million_steps_{name}"]
            cells += [
                f"{total['history_anew']:.1f} h / {total['streaming']:.1f} h",
                f"{total['ratio']:.2f}",
            ]
        rows.append(f"| `{record['model']}` | {record['length']} | {' | '.join(cells)} |")
    hardware = found["provenance"]["hardware"]
    rows += ["", f"On one core of {hardware['cpu']}; the best of the rounds."]
    return "\n".join(rows)


def as_published_table() -> str:
    """Memory length in the published way: an update after each single episode."""
    lengths = memory_chain.PUBLISHED_LENGTHS
    rows = {
        f"`{model}`": [memory_chain.as_published(length, model) for length in lengths]
        for model in memory_chain.AS_PUBLISHED
    }
    note = "After 10,000 episodes and as many updates: mean ± standard error (runs)."
    return _by_length(lengths, rows, note)


def long_spans_table() -> str:
    """Memory length with an LSTM that starts at zero, and with one that starts by keeping."""
    lengths = memory_chain.SPANS
    rows = {
        "biases of zero": [memory_chain.experiment("memory_length", n, "lstm") for n in lengths],
        "`--model.chrono` of the length": [memory_chain.long_spans(n) for n in lengths],
    }
    return _by_length(lengths, rows, "Mean ± standard error (runs).")


def pendulum_table(figures: Path) -> str:
    """Return of a pendulum with and without a memory, and its curves.

    Args:
        figures: Folder of the figure that is drawn beside it.
    """
    rows = ["| model | return | best in training | seconds |", "|---|---:|---:|---:|"]
    files: dict[str, list[str | Path]] = {}
    for label, key, environment in pendulum.ROWS:
        name = pendulum.experiment(label, key, environment).key
        found = sorted((RESULTS / pendulum.SUITE).glob(f"{name}-seed*.json"))
        if not found:
            continue
        files[label.replace("`", "")] = list(found)
        group = [load_json(file) for file in found]
        best = _spread([result["training"]["best"] for result in group])
        seconds = _spread([result["training"]["seconds"] for result in group])
        rows.append(f"| {label} | {_spread([_return(r) for r in group])} | {best} | {seconds} |")
    learning_curves(
        files,
        "eval/return",
        figures / "pendulum.png",
        band="standard_error",
        x="env_steps",
        title="Pendulum, its velocity hidden (SAC)",
    )
    note = (
        "Return of 20 episodes after 16,000 steps, and of the best evaluation on the way: mean ± "
        "standard error over runs (number of runs). Each run had one core or less."
    )
    return "\n".join([*rows, "", note])


def _by_length(lengths: Iterable[int], named: dict[str, list[Experiment]], note: str) -> str:
    """Final returns on memory length, one row a name and one column a length."""
    heads = [f"return, length {length}" for length in lengths]
    rows = [f"| model | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for name, experiments in named.items():
        folder = RESULTS / memory_chain.SUITE
        found = [sorted(folder.glob(f"{each.key}-seed*.json")) for each in experiments]
        cells = [_cell(map(load_json, files), _return) for files in found]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", note])


def _by(suite: str, task: str, value: Callable[[dict[str, Any]], str]) -> Group:
    """Results of a task by model and setting, of the short budgets and with no other change."""
    groups: Group = defaultdict(list)
    if not any((RESULTS / suite).glob("*.json")):
        return groups
    for result in load_results(RESULTS / suite):
        if _task(result) == task and result["label"] == result["model"]:
            groups[result["model"], value(result)].append(result)
    return groups


def _task(result: dict[str, Any]) -> str:
    return str(result["recipe"]).split("/")[0]


def _option(result: dict[str, Any]) -> int:
    """The setting that a task is varied by."""
    kwargs = result["config"]["environment"]["kwargs"]
    names = {"memory_size": "num_bits", "memory_length": "memory_length"}
    name = names.get(_task(result))
    return int(kwargs[name] if name else next(iter(kwargs.values())))


def _return(result: dict[str, Any]) -> float:
    return float(result["evaluations"][-1]["return_mean"])


def _success(result: dict[str, Any]) -> float:
    return float(result["evaluations"][-1]["mean"])


def _first(result: dict[str, Any]) -> float:
    return float(result["evaluations"][0]["mean"])


def _first_return(result: dict[str, Any]) -> float:
    return float(result["evaluations"][0]["return_mean"])


def _cell(group: Iterable[dict[str, Any]], metric: Callable[[dict[str, Any]], float]) -> str:
    values = [metric(result) for result in group]
    if not values:
        return ""
    mean, error = mean_stderr(values)
    return f"{mean:.2f} ± {error:.2f} ({len(values)})" if len(values) > 1 else f"{mean:.2f} (1)"


def _until(group: list[dict[str, Any]], key: str) -> str:
    """When the return was first 0.99, over the runs that got there."""
    values = []
    for result in group:
        reached = [h[key] for h in result["training"]["history"] if h["return"] >= 0.99]
        values += reached[:1]
    return _spread(values) if values else "never"


def _spread(values: list[float]) -> str:
    """Mean and standard error of large numbers, and how many they are."""
    if len(values) == 1:
        return f"{values[0]:,.0f} (1)"
    mean, error = mean_stderr(values)
    return f"{mean:,.0f} ± {error:,.0f} ({len(values)})"
