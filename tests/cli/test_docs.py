"""The documents keep up with the code: commands parse, links lead somewhere, all is mentioned."""

from __future__ import annotations

import ast
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

from retain import collection
from retain.core.errors import RetainError

ROOT = Path(__file__).resolve().parents[2]
A_RESULT = ROOT / "benchmarks" / "results" / "demo" / "rate.json"
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
        for match in re.finditer(r"`(retain train \w+/[^`]+)`", path.read_text(encoding="utf-8")):
            yield path.name, " ".join(match[1].split())


RETAIN = [(place, line) for place, line in commands() if line.startswith("retain ")]
MAKE = [(place, line) for place, line in commands() if line.startswith("make ")]


@pytest.fixture
def registries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets a test import plugins without leaving what they register to other tests."""
    from retain.agents import AGENTS
    from retain.models import MODELS
    from retain.recipes import RECIPES

    for registry in (AGENTS, MODELS, RECIPES):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    before = set(gym.registry)
    yield
    for added in set(gym.registry) - before:
        del gym.registry[added]


def _plural(option: str) -> str:
    """The flag of `retain evaluate` that takes values of an option."""
    return f"--{option.replace('_', '-')}s"


def parse(typed: list[str]) -> Any:
    """Parses what follows `retain`, without doing it; returns what `train` would be given."""
    from retain.cli.main import COMMANDS
    from retain.core.plugins import import_plugin

    while typed[0] == "--plugin":
        import_plugin(str(ROOT / typed[1]))
        typed = typed[2:]
    command, *rest = typed
    assert command in COMMANDS
    module: Any = importlib.import_module(f"retain.cli.{command}")
    if command == "train":
        if "--dataset" in rest:
            dataset = rest[rest.index("--dataset") + 1]
            settings = {"env_id": "CartPole-v1", "policy": "random", "episodes": 2}
            collection.collect(collection.CollectConfig(**settings, dataset_id=dataset))
        if rest[0].startswith("runs/"):  # anew as that run, which is not there
            rest[0] = str(A_RESULT)
        return module.parse(str(ROOT / rest[0]) if rest[0].endswith(".json") else rest[0], rest[1:])
    if command == "evaluate":
        from retain.evaluation import EvaluationConfig

        varied = [name for name in ("corridor_length", "gap", "delay") if _plural(name) in rest]
        settings = EvaluationConfig(parameter=varied[0] if varied else None)
        flag = f"{varied[0]}s" if varied else None
        tyro.cli(module._options(settings, flag), args=rest[1:])
    else:
        config = (tyro.conf.PositionalRequiredArgs,) if command == "resume" else ()
        tyro.cli(module.Options, args=rest, config=config)
    return None


def words(line: str) -> list[str]:
    """What follows `retain` in a command, with a number for each variable of the shell."""
    return shlex.split(re.sub(r"\$\w+", "3", line), comments=True)[1:]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("line", sorted({line for _, line in RETAIN}))
def test_command_parses(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed = words(line)
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
        with pytest.raises((SystemExit, RetainError)):
            parse(line.split())
    assert len(RETAIN) > 80


def runs_of_python(text: str) -> Iterator[str]:
    """Yields the names of the runs that a block of Python trains.

    Of calls by a recipe's name whatever they say counts, of others the name that they give.
    """
    from retain.recipes import recipe
    from retain.training.runs import default_name

    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "retain.train"):
            continue
        given: dict[str, Any] = {
            str(keyword.arg): keyword.value.value
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        }
        name, seed = given.pop("name", None), given.pop("seed", 0)
        if name is None and isinstance(node.args[0], ast.Constant):
            config: Any = recipe(str(node.args[0].value), **given)
            name = default_name(dataclasses.replace(config, seed=seed))
        if name is not None:
            yield name


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_run_of_a_page_has_the_name_of_another(path: Path) -> None:
    """Who follows a page from top to bottom must not end in `already exists`.

    Commands within the text are examples for one case or another, and do not count.
    """
    from retain.training.runs import default_name

    names: list[str] = []
    for place, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            if place.partition(":")[0] != path.name or not line.strip().startswith("retain "):
                continue
            typed = words(line)
            parsed = parse(typed) if "train" in typed and "--help" not in typed else None
            if parsed is not None:
                options, config = parsed
                names.append(options.name or default_name(config))
    for place, text in blocks("python"):
        if place.partition(":")[0] == path.name:
            names += runs_of_python(text)
    assert sorted(names) == sorted(set(names))


def test_a_name_taken_twice_would_be_noticed() -> None:
    text = 'retain.train("tmaze/rate")\nretain.train("tmaze/rate", context_length=10, seed=0)\n'
    assert list(runs_of_python(text)) == ["tmaze-rate-seed0", "tmaze-rate-seed0"]
    assert list(runs_of_python('x = retain.train(config, name="short")')) == ["short"]
    assert list(runs_of_python('retain.train("passive_tmaze/dqn", length=9, seed=2)')) == [
        "passive_tmaze-dqn-9-lstm-seed2"
    ]


def test_a_dataset_written_as_data_md_does_can_be_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retain.cli.main import main

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    (tmp_path / "datasets").mkdir()
    (snippet,) = (
        text
        for place, text in blocks("python")
        if place.startswith("data.md") and "write_dataset(" in text
    )
    exec(compile(snippet, "data.md", "exec"), {})
    (line,) = (
        line
        for place, line in RETAIN
        if place.startswith("data.md") and "train" in line and "mine/walk-v0" in line
    )
    tiny = ["--train.updates", "2", "--model.width", "16", "--runs", str(tmp_path), "--name", "it"]
    assert main([*words(line), *tiny]) == 0
    assert (tmp_path / "it" / "checkpoints" / "last" / "model.safetensors").exists()


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
        anchor = target.partition("#")[2]
        assert not anchor or anchor in anchors_of(file if target[0] != "#" else path), target


def anchors_of(path: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


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


def page(name: str) -> str:
    """The text of a page of the docs."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_model_recipe_and_valve_is_mentioned() -> None:
    from retain.models import MODELS
    from retain.nn.blocks import BlockKind
    from retain.nn.valve import ACTIVATIONS, ValveKind
    from retain.recipes import RECIPES

    names = [*own(MODELS), *own(RECIPES), *get_args(ValveKind), *get_args(BlockKind), *ACTIVATIONS]
    assert len(names) > 20
    for name in names:
        assert f"`{name}`" in EVERYTHING, name


