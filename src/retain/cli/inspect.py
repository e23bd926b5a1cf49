"""`retain inspect RUN`: what the memory of a trained run does while it acts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from retain.cli.options import acting_options, environment_options, parse
from retain.core.errors import ConfigError

if TYPE_CHECKING:
    from retain.training.runs import Run


@dataclasses.dataclass(kw_only=True)
class Options:
    """See the memory of a run: what changes it, how it drifts, what it holds, where tokens look.

    The run acts in some episodes; a summary is printed, and inspection.json, inspection.npz and
    figures are written.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""

    value: int | None = None
    """Value of the option that the run's recipe varies (of the T-Maze: the corridor's length); by
    default the last of those evaluated during training."""

    env: str | None = None
    """Gymnasium id of another environment than the run's, without the run's options."""

    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An option of the environment as NAME=VALUE; may be given several times."""

    episodes: int = 64
    """Episodes, played at once."""

    seed: int | None = None
    """Seed of the first episode; the others count up from it. None: that of the evaluations."""

    shown: int = 0
    """Number of the episode whose changes are explained."""

    window: int | None = None
    """Steps from one look at the memory to the next; by default a segment, and a tenth of one
    where the memory moves with every token."""

    checkpoint: str = "last"
    """last, best, or the name of a checkpoint's folder."""

    device: str = "cpu"
    """Where the policy runs."""

    greedy: bool = False
    """Take the best action where the policy was trained to sample."""

    target_return: float | None = None
    """What a sequence policy is asked for; None: what the run's settings say."""

    output: Path | None = None
    """Folder for what is written; RUN/inspection if none."""

    certify: bool = False
    """Also look for inputs that change what the memory holds; see docs/certificate.md."""

    certify_budget: int = 2**20
    """With --certify: the most segments to list; where there are more, random episodes are read."""

    certify_samples: int = 2**15
    """With --certify: segments of random episodes to read then."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(Options, arguments, prog="retain inspect")
    from retain import api
    from retain.cli.display import console, say, show
    from retain.evaluation import EnvironmentConfig
    from retain.training.runs import Run

    trained = Run(options.run)
    if options.env is not None:
        trained = trained.acting_in(EnvironmentConfig(id=options.env))
    trained.environment(options.value)  # not after minutes
    if options.certify:
        from retain.certificate import subject_of

        for name in ("certify_budget", "certify_samples"):
            if getattr(options, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(options, name)}")
        # Not after minutes.
        subject_of(trained.load(**acting_options(options)))
    folder = options.output or trained.folder / "inspection"
    record = api.inspect(
        trained,
        value=options.value,
        kwargs=environment_options(options.option),
        episodes=options.episodes,
        seed=options.seed,
        shown=options.shown,
        window=options.window,
        **acting_options(options),
        output=folder,
    )
    show(_table(trained.name, record))
    for line in _notes(record):
        console.print(line)
    console.print(record["verdict"], style="bold")
    if options.certify:
        _certify(options, trained, folder)
    say(f"written: {folder}: inspection.json, inspection.npz, {_list(record['figures'])}")


def _certify(options: Options, trained: Run, folder: Path) -> None:
    """Prints a certificate, and writes it into inspection.json."""
    from retain.certificate import certify_run
    from retain.cli.display import console
    from retain.inspection.output import add

    certificate = certify_run(
        trained,
        **acting_options(options),
        value=options.value,
        options=environment_options(options.option),
        budget=options.certify_budget,
        samples=options.certify_samples,
    )
    add(folder, "certificate", certificate.to_json())
    console.print()
    for line in certificate.lines():
        console.print(line, soft_wrap=True)
    console.print()


def _table(title: str, record: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column()
    for name, text in _rows(record):
        table.add_row(name, text)
    return table


def _rows(record: dict[str, Any]) -> list[tuple[str, str]]:
    from retain.cli.display import options_text
    from retain.report.statistics import with_error

    memory, drift = record["memory"], record["drift"]
    kwargs = options_text(record["kwargs"], record["kwargs"])
    first, last = record["seeds"]
    fields = ", ".join(
        f"{part['name']} {'x'.join(map(str, part['shape']))}" for part in memory["parts"]
    )
    levels = memory["levels"]
    values = (
        f"{len(levels)} values: {', '.join(f'{level:g}' for level in levels)}"
        if levels
        else "continuous"
    )
    steps, window = sum(record["lengths"]) / record["episodes"], record["window"]
    rows = [
        ("environment", f"{record['environment']}  {kwargs}".strip()),
        ("episodes", f"{record['episodes']} (seeds {first} to {last}), {steps:,.0f} steps each"),
        (record["metric"], with_error(record["mean"], record["stderr"])),
        ("memory", f"{memory['components']} components ({fields}), {values}"),
        (
            "in use",
            f"{memory['varying']} components differ between episodes at the end; "
            f"{memory['different']} different memories",
        ),
        ("segments", f"{steps / window:,.0f} of {window} step{'' if window == 1 else 's'}"),
    ]
    if drift["exact_share"] is not None:
        change = drift["last_change"]
        latest = f"latest change at step {change:,}" if change >= 0 else "no change at all"
        rows.append(("copied exactly", f"{drift['exact_share']:.1%} of segments; {latest}"))
        rows.append(
            (
                "drift",
                f"{drift['to_previous'][-1]:.2g} a segment at the end; "
                f"{drift['to_first'][-1]:.2g} away from the first segment's memory",
            )
        )
    for name, found in record["probe"].items():
        # Where few episodes are left, or all have the same, nothing is probed.
        read = [(a, c) for a, c in zip(found["accuracy"], found["chance"], strict=True) if a == a]
        if read:
            (early, _), (late, chance) = read[min(1, len(read) - 1)], read[-1]
            text = f"{early:.2f} after the first segment, {late:.2f} at the last"
            rows.append((f"probe: {name}", f"{text}; chance {chance:.2f}"))
    for change in record["changes"][:3]:
        cause = change["causes"][0]
        seen = cause["observation"]
        what = f": {[round(x, 2) for x in seen]}" if seen and len(seen) <= 8 else ""
        where = f"segment from {change['start']:,}"
        rows.append((where, f"{change['components']} changed; most by step {cause['step']}{what}"))
    return rows


def _notes(record: dict[str, Any]) -> list[str]:
    notes = []
    if not record["probe"]:
        notes.append(
            "no probe: the environment does not say what has to be remembered, there are fewer "
            "than 8 episodes, or too few of them differ in it"
        )
    if not record["attention"]:
        notes.append(
            "no figure of attention: the model has no read and write tokens, no segment was "
            "completed, or the windows are not its segments"
        )
    return notes


def _list(figures: dict[str, str]) -> str:
    return ", ".join(figures.values())
