"""Writes the tables and figures of the documentation anew, from the committed result files.

python benchmarks/tables.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import all_models
import certificates
import demo
import growing
import items
import lengths
import memory_chain
import memory_chain_ppo
import memory_rl
import online_tables
import pendulum
import places
import recall
import retention
import retention_tables
import rich_memory
import short_corridors
import tmaze_memory
import valve_kinds
from common import RESULTS

from retain.core.config import load_json
from retain.report.plots import success_vs_length
from retain.report.results import load_results
from retain.report.statistics import mean_stderr
from retain.report.tables import markdown_table, update_block

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
RETENTION = ROOT / "docs" / "retention.md"
FIGURES = ROOT / "docs" / "figures"


def main_table() -> str:
    """Success of RATE on the T-Maze, and what training took."""
    order = {e.label: number for number, e in enumerate(tmaze_memory.EXPERIMENTS)}
    results = load_results(RESULTS / "tmaze_memory")
    results.sort(key=lambda result: order[result["label"]])
    rows = [
        "| run | solved at 9600 | seconds to train | seconds until solved | updates until solved |",
        "|---|---:|---:|---:|---:|",
    ]
    labels = list(dict.fromkeys(result["label"] for result in results))
    for label in labels:
        group = [result for result in results if result["label"] == label]
        solved = [e["mean"] == 1.0 for r in group for e in r["evaluations"] if e["value"] == 9600]
        cells = [f"{sum(solved)} of {len(group)}", _spread(group, "seconds")]
        cells += [_spread(group, "solved_at_seconds"), _spread(group, "solved_at_update")]
        rows.append(f"| {label} | {' | '.join(cells)} |")
    note = (
        "\n\nSolved: success of 1.00 in all episodes. Until solved: at the first evaluation during "
        "training with at least 0.995 at 450 steps, made every 100 updates, over the runs that got "
        "there. Each run had one core of two; the time includes these evaluations."
    )
    success_vs_length(
        results,
        FIGURES / "tmaze_memory.png",
        chance=0.5,
        title="Trained on corridors of up to 90 steps",
    )
    return markdown_table(results) + "\n\n" + "\n".join(rows) + note


def _spread(group: list[dict[str, Any]], key: str) -> str:
    values = [r["training"][key] for r in group if r["training"].get(key) is not None]
    if not values:
        return "never"
    if len(values) == 1:
        return f"{values[0]:.0f} (1)"
    mean, error = mean_stderr(values)
    return f"{mean:.0f} ± {error:.0f} ({len(values)})"


def valve_table() -> str:
    """Success by kind of valve, in the order of the published table."""
    results = load_results(RESULTS / "valve_kinds")
    order = {kind: number for number, kind in enumerate(valve_kinds.KINDS)}
    return markdown_table(sorted(results, key=lambda result: order[result["label"]]))


def speed_table() -> str:
    """Milliseconds a step, and how many times as long as the streaming cache each rival takes."""
    found = load_json(RESULTS / "speed.json")
    rows = ["| acting in 100 environments | ms a step | ratio |", "|---|---:|---:|"]
    for name, times in found["acting_ms_per_step"].items():
        mean, error = mean_stderr(times)
        rows.append(
            f"| {name} | {mean:.1f} ± {error:.1f} | {found['ratio_to_streaming'][name]:.1f} |"
        )
    seconds, error = mean_stderr(found["training_seconds_per_update"])
    hardware = found["provenance"]["hardware"]
    rows += [
        "",
        f"Training step: {seconds:.2f} ± {error:.2f} s a batch of 128 × 150 steps, "
        f"{found['training_steps_per_second']:,.0f} environment steps a second.",
        f"Measured on {hardware['cpu']}, {found['threads']} threads.",
    ]
    return "\n".join(rows)


def env_speed_table() -> str:
    """Steps a second of every environment, and how many times as fast as its rivals a batch is."""
    found = load_json(RESULTS / "env_speed.json")
    batch = f"ours, batch {found['batch']}"
    rows = [
        f"| environment | single | batch {found['batch']} | rival | its rate | ratio |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for record in found["environments"]:
        options = ", ".join(f"`{key}` {value}" for key, value in record["options"].items())
        rates = record["steps_per_second"]
        own = f"| `{record['id']}` {options} | {rates['ours, single']:,} | {rates[batch]:,} |"
        rivals = record["batch_over"] or {"none": None}
        for name, ratio in rivals.items():
            rate = f"{rates[name]:,} | {ratio:.0f}" if ratio else "|"
            rows.append(f"{own} {name} | {rate} |")
    hardware = found["provenance"]["hardware"]
    rows += ["", f"Steps a second, the best of the rounds, on one core of {hardware['cpu']}."]
    return "\n".join(rows)


def demo_table() -> str:
    """The demo's table, and its figure beside it."""
    results = load_results(RESULTS / "demo")
    results.sort(key=lambda result: list(demo.LABELS.values()).index(result["label"]))
    success_vs_length(
        results,
        FIGURES / "success_vs_length.png",
        chance=0.5,
        title="One hint, remembered for the length of a corridor",
    )
    return markdown_table(results)