def test_every_model_has_a_section() -> None:
    from retain.models import MODELS

    sections = re.findall(r"^## `(\w+)`$", page("models.md"), re.MULTILINE)
    assert sections == sorted(own(MODELS))


def test_every_environment_is_mentioned() -> None:
    import retain.envs

    assert retain.envs
    ours = [id for id in gym.registry if id.startswith("retain/")]
    assert len(ours) >= 8
    for id in ours:
        assert f"`{id}`" in EVERYTHING, id


@pytest.mark.parametrize(
    ("file", "where", "name", "prefix"),
    [
        ("training.md", "retain.training.settings", "TrainConfig", ""),
        ("online.md", "retain.training.settings", "OnlineTrainConfig", ""),
        ("online.md", "retain.agents.online", "OnlineAgentConfig", ""),
        ("online.md", "retain.tokens", "StepTokenConfig", "tokens."),
        ("training.md", "retain.agents.sequence_policy", "SequencePolicyConfig", ""),
        ("data.md", "retain.training.settings", "DataConfig", "data."),
        ("evaluation.md", "retain.evaluation", "EvaluationConfig", "evaluation."),
        ("evaluation.md", "retain.evaluation", "EnvironmentConfig", "environment."),
        ("tmaze.md", "retain.envs.tmaze", "TMazeOptions", ""),
        ("associative_recall.md", "retain.envs.associative_recall", "AssociativeRecallOptions", ""),
        ("online_tasks.md", "retain.envs.credit_tmaze", "ActiveTMazeOptions", ""),
        ("online_tasks.md", "retain.envs.memory_chain", "MemoryLengthOptions", ""),
        ("online_tasks.md", "retain.envs.memory_chain", "DistributedMemoryOptions", ""),
    ],
)
def test_every_field_is_explained(file: str, where: str, name: str, prefix: str) -> None:
    text = page(file)
    for field in dataclasses.fields(getattr(importlib.import_module(where), name)):
        assert f"| `{prefix}{field.name}` |" in text, field.name


#: Pages of agents that are not named after them.
AGENT_PAGES = {"sequence_policy": "training.md"}


def agents() -> list[str]:
    """Names of the package's agents."""
    from retain.agents import AGENTS

    return own(AGENTS)


@pytest.mark.parametrize("name", agents())
def test_every_agent_has_a_page_with_its_fields(name: str) -> None:
    from retain.agents import AGENTS
    from retain.agents.online import OnlineAgentConfig

    text = page(AGENT_PAGES.get(name, f"{name}.md"))
    assert f"`{name}`" in EVERYTHING
    shared = {field.name for field in dataclasses.fields(OnlineAgentConfig)}
    for field in dataclasses.fields(AGENTS.get(name).Config):
        if field.name in shared:
            assert f"`{field.name}`" in text, field.name  # the explanation is in online.md
        else:
            assert f"| `{field.name}` |" in text, field.name


