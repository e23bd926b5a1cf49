"""Evaluation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from retain import envs, rollout
from retain.agents.a2c import A2C
from retain.agents.sequence_policy import SequencePolicy
from retain.core.errors import ConfigError, Note, UnknownNameError
from retain.evaluation import EnvironmentConfig, check_spaces, evaluate_policy, is_better
from retain.rollout import Episodes, read_success
from retain.training.averages import Averages
from tiny_runs import tiny, tiny_online

MAZE = EnvironmentConfig(id="retain/TMaze-v0", kwargs={"corridor_length": 6})
SHORT = EnvironmentConfig(id="retain/TMaze-v0", kwargs={"corridor_length": 2})
POLE = EnvironmentConfig(id="CartPole-v1")
LENGTH = "corridor_length"


def policy_for(environment: EnvironmentConfig, **agent: Any) -> SequencePolicy:
    torch.manual_seed(1)
    env = envs.make(environment.id, **environment.kwargs)
    config = tiny(agent=agent)
    return SequencePolicy(config.agent, config.model, env.observation_space, env.action_space)


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "seconds"}


@pytest.mark.parametrize("environment", [MAZE, POLE], ids=["maze", "pole"])
def test_the_record_does_not_depend_on_how_many_are_played_at_once(
    environment: EnvironmentConfig,
) -> None:
    policy = policy_for(environment)
    records = [
        without_time(evaluate_policy(policy, environment, episodes=7, seed=5, num_envs=num_envs))
        for num_envs in (1, 3, 7, 100)
    ]
    assert all(record == records[0] for record in records[1:])
    assert len(records[0]["returns"]) == len(records[0]["lengths"]) == 7
    assert records[0]["seeds"] == [5, 11]


def test_an_evaluation_reports_how_far_it_is() -> None:
    told: list[tuple[int, int]] = []
    evaluate_policy(
        policy_for(MAZE), MAZE, episodes=5, seed=0, num_envs=2,
        report=lambda ended, steps: told.append((ended, steps)),
    )  # fmt: skip
    ends = [ended for ended, _ in told]
    assert ends == sorted(ends)
    assert ends[-1] == 5
    assert min(steps for _, steps in told) >= 1
    assert sum(after < before for (_, before), (_, after) in pairwise(told)) == 2, "three batches"


def test_the_record_says_what_was_played() -> None:
    policy = policy_for(MAZE)
    record = evaluate_policy(
        policy, MAZE, episodes=5, seed=0, parameter="corridor_length", value=3
    )  # fmt: skip
    assert record["kwargs"] == {"corridor_length": 3}
    assert MAZE.kwargs == {"corridor_length": 6}
    assert (record["parameter"], record["value"]) == ("corridor_length", 3)
    assert record["metric"] == "success"
    assert max(record["lengths"]) <= 5
    scores = np.array(record["returns"])  # a success gives 1
    assert record["mean"] == scores.mean()
    assert record["stderr"] == pytest.approx(scores.std(ddof=1) / np.sqrt(5))
    alone = evaluate_policy(policy, MAZE, episodes=1, seed=0)
    assert math.isnan(alone["stderr"])  # of one episode nobody knows it
    assert alone["parameter"] is None


def test_returns_are_the_metric_where_there_is_no_success() -> None:
    record = evaluate_policy(policy_for(POLE), POLE, episodes=3, seed=0)
    assert record["metric"] == "return"
    assert record["mean"] == np.mean(record["returns"]) == np.mean(record["lengths"])


class Proud(gym.Env[Any, Any]):
    """Says how it went only if it went well; even seeds do."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, word: str = "success", shy: bool = False):
        self.word, self.shy = word, shy

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.good = seed is not None and seed % 2 == 0 and not self.shy
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 8.0, True, False, {self.word: True} if self.good else {}


gym.register("tests/Proud-v0", entry_point=Proud)


@pytest.mark.parametrize("word", ["success", "is_success"])
def test_an_episode_that_reports_nothing_is_no_success_where_others_report(word: str) -> None:
    proud = EnvironmentConfig(id="tests/Proud-v0", kwargs={"word": word})
    for num_envs in (1, 5):
        record = evaluate_policy(policy_for(proud), proud, episodes=5, seed=0, num_envs=num_envs)
        assert (record["metric"], record["mean"]) == ("success", 0.6)
        assert record["return_mean"] == 8.0
    silent = EnvironmentConfig(id="tests/Proud-v0", kwargs={"word": word, "shy": True})
    record = evaluate_policy(policy_for(silent), silent, episodes=5, seed=0)
    assert (record["metric"], record["mean"]) == ("return", 8.0)