def main() -> None:
    """Writes every block whose results exist."""
    blocks = (
        (PAGE, "tmaze-valves-main", "tmaze_memory", main_table),
        (PAGE, "valve-kinds", "valve_kinds", valve_table),
        (PAGE, "speed", "speed.json", speed_table),
        (ROOT / "docs" / "online_tasks.md", "env-speed", "env_speed.json", env_speed_table),
        (PAGE, "all-models", all_models.SUITE, lambda: online_tables.everything_table(FIGURES)),
        (PAGE, "memory-rl", memory_rl.SUITE, lambda: online_tables.credit_table(FIGURES)),
        (
            PAGE,
            "short-corridors",
            short_corridors.SUITE,
            lambda: retention_tables.short_corridors_table(FIGURES),
        ),
        (PAGE, "growing", growing.SUITE, lambda: online_tables.growing_table(FIGURES)),
        (PAGE, "growing-walks", growing.SUITE, retention_tables.growing_walks_table),
        (PAGE, "memory-chain", memory_chain.SUITE, lambda: online_tables.chain_table(FIGURES)),
        (PAGE, "memory-chain-ppo", memory_chain_ppo.SUITE, online_tables.chain_ppo_table),
        (PAGE, "gates", memory_chain.SUITE, online_tables.as_published_table),
        (PAGE, "long-spans", memory_chain.SUITE, online_tables.long_spans_table),
        (PAGE, "pendulum", pendulum.SUITE, lambda: online_tables.pendulum_table(FIGURES)),
        (PAGE, "online-speed", "online_speed.json", online_tables.online_speed_table),
        (
            RETENTION,
            "retention",
            retention.SUITE,
            lambda: retention_tables.retention_table(FIGURES),
        ),
        (RETENTION, "places", places.SUITE, retention_tables.places_table),
        (RETENTION, "certificates", certificates.SUITE, retention_tables.certificate_table),
        (RETENTION, "retention-ablations", retention.ABLATIONS, retention_tables.ablation_table),
        (RETENTION, "rich-memory", rich_memory.SUITE, retention_tables.rich_table),
        (RETENTION, "items", items.SUITE, lambda: retention_tables.items_table(FIGURES)),
        (RETENTION, "recall", recall.SUITE, retention_tables.recall_table),
        (RETENTION, "lengths", lengths.SUITE, lambda: retention_tables.lengths_table(FIGURES)),
        (
            RETENTION,
            "lengths-growing",
            lengths.GROWING,
            lambda: retention_tables.lengths_growing_table(lengths.GROWING),
        ),
        (
            RETENTION,
            "lengths-by-shares",
            lengths.BY_SHARES,
            lambda: retention_tables.lengths_growing_table(lengths.BY_SHARES),
        ),
        (ROOT / "README.md", "demo", "demo", demo_table),
    )
    for page, block, source, make in blocks:
        if (RESULTS / source).exists():
            changed = update_block(page, block, make())
            print(f"{page.name}: {block} {'written' if changed else 'unchanged'}")
        else:
            print(f"{page.name}: {block} has no results yet")


if __name__ == "__main__":
    main()
