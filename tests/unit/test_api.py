"""The Python API."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import retain
from retain import api, envs
from retain.agents.sequence_policy import SequencePolicy
from retain.core.errors import ConfigError, RunError, UnknownNameError
from retain.evaluation import EnvironmentConfig
from retain.training.runs import Run
from tiny_runs import tiny, tiny_online


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = tiny(updates=5, checkpoint_every=2, keep_checkpoints=9, evaluate_every=2)
    return retain.train(config, runs=tmp_path_factory.mktemp("runs"), final_evaluation=False)


def test_names_are_found_when_they_are_asked_for() -> None:
    assert set(retain.__all__) <= set(dir(retain))
    for name in retain.__all__:
        assert getattr(retain, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = retain.trian
    assert "tmaze/rate" in retain.list_recipes()
    assert "rate" in retain.list_models()
    assert isinstance(retain.list_datasets(), list)


def test_import_is_quick_and_brings_no_torch() -> None:
    code = (
        "import sys, time; began = time.process_time(); import retain; "
        "print(time.process_time() - began); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) < 0.5


def test_a_recipe_by_name_with_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fake(name: str, **arguments: Any) -> Any:
        asked.update(arguments, name=name)
        return tiny(updates=1)

    monkeypatch.setattr(api, "recipe", fake)
    trained = retain.train("tmaze/rate", runs=tmp_path, seed=4, num_segments=2)
    assert asked == {"name": "tmaze/rate", "num_segments": 2}
    assert trained.name == "tmaze-rate-seed4"
    assert trained.config.seed == 4
    assert [r["value"] for r in trained.results()["evaluations"]] == [3, 12]
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="only be given with the name of a recipe"):
        retain.train(tiny(), runs=tmp_path, num_segments=2)
    with pytest.raises(RunError, match="already exists"):
        retain.train(tiny(), runs=tmp_path, name=trained.name)
    with pytest.raises(UnknownNameError, match="did you mean"):
        retain.train("tmaze/rat", runs=tmp_path)


def test_evaluations_are_added_to_the_results(run: Run) -> None:
    records = retain.evaluate(run.folder, values=[4, 6], episodes=3, seed=50, num_envs=2)
    assert [record["value"] for record in records] == [4, 6]
    assert all(record["step"] == 5 and record["seeds"] == [50, 52] for record in records)
    assert run.results()["evaluations"][-2:] == records
    again = retain.evaluate(str(run.folder), values=[4], episodes=3, seed=50)
    assert again[0]["returns"] == records[0]["returns"]
    assert [r["value"] for r in run.results()["evaluations"]][-2:] == [6, 4]
    early = retain.evaluate(run, values=[4], checkpoint="step-000002")
    assert early[0]["step"] == 2
    other = EnvironmentConfig(id="retain/TMaze-v0", kwargs={"noise": "none"})
    record = retain.evaluate(run, values=[5], environment=other)[0]
    assert record["kwargs"] == {"noise": "none", "corridor_length": 5}
    record = retain.evaluate(run, values=["random"], parameter="hint_time")[0]
    assert record["kwargs"]["hint_time"] == "random"
    assert retain.evaluate(run, values=[])[0]["parameter"] is None
    assert [record["value"] for record in retain.evaluate(run, values=3, episodes=2)] == [3]


def test_what_was_played_is_kept_though_the_rest_is_not(run: Run) -> None:
    def stop(value: Any, ended: int, steps: int) -> None:
        if value == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retain.evaluate(run, values=[7, 8], episodes=2, seed=77, report=stop)
    kept = [r["value"] for r in run.results()["evaluations"] if r["seeds"] == [77, 78]]
    assert kept == [7]


def test_best_actions_of_a_policy_that_samples(tmp_path: Path, run: Run) -> None:
    sampling = {"sample_actions": True}
    config = tiny_online("a2c", kwargs={"corridor_length": 5}, settings=sampling, episodes=4)
    made = api.train(config, name="new", runs=tmp_path, final_evaluation=False)
    for greedy in (False, True, True):
        (record,) = api.evaluate(made, episodes=200, greedy=greedy)
        assert record.get("greedy", False) == greedy
    kept = made.results()["evaluations"]
    assert [record.get("greedy", False) for record in kept] == [False, True]
    # Untrained, it draws now one action and now the other; its best one depends on what is seen.
    assert kept[0]["returns"] != kept[1]["returns"]
    best = api.load(made, greedy=True).policy.config
    assert (best.sample_actions, made.load().config.sample_actions) == (False, True)
    # Of one that takes its best action anyway, nothing changes.
    value = run.config.evaluation.values_in_training[-1]
    (record,) = api.evaluate(run, values=[value], episodes=2, greedy=True)
    assert "greedy" not in record


def test_another_return_can_be_asked_for(tmp_path: Path, run: Run) -> None:
    value = run.config.evaluation.values_in_training[-1]
    own = run.load().config.target_return
    for target, said in ((None, None), (own, None), (0.25, 0.25)):
        (record,) = api.evaluate(run, values=[value], episodes=7, target_return=target)
        assert record.get("target_return") == said
    kept = [e for e in run.results()["evaluations"] if e["episodes"] == 7]
    assert [e.get("target_return") for e in kept] == [None, 0.25], "side by side"
    agent = api.load(run, target_return=0.25)
    agent.act(agent.policy.observation_space.sample())
    assert agent._actor is not None
    assert agent._actor.state.return_to_go_B.tolist() == [0.25]
    assert api.inspect(run, target_return=0.25, output=tmp_path / "seen")["target_return"] == 0.25
    online = api.train(
        tiny_online("a2c", kwargs={"corridor_length": 5}, episodes=4),
        name="new", runs=tmp_path, final_evaluation=False,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="an agent 'a2c' is not asked for a return"):
        api.evaluate(online, target_return=1.0)
    with pytest.raises(ConfigError, match="must be a finite number, not nan"):
        api.load(run, target_return=math.nan)


def test_a_run_that_fails_keeps_its_metrics(tmp_path: Path) -> None:
    def fail(at: int, values: dict[str, float]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        api.train(tiny(checkpoint_every=100), runs=tmp_path, name="failed", report=fail)
    assert (tmp_path / "failed" / "metrics.jsonl").exists()


def test_evaluations_that_cannot_be(run: Run) -> None:
    for arguments, match in (
        ({"episodes": 0}, "episodes must be at least 1"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"checkpoint": "step-000003"}, r"no whole checkpoint 'step-000003'; it has step-000002"),
        ({"checkpoint": ""}, "no whole checkpoint"),
        ({"device": "cuda"}, "device 'cuda' cannot be used here"),
        ({"device": "bogus"}, "device 'bogus' cannot be used here"),
    ):
        with pytest.raises((ConfigError, RunError), match=match):
            retain.evaluate(run, values=[3], **arguments)
    plain = Run(run.folder)
    settings = replace(run.config.evaluation, parameter=None, values=(), values_in_training=())
    plain.config = replace(run.config, evaluation=settings)
    with pytest.raises(ConfigError, match="no parameter of the environment"):
        retain.evaluate(plain, values=[3])


# -- the agent -----------------------------------------------------------------------------------


def agent_of(run: Run) -> api.Agent:
    """The agent with weights that make it act differently from step to step."""
    agent = retain.load(run)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    return agent


def observations(steps: int, rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps, rows, 4)).astype(np.float32)


def test_an_environment_may_be_named(run: Run) -> None:
    (record,) = api.evaluate(run, environment="retain/TMaze-v0", episodes=2, values=[4])
    assert record["environment"] == "retain/TMaze-v0"
    with pytest.raises(ConfigError, match="is a TimeLimit; give the id that it is registered"):
        api.evaluate(run, environment=gym.make("CartPole-v1"))
    with pytest.raises(ConfigError, match=r"must be an EnvironmentConfig\(id=...\), not 'CartPol"):
        replace(run.config, environment="CartPole-v1")


def test_a_run_is_trained_anew(run: Run, tmp_path: Path) -> None:
    again = api.train(run, runs=tmp_path, seed=3, final_evaluation=False)
    assert replace(again.config, seed=run.config.seed) == run.config


def test_whole_numbers_are_acted_with(tmp_path: Path) -> None:
    steps = gym.spaces.Box(0, 5, (2,), np.int64)
    config = tiny()
    policy = SequencePolicy(config.agent, config.model, gym.spaces.Box(-1, 1, (3,)), steps)
    action = api.Agent(policy).act(np.zeros(3, np.float32))
    assert action in steps


def test_one_observation_or_a_batch(run: Run) -> None:
    agent, alone = agent_of(run), [agent_of(run) for _ in range(3)]
    seen = set()
    for observations_BO in observations(15, 3):
        actions = agent.act(observations_BO)
        assert actions.shape == (3,)
        singles = [one.act(o) for one, o in zip(alone, observations_BO, strict=True)]
        assert np.ndim(singles[0]) == 0
        assert actions.tolist() == singles
        seen.update(singles)
    assert len(seen) > 1


def test_a_reset_in_the_middle_is_a_fresh_agent(run: Run) -> None:
    agent = agent_of(run)
    rows = [agent_of(run) for _ in range(3)]
    resets = {5: 1, 6: 0, 9: 1}  # step: row
    rng = np.random.default_rng(1)
    for step, observations_BO in enumerate(observations(14, 3)):
        done = np.array([resets.get(step) == row for row in range(3)])
        rewards = rng.normal(size=3)
        actions = agent.act(observations_BO, rewards, done)
        for row in range(3):
            if done[row]:
                rows[row] = agent_of(run)
            assert actions[row] == rows[row].act(observations_BO[row], rewards[row])


def test_reset_forgets(run: Run) -> None:
    agent = agent_of(run)
    first = [agent.act(o[0]) for o in observations(9, 1)]
    agent.reset()
    assert [agent.act(o[0]) for o in observations(9, 1)] == first
    agent.reset()
    assert agent.act(observations(1, 2)[0]).shape == (2,)


def test_what_an_agent_takes(run: Run) -> None:
    agent = agent_of(run)
    one = agent_of(run).act(np.array([0, 1, 0, 0.5], dtype=np.float32))
    assert agent.act([0, 1, 0, 0.5]) == one  # a list will do
    for parts in ({"position": np.zeros(4)}, (np.zeros(3), 1)):
        with pytest.raises(ConfigError, match=r"a Dict or a Tuple: act in an env.* retain\.make"):
            agent.act(parts)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"observation of shape \(5,\).*trained on \(4,\)"):
        agent.act(np.zeros(5))
    with pytest.raises(ConfigError, match=r"2 rows, but 1 in the last step; call reset"):
        agent.act(np.zeros((2, 4)))
    agent.reset()
    with pytest.raises(ConfigError, match="one for each of the 2 rows"):
        agent.act(np.zeros((2, 4)), reward=[1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match="one for each of the 2 rows"):
        agent.act(np.zeros((2, 4)), done=[True, False, False])


def test_the_readme_s_loop(run: Run) -> None:
    env = envs.make("retain/TMaze-v0", corridor_length=5)
    agent = retain.load(run, checkpoint="best")
    observation, _ = env.reset(seed=0)
    reward, done, steps = 0.0, False, 0
    while not done:
        action = agent.act(observation, reward)
        observation, reward, terminated, truncated, _ = env.step(action)
        done, steps = terminated or truncated, steps + 1
    assert 1 <= steps <= 7


def test_agents_of_numbered_observations() -> None:
    config = tiny()
    policy = SequencePolicy(
        config.agent, config.model, gym.spaces.Discrete(5), gym.spaces.Discrete(3)
    )
    agent = api.Agent(policy)
    assert 0 <= agent.act(3) < 3
    agent.reset()
    assert agent.act([3, 1]).shape == (2,)
    with pytest.raises(ConfigError, match="observation of shape"):
        agent.act([[3, 1]])
