"""`retain evaluate RUN`: the run acts; its table is printed and its record kept."""

from __future__ import annotations

import argparse
import dataclasses
import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from retain.cli.options import acting_options, environment_options, help_last, parse, scalar_of
from retain.core.errors import ConfigError, RetainError

if TYPE_CHECKING:
    from retain.evaluation import EvaluationConfig

USAGE = """\
usage: retain evaluate RUN [options]

RUN is a run's folder, such as runs/tmaze-rate-seed0. `retain evaluate RUN --help` lists the
options, among them the one that takes the values of the parameter that the run's recipe varies,
such as --corridor-lengths 90 900 9600. `--parameter NAME` varies another option of the environment:
the values are --NAMEs then."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    arguments = help_last(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    if arguments[0].startswith("-"):
        raise RetainError("the run comes first: retain evaluate RUN [options]")
    from retain import api
    from retain.cli.display import acting, evaluation_table, say, show
    from retain.core.config import dump_json
    from retain.evaluation import EnvironmentConfig
    from retain.training.parallel import limit_threads
    from retain.training.runs import Run

    trained = Run(arguments[0])
    own = dataclasses.replace(trained.config.evaluation, seed=trained.config.evaluation_seed)
    settings, words = _varying(own, arguments[1:])
    flag = f"{settings.parameter}s" if settings.parameter else None
    other = settings.parameter != trained.config.evaluation.parameter
    options: Any = parse(
        _options(settings, flag, numbers=not other), words, prog=f"retain evaluate {arguments[0]}"
    )
    values = getattr(options, flag) if flag else None
    if flag is not None and other:
        typed = f"--{flag.replace('_', '-')}"
        if not values:
            needs = f"--parameter {settings.parameter} needs its values"
            raise ConfigError(f"{needs}: {typed} VALUE ...")
        values = [scalar_of(typed, text) for text in values]
    given = environment_options(options.option)
    if settings.parameter in given:
        typed = f"--{settings.parameter}s".replace("_", "-")
        raise ConfigError(
            f"--option {settings.parameter}: evaluations vary it; give its values as {typed}"
        )
    target: Path | None = options.json
    if target is not None and target.is_dir():
        raise ConfigError(f"--json {target} is a folder; give the name of a file")
    limit_threads(trained.config.train)
    environment = (
        EnvironmentConfig(id=options.env) if options.env is not None else trained.config.acts_in
    )
    kwargs = {**environment.kwargs, **given}
    with acting(settings.parameter) as report:
        records = api.evaluate(
            trained,
            environment=dataclasses.replace(environment, kwargs=kwargs),
            parameter=settings.parameter,
            values=values,
            episodes=options.episodes,
            seed=options.seed,
            num_envs=options.num_envs,
            lookahead=options.lookahead,
            **acting_options(options),
            report=report,
        )
    show(evaluation_table(trained.name, records))
    if target is not None:
        dump_json(target, {**trained.results(), "evaluations": records})
        say(f"written: {target}")


def _varying(settings: EvaluationConfig, words: list[str]) -> tuple[EvaluationConfig, list[str]]:
    """Takes `--parameter NAME` from the words, since the name of another flag follows from it."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--parameter")
    try:
        given, rest = parser.parse_known_args(words)
    except argparse.ArgumentError:
        raise RetainError("--parameter needs the name of an option of the environment") from None
    if given.parameter is None:
        return settings, words
    name = given.parameter.replace("-", "_")
    if name == settings.parameter:
        return settings, rest
    values = f"{name}s"
    if not values.isidentifier() or keyword.iskeyword(values) or not name:
        raise RetainError(f"--parameter '{given.parameter}' is not the name of an option")
    if values in dict(_fields(settings)):
        raise RetainError(
            f"--{values.replace('_', '-')} means something else here; in Python: retain.evaluate("
            f"run, parameter='{name}', values=[...])"
        )
    other = dataclasses.replace(settings, parameter=name, values=(), values_in_training=())
    return other, rest


def _fields(settings: EvaluationConfig) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yields the command's own options, each with its type and default."""
    yield "episodes", (int, settings.episodes)
    yield "seed", (int, settings.seed)
    yield "num_envs", (int, settings.num_envs)
    yield "lookahead", (int, settings.lookahead)
    yield "env", (str | None, None)
    yield "option", (tyro.conf.UseAppendAction[tuple[str, ...]], ())
    yield "checkpoint", (str, "last")
    yield "device", (str, "cpu")
    yield "greedy", (bool, False)
    yield "target_return", (float | None, None)
    yield "json", (Path | None, None)


def _options(settings: EvaluationConfig, flag: str | None, *, numbers: bool = True) -> type:
    """Returns what can be given; values of the environment's option are whole numbers, or texts."""
    fields = dict(_fields(settings))
    if flag is not None:
        fields = {flag: (tuple[int, ...] if numbers else tuple[str, ...], settings.values)} | fields
    options = dataclasses.make_dataclass(
        "Options",
        [(n, kind, dataclasses.field(default=default)) for n, (kind, default) in fields.items()],
        kw_only=True,
    )
    options.__doc__ = f"""Let a run act in many episodes at once, and record how it did.

    `--parameter NAME` varies another option of the environment; its values are --NAMEs then.

    Args:
        {flag}: Values of the environment's {settings.parameter}, one evaluation each.
        episodes: Episodes for each value.
        seed: Seed of the first episode; the others count up from it.
        num_envs: Episodes played at once.
        lookahead: Steps taken at once where actions repeat; the same episodes in less time.
        env: Gymnasium id of another environment than the run's, without the run's options.
        option: An option of the environment as NAME=VALUE; may be given several times.
        checkpoint: last, best, or the name of a checkpoint's folder.
        device: Where the policy runs.
        greedy: Take the best action where the policy was trained to sample.
        target_return: What a sequence policy is asked for; by default what the run's settings say.
        json: File to write these evaluations to.
    """
    return options