@pytest.mark.parametrize("told", ["yes", {"a": 1.0}, np.ones(2), None])
def test_a_success_that_is_no_number_is_told(told: Any) -> None:
    success_B, ended_B = np.full(2, np.nan), np.array([True, False])
    given: Any = {"success": np.array([told, told], dtype=object)}
    if told is None:  # of which nothing is known
        read_success(given, ended_B, success_B)
        assert np.isnan(success_B).all()
        return
    with pytest.raises(ConfigError, match="has a 'success' that is not a number or a truth value"):
        read_success(given, ended_B, success_B)


def test_a_success_may_be_an_array_of_one() -> None:
    success_B = np.full(2, np.nan)
    read_success({"success": np.ones((2, 1))}, np.array([True, False]), success_B)
    np.testing.assert_array_equal(success_B, [1.0, np.nan])


def test_bytes_and_numbers_are_unlike() -> None:
    spaces: dict[str, gym.Space[Any]] = {
        "bytes": gym.spaces.Box(0, 255, (2,), np.uint8),
        "bits": gym.spaces.Box(0, 1, (2,), np.uint8),
        "numbers": gym.spaces.Box(0, 1, (2,), np.float32),
        "doubles": gym.spaces.Box(-5, 5, (2,), np.float64),
    }
    config, action = tiny(), gym.spaces.Box(-2, 2, (1,), np.float32)
    for name, mine in spaces.items():
        policy = SequencePolicy(config.agent, config.model, mine, action)
        for other, theirs in spaces.items():
            if name == other or {name, other} == {"numbers", "doubles"}:
                check_spaces(policy, theirs, action)
                continue
            with pytest.raises(ConfigError, match="the policy's observation space is"):
                check_spaces(policy, theirs, action)
    with pytest.raises(ConfigError, match="the policy's action space is"):
        check_spaces(policy, mine, gym.spaces.Box(-2, 2, (1,), np.int64))


def test_success_in_training_is_of_all_episodes() -> None:
    averages = Averages()

    def end(*success_B: float) -> float | None:
        ones = np.ones(len(success_B))
        averages.episodes(Episodes(ones, ones.astype(np.int64), np.array(success_B)))
        return averages.means().get("train/success")

    assert end(math.nan, math.nan) is None  # of no report nothing is known
    assert end(1.0, math.nan) == 0.5
    assert end(math.nan, math.nan) == 0.25
    averages.clear()
    assert end(math.nan) == 0.0
    assert averages.state() == {
        "sums": {"train/return": 1.0, "train/length": 1.0, "train/success": 0.0},
        "counts": {"train/return": 1, "train/length": 1, "train/success": 1},
        "hears_of_success": True,
    }


def test_an_evaluation_that_does_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "LONG", 5)
    arguments: dict[str, Any] = {"episodes": 2, "seed": 0, "value": 9, "parameter": LENGTH}
    with pytest.warns(Note, match="evaluation have gone on for 5 steps.*max_episode_steps"):
        evaluate_policy(policy_for(MAZE), MAZE, **arguments)
    # Not where somebody watches.
    evaluate_policy(policy_for(MAZE), MAZE, **arguments, report=lambda *_: None)


def test_success_counts_for_more_than_returns() -> None:
    assert is_better("return", 8.0, None, -math.inf)
    assert not is_better("return", 8.0, "return", 8.0)
    assert is_better("success", 0.1, "return", 8.0)
    assert not is_better("return", 9.0, "success", 0.1)
    assert is_better("success", 0.2, "success", 0.1)


def test_sampled_actions_can_be_repeated_and_disturb_nothing() -> None:
    policy = policy_for(SHORT, sample_actions=True)
    policy.train()
    torch.manual_seed(7)
    expected = torch.rand(3)
    records = []
    for seed in (0, 0, 1):
        torch.manual_seed(7)
        records.append(without_time(evaluate_policy(policy, SHORT, episodes=20, seed=seed)))
        assert torch.equal(torch.rand(3), expected)
        assert policy.training
    assert records[0] == records[1]
    assert records[0]["lengths"] != records[2]["lengths"]


