"""Steps taken ahead, against the same steps taken one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from contract.cases import Case, all_cases
from retain import envs
from retain.agents.dqn import DQN, DQNConfig
from retain.agents.online import OnlineAgent
from retain.agents.policy import Policy
from retain.agents.sequence_policy import SequencePolicy, SequencePolicyConfig
from retain.contract.trials import expect_same
from retain.core.errors import ConfigError
from retain.evaluation import EnvironmentConfig, EvaluationConfig, evaluate_policy
from retain.memory import ModelConfig
from retain.rollout import Actor, play
from retain.tokens import StepTokenConfig

MAZE = "retain/TMaze-v0"
CASES = all_cases()
#: Every environment that this library brings, with its options made small.
OPTIONS: dict[str, dict[str, Any]] = {
    MAZE: {"corridor_length": 9, "min_corridor_length": 3, "noise": "continuous"},
}
OWN = sorted(id for id in gym.registry if id.startswith("retain/"))


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def make(id: str, rows: int, **options: Any) -> Any:
    return envs.make_vec(id, rows, independent_rows=True, **(options or OPTIONS.get(id, {})))


def policy_in(env: Any, case: Case, *, constant: bool = False) -> SequencePolicy:
    """A policy whose actions vary, or one that always goes right."""
    torch.manual_seed(0)
    spaces = env.single_observation_space, env.single_action_space
    config = SequencePolicyConfig(target_return=2.0, return_scale=1.7)
    policy = SequencePolicy(config, case.config(), *spaces).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(2.0)
        if constant:
            policy.head.get_parameter("linear.weight").zero_()
    return policy


def online(env: Any, case: Case, **agent: Any) -> OnlineAgent:
    torch.manual_seed(0)
    config = DQNConfig(hidden=(8,), tokens=StepTokenConfig(action_width=3, reward_width=2), **agent)
    return DQN(config, case.config(), env.single_observation_space, env.single_action_space).eval()


class Watched(gym.vector.VectorWrapper):
    """Keeps the actions of the steps that stand, and counts those that do not."""

    def __init__(self, env: Any):
        super().__init__(env)
        self.taken: list[np.ndarray] = []
        self.leaps = self.returns = 0

    def step(self, actions: Any) -> Any:
        self.taken.append(np.array(actions))
        return super().step(actions)

    def snapshot(self) -> Any:
        self.leaps += 1
        return self.env.snapshot(), len(self.taken)

    def restore(self, snapshot: Any) -> None:
        self.returns += 1
        del self.taken[snapshot[1] :]
        self.env.restore(snapshot[0])


def same(policy: Policy, id: str, rows: int, lookahead: int, **options: Any) -> Watched:
    """Checks that episodes are the same as by single steps; returns how they were played."""
    alone, ahead = (Watched(make(id, rows, **options)) for _ in range(2))
    seeds = list(range(50, 50 + rows))
    expected, found = play(policy, alone, seeds), play(policy, ahead, seeds, lookahead)
    np.testing.assert_array_equal(found.return_B, expected.return_B)
    np.testing.assert_array_equal(found.length_B, expected.length_B)
    np.testing.assert_equal(found.success_B, expected.success_B)
    assert alone.leaps == 0
    for row, length in enumerate(expected.length_B):
        one, other = ([int(step[row]) for step in env.taken[:length]] for env in (alone, ahead))
        assert one == other
    return ahead


@pytest.mark.no_cover
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_model_reads_ahead_as_step_by_step(case: Case) -> None:
    env = make(MAZE, 3)
    for policy in (policy_in(env, case), online(env, case)):
        observation = torch.randn(3, 12, 4)
        reward = torch.randn(3, 12, dtype=torch.float32)
        began, goes_on = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
        with torch.inference_mode():
            state, chosen = policy.acting_state(3), []
            for at in range(12):
                begins = goes_on if at else began
                action, _, state = policy.act(observation[:, at], reward[:, at], begins, state)
                chosen.append(action)
            action_BT = torch.stack(chosen, dim=1)
            state_ahead: Any = policy.acting_state(3)
            _, _, state_ahead = policy.act(observation[:, 0], reward[:, 0], began, state_ahead)
            at = 1
            for length in (4, 1, 6):  # the last ends inside a segment or at its end
                span = slice(at, at + length)
                guess = action_BT[:, at : at + length - 1]
                kept = [t.clone() for _, t in state_ahead.memory.named_tensors()]
                found, after = policy.act_ahead(
                    observation[:, span], reward[:, span], guess, state_ahead
                )
                for (_, tensor), before in zip(
                    state_ahead.memory.named_tensors(), kept, strict=True
                ):
                    assert torch.equal(tensor, before)  # not given away
                assert torch.equal(found, action_BT[:, span])
                state_ahead, at = after, at + length
            assert torch.equal(state_ahead.previous_action_B, state.previous_action_B)
            for _ in range(5):  # both states go on alike
                seen, got = torch.randn(3, 4), torch.randn(3, dtype=torch.float32)
                _, one, state = policy.act(seen, got, goes_on, state)
                _, other, state_ahead = policy.act(seen, got, goes_on, state_ahead)
                expect_same(one, other, "later predictions", 1e-10)


@pytest.mark.no_cover
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("case", {case.model: case for case in CASES}.values(), ids=str)
@pytest.mark.parametrize("constant", [True, False], ids=["right", "varied"])
def test_every_model_plays_the_same_episodes(case: Case, constant: bool) -> None:
    env = make(MAZE, 1)
    policy = policy_in(env, case, constant=constant)
    corridor = {"corridor_length": 23, "min_corridor_length": 8, "step_penalty": 0.25}
    ahead = same(policy, MAZE, 4, 5, **corridor)
    if constant:  # at least one block held, and the ends did not
        assert 0 < ahead.returns < ahead.leaps


@pytest.mark.no_cover
@pytest.mark.parametrize("lookahead", [1, 2, 7, 400])
@pytest.mark.parametrize("rows", [1, 7])
def test_any_number_of_steps_gives_the_same_episodes(lookahead: int, rows: int) -> None:
    case = Case("rate", {"num_memory_tokens": 2}, model="rate")
    policy = policy_in(make(MAZE, 1), case, constant=True)
    ahead = same(policy, MAZE, rows, lookahead, corridor_length=90, min_corridor_length=1)
    assert (ahead.leaps == 0) == (lookahead == 1)
    same(policy, MAZE, rows, lookahead, corridor_length=83, num_hints=2)
    same(policy, MAZE, rows, lookahead, corridor_length=1)


def test_whole_blocks_take_one_call_each(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("rate", model="rate")
    policy = policy_in(make(MAZE, 1), case, constant=True)
    calls = []
    read = policy.model.forward

    def counted(x_BLD: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.append(x_BLD.shape[1])
        return read(x_BLD, *args, **kwargs)

    monkeypatch.setattr(policy.model, "forward", counted)
    # 42 steps to the limit: one alone, five blocks of 8, and one more after a try that ends early.
    ahead = same(policy, MAZE, 2, 8, corridor_length=40)
    assert calls == [3] * 42 + [3] + [24] * 5 + [3]
    assert (ahead.leaps, ahead.returns) == (6, 1)


@pytest.mark.parametrize("id", OWN)
def test_actions_that_vary_in_every_environment(id: str) -> None:
    env = make(id, 1)
    case = Case("lstm", model="lstm")
    for policy in (policy_in(env, case), online(env, case)):
        same(policy, id, 5, 3)


@dataclass(frozen=True)
class Latest:
    """The latest actions."""

    action_B: torch.Tensor

    def rows(self, index: Any) -> Latest:
        return Latest(self.action_B[index])


class Alternating(Policy):
    """Goes twice left and twice right, `turns` steps each, then right for good."""

    def __init__(self, env: Any, turns: int):
        spaces = env.single_observation_space, env.single_action_space
        super().__init__(None, ModelConfig(), *spaces)
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.turns = turns

    looks_ahead = True

    def acting_state(self, batch_size: int) -> Any:
        return Latest(torch.full((batch_size,), 2 * self.turns + 1))

    def act(self, observation_B: Any, reward_B: Any, reset_B: Any, state: Any, **_: Any) -> Any:
        left = (state.action_B - 1).clamp(min=0)
        return left % 4 // 2 * 2, None, Latest(left)

    def act_ahead(self, observation_BT: Any, *_: Any) -> Any:
        *_, state = _
        found = []
        for _ in range(observation_BT.shape[1]):
            action, _, state = self.act(None, None, None, state)
            found.append(action)
        return torch.stack(found, dim=1), state


def test_guesses_that_keep_failing_are_tried_less_and_less_often() -> None:
    options = {"corridor_length": 300, "max_episode_steps": 1300}
    ahead = same(Alternating(make(MAZE, 1), 500), MAZE, 2, 3, **options)
    # After 1, 4, 10, 22, 46, 94, 190, 286, ... steps: in the end one in 32 blocks.
    assert ahead.returns < 20
    assert ahead.leaps - ahead.returns > 60


def test_a_policy_that_samples_takes_single_steps() -> None:
    env = make(MAZE, 1)
    case = Case("lstm", model="lstm")
    policy = policy_in(env, case)
    sampling = SequencePolicy(
        SequencePolicyConfig(sample_actions=True), case.config(), policy.observation_space,
        policy.action_space,
    )  # fmt: skip
    ahead = Watched(make(MAZE, 3))
    for one in (sampling, online(env, case, sample_actions=True)):
        assert not one.looks_ahead
        play(one, ahead, [1, 2, 3], 4)
        assert ahead.leaps == 0
    numbers = gym.spaces.Box(-1, 1, (2,), np.float32)
    box = SequencePolicy(SequencePolicyConfig(), case.config(), policy.observation_space, numbers)
    assert not box.looks_ahead
    with pytest.raises(NotImplementedError, match="Policy does not look ahead"):
        Policy.act_ahead(box, *[torch.zeros(1)] * 3, None)
    actor = Actor(policy, 1)
    assert actor.policy.looks_ahead


class Wrapped(gym.vector.VectorWrapper):
    """Does nothing, but could."""


def test_environments_that_cannot_go_back_are_refused() -> None:
    pole = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 2)
    policy = policy_in(pole, Case("lstm", model="lstm"))
    for env, name in ((pole, "SyncVectorEnv"), (Wrapped(make(MAZE, 2)), "Wrapped")):
        with pytest.raises(ConfigError, match=rf"{name} does not have; use lookahead 1$"):
            play(policy, env, [1, 2], 2)
    assert play(policy, pole, [1, 2], 1).length_B.min() > 1
    with pytest.raises(ConfigError, match="lookahead must be at least 1, not 0"):
        play(policy, pole, [1, 2], 0)


def test_the_record_says_how_far_was_looked_ahead() -> None:
    maze = EnvironmentConfig(id=MAZE, kwargs={"corridor_length": 40})
    case = Case("rate", model="rate")
    policy = policy_in(make(MAZE, 1), case, constant=True)
    numbers: dict[str, Any] = {"episodes": 5, "seed": 0, "num_envs": 2}
    one = evaluate_policy(policy, maze, **numbers)
    other = evaluate_policy(policy, maze, **numbers, lookahead=8)
    assert (one.pop("lookahead"), other.pop("lookahead")) == (1, 8)
    del one["seconds"], other["seconds"]
    assert one == other
    policy.config = replace(policy.config, sample_actions=True)
    assert evaluate_policy(policy, maze, **numbers, lookahead=8)["lookahead"] == 1
    with pytest.raises(ConfigError, match="lookahead must be at least 1, not 0"):
        evaluate_policy(policy, maze, **numbers, lookahead=0)
    with pytest.raises(ConfigError, match=r"^evaluation.lookahead must be at least 1, not 0$"):
        EvaluationConfig(lookahead=0)
