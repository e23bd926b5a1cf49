"""The commands, one after the other, as a user would give them."""

from __future__ import annotations

import inspect
import itertools
import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from online_runs import online_metrics, online_result, write_run
from retain import __version__
from retain.cli.main import COMMANDS, main
from retain.cli.train import parse
from retain.data.store import Episode, write_dataset
from retain.recipes import ARGUMENTS, RECIPES, recipe
from retain.report.results import load_results
from tiny_runs import FLAGS, ONLINE_FLAGS, SIZE, assert_same_runs, evaluations, metrics

PNG = b"\x89PNG"


def test_train_left_everything_there(trained: Path) -> None:
    assert sorted(path.name for path in trained.glob("[!.]*")) == [
        "checkpoints", "config.json", "metrics.jsonl", "results.json", "spaces.json",
    ]  # fmt: skip
    links = {
        p.name: p.readlink().name for p in (trained / "checkpoints").iterdir() if p.is_symlink()
    }
    assert links == {"last": "step-000012", "best": "step-000006"}
    result = load_results(trained)[0]
    assert (result["run"], result["seed"], result["recipe"]) == ("shared", 3, "tmaze/rate")
    assert result["training"]["updates"] == 12
    assert result["training"]["length"] == 12
    config = result["config"]
    assert config["model"]["context_length"] == 4
    assert config["model"]["width"] == 16
    assert config["data"]["collect"]["env_kwargs"]["corridor_length"] == 12  # follows from 4 x 3
    assert result["provenance"]["versions"]["retain"] == __version__
    assert [line["step"] for line in metrics(trained)] == [2, 4, 6, 6, 8, 10, 12, 12]


#: The shortest form of each task that is learned by acting.
ONLINE = {
    "passive_tmaze/dqn": ["--length=3"],
    "active_tmaze/dqn": ["--length=3"],
    "passive_tmaze/short_corridors": ["--length=3"],
    "active_tmaze/short_corridors": ["--length=3"],
    "passive_tmaze/growing": ["--length=3"],
    "active_tmaze/growing": ["--length=6"],
    "visual_match/sac_discrete": ["--length=2"],
    "key_to_door/sac_discrete": ["--length=2"],
    "visual_match/growing": ["--length=6"],
    "key_to_door/growing": ["--length=2"],
    "memory_length/a2c": ["--length=3"],
    "memory_length/growing": ["--length=6"],
    "memory_length/ppo": ["--length=3"],
    "memory_size/ppo": ["--bits=2"],
    "distributed_memory/ppo": ["--length=4", "--bits=3"],
    "memory_size/a2c": ["--bits=2"],
    "distributed_memory/a2c": ["--length=4", "--bits=3"],
}


def _arguments(flags: list[str]) -> dict[str, int]:
    """Flags as keyword arguments of a recipe."""
    pairs = (flag.removeprefix("--").split("=") for flag in flags)
    return {name: int(value) for name, value in pairs}


# Other tests may have registered recipes of examples by now; the tasks of some are the user's.
OWN_RECIPES = [
    name for name in RECIPES.names()
    if RECIPES.get(name).__module__.startswith("retain.")
    and not name.startswith(("gymnasium/", "minari/"))
]  # fmt: skip


@pytest.mark.parametrize("name", OWN_RECIPES)
def test_every_recipe_trains_by_the_command(name: str, tmp_path: Path) -> None:
    command = ["train", name, "--no-evaluation", "--runs", str(tmp_path)]
    if name in ONLINE:
        flags = [*ONLINE[name], *ONLINE_FLAGS]
        config = recipe(name, **_arguments(ONLINE[name]))
        options = map(str, config.environment.kwargs.values())
        model = config.model.registered_name
        folder = "-".join([name.replace("/", "-"), *options, model, "seed0"])
    else:
        # Not every model has heads or layers to set.
        settings = [field.name.replace("_", "-") for field in fields(recipe(name).model)]
        known = tuple(f"--model.{setting}=" for setting in settings)
        size = [
            flag for flag in (*SIZE, *FLAGS) if flag.startswith(known) or "--model." not in flag
        ]
        flags, folder = [*size, "--train.updates=2"], f"{name.replace('/', '-')}-seed0"
    # What grows asks in evaluations what is mastered; here training ends before the first.
    every = "1000000" if name.endswith("/growing") else "None"
    assert main([*command, *flags, "--train.evaluate-every", every]) == 0
    assert (tmp_path / folder / "checkpoints" / "last" / "model.safetensors").exists()
    assert evaluations(tmp_path / folder) == []


