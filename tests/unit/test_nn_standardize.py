"""Numbers are brought to one scale by what has been observed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retain import api
from retain.agents.dqn import DQN, DQNConfig
from retain.agents.ppo import PPO
from retain.data.store import Episode, write_dataset
from retain.models.lstm import LSTMConfig
from retain.nn import standardize
from retain.nn.boxes import BoxUnits
from retain.nn.encoders import ImageEncoder, IndexEncoder, VectorEncoder, encode
from retain.nn.standardize import LIMIT, Moments, RewardScale, Standardize
from retain.recipes import recipe
from retain.tokens import StepTokenConfig
from retain.training.config import RunConfig
from tiny_runs import tiny_online, weights


def observed(points: np.ndarray, *parts: int) -> Standardize:
    """Returns a module that has seen points in parts of these sizes, the rest at the end."""
    module = Standardize(points.shape[1:])
    for part in np.split(points, np.cumsum(parts)):
        module.observe(part)
    return module


@given(
    seed=st.integers(0, 2**31),
    parts=st.lists(st.integers(0, 40), max_size=5),
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-1e3, 1e3),
)
def test_mean_and_variance_are_those_of_all_points_however_they_come(
    seed: int, parts: list[int], scale: float, offset: float
):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(sum(parts) + 2, 3, 2)) * scale + offset
    module = observed(points, *parts)
    assert int(module.count) == len(points)
    np.testing.assert_allclose(module.mean, points.mean(axis=0), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(module.deviation, points.std(axis=0), rtol=1e-6)


def test_small_changes_of_a_large_number_add_up():
    points = np.random.default_rng(0).normal(size=(4000, 1)) + 1e5
    points[2000:] += 3
    module = observed(points, *[1] * 3999)
    assert float(module.mean) == pytest.approx(float(points.mean()), abs=0.01)
    assert float(module.deviation) == pytest.approx(float(points.std()), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_unit_of_measurement_does(scale: float):
    points = np.random.default_rng(0).normal(size=(100, 1))
    seen = observed(points * scale)(torch.as_tensor(points * scale))
    torch.testing.assert_close(
        seen.double(), torch.as_tensor((points - points.mean()) / points.std()), atol=1e-5, rtol=0
    )


def test_times_in_seconds_are_not_taken_for_constant():
    times = np.linspace(0, 3600, 50)[:, None]
    seen = observed(times + 1.7e9)(torch.as_tensor(times + 1.7e9))
    expected = torch.as_tensor((times - times.mean()) / times.std())
    torch.testing.assert_close(seen.double(), expected, atol=1e-4, rtol=0)


def test_large_data_are_read_in_parts(monkeypatch: pytest.MonkeyPatch):
    points = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    whole = observed(points)
    monkeypatch.setattr(standardize, "_AT_ONCE", 7)
    torch.testing.assert_close(observed(points).state_dict(), whole.state_dict())


def test_what_is_seen_has_mean_zero_and_deviation_one():
    points = np.random.default_rng(0).normal(loc=70, scale=3, size=(1000, 4))
    seen = observed(points)(torch.as_tensor(points))
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e4, 1e-9])
def test_what_never_varied_is_centred_and_may_vary_later(value: float):
    module = observed(np.full((1000, 1), value, np.float32), 1, 10, 500)
    assert abs(float(module(torch.tensor([value])))) < 1e-2
    changed = float(module(torch.tensor([value + 1])))
    assert changed == pytest.approx(1, abs=1e-2)


def test_what_is_rare_is_cut_off_at_the_limit():
    flags = np.zeros((100_000, 1), np.float32)
    flags[0] = 1
    assert observed(flags)(torch.ones(1)).tolist() == [LIMIT]


def test_before_anything_is_seen_numbers_pass():
    points = torch.tensor([[0.5, -3.0]])
    torch.testing.assert_close(Standardize((2,))(points), points)


@pytest.mark.parametrize(
    ("space", "encoder"),
    [
        (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), ImageEncoder),
        (gym.spaces.Box(0, 1, (8,), np.uint8), VectorEncoder),
        (gym.spaces.Discrete(4), IndexEncoder),
    ],
    ids=str,
)
def test_what_is_on_a_known_scale_stays_as_it_is(space: gym.Space, encoder: type):
    assert type(encode(space, 5, what="observation", normalize=True)) is encoder


# -- in training -------------------------------------------------------------------------------


def _offline(scale: float, offset: float) -> RunConfig:
    """A short run on observations in some unit of measurement."""
    rng = np.random.default_rng(0)
    points = [rng.normal(size=(7, 4)) for _ in range(12)]
    actions = [(seen[:6, 0] > 0).astype(np.int64) for seen in points]
    dataset = "tests/units-v0"
    write_dataset(
        dataset,
        [
            Episode(seen * scale + offset, action, np.ones(6), True, False)
            for seen, action in zip(points, actions, strict=True)
        ],
        env_id=None, description="of several units", overwrite=True,
        observation_space=gym.spaces.Box(-np.inf, np.inf, (4,), np.float64),
        action_space=gym.spaces.Discrete(2),
    )  # fmt: skip
    config = recipe("minari/sequence_policy", dataset=dataset)
    assert isinstance(config, RunConfig)
    train = replace(config.train, updates=20, warmup_updates=0, tensorboard=False, batch_size=8)
    return replace(config, train=train)


def test_offline_the_unit_of_measurement_makes_no_difference(tmp_path: Path):
    plain = api.train(_offline(1, 0), runs=tmp_path, name="plain")
    other = api.train(_offline(1000, 50), runs=tmp_path, name="other")
    mine, theirs = weights(plain.folder), weights(other.folder)
    mean = "tokens.observation.standardize.mean"
    torch.testing.assert_close(mine[mean] * 1000 + 50, theirs[mean], rtol=1e-4, atol=1e-2)
    learned = [name for name in mine if ".standardize." not in name]
    for name in learned:
        torch.testing.assert_close(mine[name], theirs[name], rtol=1e-2, atol=1e-3)


def test_every_observation_that_was_acted_on_counts_once(tmp_path: Path):
    config = tiny_online(
        environment="CartPole-v1", kwargs={"max_episode_steps": 12}, episodes=9,
        settings={"normalize_observations": True},
    )  # fmt: skip
    run = api.train(config, runs=tmp_path, name="run")
    state = torch.load(run.folder / "checkpoints/last/training.pt", weights_only=True)
    replay, found = state["replay"], weights(run.folder)
    acted_on = np.concatenate(
        [replay["observation"][first : first + steps] for first, steps in replay["episodes"]]
    )
    for network in ("online", "target"):  # values are compared, so both must see alike
        where = f"{network}.memory.tokens.observation.0.standardize."
        assert int(found[where + "count"]) == run.results()["training"]["env_steps"]
        np.testing.assert_allclose(found[where + "mean"], acted_on.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(found[where + "deviation"], acted_on.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("num_steps", [None, 4])
def test_what_acted_learns_with_the_statistics_that_it_acted_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_steps: int | None
):
    calls: list[str] = []
    for name in ("observe", "prepare"):
        method = getattr(PPO, name)

        def noted(self: Any, *given: Any, name: str = name, method: Any = method) -> Any:
            calls.append(name)
            return method(self, *given)

        monkeypatch.setattr(PPO, name, noted)
    config = tiny_online(
        "ppo", environment="CartPole-v1", kwargs={"max_episode_steps": 8}, episodes=8,
        settings={"normalize_observations": True, "num_steps": num_steps},
    )  # fmt: skip
    run = api.train(config, runs=tmp_path, name="run", final_evaluation=False)
    stretches = 2 if num_steps is None else 4
    # Something has to be known at first.
    assert calls == ["observe", "prepare", *["prepare", "observe"] * (stretches - 1)]
    found = weights(run.folder)["network.tokens.observation.0.standardize.count"]
    assert int(found) == run.results()["training"]["env_steps"]


def _other_units(reward: float = 1.0, action: float = 1.0) -> gym.Env[Any, Any]:
    """The pendulum with rewards and torques in other units."""
    env = gym.make("Pendulum-v1", max_episode_steps=8)
    bound = np.asarray([2.0 * action], dtype=np.float32)
    env = gym.wrappers.RescaleAction(env, -bound, bound)
    return gym.wrappers.TransformReward(env, lambda given: float(given) * reward)


gym.register("tests/OtherUnits-v0", entry_point=_other_units)


@pytest.mark.parametrize("agent", ["sac", "ppo", "a2c"])
def test_the_units_of_rewards_and_actions_make_no_difference(tmp_path: Path, agent: str):
    settings: dict[str, Any] = {"normalize_observations": True, "normalize_rewards": True}
    if agent != "sac":  # which acts at random until something is known
        settings |= {"tokens": StepTokenConfig(action_width=4)}
    if agent == "a2c":
        settings |= {"num_steps": 3, "normalize": "none"}
    found = []
    for name, units in (("one", {}), ("other", {"reward": 1000.0, "action": 500.0})):
        config = tiny_online(
            agent, environment="tests/OtherUnits-v0", kwargs=units, settings=settings,
            episodes=12, random_episodes=4,
        )  # fmt: skip
        run = api.train(config, runs=tmp_path, name=name, final_evaluation=False)
        found.append(weights(run.folder))
    mine, theirs = found
    sums = next(name for name in mine if "reward_scale.deviation" in name)
    torch.testing.assert_close(mine[sums] * 1000, theirs[sums], rtol=1e-3, atol=1e-3)
    for name in mine:
        if "reward_scale" not in name:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-2, atol=1e-3)


def test_rewards_are_measured_by_the_deviation_of_returns():
    scale = RewardScale()
    rewards = torch.tensor([-3.0, 0.0, 9.0, 50.0, -1e9])
    torch.testing.assert_close(scale(rewards), torch.tensor([-3.0, 0, 9, LIMIT, -LIMIT]))
    scale.observe(np.asarray([10.0, 14.0, 10.0, 14.0]))
    torch.testing.assert_close(scale(rewards), torch.tensor([-1.5, 0, 4.5, LIMIT, -LIMIT]))
    constant = RewardScale()
    constant.observe(np.full(5, 7.0))
    torch.testing.assert_close(constant(rewards)[:3], rewards[:3])


def test_by_default_nothing_is_normalised():
    space: Any = gym.spaces.Box(-1, 1, (3,))
    agent = DQN(DQNConfig(hidden=()), LSTMConfig(width=8), space, gym.spaces.Discrete(2))
    assert not any(isinstance(module, Moments | BoxUnits) for module in agent.modules())
