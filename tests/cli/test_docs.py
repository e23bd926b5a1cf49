"""The documents keep up with the code: commands parse, links lead somewhere, all is mentioned."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import gymnasium as gym
import pytest
import tyro

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
EVERYTHING = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yields (place, text) of every fenced block of a language."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path.name}:{line}", match[1]


def commands() -> Iterator[tuple[str, str]]:
    """Yields every quoted command: those of shell blocks, and those on recipes within the text."""
    for place, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip():
                yield place, line.strip()
    for path in PAGES:
        for match in re.finditer(r"`(retain train tmaze/[^`]+)`", path.read_text(encoding="utf-8")):
            yield path.name, " ".join(match[1].split())


RETAIN = [(place, line) for place, line in commands() if line.startswith("retain ")]
MAKE = [(place, line) for place, line in commands() if line.startswith("make ")]


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test import plugins without leaving what they register to other tests."""
    from retain.models import MODELS
    from retain.recipes import RECIPES

    for registry in (MODELS, RECIPES):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    before = set(gym.registry)
    yield
    for added in set(gym.registry) - before:
        del gym.registry[added]


def parse(typed: list[str]) -> None:
    """Parses what follows `retain`, without doing it."""
    from retain.cli.main import COMMANDS
    from retain.core.plugins import import_plugin

    while typed[0] == "--plugin":
        import_plugin(str(ROOT / typed[1]))
        typed = typed[2:]
    command, *rest = typed
    assert command in COMMANDS
    module: Any = importlib.import_module(f"retain.cli.{command}")
    if command == "train":
        module.parse(rest[0], rest[1:])
    elif command == "evaluate":
        from retain.recipes import recipe

        settings = recipe("tmaze/rate").evaluation
        tyro.cli(module._options(settings, f"{settings.parameter}s"), args=rest[1:])
    else:
        config = (tyro.conf.PositionalRequiredArgs,) if command == "resume" else ()
        tyro.cli(module.Options, args=rest, config=config)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("line", sorted({line for _, line in RETAIN}))
def test_command_parses(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed = shlex.split(line.replace("$seed", "0"), comments=True)[1:]
    if "--help" in typed:
        with pytest.raises(SystemExit) as stop:
            parse(typed)
        assert stop.value.code == 0
        return
    try:
        parse(typed)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def test_a_wrong_command_would_be_noticed() -> None:
    for line in ("train tmaze/rate --model.vlave.kind gru", "plot pie runs/x", "list --run x"):
        with pytest.raises(SystemExit):
            parse(line.split())
    assert len(RETAIN) > 40


@pytest.mark.parametrize(("place", "line"), MAKE)
def test_make_target_exists(place: str, line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), place


@pytest.mark.parametrize(("place", "text"), list(blocks("python")))
def test_python_compiles(place: str, text: str) -> None:
    compile(text, place, "exec")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        file = (path.parent / target.partition("#")[0]).resolve()
        if file.parent == ROOT / "docs" / "figures":
            continue  # made by a command
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for path in DOCS:
        assert path.name == "index.md" or f"]({path.name})" in index, path.name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_blocks_can_be_filled(path: Path, tmp_path: Path) -> None:
    from retain.report.tables import update_block

    copy = tmp_path / path.name
    copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    for name in re.findall(r"<!-- table: (.+?) -->", copy.read_text(encoding="utf-8")):
        assert update_block(copy, name, f"new text of {name}")


def own(registry: Any) -> list[str]:
    """Names of what the package itself registers."""
    return [n for n in registry.names() if registry.get(n).__module__.startswith("retain.")]


def test_every_model_recipe_and_valve_is_mentioned() -> None:
    from retain.models import MODELS
    from retain.nn.blocks import BlockKind
    from retain.nn.valve import ACTIVATIONS, ValveKind
    from retain.recipes import RECIPES

    names = [*own(MODELS), *own(RECIPES), *get_args(ValveKind), *get_args(BlockKind), *ACTIVATIONS]
    assert len(names) > 20
    for name in names:
        assert f"`{name}`" in EVERYTHING, name


@pytest.mark.parametrize(
    ("page", "where", "name", "prefix"),
    [
        ("training.md", "retain.training.config", "TrainConfig", ""),
        ("training.md", "retain.agents.sequence_policy", "SequencePolicyConfig", ""),
        ("data.md", "retain.training.config", "DataConfig", "data."),
        ("evaluation.md", "retain.evaluation", "EvaluationConfig", "evaluation."),
        ("evaluation.md", "retain.evaluation", "EnvironmentConfig", "environment."),
        ("tmaze.md", "retain.envs.tmaze", "TMazeOptions", ""),
        ("online_tasks.md", "retain.envs.credit_tmaze", "ActiveTMazeOptions", ""),
        ("online_tasks.md", "retain.envs.memory_chain", "MemoryLengthOptions", ""),
        ("online_tasks.md", "retain.envs.memory_chain", "DistributedMemoryOptions", ""),
    ],
)
def test_every_field_is_explained(page: str, where: str, name: str, prefix: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for field in dataclasses.fields(getattr(importlib.import_module(where), name)):
        assert f"| `{prefix}{field.name}` |" in text, field.name


def test_every_default_of_training_is_right() -> None:
    from retain.training.config import TrainConfig

    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(TrainConfig):
        row = re.search(rf"^\| `{field.name}` \| (.+?) \|", text, re.MULTILINE)
        assert row, field.name
        said = row[1].strip("`")
        if isinstance(field.default, bool):
            assert said == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(said) == field.default, field.name
        elif isinstance(field.default, tuple):
            assert tuple(map(float, said.split())) == field.default
        elif isinstance(field.default, str):
            assert said == field.default


def test_every_metric_is_explained() -> None:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    source = (ROOT / "src" / "retain" / "training" / "offline.py").read_text(encoding="utf-8")
    metrics = set(re.findall(r"\"(train/\w+)\"", source))
    assert {"train/loss", "train/updates_per_second"} <= metrics
    for metric in metrics:
        assert f"| `{metric}` |" in text, metric