def test_an_online_run_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for model in ("gru", "gpt2"):
        flags = ["--model", model, "--length", "3", "--train.env-steps", "16"]
        more = ["--train.evaluate-every", "8", "--train.log-every", "4", "--seed", "3"]
        assert main(["train", "passive_tmaze/dqn", *flags, *ONLINE_FLAGS, *more]) == 0
        name = f"passive_tmaze-dqn-3-{model}-seed3"
        output = capsys.readouterr().out
        assert "passive_tmaze/dqn  step 16" in output
        assert f"run folder: runs/{name}" in output
    run = Path("runs") / name
    config, before = json.loads((run / "config.json").read_text()), metrics(run)
    assert config["model"]["name"] == "gpt2"
    assert (config["train"]["env_steps"], config["train"]["episodes"]) == (16, 5)
    assert before[-1]["env_steps"] == 16
    assert [r["step"] for r in evaluations(run)] == [16]

    assert main(["resume", str(run)]) == 0
    assert "success" in capsys.readouterr().out
    assert metrics(run) == before
    longer = ["--corridor-lengths", "5", "9", "--episodes", "2", "--checkpoint", "best"]
    assert main(["evaluate", str(run), *longer]) == 0
    ends = [(r["parameter"], r["value"], r["lengths"]) for r in evaluations(run)[-2:]]
    assert ends == [("corridor_length", 5, [6, 6]), ("corridor_length", 9, [10, 10])]
    assert main(["info", str(run)]) == 0
    output = capsys.readouterr().out
    for word in ("gpt2", "training: env steps", "training: episodes", "step-000016"):
        assert word in output
    curves = ["plot", "curves", "runs/*", "--x", "env_steps", "--group", "model"]
    assert main([*curves, "--key", "eval/return", "--out", "a.csv"]) == 0
    rows = Path("a.csv").read_text().splitlines()[1:]
    assert {row.split(",")[1] for row in rows} == {"gru", "gpt2"}
    assert main([*curves, "--out", "a.png"]) == 0
    final = ["plot", "final", "runs/*", "--parameter", "corridor_length", "--out", "b.png"]
    assert main(final) == 0
    assert Path("a.png").read_bytes().startswith(PNG)
    assert Path("b.png").read_bytes().startswith(PNG)
    assert main(["info", "passive_tmaze/dqn"]) == 0
    assert '"corridor_length": 50' in capsys.readouterr().out
    assert main(["info", "passive_tmaze/dqn", "--json"]) == 0
    config = json.loads(capsys.readouterr().out)  # and nothing else
    assert config["environment"]["kwargs"] == {"corridor_length": 50}


def test_tasks_of_ones_own_by_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    task = ["--env", "retain/PassiveTMaze-v0", "--option", "corridor_length=3", "--steps", "4"]
    task += ["--option", "distract_reward=0.5", "--model", "rate"]
    flags = [*ONLINE_FLAGS, "--model.width=40"]  # room for the action and the reward before
    assert main(["train", "gymnasium/dqn", *task, *flags]) == 0
    run = Path("runs/retain-PassiveTMaze-v0-dqn-3-rate-seed0")
    kwargs = json.loads((run / "config.json").read_text())["environment"]["kwargs"]
    assert kwargs == {"corridor_length": 3, "distract_reward": 0.5}
    assert main(["evaluate", str(run), "--corridor-lengths", "5", "--episodes", "2"]) == 0
    assert [r["lengths"] for r in evaluations(run)] == [[4, 4], [6, 6]]

    episodes = ["--option", "corridor_length=9", "--episodes", "6", "--dataset", "tests/mine-v0"]
    assert main(["collect", "retain/TMaze-v0", *episodes]) == 0
    capsys.readouterr()
    learn = ["train", "minari/sequence_policy", "--dataset", "tests/mine-v0", "--model", "gtrxl"]
    with pytest.raises(SystemExit) as stop:  # the defaults shown are those for this dataset
        main([*learn, "--help"])
    assert stop.value.code == 0
    assert "tests/mine-v0" in capsys.readouterr().out
    assert main([*learn, "--train.updates=2", "--evaluation.episodes=2"]) == 0
    run = Path("runs/tests-mine-v0-gtrxl-seed0")
    assert main(["evaluate", str(run), "--corridor-lengths", "4", "--episodes", "2"]) == 0
    assert [r["value"] for r in evaluations(run)] == [None, 4]
    for recipe_name in ("gymnasium/dqn", "minari/sequence_policy"):
        assert main(["info", recipe_name]) == 0
        output = capsys.readouterr().out
        assert "CartPole-v1" in output or "needs --dataset ID" in output


