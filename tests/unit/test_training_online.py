"""Online training: budgets, updates, exploration, records, and that agents really learn."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from retain import api
from retain.agents import AGENTS
from retain.core.errors import ConfigError, MissingExtraError, TrainingError
from retain.data.replay import EpisodeReplay
from retain.evaluation import EnvironmentConfig
from retain.training import online, preparation
from retain.training.config import OnlineRunConfig
from retain.training.runs import Run
from retain.training.settings import OnlineTrainConfig
from tiny_runs import ONLINE_AGENTS, metrics, poison, tiny_online, weights


def train(config: OnlineRunConfig, runs: Path, **options: Any) -> tuple[Run, dict[str, Any]]:
    run = api.train(config, runs=runs, name="run", final_evaluation=False, **options)
    return run, run.results()["training"]


def trainer(config: OnlineRunConfig, folder: Path) -> Any:
    """A trainer of a new run that has done nothing yet."""
    return online._Trainer(preparation.start_online(config, folder), None)


# -- budgets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "steps", "rounds"),
    [
        ({"env_steps": 20, "episodes": None}, 24, [3, 6]),  # to the end of the round
        ({"env_steps": 24, "episodes": None}, 24, [3, 6]),
        ({"episodes": 7}, 28, [3, 6, 7]),  # and no more episodes than that
        ({"episodes": 2}, 8, [2]),
        ({"env_steps": 13, "episodes": 7}, 24, [3, 6]),
        ({"env_steps": 1000, "episodes": 7}, 28, [3, 6, 7]),
    ],
)
@pytest.mark.parametrize("agent", ["dqn", "a2c", "ppo"])
def test_training_ends_when_a_budget_is_spent(
    tmp_path: Path, agent: str, budget: dict[str, Any], steps: int, rounds: list[int]
) -> None:
    config = tiny_online(agent, num_envs=3, random_episodes=0, **budget)
    told: list[int] = []
    run, training = train(config, tmp_path, report=lambda at, _: told.append(at))
    assert (training["env_steps"], training["episodes"]) == (steps, rounds[-1])
    # An update for each of the steps' fourths, for each round, or four for each episode alone.
    updates = {"dqn": steps // 4, "a2c": len(rounds), "ppo": 4 * rounds[-1]}
    assert training["updates"] == updates[agent]
    lines = metrics(run.folder)
    assert [line["episodes"] for line in lines] == rounds
    assert [line["step"] for line in lines] == [line["env_steps"] for line in lines]
    counted = "env_steps" if config.train.unit == "step" else "episodes"
    assert told == [line[counted] for line in lines]
    assert config.train.total == (budget.get("env_steps") or budget["episodes"])


@pytest.mark.parametrize(("stop", "steps"), [(-100.0, 12), (100.0, 96)])
def test_training_ends_once_its_return_is_good_enough(
    tmp_path: Path, stop: float, steps: int
) -> None:
    config = tiny_online(evaluate_every=10, num_envs=3, stop_at_return=stop)
    assert train(config, tmp_path)[1]["env_steps"] == steps


@pytest.mark.parametrize(("stop", "steps"), [(-1.25, 12), (-0.75, 96)])
def test_a_return_that_ends_training_is_asked_of_every_watched_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: float, steps: int
) -> None:
    """One value returns -1, and the last one 0."""

    def evaluate(*_: Any, value: int, **__: Any) -> dict[str, Any]:
        good = -1.0 if value == 2 else 0.0
        return {"metric": "return", "mean": good, "return_mean": good}

    monkeypatch.setattr(online, "evaluate_policy", evaluate)
    watched = {"parameter": "corridor_length", "values_in_training": (2, 5)}
    config = tiny_online(evaluate_every=10, num_envs=3, stop_at_return=stop, evaluation=watched)
    assert train(config, tmp_path)[1]["env_steps"] == steps


@pytest.mark.parametrize("ratio", [0.02, 0.25, 0.3, 1.0, 1.7])
def test_updates_are_as_many_as_the_episodes_have_earned(tmp_path: Path, ratio: float) -> None:
    config = tiny_online(updates_per_episode=ratio, random_episodes=5, num_envs=4, episodes=23)
    lines = metrics(train(config, tmp_path)[0].folder)
    assert lines[0]["updates"] == 0
    for line in lines[1:]:
        assert line["updates"] == math.ceil(ratio * line["episodes"])


@pytest.mark.parametrize("ratio", [0.02, 0.25, 0.3, 1.0, 1.7])
def test_updates_are_as_many_as_the_steps_have_earned(tmp_path: Path, ratio: float) -> None:
    config = tiny_online(updates_per_step=ratio, random_episodes=5, num_envs=4, episodes=23)
    lines = metrics(train(config, tmp_path)[0].folder)
    # The rounds of random episodes end where these end, and nothing is learned before.
    assert [line["episodes"] for line in lines] == [4, 5, 9, 13, 17, 21, 23]
    assert lines[0]["updates"] == 0
    assert "train/loss" not in lines[0]
    for line in lines[1:]:
        assert 0 <= line["updates"] - ratio * line["env_steps"] < 1 + 1e-9
    assert [line["train/epsilon"] == 1.0 for line in lines[:3]] == [True, True, True]


def test_a_training_without_an_update_is_no_success(tmp_path: Path) -> None:
    config = tiny_online("dqn", episodes=None, env_steps=20, random_episodes=1000)
    with pytest.raises(TrainingError, match=r"nothing was learned: of \d+ episodes the first 1000"):
        api.train(config, runs=tmp_path)


def test_stretches_each_make_an_update(tmp_path: Path) -> None:
    settings = {"num_steps": 3, "normalize": "none"}
    config = tiny_online("a2c", kwargs={"corridor_length": 6}, settings=settings, episodes=8)
    _, training = train(config, tmp_path)
    assert training["env_steps"] == 8 * 7
    assert training["updates"] == 2 * 3  # two rounds of seven steps


@pytest.mark.parametrize("agent", ["a2c", "ppo"])
def test_a_round_of_stretches_is_logged_as_it_goes_and_ends_with_the_budget(
    tmp_path: Path, agent: str
) -> None:
    """An environment that goes on and on: nothing waits for the end of an episode."""
    config = tiny_online(
        agent,
        kwargs={"corridor_length": 999},
        settings={"num_steps": 5, **({"normalize": "none"} if agent == "a2c" else {})},
        env_steps=100,
        episodes=None,
        log_every=40,
    )
    run, training = train(config, tmp_path)
    assert (training["env_steps"], training["episodes"]) == (100, 0)
    assert [line["step"] for line in metrics(run.folder)] == [40, 80, 100]


@pytest.mark.parametrize("budget", [{"episodes": 24}, {"episodes": None, "env_steps": 96}])
@pytest.mark.parametrize("agent", ["dqn", "a2c"])
def test_the_learning_rate_follows_the_budget(
    tmp_path: Path, agent: str, budget: dict[str, Any]
) -> None:
    told = {"schedule": "linear", "final_learning_rate": 0.0, "learning_rate": 0.01}
    config = tiny_online(agent, num_envs=6, random_episodes=0, **budget, **told)
    lines = metrics(train(config, tmp_path)[0].folder)
    # Each of four rounds is played before it is learned from.
    expected = [0.0075, 0.005, 0.0025, 0.0]
    assert [line["train/learning_rate"] for line in lines] == pytest.approx(expected)


def test_the_learning_rate_may_warm_up_and_is_constant_else(tmp_path: Path) -> None:
    config = tiny_online("a2c", learning_rate=0.01, warmup_updates=2)
    lines = metrics(train(config, tmp_path)[0].folder)
    expected = [0.005, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert [line["train/learning_rate"] for line in lines] == pytest.approx(expected)


def test_runs_of_other_seeds_are_judged_by_other_episodes(tmp_path: Path) -> None:
    seeds = []
    for seed in (0, 3):
        config = replace(tiny_online("a2c", episodes=8, evaluate_every=4), seed=seed)
        run = api.train(config, runs=tmp_path, name=f"run{seed}")
        assert run.config.evaluation_seed == 1_000_000 + 10_000 * seed
        seeds += [record["seeds"] for record in run.results()["evaluations"]]
        api.evaluate(run, seed=7)
        seeds.append(run.results()["evaluations"][-1]["seeds"])
    assert seeds == [[1_000_000, 1_000_003], [7, 10], [1_030_000, 1_030_003], [7, 10]]
    assert replace(config, seed=2**32 - 1).evaluation_seed < 2**32


def test_a_small_replay_forgets_the_oldest(tmp_path: Path) -> None:
    run, _ = train(tiny_online(replay_capacity=23, episodes=21), tmp_path)
    state = torch.load(run.folder / "checkpoints" / "last" / "training.pt", weights_only=True)
    policy = run.load()
    replay = EpisodeReplay(23, policy.observation_space, policy.action_space)
    replay.load_state_dict(state["replay"])
    assert (replay.num_episodes, replay.num_steps) == (4, 16)


# -- exploration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "budget", "total"),
    [
        (None, {"episodes": 40}, 160),
        (0.3, {"episodes": None, "env_steps": 120}, 120),
        (0.0, {"episodes": 40, "env_steps": 100}, 100),
        (0.0, {"episodes": 20, "env_steps": 1000}, 80),
    ],
)
def test_epsilon_falls_in_a_line_after_the_random_episodes(
    tmp_path: Path, last: float | None, budget: dict[str, Any], total: int
) -> None:
    config = tiny_online(random_episodes=6, exploration_fraction=0.5, final_epsilon=last, **budget)
    lines = metrics(train(config, tmp_path)[0].folder)
    last = 0.25 if last is None else last  # one action in an episode of four steps
    before, steps = 0, 0
    for line in lines:
        done = min(1.0, (before - 24) / (0.5 * total))
        expected = 1.0 if steps < 6 else 1.0 + (last - 1.0) * done
        assert line["train/epsilon"] == pytest.approx(expected)
        before, steps = line["env_steps"], line["episodes"]
    assert lines[-1]["train/epsilon"] < 0.5


def test_epsilon_may_fall_at_once_or_be_of_no_use(tmp_path: Path) -> None:
    config = tiny_online(exploration_fraction=0.0, final_epsilon=0.125, random_episodes=0)
    lines = metrics(train(config, tmp_path / "dqn")[0].folder)
    assert [line["train/epsilon"] for line in lines][:3] == [0.125, 0.125, 0.125]
    # What samples from its policy needs no epsilon.
    lines = metrics(train(tiny_online("sac_discrete"), tmp_path / "sac")[0].folder)
    assert [line["train/epsilon"] for line in lines][:3] == [1.0, 0.0, 0.0]
    lines = metrics(train(tiny_online("a2c"), tmp_path / "a2c")[0].folder)
    assert not any("train/epsilon" in line for line in lines)


@pytest.mark.parametrize("agent", ["dqn", "a2c", "ppo"])
@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_while_collecting_is_as_told_and_on_while_learning(
    tmp_path: Path, agent: str, dropout: bool
) -> None:
    config = tiny_online(agent, "gpt2", dropout_in_collection=dropout, episodes=8)
    made = trainer(config, tmp_path / "run")
    seen: dict[str, set[bool]] = {"act": set(), "forward": set()}

    def watch(name: str) -> None:
        method = getattr(made.agent, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            seen[name].add(made.agent.training)
            return method(*arguments, **options)

        setattr(made.agent, name, watched)

    for name in seen:
        watch(name)
    made.train()
    assert seen == {"act": {dropout}, "forward": {True}}


# -- updates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.001])
def test_the_gradient_is_clipped_and_logged_as_it_was(tmp_path: Path, clip: float | None) -> None:
    made = trainer(
        tiny_online(gradient_clip=clip, random_episodes=0, num_envs=1, episodes=6), tmp_path / "run"
    )
    norms = []
    step = made.optimiser.step

    def watched() -> None:
        found = [p.grad for p in made.trained if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(found)))
        step()

    made.optimiser.step = watched
    made.train()
    logged = [line["train/gradient_norm"] for line in metrics(made.run.folder)]
    assert min(logged) > 0.01
    assert max(norms) == pytest.approx(max(logged) if clip is None else clip, rel=1e-3)


def test_every_part_learns_but_the_targets_follow(tmp_path: Path) -> None:
    for agent in ONLINE_AGENTS:
        settings = {"learn_temperature": True} if agent == "sac_discrete" else {}
        kwargs = {"max_episode_steps": 8} if agent == "sac" else {"corridor_length": 7}
        config = tiny_online(
            agent, "rate", kwargs=kwargs, settings=settings, learning_rate=0.01, episodes=12
        )
        folder = tmp_path / agent
        new = preparation.start_online(config, folder / "new")
        torch.manual_seed(config.seed)
        before = new.policy().state_dict()
        after = weights(train(config, folder)[0].folder)
        same = [name for name in before if torch.equal(before[name], after[name])]
        assert same == [], agent


@pytest.mark.parametrize("agent", ["dqn", "a2c"])
def test_what_is_not_a_number_ends_training_and_keeps_the_last_checkpoint(
    tmp_path: Path, agent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_online(agent, checkpoint_every=16, random_episodes=0)
    after_update = AGENTS.get(agent).after_update

    def poisoned(self: Any) -> None:
        after_update(self)
        self.count = getattr(self, "count", 0) + 1
        if self.count == (6 if agent == "dqn" else 2):
            poison(self)

    monkeypatch.setattr(AGENTS.get(agent), "after_update", poisoned)
    where = "update 7" if agent == "dqn" else "update 3"
    with pytest.raises(TrainingError, match=f"not a number at {where}; .*step-000016"):
        train(config, tmp_path)
    assert (tmp_path / "run" / "checkpoints" / "last").resolve().name == "step-000016"


def test_a_gradient_that_is_not_a_number_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda tensors: torch.tensor(math.inf))
    message = "the gradient is not a number at update 1; .*Last good checkpoint: none yet"
    with pytest.raises(TrainingError, match=message):
        train(tiny_online(), tmp_path)


# -- records -------------------------------------------------------------------------------------


def test_evaluations_are_logged_and_the_best_is_kept(tmp_path: Path) -> None:
    config = tiny_online(
        "dqn", environment="retain/TMaze-v0", kwargs={"corridor_length": 3, "noise": "none"},
        evaluate_every=20, checkpoint_every=30, keep_checkpoints=1, learning_rate=0.01,
        evaluation={
            "parameter": "corridor_length", "values": (2, 4), "values_in_training": (2, 3)
        },
    )  # fmt: skip
    run = api.train(config, runs=tmp_path, name="run")
    results = run.results()
    training, lines = results["training"], metrics(run.folder)
    tested = [line for line in lines if "eval/return/3" in line]
    assert {"eval/return/2", "eval/return/3", "eval/success/2", "eval/success/3"} <= set(tested[0])
    history = training["history"]
    assert [entry["env_steps"] for entry in history] == [line["step"] for line in tested]
    assert [entry["mean"] for entry in history] == [line["eval/success/3"] for line in tested]
    assert [entry["return"] for entry in history] == [line["eval/return/3"] for line in tested]
    assert [entry["updates"] for entry in history] == [line["updates"] for line in tested]
    assert history[-1]["env_steps"] == training["env_steps"]  # one at the end
    best = max(entry["mean"] for entry in history)
    first = next(entry for entry in history if entry["mean"] == best)
    assert training["best"] == best
    links = {
        p.name: p.readlink().name for p in (run.folder / "checkpoints").iterdir() if p.is_symlink()
    }
    last = f"step-{training['env_steps']:06d}"
    assert links == {"last": last, "best": f"step-{first['env_steps']:06d}"}
    assert {p.name for p in (run.folder / "checkpoints").glob("step-*")} == set(links.values())
    assert [record["value"] for record in results["evaluations"]] == [2, 4]
    assert {record["step"] for record in results["evaluations"]} == {training["env_steps"]}


def test_the_summary_says_how_it_went(tmp_path: Path) -> None:
    run, training = train(tiny_online(kwargs={"corridor_length": 5}, episodes=8), tmp_path)
    assert set(training) == {
        "env_steps", "episodes", "updates", "seconds", "seconds_collecting", "length", "best",
        "history", "curriculum", "parameters",
    }  # fmt: skip
    assert (training["length"], training["best"], training["history"]) == (6, None, [])
    assert training["curriculum"] == []
    assert 0 < training["seconds_collecting"] < training["seconds"]
    policy: Any = run.load()
    # The target network is not trained.
    assert training["parameters"] == sum(p.numel() for p in policy.online.parameters())
    keys = set(metrics(run.folder)[-1])
    wanted = {"train/return", "train/length", "train/loss", "train/gradient_norm", "train/q"}
    assert wanted | {"train/td_loss", "train/epsilon", "train/memory_cost"} <= keys


def test_success_is_logged_where_it_is_known_and_speeds_always(tmp_path: Path) -> None:
    config = tiny_online(environment="retain/TMaze-v0", tensorboard=True)
    run, _ = train(config, tmp_path)
    last = metrics(run.folder)[-1]
    assert 0 <= last["train/success"] <= 1
    text = (run.folder / "metrics.jsonl").read_text()
    assert '"train/env_steps_per_second"' in text
    assert '"train/updates_per_second"' in text
    assert list((run.folder / "tensorboard").iterdir())


# -- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 5}, r"has 5 steps, the longest has 4; lower --train.sequence-length"),
        ({"replay_capacity": 4}, r"4 steps does not fit .* raise --train.replay-capacity"),
    ],
)
def test_settings_that_do_not_fit_the_episodes_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tiny_online(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_learned_is_kept_when_a_later_episode_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = EpisodeReplay.add

    def refusing(self: Any, *episode: Any) -> None:
        if self.num_episodes == 10:
            raise ConfigError("too long")
        add(self, *episode)

    monkeypatch.setattr(EpisodeReplay, "add", refusing)
    with pytest.raises(ConfigError, match="too long"):
        train(tiny_online(checkpoint_every=10), tmp_path)
    assert (tmp_path / "run" / "checkpoints" / "last").exists()


def test_a_resumed_run_is_never_taken_away(tmp_path: Path) -> None:
    config = tiny_online(sequence_length=5)
    run = preparation.start_online(config, tmp_path / "run")
    with pytest.raises(ConfigError):
        api.resume(run)
    assert (tmp_path / "run" / "config.json").exists()


def test_packages_that_are_missing_and_machines_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    for changes, error in (
        ({"wandb": "project"}, MissingExtraError),
        ({"accelerator": "abacus"}, ConfigError),
    ):
        with pytest.raises(error):
            train(tiny_online(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_torch_refuses_is_said_as_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: Any) -> None:
        raise ValueError("dropout probability has to be between 0 and 1")

    from retain.agents.dqn import DQN

    monkeypatch.setattr(DQN, "__init__", refusing)
    with pytest.raises(ConfigError, match="the model cannot be built: dropout"):
        train(tiny_online(), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": None}, "would not end; give train.env_steps or train.episodes"),
        ({"updates_per_step": 0.0}, "updates_per_step must be above 0, not 0.0: nothing would"),
        ({"updates_per_episode": 0.0}, "updates_per_episode must be above 0, not 0.0: nothing"),
        ({"curriculum_from": 0}, "curriculum_from must be at least 1"),
        ({"curriculum_from": 2}, "curriculum_from needs train.curriculum_option: which option"),
        (
            {"curriculum_from": 2, "curriculum_option": "size", "evaluate_every": None},
            "curriculum_from needs train.evaluate_every: evaluations tell",
        ),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"env_steps": 0}, "env_steps must be at least 1"),
        ({"sequence_length": 0}, "sequence_length must be at least 1"),
        ({"burn_in": -1}, "burn_in must not be negative"),
        ({"burn_in": 3}, "train.burn_in needs train.sequence_length"),
        ({"replay_capacity": 0}, "replay_capacity must be at least 1"),
        ({"replay_episodes": 0}, "replay_episodes must be at least 1"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1"),
        ({"random_episodes": -1}, "random_episodes must not be negative"),
        ({"exploration_fraction": 1.5}, "exploration_fraction must be from 0 to 1"),
        ({"final_epsilon": -0.1}, "final_epsilon must be from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnlineTrainConfig(**settings)


# -- another environment in training -------------------------------------------------------------


def test_options_of_training_change_training_alone(tmp_path: Path) -> None:
    mixed = {"corridor_length": 6}
    config = tiny_online(kwargs=mixed, env_kwargs={"min_corridor_length": 1}, episodes=40)
    run = api.train(config, runs=tmp_path, name="run")
    lengths = [line["train/length"] for line in metrics(run.folder) if "train/length" in line]
    assert len(set(lengths)) > 1
    assert all(2 <= length <= 7 for length in lengths)
    (record,) = run.results()["evaluations"]
    assert record["kwargs"] == mixed
    assert set(record["lengths"]) == {7}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_corridor_length": 9}, "min_corridor_length 9 is greater than corridor_length 3"),
        ({"min_corridor": 1}, "min_corridor"),
    ],
)
def test_options_of_training_that_cannot_be_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tiny_online(env_kwargs=options), tmp_path)
    assert not (tmp_path / "run").exists()


def test_training_where_other_things_are_seen_is_refused(tmp_path: Path) -> None:
    config = tiny_online(
        environment="retain/MemorySize-v0", kwargs={"num_bits": 2}, env_kwargs={"num_bits": 3}
    )
    with pytest.raises(ConfigError, match="the policy's observation space is"):
        train(config, tmp_path)


# -- an environment that grows -------------------------------------------------------------------


GROWN = {"corridor_length": 9}
GROWING: dict[str, Any] = {
    "kwargs": GROWN, "num_envs": 4, "random_episodes": 4, "evaluate_every": 1,
    "curriculum_option": "corridor_length", "curriculum_from": 3,
}  # fmt: skip


def _scores(monkeypatch: pytest.MonkeyPatch, scores: dict[int, list[float]]) -> list[int]:
    """Gives evaluations in corridors of a length one score after the other; tells the lengths."""
    asked = []

    def evaluate(
        _: Any, environment: EnvironmentConfig, *, parameter: str | None, value: Any, **__: Any
    ) -> dict[str, Any]:
        length = {**environment.kwargs, parameter: value}["corridor_length"]
        assert isinstance(length, int)
        asked.append(length)
        mean = scores[length].pop(0)
        return {"metric": "success", "mean": mean, "return_mean": mean - 1}

    monkeypatch.setattr(online, "evaluate_policy", evaluate)
    return asked


@pytest.mark.parametrize("agent", ["dqn", "a2c", "ppo"])
def test_the_curriculum_doubles_an_option_when_its_value_is_mastered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agent: str
) -> None:
    scores = {3: [0.0, 0.94, 0.95], 6: [0.5, 1.0], 9: [0.3, 0.96]}
    asked = _scores(monkeypatch, scores)
    run, training = train(tiny_online(agent, episodes=20, **GROWING), tmp_path)
    assert asked == [3, 3, 3, 6, 6, 9, 9]
    lines = metrics(run.folder)
    lengths = [line["train/length"] for line in lines if "train/length" in line]
    assert lengths == [4, 4, 4, 7, 10]  # a corridor of 3 has episodes of 4 steps
    assert [line["eval/success/3"] for line in lines if "eval/success/3" in line] == [0, 0.94, 0.95]
    assert [(row["value"], row["env_steps"]) for row in training["curriculum"]] == [
        (3, 48),
        (6, 48 + 28),
    ]
    # What is short is easy, and tells nothing of where the run is going.
    assert [row["mean"] for row in training["history"]] == [0.3, 0.96]
    assert training["best"] == 0.96


def test_what_is_mastered_at_once_is_left_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = _scores(monkeypatch, {3: [1.0], 6: [1.0], 9: [1.0]})
    config = tiny_online(episodes=20, stop_at_return=-0.1, **GROWING)
    assert train(config, tmp_path)[1]["env_steps"] == 16
    assert asked == [3, 6, 9]


def test_a_curriculum_that_is_not_mastered_stays(tmp_path: Path) -> None:
    run = api.train(tiny_online(episodes=20, **GROWING), runs=tmp_path, name="run")
    lengths = [line["train/length"] for line in metrics(run.folder) if "train/length" in line]
    assert lengths == [4] * 5
    results = run.results()
    assert results["training"]["curriculum"] == results["training"]["history"] == []
    (record,) = results["evaluations"]  # at the end it is judged where it should have got to
    assert record["kwargs"] == GROWN
    assert set(record["lengths"]) == {10}


def test_options_of_training_hold_while_the_environment_grows(tmp_path: Path) -> None:
    config = tiny_online(
        env_kwargs={"min_corridor_length": 1}, episodes=80, **{**GROWING, "num_envs": 8}
    )
    lines = metrics(train(config, tmp_path)[0].folder)
    lengths = [line["train/length"] for line in lines if "train/length" in line]
    assert all(2 <= length <= 4 for length in lengths)
    assert len(set(lengths)) > 1


@pytest.mark.parametrize(
    ("kwargs", "settings", "message"),
    [
        ({}, {"curriculum_option": "length"}, "'length' must be an option that the environment"),
        ({}, {"curriculum_option": "colours"}, "given as a whole number; it is given 'dist"),
        ({"min_corridor_length": 5}, {}, "min_corridor_length 5 is greater than corridor_length 3"),
    ],
)
def test_a_curriculum_that_cannot_be_is_refused(
    tmp_path: Path, kwargs: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    environment = {"kwargs": {"corridor_length": 9, **kwargs}}
    if settings.get("curriculum_option") == "colours":
        environment = {
            "environment": "retain/VisualMatch-v0",
            "kwargs": {"distractor_length": 3, "colours": "per_episode"},
        }
    usual = {"curriculum_option": "corridor_length", "curriculum_from": 3, "evaluate_every": 10}
    with pytest.raises(ConfigError, match=message):
        train(tiny_online(**environment, **{**usual, **settings}), tmp_path)
    assert not (tmp_path / "run").exists()


def test_a_curriculum_that_changes_what_is_seen_is_refused(tmp_path: Path) -> None:
    config = tiny_online(
        environment="retain/MemorySize-v0", kwargs={"num_bits": 3},
        curriculum_option="num_bits", curriculum_from=2, evaluate_every=10,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="with num_bits 2: the policy's observation space is"):
        train(config, tmp_path)


def test_a_curriculum_that_begins_with_the_end_is_none(tmp_path: Path) -> None:
    config = tiny_online(curriculum_option="corridor_length", curriculum_from=3, evaluate_every=10)
    lines = metrics(train(config, tmp_path)[0].folder)
    assert {line["train/length"] for line in lines if "train/length" in line} == {4}