def metrics_of(name: str) -> set[str]:
    """What an online agent logs of an update."""
    import torch
    from gymnasium.spaces import Box, Discrete

    from retain.agents import AGENTS
    from retain.models import MODELS

    discrete = Discrete in getattr(AGENTS.get(name), "actions", ())
    spaces = Box(-1, 1, (2,)), Discrete(2) if discrete else Box(-1, 1, ())
    agent: Any = AGENTS.get(name)(
        AGENTS.get(name).Config(), MODELS.get("memoryless").Config(), *spaces
    )
    whole = torch.ones(1, 3)
    batch = {
        "observation": torch.ones(1, 4, 2),
        "action": whole.long() if discrete else whole,
        "reward": whole,
        "terminated": whole.bool(),
        "mask": whole.bool(),
        "previous_action": whole[:, 0].long() if discrete else whole[:, 0],
        "previous_reward": whole[:, 0],
        "begins": whole[:, 0].bool(),
        "read_before": 0 * whole[:, 0].long(),
    }
    memory = agent.network.model.initial_state(1)
    _, metrics = agent(agent.prepare(batch, memory), memory)
    return set(metrics)


@pytest.mark.parametrize("name", sorted(set(agents()) - set(AGENT_PAGES)))
def test_every_metric_of_an_agent_is_explained(name: str) -> None:
    text = page("online.md") + page(f"{name}.md")
    metrics = metrics_of(name)
    assert "memory_cost" in metrics
    for metric in metrics:
        assert f"| `train/{metric}` |" in text, metric


@pytest.mark.parametrize(
    ("file", "where", "name", "prefix"),
    [
        ("training.md", "retain.training.settings", "TrainConfig", ""),
        ("training.md", "retain.agents.sequence_policy", "SequencePolicyConfig", ""),
        ("online.md", "retain.training.settings", "OnlineTrainConfig", ""),
        ("online.md", "retain.agents.online", "OnlineAgentConfig", ""),
        ("online.md", "retain.tokens", "StepTokenConfig", "tokens."),
        ("dqn.md", "retain.agents.dqn", "DQNConfig", ""),
        ("sac_discrete.md", "retain.agents.sac_discrete", "SACDiscreteConfig", ""),
        ("sac.md", "retain.agents.sac", "SACConfig", ""),
        ("a2c.md", "retain.agents.a2c", "A2CConfig", ""),
    ],
)
def test_every_default_is_right(file: str, where: str, name: str, prefix: str) -> None:
    text = page(file)
    for field in dataclasses.fields(getattr(importlib.import_module(where), name)):
        row = re.search(rf"^\| `{prefix}{field.name}` \| (.*?) ?\|", text, re.MULTILINE)
        if row is None:  # of all online agents: in online.md
            assert file in ("dqn.md", "sac_discrete.md", "sac.md", "a2c.md")
            continue
        said = row[1].strip("`")
        if isinstance(field.default, bool):
            assert said == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert float(said) == field.default, field.name
        elif isinstance(field.default, tuple):
            assert tuple(map(float, said.split())) == field.default
        elif isinstance(field.default, str):
            assert said == field.default


BUDGET_FIELDS = (
    "episodes", "num_envs", "updates_per_step", "batch_size", "learning_rate", "gradient_clip",
)  # fmt: skip


@pytest.mark.parametrize("field", BUDGET_FIELDS)
@pytest.mark.parametrize("published", ["passive_tmaze/dqn", "key_to_door/sac_discrete"])
def test_the_table_of_budgets_is_right(field: str, published: str) -> None:
    from retain.recipes import recipe

    short = ("passive_tmaze/dqn", "active_tmaze/dqn", "visual_match/sac_discrete")
    columns = [(name, "short") for name in short] + [(published, "published")]
    columns += [("memory_length/a2c", "short"), ("memory_size/a2c", "published")]
    trains: list[Any] = [recipe(name, budget=budget).train for name, budget in columns]
    text = page("online.md").partition("## Recipes and budgets")[2]
    row = re.search(rf"^\| `{field}` \|(.+)\|$", text, re.MULTILINE)
    assert row
    for said, train in zip(map(str.strip, row[1].split("|")), trains, strict=True):
        value = getattr(train, field)
        # Agents without a replay, and the table of published episodes below.
        if said not in ("", "an update a round") and not said.startswith("by length"):
            assert said == ("none" if value is None else f"{value}"), field


@pytest.mark.parametrize(
    ("file", "modules"), [("training.md", ["offline"]), ("online.md", ["online", "averages"])]
)
def test_every_metric_is_explained(file: str, modules: list[str]) -> None:
    text = page(file).replace("`, `", "` | | `")
    training = ROOT / "src" / "retain" / "training"
    source = "".join((training / f"{name}.py").read_text(encoding="utf-8") for name in modules)
    metrics = set(re.findall(r"\"((?:train|eval)/\w+)", source))
    assert {"train/loss", "train/updates_per_second"} <= metrics
    for metric in metrics:
        assert f"| `{metric}` |" in text, metric