def test_a_run_of_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_dataset(
        "tests/logs-v0",
        [Episode(rng.normal(size=(7, 4)), rng.integers(2, size=6), np.ones(6), True, False)],
        env_id=None, description="logs", overwrite=True,
        observation_space=gym.spaces.Box(-9, 9, (4,)), action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    flags = ["--name", "logs", "--train.updates=2", "--train.log-every=1", "--train.batch-size=2"]
    assert main(["train", "minari/sequence_policy", "--dataset", "tests/logs-v0", *flags]) == 0
    for command in (["resume"], ["info"], ["plot", "curves"]):
        assert main([*command, "runs/logs"]) == 0
    assert main(["list", "runs"]) == 0
    assert "tests/logs-v0/rate seed 0" in capsys.readouterr().out
    assert json.loads(Path("runs/logs/results.json").read_text())["evaluations"] == []
    cartpole = ["--env", "CartPole-v1", "--option", "max_episode_steps=12", "--episodes", "2"]
    for command in ("evaluate", "inspect"):
        assert main([command, "runs/logs"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("retain: the run names no environment to act in; give --env ID")
        assert len(error.splitlines()) == 1
        assert main([command, "runs/logs", *cartpole]) == 0
    assert evaluations(Path("runs/logs"))[0]["kwargs"] == {"max_episode_steps": 12}
    assert main(["info", "runs/logs"]) == 0


def test_evaluate_prints_a_table_and_writes_json(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lengths = ["--corridor-lengths", "3", "12", "40"]
    command = ["evaluate", str(run), *lengths, "--episodes", "5", "--seed", "1000"]
    assert main([*command, "--json", "deep/results.json"]) == 0
    output = capsys.readouterr().out
    assert "corridor length" in output
    assert "written: deep/results.json" in output
    result = load_results("deep/results.json")[0]
    records = result["evaluations"]
    assert [(r["value"], r["episodes"], r["seeds"]) for r in records] == [
        (3, 5, [1000, 1004]), (12, 5, [1000, 1004]), (40, 5, [1000, 1004]),
    ]  # fmt: skip
    # The run keeps them beside those made before, with four episodes.
    assert [r["value"] for r in evaluations(run)] == [3, 12, 3, 12, 40]
    assert main([*command]) == 0
    assert [r["value"] for r in evaluations(run)] == [3, 12, 3, 12, 40]
    assert main(["evaluate", str(run), "--checkpoint", "best", "--num-envs", "2"]) == 0
    assert [r["step"] for r in evaluations(run)][-2:] == [6, 6]
    assert main([*command, "--lookahead", "8"]) == 0
    ahead = evaluations(run)[-3:]
    assert [r.pop("lookahead") for r in ahead] == [8, 8, 8]
    assert [r["lengths"] for r in ahead] == [r["lengths"] for r in records]
    # No value at all: the environment as it is.
    assert main(["evaluate", str(run), "--corridor-lengths"]) == 0
    assert evaluations(run)[-1]["parameter"] is None


def test_a_run_without_parameter_can_be_evaluated(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["evaluation"] |= {"parameter": None, "values": [], "values_in_training": []}
    path.write_text(json.dumps(config))
    assert main(["evaluate", str(run)]) == 0
    assert "retain/TMaze-v0" in capsys.readouterr().out
    lengths = ["--parameter=corridor-length", "--corridor-lengths", "2", "3"]
    assert main(["evaluate", str(run), *lengths, "--episodes", "4"]) == 0
    assert "corridor length" in capsys.readouterr().out
    found = [(record["parameter"], record["value"]) for record in evaluations(run)[-2:]]
    assert found == [("corridor_length", 2), ("corridor_length", 3)]


def test_another_option_can_be_varied(run: Path) -> None:
    command = ["evaluate", str(run), "--episodes", "4", "--parameter"]
    assert main([*command, "min_corridor_length", "--min-corridor-lengths", "2", "9"]) == 0
    found = [(record["parameter"], record["value"]) for record in evaluations(run)[-2:]]
    assert found == [("min_corridor_length", 2), ("min_corridor_length", 9)]
    assert main([*command, "corridor_length", "--corridor-lengths", "3"]) == 0  # the run's own
    assert evaluations(run)[-1]["value"] == 3
    assert main([*command, "noise", "--noises", "continuous", "discrete"]) == 0
    assert [record["value"] for record in evaluations(run)[-2:]] == ["continuous", "discrete"]
    assert main([*command, "balanced-goals", "--balanced-goalss", "True"]) == 0
    assert evaluations(run)[-1]["value"] is True
    assert main([*command, "step_penalty", "--step-penaltys", "0.5"]) == 0
    assert evaluations(run)[-1]["value"] == 0.5


@pytest.mark.parametrize("kind", ["success", "curves", "heatmap"])
def test_plot_draws(run: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", kind, str(run), "--out", "figures/a.png", "--title", "A title"]) == 0
    assert Path("figures/a.png").read_bytes().startswith(PNG)
    assert main(["plot", kind, "cop*", str(run.resolve())]) == 0
    name = capsys.readouterr().out.split("written: ")[-1].strip()
    assert Path(name).read_bytes().startswith(PNG)


def test_plot_draws_online_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for model, length, seed in itertools.product(("lstm", "gru"), (5, 9), (0, 1)):
        result = online_result(model, seed, 0.5, options={"corridor_length": length})
        lines = online_metrics([0.0, 0.2, 0.5 + 0.1 * seed])
        write_run(Path(f"{model}-{length}-{seed}"), result, lines)
    curves = ["curves", "*-5-*", "--key", "eval/return", "--x", "env_steps", "--smooth", "2"]
    for command, name in (
        ([*curves], "learning_curves.png"),
        (["final", "*-?-?", "--parameter", "corridor_length", "--log-x"], "final_scores.png"),
        (["bars", "*-?-?", "--metric", "return", "--chance", "0.5"], "final_bars.png"),
        (["grid", "*-?-?", "--group", "model", "--title", "All"], "final_grid.png"),
    ):
        assert main(["plot", *command]) == 0
        assert Path(name).read_bytes().startswith(PNG)
    for group, names in (("recipe", {"online/lstm", "online/gru"}), ("model", {"lstm", "gru"})):
        assert main(["plot", *curves, "--group", group, "--out", "curves.csv"]) == 0
        rows = Path("curves.csv").read_text().splitlines()
        assert rows[0] == "x,group,mean,low,high,runs"
        assert {row.split(",")[1] for row in rows[1:]} == names
    # Runs that share a seed differ in something else, and are not to be averaged.
    both = ["curves", "lstm-*-0", "lstm-5-1", "--key", "eval/return", "--out", "curves.csv"]
    assert main(["plot", *both]) == 0
    rows = Path("curves.csv").read_text().splitlines()
    names = {f"online/lstm ({run})" for run in ("lstm-5-0", "lstm-9-0", "lstm-5-1")}
    assert {row.split(",")[1] for row in rows[1:]} == names
    assert {row.split(",")[-1] for row in rows[1:]} == {"1"}


def test_plot_does_not_mix_updates_and_steps_of_the_environment(
    run: Path, refused: Callable[..., str]
) -> None:
    write_run(Path("online"), online_result("lstm", 0, 0.5), online_metrics([0.0, 0.2]))
    curves = ["plot", "curves", run, "online", "--key", "train/loss"]
    assert "of some runs are updates and those of others are steps" in refused(*curves)
    assert main([str(word) for word in [*curves, "--x", "updates"]]) == 0


def test_plot_prints_and_writes_tables(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", "table", str(run)]) == 0
    assert "| tmaze/rate |" in capsys.readouterr().out
    assert main(["plot", "csv", str(run / "results.json"), "--out", "table.csv"]) == 0
    assert Path("table.csv").read_text().startswith("label,environment,parameter,value")
    capsys.readouterr()
    assert main(["plot", "csv", str(run / "results.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip("\n") + "\n" == printed


def test_list(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--runs", "."]) == 0
    output = capsys.readouterr().out
    for word in ("tmaze/rate-paper", "transformer_xl", "retain/TMaze-v0", "retain/tmaze-expert"):
        assert word in output
    assert "copy" in output
    assert "tmaze/rate seed 3" in output
    for text, said in (('{"recipe": "x", "se', "damaged"), ("[]", "damaged"), ("{}", "None")):
        Path("broken").mkdir(exist_ok=True)
        Path("broken/config.json").write_text(text)
        assert main(["list", "runs", "--runs", "."]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [said in line for line in lines] == [True, False], lines
    assert main(["list", "runs", "--runs", "nowhere"]) == 2
    assert capsys.readouterr().out == ""


def test_list_says_where_runs_stand_that_have_not_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = {
        "a-new": {"data": {}, "train": {"updates": 1000}},
        "b-stopped": {"data": {}, "train": {"updates": 1000}},
        "c-episodes": {"train": {"env_steps": None, "episodes": 9}},
        "d-ended": {"train": {"env_steps": 5000}},
        "e-odd": {"train": {"env_steps": 5000}},
    }
    for name, config in configs.items():
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        text = json.dumps({"recipe": "r", "seed": 0, **config})
        (tmp_path / name / "config.json").write_text(text)
        if name != "a-new":
            last = "step-backup" if name == "e-odd" else "step-000400"
            (tmp_path / name / "checkpoints" / "last").symlink_to(last)
    (tmp_path / "d-ended" / "results.json").write_text('{"training": {"updates": 5}}')
    assert main(["list", "runs", "--runs", str(tmp_path)]) == 0
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "r seed 0, at update 0 of 1,000",
        "r seed 0, at update 400 of 1,000",
        "r seed 0, at step 400, not ended",
        "r seed 0",
        "damaged",
    ]


def test_info(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def info(*arguments: str) -> str:
        assert main(["info", *arguments]) == 0
        return capsys.readouterr().out

    output = info(str(run))
    for word in ("tmaze/rate", "parameters", "KiB", "best, last, step-0000", "training: updates"):
        assert word in output
    assert json.loads(info(str(run), "--json"))["run"] == "copy"  # as the folder is called now
    assert "mastered" not in output
    results = json.loads((run / "results.json").read_text())
    results["training"]["curriculum"] = [{"value": value, "update": 3} for value in (25, 1600)]
    (run / "results.json").write_text(json.dumps(results))
    assert re.search(r"training: mastered\W+25, 1,600", info(str(run)))
    (run / "results.json").unlink()
    assert "corridor length" not in info(str(run))
    assert "Memory Retention Valve" in info("rate")
    assert "--model.num-memory-tokens" in info("rate")
    assert '"context_length": 30' in info("tmaze/rate")
    assert "Discrete(4)" in info("retain/TMaze-v0")
    assert "noise=discrete" in info("retain/TMaze-v0")
    assert "Discrete(2)" in info("CartPole-v1")
    assert "map_name=8x8" in info("FrozenLake8x8-v1")  # as it is registered


def test_collect_and_info_of_a_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--option", "corridor_length=5", "--option", "noise=none", "--episodes", "7"]
    command = ["collect", "retain/TMaze-v0", *options, "--dataset", "tests/cli-v0"]
    assert main(command) == 0
    assert "tests/cli-v0" in capsys.readouterr().out
    assert main(["info", "tests/cli-v0", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["episodes"], info["max_length"]) == (7, 5)
    assert info["env_kwargs"] == {"corridor_length": 5, "noise": "none"}
    assert main(command) == 0  # it is there: nothing to do
    assert main([*command, "--seed", "5", "--overwrite"]) == 0


def test_resume_of_a_finished_run(
    run: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", str(run)]) == 0
    assert "corridor length" in capsys.readouterr().out
    assert_same_runs(run, trained)
    (run / "results.json").unlink()
    assert main(["resume", str(run), "--no-evaluation"]) == 0
    assert "corridor length" not in capsys.readouterr().out
    assert evaluations(run) == []


@pytest.mark.parametrize("command", [*COMMANDS, "train tmaze/rate", "evaluate {run}"])
def test_help_of_every_command(run: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.format(run=run).split()
    for flag in ("--help", "-h"):
        try:
            status = main([*words, flag])
        except SystemExit as ended:  # tyro's
            status = ended.code
        assert status == 0
        output = capsys.readouterr().out
        assert f"retain {words[0]}" in output
        assert "--no-no-" not in output
    if command == "train tmaze/rate":
        for text in (
            "--num-segments",
            "--name NAME",
            "--model.valve.kind",
            "--train.bptt-segments",
        ):
            assert text in output
    if command == "evaluate {run}":
        assert "--corridor-lengths" in output


@pytest.mark.parametrize("name", OWN_RECIPES)
def test_arguments_of_every_recipe_are_flags(name: str) -> None:
    known = inspect.signature(RECIPES.get(name)).parameters
    options, config = parse(name, [])
    assert config.recipe == name
    assert set(vars(options)) == {"name", "runs", "no_evaluation", *known}
    for argument, parameter in known.items():
        flag = f"--{argument.replace('_', '-')}"
        if type(parameter.default) is int:
            options, config = parse(name, [flag, str(parameter.default + 2)])
            assert getattr(options, argument) == parameter.default + 2
            assert config == recipe(name, **{argument: parameter.default + 2})


def test_every_argument_of_a_recipe_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    own = [name for name in RECIPES.names() if RECIPES.get(name).__module__.startswith("retain.")]
    known = {
        argument for name in own for argument in inspect.signature(RECIPES.get(name)).parameters
    }
    assert known == set(ARGUMENTS)
    with pytest.raises(SystemExit):
        main(["train", "tmaze_items/rate", "--num-hints", "3", "--help"])
    output = capsys.readouterr().out
    assert re.search(r"--hint-time +when hints .*: start, random \(default: random\)", output)
    assert "argument of the recipe (" not in output
    # The defaults of the fields are those for the arguments that were given.
    assert re.search(r"--model.num-memory-tokens INT.*?\(default: 5\)", output, re.DOTALL)


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["minari/sequence_policy"], "--dataset"),
        (["gymnasium/a2c", "--env", "retain/TMaze-v0"], "--steps"),
    ],
)
def test_help_without_what_the_fields_follow_from(
    command: list[str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *command, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert f"  {missing} " in output
    assert f"the fields of the configuration are shown once {missing} is given" in output


def test_help_says_what_a_run_is_named_by(capsys: pytest.CaptureFixture[str]) -> None:
    for name, parts in (
        ("tmaze/rate", "recipe and seed"),
        ("passive_tmaze/dqn", "recipe, numbers of the task, model, seed"),
    ):
        with pytest.raises(SystemExit):
            main(["train", name, "--help"])
        assert f"name of the run folder (default: {parts})" in capsys.readouterr().out


def test_help_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    for typed in ([], ["--help"], ["-h"], ["help"]):
        assert main(typed) == 0
        output = capsys.readouterr().out
        assert all(f"  {command} " in output for command in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main(["train"]) == 0
    assert "tmaze/rate" in capsys.readouterr().out
    assert main(["evaluate"]) == 0
    assert "usage: retain evaluate RUN" in capsys.readouterr().out


def test_a_plugin_adds_a_model_and_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from retain.core import plugins

    monkeypatch.setattr(plugins, "_imported", [])
    monkeypatch.setattr(RECIPES, "_entries", dict(RECIPES._entries))
    (tmp_path / "my_recipes.py").write_text(
        "from dataclasses import replace\n"
        "from retain.recipes import RECIPES, recipe\n"
        "@RECIPES.register('mine/rate')\n"
        "def mine():\n"
        "    '''My own.'''\n"
        "    return replace(recipe('tmaze/rate'), recipe='mine/rate')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = str(tmp_path / "my_recipes.py")
    assert main(["--plugin", file, "--plugin", "json", "list", "recipes"]) == 0
    assert "mine/rate" in capsys.readouterr().out
    assert plugins.imported_plugins() == [file, "json"]
    assert main(["info", "mine/rate", "--plugin", file]) == 0  # it may stand anywhere
    assert "mine/rate" in capsys.readouterr().out


def test_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["retain", "--version"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("retain", run_name="__main__")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


def test_evaluate_with_another_option_of_the_environment(run: Path) -> None:
    from retain.report.results import load_results

    arguments = ["--corridor-lengths", "5", "--episodes", "3", "--json", "found.json"]
    assert main(["evaluate", str(run), *arguments, "--option", "noise=none"]) == 0
    record = load_results("found.json")[0]["evaluations"][0]
    assert record["kwargs"]["noise"] == "none"
    assert record["kwargs"]["corridor_length"] == 5
    assert main(["evaluate", str(run), *arguments, "--option", "noise"]) == 2
    assert main(["evaluate", str(run), *arguments, "--option", "sound=none"]) == 2


def test_evaluations_are_told_apart_by_their_options() -> None:
    from rich.console import Console

    from retain.cli.display import evaluation_table

    record = {
        "environment": "Pendulum-v1", "parameter": None, "value": None, "metric": "return",
        "mean": 1.0, "stderr": 0.0, "episodes": 1, "lengths": [5], "seconds": 1.0,
    }  # fmt: skip
    console = Console(width=100)

    def shown(*options: dict[str, int]) -> str:
        with console.capture() as capture:
            console.print(
                evaluation_table("", [{**record, "kwargs": kwargs} for kwargs in options])
            )
        return capture.get()

    assert "g 5" in shown({}, {"g": 5})
    assert "options" not in shown({"g": 5}, {"g": 5})
    assert "m 2" not in shown({"g": 5, "m": 2}, {"g": 6, "m": 2})


def test_evaluations_are_told_apart_by_all_that_differs() -> None:
    from rich.console import Console

    from retain.cli.display import evaluation_table

    record = {
        "environment": "retain/TMaze-v0", "parameter": "corridor_length", "value": 9, "mean": 1.0,
        "metric": "success", "stderr": 0.0, "episodes": 1, "lengths": [5], "seconds": 1.0,
        "kwargs": {"corridor_length": 9, "hints": 1}, "step": 1234, "seeds": [777, 777],
    }  # fmt: skip
    console = Console(width=150)

    def shown(**other: Any) -> str:
        with console.capture() as capture:
            console.print(evaluation_table("", [record, {**record, **other}]))
        return capture.get()

    assert "step " not in shown(value=12)
    assert "5678" in shown(step=5678)
    assert "888" in shown(seeds=[888, 888])
    assert "greedy" in shown(greedy=True)
    assert "return 1.00" in shown(metric="return")
    varied = shown(parameter="hints", value=2, kwargs={"corridor_length": 7, "hints": 2})
    for text in ("setting", "corridor length 9", "hints 2", "corridor_length 7", "hints 1"):
        assert text in varied
    assert "MemorySize" in shown(environment="retain/MemorySize-v0")
    # What other programs may leave out.
    assert "9" in shown(lengths=None, seconds=0, kwargs=None, seeds=None, mean=None, stderr=None)


def test_a_run_is_trained_anew(run: Path, tmp_path: Path) -> None:
    told = json.loads((run / "config.json").read_text())
    for number, source in enumerate((run, run / "config.json", run / "results.json")):
        command = ["train", str(source), "--runs", str(tmp_path), "--name", f"again-{number}"]
        changes = ["--seed=8", "--train.updates=2", f"--initial-weights={run}", "--no-evaluation"]
        assert main([*command, *changes, "--train.evaluate-every=None"]) == 0
        again = json.loads((tmp_path / f"again-{number}" / "config.json").read_text())
        train = {**told["train"], "updates": 2, "evaluate_every": None}
        assert again == {**told, "seed": 8, "train": train, "initial_weights": str(run)}


def test_a_run_anew_begins_with_its_own_copy_of_the_weights(run: Path, tmp_path: Path) -> None:
    shared = run.parent / "first"
    shutil.copytree(run, shared)
    few = ["--train.updates=1", "--no-evaluation", "--train.evaluate-every=None", "--runs"]
    few.append(str(tmp_path))
    assert main(["train", str(run), *few, "--name=a", f"--initial-weights={shared}"]) == 0
    shutil.rmtree(shared)
    for number, source in enumerate((tmp_path / "a", tmp_path / "a" / "config.json")):
        assert main(["train", str(source), *few, f"--name=b{number}"]) == 0
        again = json.loads((tmp_path / f"b{number}" / "config.json").read_text())
        assert again["initial_weights"] == str(tmp_path / "a" / "initial")


def test_help_of_training_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", str(run), "--help"])
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert f"Train anew as {run}." in " ".join(shown.split())
    assert "(default: 12)" in shown  # its updates