def test_dropout_is_off_while_acting_and_on_again_after() -> None:
    torch.manual_seed(1)
    env = envs.make(MAZE.id)
    config = tiny(model={"dropout": 0.9})
    spaces = env.observation_space, env.action_space
    policy = SequencePolicy(config.agent, config.model, *spaces)
    records = [without_time(evaluate_policy(policy, MAZE, episodes=4, seed=0)) for _ in range(3)]
    assert records[0] == records[1] == records[2]
    assert policy.training
    policy.eval()
    evaluate_policy(policy, MAZE, episodes=1, seed=0)
    assert not policy.training


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("episodes", -1, "episodes must be at least 1, not -1"),
        ("num_envs", 0, "num_envs must be at least 1, not 0"),
        ("seed", -1, "seed must be from 0 to 4294967295, not -1"),
        ("seed", 10**20, "seed must be from 0 to 4294967295, not 1"),
    ],
)
def test_numbers_that_make_no_sense(name: str, value: int, words: str) -> None:
    numbers = {"episodes": 1, "num_envs": 1, "seed": 0, name: value}
    with pytest.raises(ConfigError, match=words):
        evaluate_policy(policy_for(MAZE), MAZE, **numbers)


def test_a_policy_acts_only_where_its_spaces_are() -> None:
    policy = policy_for(MAZE)
    with pytest.raises(ConfigError, match=r"action space is Discrete\(4\), but the env"):
        evaluate_policy(policy, POLE, episodes=1, seed=0)
    with pytest.raises(ConfigError, match="observation space is"):
        evaluate_policy(policy, EnvironmentConfig(id="Acrobot-v1"), episodes=1, seed=0)
    pendulum = EnvironmentConfig(id="Pendulum-v1")
    with pytest.raises(ConfigError, match="space"):
        evaluate_policy(policy, pendulum, episodes=1, seed=0)
    with pytest.raises(UnknownNameError, match="did you mean retain/TMaze-v0"):
        evaluate_policy(policy, EnvironmentConfig(id="retain/TMaze-v1"), episodes=1, seed=0)
    with pytest.raises(ConfigError, match="corridor_length"):
        evaluate_policy(
            policy, MAZE, episodes=1, seed=0, parameter="corridor_length", value=0
        )  # fmt: skip


class Lever(gym.Env[Any, Any]):
    """Takes numbers, and ends at once."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, action_space: gym.Space[Any]):
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        return np.zeros(1, np.float32), 0.0, True, False, {}


@pytest.mark.parametrize(
    ("mine", "other", "told"),
    [
        (gym.spaces.Box(-2, 2, (1,)), gym.spaces.Box(-2, 1, (1,)), r"Box\(-2.0, 1.0"),
        (gym.spaces.Discrete(2, start=1), gym.spaces.Discrete(2), r"Discrete\(2\);"),
    ],
    ids=["bounds", "start"],
)
def test_actions_of_the_same_kind_may_differ(
    mine: gym.Space[Any], other: gym.Space[Any], told: str
) -> None:
    config = tiny_online("a2c")
    policy = A2C(config.agent, config.model, Lever.observation_space, mine)
    for space, fits in ((mine, True), (other, False)):
        gym.register("tests/Lever-v0", entry_point=lambda space=space: Lever(space))
        try:
            lever = EnvironmentConfig(id="tests/Lever-v0")
            if fits:
                evaluate_policy(policy, lever, episodes=2, seed=0)
            else:
                with pytest.raises(ConfigError, match=f"action .* environment's is.*{told}"):
                    evaluate_policy(policy, lever, episodes=2, seed=0)
        finally:
            del gym.registry["tests/Lever-v0"]


def test_discrete_observations() -> None:
    lake = EnvironmentConfig(id="FrozenLake-v1")
    env = gym.make("FrozenLake-v1")
    assert isinstance(env.observation_space, gym.spaces.Discrete)
    record = evaluate_policy(policy_for(lake), lake, episodes=3, seed=0)
    assert len(record["returns"]) == 3
