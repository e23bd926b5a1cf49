"""Bad input: one line on stderr, status 2, and nothing half-written left behind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from retain.cli import options
from retain.cli.main import main
from retain.collection import CollectConfig, collect
from retain.recipes import RECIPES
from retain.training import offline
from retain.training.config import OnlineRunConfig
from tiny_runs import FLAGS, ONLINE_FLAGS, SIZE, metrics, poison, tiny_online

Refused = Callable[..., str]


def train(*arguments: str, recipe: str = "tmaze/rate") -> list[str]:
    """A command that would train a tiny run called `new` in the folder `made`."""
    where = ["--runs", "made", "--name", "new", "--no-evaluation", "--train.updates=4"]
    return ["train", recipe, *SIZE, *FLAGS, *where, "--train.evaluate-every=None", *arguments]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_parameter_needs_a_name_and_values(refused: Refused, trained: Path) -> None:
    line = refused("evaluate", trained, "--parameter", "num_hints")
    assert "--parameter num_hints needs its values: --num-hintss VALUE ..." in line
    line = refused("evaluate", trained, "--num-hintss", "2", "--parameter")
    assert "--parameter needs the name of an option of the environment" in line
    line = refused("evaluate", trained, "--parameter=hints", "--hintss", "2")
    assert "no option 'hints'; its options: balanced_goals, corridor_length" in line
    for wrong in ("", "foo bar", "3x", "a"):
        line = refused("evaluate", trained, f"--parameter={wrong}")
        assert f"--parameter '{wrong}' is not the name of an option" in line
    line = refused("evaluate", trained, "--parameter", "num_env", "--num-envs", "3")
    assert "--num-envs means something else here; in Python: retain.evaluate(run, p" in line
    line = refused("evaluate", trained, "--parameter=noise", "--noises", "[1]")
    assert "--noises: '[1]' is not a number, True, False or a text" in line
    line = refused("evaluate", trained, "--parameter", "hints", "--hints")
    assert "did you mean --hintss" in line


def test_what_holds_no_settings_is_not_trained_anew(
    refused: Refused, here: Path, trained: Path
) -> None:
    assert "runs/none does not exist" not in refused("train", "runs/none")
    (here / "runs").mkdir()
    line = refused("train", "runs/none")
    assert "run folder runs/none does not exist; there are no runs beside it" in line
    assert "runs is not a run's folder: it has no config.json" in refused("train", "runs")
    assert "none.json does not exist" in refused("train", "none.json")
    (here / "text.txt").write_text("a")
    assert "text.txt is a file of another kind; give a run's" in refused("train", "text.txt")
    (here / "list.json").write_text('[{"config": {}}]')
    (here / "other.json").write_text('{"config": {"model": {}}}')
    (here / "broken.json").write_text("{")
    line = refused("train", "list.json")
    assert "list.json holds no settings of a run; give a run's folder, its config.json" in line
    assert "the run's config has format None" in refused("train", "other.json")
    certificate = Path(__file__).parents[2] / "benchmarks/results/certificates"
    line = refused("train", next(certificate.glob("*.json")))
    assert "holds no settings of a run" in line
    line = refused("train", trained / "checkpoints" / "last")
    assert "last is a checkpoint; give a run's folder" in line
    assert "broken.json is not whole JSON" in refused("train", "broken.json")


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rate", "dqn", "retain/TMaze-v0"])
def test_json_of_what_is_told_in_words_is_refused(refused: Refused, name: str) -> None:
    line = refused("info", name, "--json")
    assert f"--json is for runs, datasets and recipes, not for '{name}'" in line


def test_unknown_names_give_the_nearest(refused: Refused, here: Path) -> None:
    assert "unknown command 'evalute'; did you mean evaluate" in refused("evalute")
    assert "unknown recipe 'tmaze/rte'; did you mean tmaze/rate" in refused("train", "tmaze/rte")
    line = refused("info", "transformer_x")
    assert "unknown run folder, dataset, recipe, model, agent or environment" in line
    assert "did you mean" in line
    assert "transformer_xl" in line
    assert "did you mean retain/TMaze-v0" in refused("collect", "retain/TMaze-v1")
    assert "unknown run folder" in refused("info", "transformer_x", "--json")
    line = refused("collect", "retain/TMaze-v0", "--option", "corridor=3")
    assert "no option 'corridor'; its options: balanced_goals, corridor_length" in line
    line = refused("collect", "CartPole-v1")
    assert "unknown expert for environment 'CartPole-v1'" in line
    assert line.endswith("try --policy random")
    line = refused(*train("--data.dataset", "retain/tmaze-expert-v9"))
    assert "no dataset 'retain/tmaze-expert-v9'" in line
    assert "unknown environment 'retain/TMase-v0'" in refused(
        *train("--environment.id", "retain/TMase-v0")
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["train", "tmaze/rate", "--train.updaets", "3"],
            "unknown option --train.updaets; did you mean --train.updates?",
        ),
        (
            ["train", "tmaze/rate", "--model.vlave.kind", "gru"],
            "unknown option --model.vlave.kind; did you mean --model.valve.kind?",
        ),
        (
            ["train", "passive_tmaze/dqn", "--modle", "lstm"],
            "unknown option --modle; did you mean --model? `retain train passive_tmaze/dqn --help`",
        ),
        (
            ["train", "minari/sequence_policy", "--seed=1", "--datset", "x"],
            "unknown option --datset; did you mean --dataset?",
        ),
        (["train", "minari/sequence_policy", "--seed=1"], "needs --dataset ID"),
        (["train", "tmaze/rate", "--betas=1"], "--betas; did you mean --train.betas?"),
        (
            ["train", "passive_tmaze/growing", "--train.env-kwargs", "min_corridor_length", "3"],
            "--train.env-kwargs; did you mean --train.env-kwargs.min-corridor-length?",
        ),
        (
            ["train", "tmaze/rate", "--contxt_length", "3"],
            "did you mean --context-length or --model.context-length?",
        ),
        (["train", "tmaze/rate", "--zzz", "3"], "unknown option --zzz; `retain train tmaze/rate"),
        (["train", "tmaze/rate", "stray"], "nothing takes 'stray'; `retain train"),
        (["train", "tmaze/rate", "--seed", "1.5"], "--seed: '1.5' is not a whole number; `retain"),
        (["train", "tmaze/rate", "--train.learning-rate", "x"], "-rate: 'x' is not a number"),
        (["train", "tmaze/rate", "--context-length"], "--context-length needs a value"),
        (["train", "tmaze/rate", "--train.betas", "1"], "--train.betas needs 2 values"),
        (
            ["train", "tmaze/rate", "--model.valve.kind", "grue"],
            "--model.valve.kind: 'grue' is none of cross_attention, cross_attention_reversed, gate",
        ),
        (["evaluate", "{run}", "--corridor-length", "3"], "did you mean --corridor-lengths?"),
        (["inspect", "{run}", "--epsodes", "3"], "did you mean --episodes?"),
        (["plot", "sucess", "x"], "did you mean success? `retain plot --help` lists the options"),
        (["list", "recipe"], "did you mean recipes?"),
        (["info", "rate", "--jsn"], "did you mean --json?"),
        (["demo", "--sed", "3"], "did you mean --seed?"),
        (["collect", "CartPole-v1", "--polcy", "random"], "did you mean --policy?"),
        (["collect"], "STR is missing: Gymnasium id of the environment; `retain collect --help`"),
        (["resume"], "PATH is missing: The run's folder"),
    ],
)
def test_bad_options_are_told_in_one_line(
    run: Path, arguments: list[str], line: str, refused: Refused
) -> None:
    assert line in refused(*[argument.format(run=run) for argument in arguments])
    assert [path.name for path in Path().iterdir()] == ["copy"]


@pytest.mark.parametrize(
    "told",
    [
        "\x1b[31m╭─ Trouble ─╮\x1b[0m\n│ Nobody │\n│ knows. │\n│ ────── │\n│ help │\n╰────╯",
        " Trouble\n -------\n  Nobody\n  knows.\n  ------\n  help\n",
        "Nobody knows.\n",
    ],
)
def test_other_words_of_the_parser_are_quoted(told: str) -> None:
    assert options._one_line(told, []) == "Nobody knows"


def test_what_must_come_first(refused: Refused) -> None:
    assert "the recipe comes first" in refused("train", "--seed", "3", "tmaze/rate")
    assert "the run comes first" in refused("evaluate", "--episodes", "3")
    assert "--plugin needs" in refused("--plugin")
    assert "plugin nowhere.py does not exist" in refused("--plugin", "nowhere.py", "list")
    assert "plugin no_such cannot be imported" in refused("--plugin", "no_such", "list")


# -- run folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["evaluate", "resume", "info"])
def test_runs_that_are_missing_or_damaged(run: Path, refused: Refused, command: str) -> None:
    if command != "info":
        assert "run folder cpy does not exist; runs there: copy" in refused(command, "cpy")
    config = run / "config.json"
    text = config.read_text()
    config.write_text(text[: len(text) // 2])
    assert "is not whole JSON" in refused(command, run)
    config.write_text(json.dumps({**json.loads(text), "format": 99}))
    line = refused(command, run)
    assert "has format 99, this version of retain reads 1" in line
    config.write_text(text.replace('"name": "rate"', '"name": "rat"'))
    assert "unknown model 'rat'; did you mean rate" in refused(command, run)
    config.write_text(text.replace('"name": "rate"', '"name": "example_gru"'))
    assert "imported first, by --plugin on the command line" in refused(command, run)
    config.write_text(text)
    (run / "spaces.json").unlink()
    assert "is not a whole run: it has no spaces.json" in refused(command, run)


@pytest.mark.parametrize("command", ["evaluate", "resume"])
def test_checkpoints_that_are_damaged(run: Path, refused: Refused, command: str) -> None:
    path = run / "checkpoints" / "last" / "model.safetensors"
    good = load_file(path)
    kept = path.read_bytes()
    before = sorted(Path().rglob("*"))
    name = next(iter(good))
    save_file({("x" + k if k == name else k): v for k, v in good.items()}, path)
    assert f"does not fit the run's model: it lacks '{name}'" in refused(command, run)
    save_file({k: (torch.zeros(9, 9) if k == name else v) for k, v in good.items()}, path)
    assert "of shape [9, 9] instead of" in refused(command, run)
    path.write_bytes(kept[: len(kept) // 2])
    assert "model.safetensors cannot be read" in refused(command, run)
    path.unlink()
    assert "no whole checkpoint 'last'; it has step-0000" in refused(command, run)
    path.write_bytes(kept)
    training = path.with_name("training.pt")
    training.write_bytes(training.read_bytes()[:100])
    if command == "resume":
        assert "training.pt is damaged" in refused(command, run)
    assert sorted(Path().rglob("*")) == before


def test_a_run_without_checkpoint(run: Path, refused: Refused) -> None:
    for path in sorted((run / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    line = refused("evaluate", run)
    assert line.endswith("no whole checkpoint 'last'; it has none; train it first")
    assert main(["info", str(run)]) == 0


def test_a_run_that_exists_is_not_trained_over(run: Path, refused: Refused) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    line = refused("train", "tmaze/rate", "--runs", ".", "--name", "copy")
    assert "copy already exists; go on with it by `retain resume copy`" in line
    assert (run / "metrics.jsonl").read_bytes() == before


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (
            ["--model.context-length", "500"],
            "context_length 500 is longer than the longest",
        ),
        (["--train.accelerator", "cuda"], "train.accelerator=cuda"),
        (["--train.accelerator", "abacus"], "train.accelerator=abacus"),
        (["--train.wandb", "project"], "pip install 'retain[wandb]'"),
        (["--model.dropout", "2"], "model.dropout must be at least 0 and below 1"),
        (["--environment.id", "CartPole-v1"], "CartPole-v1 has no option"),
        (["--evaluation.parameter", "length"], "no option 'length'"),
        (["--data.num-segments", "0"], "num_segments must be at least 1"),
        (["--name", "../elsewhere"], "the name '../elsewhere' is a path"),
    ],
)
def test_settings_that_do_not_fit(
    here: Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    match: str,
) -> None:
    if "cuda" in flags and torch.cuda.is_available():
        pytest.skip("this machine has the accelerator")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert match in refused(*train(*flags))
    assert not (here / "made").exists()


@pytest.mark.parametrize(
    ("recipe", "flags", "match"),
    [
        (
            "passive_tmaze/dqn",
            ["--train.sequence-length", "9"],
            "no episode in the replay has 9 steps, the longest has 4; lower --train.sequence-len",
        ),
        (
            "passive_tmaze/dqn",
            ["--train.replay-capacity", "4"],
            "an episode of 4 steps does not fit into a replay of 4; raise --train.replay-capacity",
        ),
        (
            "visual_match/sac_discrete",
            ["--train.replay-capacity", str(10**15)],
            "a replay of 1,000,000,000,000,000 steps needs",
        ),
        ("passive_tmaze/dqn", ["--train.updates-per-step", "0"], "updates_per_step must be above"),
        ("passive_tmaze/dqn", ["--train.updates-per-step", "inf"], "must be a finite number, not"),
        ("passive_tmaze/dqn", ["--agent.discount", "nan"], "discount must be from 0 to 1, not nan"),
        (
            "passive_tmaze/dqn",
            ["--train.random-episodes", "5"],
            "nothing would be learned: of 5 episodes the first 5 are random; lower --train.random",
        ),
        (
            "passive_tmaze/dqn",
            ["--evaluation.values", "3", "0"],
            "corridor_length must be at least 1",
        ),
        ("memory_length/a2c", ["--seed", str(10**20)], "seed must be from 0 to 4294967295, not 1"),
        (
            "memory_length/a2c",
            ["--train.episodes", "None"],
            "training would not end; give train.env_steps or train.episodes",
        ),
        ("memory_length/a2c", ["--model", "lsmt"], "unknown model 'lsmt'; did you mean lstm"),
        (
            "memory_length/a2c",
            ["--agent.num-steps", "2", "--agent.normalize", "episode"],
            "agent.normalize episode needs whole episodes; give batch or none",
        ),
        (
            "passive_tmaze/dqn",
            ["--budget", "published"],
            "there is no published budget for passive_tmaze of length 3, only for 50, 100, 250",
        ),
        ("passive_tmaze/dqn", ["--length=-3"], "length must be at least 1, not -3"),
        ("memory_length/a2c", ["--length=0"], "length must be at least 1, not 0"),
        ("memory_length/a2c", ["--train.num-envs", "0"], "num_envs must be at least 1, not 0"),
        ("memory_length/a2c", ["--train.accelerator", "abacus"], "train.accelerator=abacus"),
        ("memory_length/a2c", ["--environment.id", "Nothing-v0"], "unknown environment 'Nothing"),
        ("passive_tmaze/dqn", ["--model.width", "8"], "leave something of the model's width 8"),
    ],
)
def test_online_settings_that_do_not_fit(
    here: Path, refused: Refused, recipe: str, flags: list[str], match: str
) -> None:
    where = ["--length=3", "--runs", "made", "--name", "new", "--train.evaluate-every=None"]
    assert match in refused("train", recipe, *where, *ONLINE_FLAGS, *flags)
    assert not any((here / "made").rglob("*")), "something was left"


@pytest.mark.parametrize(
    ("recipe", "flags", "match"),
    [
        ("gymnasium/dqn", ["--env", "CartPole-v9"], "unknown environment 'CartPole-v9'; did you"),
        ("gymnasium/dqn", ["--option", "gravity"], "--option gravity is not of the form NAME="),
        ("gymnasium/dqn", ["--option", "corridor=3"], "CartPole-v1 has no option 'corridor'"),
        ("gymnasium/a2c", ["--env", "retain/TMaze-v0"], "give --steps NUMBER, from which the"),
        ("gymnasium/sac_discrete", ["--steps=0"], "steps must be at least 1, not 0"),
        ("gymnasium/sac_discrete", ["--env", "Pendulum-v1"], "needs discrete actions, but"),
        ("gymnasium/sac", ["--env", "CartPole-v1"], "; agents that take discrete ones are dqn,"),
        ("gymnasium/sac", ["--agent.target-entropy=0.7"], "must be below log 2 = 0.69, which"),
        ("minari/sequence_policy", [], "minari/sequence_policy needs --dataset ID; `retain list"),
        ("minari/sequence_policy", ["--dataset", "no/thing-v0"], "no dataset 'no/thing-v0'"),
    ],
)
def test_tasks_of_ones_own_that_cannot_be(
    here: Path, refused: Refused, recipe: str, flags: list[str], match: str
) -> None:
    assert match in refused("train", recipe, "--runs", "made", *flags)
    assert not (here / "made").exists()


@pytest.mark.parametrize("agent", ["dqn", "sac_discrete"])
def test_actions_that_are_not_discrete(
    here: Path, refused: Refused, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RECIPES, "_entries", dict(RECIPES._entries))

    @RECIPES.register("swing/up")
    def swing() -> OnlineRunConfig:
        return tiny_online(agent, environment="Pendulum-v1", kwargs={})

    line = refused("train", "swing/up", "--runs", "made")
    assert f"agent '{agent}' needs discrete actions, but the environment's are Box" in line
    assert "wrap the environment" in line
    assert not (here / "made").exists()


def test_an_online_loss_that_is_not_a_number(here: Path, refused: Refused) -> None:
    flags = [*ONLINE_FLAGS, "--length=3", "--runs", "made", "--name", "new", "--no-evaluation"]
    rate = ["--train.learning-rate=1e30", "--train.gradient-clip", "None"]
    line = refused("train", "passive_tmaze/dqn", *flags, *rate, "--train.updates-per-step=1")
    assert "not a number at update" in line
    assert "Train anew with a lower --train.learning-rate" in line
    assert not Path("made/new").exists(), "nothing to go on with, and the name is free"


def test_data_of_another_environment(here: Path, refused: Refused) -> None:
    poles = collect(CollectConfig(env_id="CartPole-v1", policy="random", episodes=5, num_envs=5))
    line = refused(*train("--data.dataset", poles))
    assert f"dataset '{poles}' and retain/TMaze-v0" in line
    assert "space is" in line
    assert not (here / "made").exists()


def test_a_loss_that_is_not_a_number(
    here: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = offline._Trainer._update

    def poisoned(self: Any) -> Any:
        found = update(self)
        if self.progress.update == 3:
            poison(self.policy)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(offline._Trainer, "_update", poisoned)
        line = refused(*train("--train.checkpoint-every", "2", "--train.log-every", "1"))
    assert "not a number at update 4; training stopped. Last good checkpoint: step-000002" in line
    assert metrics(Path("made/new"))[-1]["step"] == 3
    assert main(["evaluate", "made/new", "--corridor-lengths", "3", "--episodes", "2"]) == 0
    line = refused(
        *train("--train.learning-rate=1e30", "--train.warmup-updates=0", "--name=absurd")
    )
    assert "not a number at update" in line
    assert not Path("made/absurd").exists()


def test_evaluations_that_cannot_be(run: Path, refused: Refused) -> None:
    before = (run / "results.json").read_bytes()
    for arguments, match in (
        (["--episodes", "0"], "episodes must be at least 1, not 0"),
        (["--num-envs", "0"], "num_envs must be at least 1, not 0"),
        (["--lookahead", "0"], "lookahead must be at least 1, not 0"),
        (["--seed", "-1"], "seed must be from 0 to 4294967295, not -1"),
        (["--corridor-lengths", "0"], "corridor_length must be at least 1"),
        (["--checkpoint", "worst"], "no whole checkpoint 'worst'; it has step-0000"),
        (["--device", "abacus"], "device 'abacus' cannot be used here"),
        (["--corridor-lengths", "9" * 20], "corridor_length must be at most 9007199254740992"),
        (["--option", "corridor_length=9"], "vary it; give its values as --corridor-lengths"),
        (["--option", "num_envs=3"], "retain/TMaze-v0 has no option 'num_envs'"),
        (["--option", "balanced_goals=maybe"], "balanced_goals must be true or false, got 'maybe'"),
        (["--json", "."], "--json . is a folder; give the name of a file"),
    ):
        assert match in refused("evaluate", run, *arguments)
    assert (run / "results.json").read_bytes() == before
    (run / "results.json").write_text('{"format": 1}')
    assert "results.json: run is missing" in refused("evaluate", run, "--corridor-lengths", "3")
    (run / "results.json").write_text("{")
    # Before anything is played or trained.
    assert "move it away" in refused("evaluate", run, "--corridor-lengths", "3", "900000000")
    assert "results.json is not whole JSON" in refused("resume", run, "--until", "900000000")
    assert "results.json is not whole JSON" in refused("info", run)


def test_plots_that_cannot_be(run: Path, refused: Refused) -> None:
    assert "name run folders or results files" in refused("plot", "success")
    assert "nowhere does not exist" in refused("plot", "success", "nowhere")
    assert "no results.json matches none-*" in refused("plot", "table", "none-*")
    assert "nowhere is not a run folder" in refused("plot", "curves", "nowhere")
    assert "/nowhere/* is not a run folder" in refused("plot", "curves", "/nowhere/*")
    assert "has no metric 'x'; known:" in refused("plot", "curves", run, "--key", "x")
    assert "--parameter corridor_length" in refused("plot", "final", run)
    assert "does not say the option 'x'" in refused("plot", "final", run, "--parameter", "x")
    assert "does not say 'episodes'" in refused("plot", "curves", run, "--x", "episodes")
    assert "from 0 to 1, not 7" in refused("plot", "success", run, "--chance", "7")
    assert "--chance must be a number" in refused("plot", "bars", run, "--chance", "nan")
    assert "smooth must be at least 1" in refused("plot", "curves", run, "--smooth", "0")
    assert "cannot be written as 'a.csv'" in refused("plot", "bars", run, "--out", "a.csv")
    assert "cannot be written as 'a.txt'" in refused("plot", "success", run, "--out", "a.txt")
    (run / "config.json").unlink()
    assert "config.json does not exist" in refused("plot", "curves", run)
    assert [path.name for path in Path().iterdir()] == ["copy"]


def test_datasets_that_cannot_be_collected(refused: Refused) -> None:
    maze = ["collect", "retain/TMaze-v0", "--episodes", "3"]
    assert "--option x is not of the form NAME=VALUE" in refused(*maze, "--option", "x")
    assert "--option =3 is not of the form" in refused(*maze, "--option", "=3")
    assert "must be at least 1, got 0" in refused(*maze, "--option", "corridor_length=0")
    assert "must be a whole number" in refused(*maze, "--option", "corridor_length=long")
    assert "episodes must be at least 1" in refused(*maze[:2], "--episodes", "0")
    for name in ("num_envs=3", "independent_rows=true", "autoreset_mode=SameStep"):
        line = refused(*maze, "--option", name)
        assert f"retain/TMaze-v0 has no option '{name.split('=')[0]}'" in line
    for wrong in ("0", "-5", "abc"):
        line = refused("collect", "CartPole-v1", "--option", f"max_episode_steps={wrong}")
        assert "max_episode_steps must be" in line
    line = refused("collect", "FrozenLake-v1", "--option", "map_name=9x9")
    assert "FrozenLake-v1 cannot be made with map_name='9x9': KeyError: '9x9'" in line
    assert "is not a dataset id" in refused(*maze, "--dataset", "a b")
    assert main([*maze, "--dataset", "tests/taken-v0"]) == 0
    line = refused(*maze, "--dataset", "tests/taken-v0", "--seed", "9")
    assert "has seed 0, not 9; choose another id or overwrite it" in line


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--model.width", "-1"], "model.width must be at least 1, not -1"),
        (["--agent.label-smoothing", "2"], "agent.label_smoothing must be from 0 to 1, not 2.0"),
        (["--agent.return-scale", "0"], "agent.return_scale must be above 0, not 0.0"),
        (["--train.curriculum-from", "0"], "curriculum_from must be at least 1, not 0"),
    ],
)
def test_offline_settings_that_do_not_fit(
    here: Path, refused: Refused, flags: list[str], match: str
) -> None:
    assert match in refused(*train(*flags))
    assert not (here / "made").exists()


def test_metrics_that_are_damaged(run: Path, refused: Refused) -> None:
    (run / "results.json").unlink()
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text('{"loss": 1}\n' + lines)
    config = json.loads((run / "config.json").read_text())
    config["train"]["updates"] += 1
    (run / "config.json").write_text(json.dumps(config))
    assert "metrics.jsonl is damaged: a line says no step" in refused("resume", run)


def test_results_of_runs_that_have_none_yet(
    run: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    new = run.with_name("unfinished")
    shutil.copytree(run, new)
    (new / "results.json").unlink()
    (new / "metrics.jsonl").write_text("")
    runs = str(run.parent / "*")
    for arguments in (["table"], ["success"], ["curves", "--key", "train/loss"]):
        out = ["--out", str(run / "out.svg")] if arguments[0] != "table" else []
        assert main(["plot", *arguments, runs, *out]) == 0
        assert f"left out {new}: it has no results yet" in capsys.readouterr().err
    assert f"has no results yet; `retain resume {new}` goes on with it" in refused(
        "plot", "table", new
    )
    shutil.rmtree(new)


# -- what is odd ---------------------------------------------------------------------------------


def test_folders_that_are_no_runs(run: Path, refused: Refused) -> None:
    (run / "checkpoints" / "step-backup").mkdir()
    (run / "checkpoints" / "step-backup" / "model.safetensors").touch()
    Path("empty").mkdir()
    for folder in (".", ""):
        assert refused("evaluate", folder).endswith(". is not a run but holds runs; give one: copy")
    line = refused("evaluate", run / "checkpoints" / "last")
    assert line.endswith("is inside a run; give the run's folder, copy, and --checkpoint last")
    line = refused("evaluate", "empty")
    assert "empty is not a run's folder" in line
    assert "delete" not in line
    Path("empty/checkpoints").mkdir()
    assert "it has no config.json; delete it and train anew" in refused("evaluate", "empty")
    assert "device 'meta' holds no numbers" in refused("evaluate", run, "--device", "meta")
    assert "has no whole checkpoint 'step-backup'; it has step-0000" in refused(
        "evaluate", run, "--checkpoint", "step-backup"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys; sys.exit(3)", "ends the program (exit status 3)"),
        ("1 / 0", "fails with ZeroDivisionError: division by zero; `python bad.py` shows where"),
        ("def f(:", "fails with SyntaxError: invalid syntax (bad.py, line 1)"),
        ("import no_such_thing", "fails with ModuleNotFoundError: No module named"),
    ],
)
def test_plugins_that_fail(text: str, told: str, here: Path, refused: Refused) -> None:
    (here / "bad.py").write_text(text)
    assert f"plugin bad.py {told}" in refused("--plugin=bad.py", "list", "recipes")
    assert "bad" not in sys.modules
    assert "--plugin needs a Python file" in refused("--plugin=", "list")


@pytest.mark.usefixtures("here")
def test_environments_that_cannot_be_made(refused: Refused) -> None:
    import gymnasium

    for id, error, told in (
        ("tests/A-v0", "DependencyNotInstalled('run `pip install x`')", "run `pip install x`"),
        ("tests/B-v0", "ModuleNotFoundError('no x', name='x.y')", "no x; install the package that"),
    ):
        module = f"lacking_{id[6]}"
        Path(f"{module}.py").write_text(
            f"from gymnasium.error import DependencyNotInstalled\nraise {error}\n"
        )
        for entry in ("entry_point", "vector_entry_point"):
            gymnasium.register(id, **{entry: f"{module}:Env"})
            try:
                with pytest.MonkeyPatch.context() as patch:
                    patch.syspath_prepend(".")
                    line = refused("collect", id, "--policy", "random")
            finally:
                del gymnasium.registry[id]
            assert f"{id} cannot be made: {told}" in line
    line = refused("train", "gymnasium/dqn", "--env", "my/Cue-v0")
    assert "unknown environment 'my/Cue-v0'; did you mean" in line
    assert "imported first, by --plugin" in line


def test_lists_of_runs_that_are_not_there(
    here: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "folder nothere does not exist" in refused("list", "runs", "--runs", "nothere")
    assert main(["list", "runs", "--runs", str(here)]) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"retain: there are no runs in {here}\n")


def test_titles_and_patterns_that_cannot_be(run: Path, refused: Refused) -> None:
    words = ["--title", r"$\frac{$", "--out", "curves.png"]
    assert main(["plot", "curves", str(run), *words]) == 0
    assert Path("curves.png").exists()
    assert "** must stand alone between slashes" in refused("plot", "success", "runs/**x")
    assert "File name too long" in refused("plot", "success", "x" * 300)
