"""Rounds of episodes, against plain loops over single environments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from retain.agents.dqn import DQN, DQNConfig
from retain.agents.online import OnlineAgent
from retain.agents.policy import ActingState
from retain.core.errors import Note, note
from retain.core.seeding import generator
from retain.envs import make
from retain.evaluation import EnvironmentConfig
from retain.memory import ModelConfig
from retain.models.gpt2 import GPT2Config
from retain.models.lstm import LSTMConfig
from retain.models.rate import RATEConfig
from retain.models.transformer_xl import TransformerXLConfig
from retain.tokens import StepTokenConfig
from retain.training import experience
from retain.training.experience import Collector, Stretch

SEED = 5
MODELS: dict[str, ModelConfig] = {
    "lstm": LSTMConfig(width=12),
    "gpt2": GPT2Config(width=12, num_heads=1, context_length=30),
    "transformer_xl": TransformerXLConfig(
        width=12, num_heads=1, head_width=12, context_length=3, cache_length=30
    ),
    "rate": RATEConfig(
        width=12, num_heads=1, head_width=12, context_length=3, num_memory_tokens=2
    ),
}  # fmt: skip


class Odd(gym.Env[Any, Any]):
    """Everything that is unusual: double precision, actions from -1 on, whole numbers as rewards.

    Ends for good at a step drawn at the beginning, or is cut at `limit`.
    """

    def __init__(self, limit: int = 6):
        self.observation_space = gym.spaces.Box(-100.0, 100.0, (2,), np.float64)
        self.action_space = gym.spaces.Discrete(3, start=-1)
        self.limit = limit

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.last = 0, int(self.np_random.integers(1, 10))
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, int, bool, bool, dict[str, Any]]:
        assert action in self.action_space
        self.at += 1
        over = self.at == self.last
        # Both at once: then it ended for good.
        return self._observe(), 3 * int(action), over, self.at >= self.limit, {}

    def _observe(self) -> Any:
        return self.np_random.random(2) + self.at


gym.register("tests/Odd-v0", entry_point=Odd)

MAZE = EnvironmentConfig(
    id="retain/TMaze-v0",
    kwargs={
        "corridor_length": 7,
        "min_corridor_length": 1,
        "step_penalty": 0.25,
        "noise": "continuous",  # so that the rule has something to go by
    },
)
ENVIRONMENTS = {
    "maze": MAZE,
    "poles": EnvironmentConfig(id="CartPole-v1", kwargs={"max_episode_steps": 12}),
    "odd": EnvironmentConfig(id="tests/Odd-v0"),
    "lake": EnvironmentConfig(id="FrozenLake-v1", kwargs={"max_episode_steps": 9}),
}


def rule(space: gym.spaces.Discrete, observation: Any, reward: float) -> int:
    """What the agent does: a number that depends on all it is given; mostly the first action."""
    total = float(np.abs(np.asarray(observation, dtype=np.float64)).sum()) + 3.7 * reward
    drawn = int(total * 1e4) % (2 * int(space.n) + 1)
    return int(space.start) + max(0, drawn - int(space.n) - 1)


class Ruled(DQN):
    """Acts by the rule, and reads everything into its memory all the same."""

    def act(
        self,
        observation_B: Any,
        reward_B: Any,
        reset_B: Any,
        state: ActingState,
        *,
        donate: bool = False,
        epsilon: float | None = None,
    ) -> tuple[Any, Any, ActingState]:
        _, scores, state = super().act(
            observation_B, reward_B, reset_B, state, donate=donate, epsilon=epsilon
        )
        told = zip(observation_B.numpy(), reward_B.tolist(), strict=True)
        chosen = torch.tensor([rule(self.action_space, o, r) for o, r in told])
        return chosen, scores, ActingState(state.memory, chosen)


def agent_for(
    environment: EnvironmentConfig,
    model: ModelConfig = MODELS["lstm"],
    kind: type[OnlineAgent] = Ruled,
) -> OnlineAgent:
    env = make(environment.id, **environment.kwargs)
    torch.manual_seed(0)
    config = DQNConfig(hidden=(8,), tokens=StepTokenConfig(action_width=3, reward_width=2))
    agent = kind(config, model, env.observation_space, env.action_space).eval()
    with torch.no_grad():
        for parameter in agent.parameters():  # larger weights, that memories differ by more
            parameter.add_(0.3 * torch.randn_like(parameter))
    return agent


def plain_episode(
    agent: OnlineAgent, environment: EnvironmentConfig, number: int
) -> dict[str, Any]:
    """One episode in one environment, by the rule or, with a batch of one, by the agent itself."""
    env = make(environment.id, **environment.kwargs)
    seed = int(generator(SEED, 1, number).integers(2**31))
    observation, info = env.reset(seed=seed)
    seen, actions, rewards = [observation], [], []
    state, reward, over, terminated = agent.acting_state(1), 0.0, False, False
    while not over:
        if isinstance(agent, Ruled):
            action = rule(agent.action_space, observation, float(np.float32(reward)))
        else:
            with torch.no_grad():
                told = torch.as_tensor(observation)[None], torch.tensor([reward]).float()
                begins = torch.tensor([not actions])
                chosen, _, state = agent.act(*told, begins, state, epsilon=0.0)
            action = int(chosen)
        observation, reward, terminated, truncated, info = env.step(action)
        seen.append(observation)
        actions.append(action)
        rewards.append(reward)
        over = terminated or truncated
    env.close()
    return {
        "observation": np.stack(seen),
        "action": np.array(actions),
        "reward": np.array(rewards, dtype=np.float32),
        "terminated": terminated,
        "success": info.get("success"),
    }


@pytest.fixture
def collector() -> Iterator[Any]:
    made: list[Collector] = []

    def make_one(agent: OnlineAgent, environment: EnvironmentConfig) -> Collector:
        made.append(Collector(agent, environment, SEED))
        return made[-1]

    yield make_one
    for one in made:
        one.close()
        one.close()  # a second time does no harm


def assert_episode(found: tuple[Any, ...], expected: dict[str, Any]) -> None:
    observation, action, reward, terminated = found
    np.testing.assert_array_equal(observation, expected["observation"])
    np.testing.assert_array_equal(action, expected["action"])
    np.testing.assert_array_equal(reward, expected["reward"])
    assert terminated == expected["terminated"]


def sums_so_far(rewards: Any, discount: float) -> list[float]:
    return [
        sum(discount ** (step - earlier) * rewards[earlier] for earlier in range(step + 1))
        for step in range(len(rewards))
    ]


@pytest.mark.parametrize("name", ENVIRONMENTS)
@pytest.mark.parametrize("rows", [1, 9])
def test_a_round_is_a_loop_over_single_environments(name: str, rows: int, collector: Any) -> None:
    environment = ENVIRONMENTS[name]
    agent = agent_for(environment)
    play = collector(agent, environment).play
    ways = set()
    for first in (0, 20):  # the same environments again
        (stretch,) = play(first, rows, epsilon=0.0)
        plain = [plain_episode(agent, environment, first + row) for row in range(rows)]
        for found, expected in zip(stretch.episodes(), plain, strict=True):
            assert_episode(found, expected)
        lengths = [len(episode["reward"]) for episode in plain]
        batch, ended = stretch.batch, stretch.ended
        assert batch.mask.sum(1).tolist() == lengths
        assert batch.mask.shape[1] == max(lengths)
        assert batch.begins.all()
        assert not batch.previous_reward.any()
        # Steps past the end are marked; nothing is earned there and nothing ends.
        assert not batch.reward[~batch.mask].any()
        assert not batch.terminated[~batch.mask].any()
        assert ended.length_B.tolist() == lengths
        returns = [float(episode["reward"].sum()) for episode in plain]
        np.testing.assert_allclose(ended.return_B, returns, rtol=1e-6)
        so_far = [sums_so_far(episode["reward"], agent.config.discount) for episode in plain]
        np.testing.assert_allclose(stretch.returns, np.concatenate(so_far), rtol=1e-6)
        if plain[0]["success"] is None:
            assert np.isnan(ended.success_B).all()
        else:
            assert ended.success_B.tolist() == [episode["success"] for episode in plain]
        ways |= set(zip(batch.terminated.any(1).tolist(), lengths, strict=True))
    if rows > 1:
        assert {terminated for terminated, _ in ways} == {True, False}, "some end, some are cut"
        assert len({length for _, length in ways}) > 2


def test_returns_go_on_from_one_stretch_to_the_next(collector: Any) -> None:
    agent = agent_for(ENVIRONMENTS["odd"])
    play = collector(agent, ENVIRONMENTS["odd"]).play
    (whole,) = play(0, 5, epsilon=0.0)
    parts = list(play(0, 5, epsilon=0.0, num_steps=2))
    assert len(parts) > 2
    np.testing.assert_allclose(
        np.sort(np.concatenate([part.returns for part in parts])), np.sort(whole.returns)
    )


@pytest.mark.parametrize("model", MODELS)
def test_an_agent_with_memory_acts_as_it_would_alone(model: str, collector: Any) -> None:
    """Rows that end early leave the batch; the rest must keep their own memories."""
    agent = agent_for(MAZE, MODELS[model], DQN)
    (stretch,) = collector(agent, MAZE).play(0, 12, epsilon=0.0)
    for number, found in enumerate(stretch.episodes()):
        assert_episode(found, plain_episode(agent, MAZE, number))
    assert len(set(stretch.ended.length_B.tolist())) > 3


def test_an_episode_depends_on_its_number_and_not_on_its_round(collector: Any) -> None:
    agent = agent_for(MAZE)
    play = collector(agent, MAZE).play
    (whole,) = play(0, 5, epsilon=0.0)
    parts = [next(iter(play(first, count, epsilon=0.0))) for first, count in ((3, 2), (0, 3))]
    apart = [*parts[1].episodes(), *parts[0].episodes()]
    for one, other in zip(whole.episodes(), apart, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    other = Collector(agent, MAZE, SEED + 1)
    (elsewhere,) = other.play(0, 5, epsilon=0.0)
    other.close()
    assert whole.ended.length_B.tolist() != elsewhere.ended.length_B.tolist()


def read(agent: OnlineAgent, stretch: Stretch, steps: int | None = None) -> Any:
    """The tokens of a stretch, without that of the observation after its last step."""
    batch = {name: torch.as_tensor(value) for name, value in vars(stretch.batch).items()}
    tokens = agent.network.tokens(
        torch.cat([batch["previous_action"][:, None], batch["action"]], 1),
        torch.cat([batch["previous_reward"][:, None], batch["reward"]], 1),
        batch["observation"],
        F.pad(batch["begins"][:, None], (0, batch["reward"].shape[1])),
    )
    return tokens[:, :-1]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("num_steps", [1, 3, 50])
def test_stretches_are_the_round_cut_into_pieces(
    model: str, num_steps: int, collector: Any
) -> None:
    agent = agent_for(MAZE, MODELS[model])
    play = collector(agent, MAZE).play
    (whole,) = play(0, 8, epsilon=0.0)
    stretches = list(play(0, 8, epsilon=0.0, num_steps=num_steps))
    longest = int(whole.batch.mask.sum(1).max())
    assert len(stretches) == -(-longest // num_steps)
    for name in ("action", "reward", "terminated", "mask"):
        joined = np.concatenate([getattr(s.batch, name) for s in stretches], axis=1)
        mask = whole.batch.mask
        np.testing.assert_array_equal(joined[mask], getattr(whole.batch, name)[mask], err_msg=name)
        if name == "mask":
            np.testing.assert_array_equal(joined, mask)
    for row in range(8):
        steps = int(whole.batch.mask[row].sum())
        seen = [s.batch.observation[row, :-1] for s in stretches]
        seen.append(stretches[-1].batch.observation[row, -1:])
        np.testing.assert_array_equal(
            np.concatenate(seen)[: steps + 1], whole.batch.observation[row, : steps + 1]
        )
    for name in ("length_B", "return_B", "success_B"):
        joined = np.concatenate([getattr(s.ended, name) for s in stretches])
        assert sorted(joined.tolist()) == sorted(getattr(whole.ended, name).tolist())
    for number, stretch in enumerate(stretches):
        batch = stretch.batch
        assert batch.mask.shape[1] <= num_steps
        assert batch.observation.shape[1] == batch.mask.shape[1] + 1
        assert (batch.begins == (number == 0)).all()
        if number:
            before = stretches[number - 1].batch
            np.testing.assert_array_equal(batch.previous_action, before.action[:, -1])
            np.testing.assert_array_equal(batch.previous_reward, before.reward[:, -1])
            np.testing.assert_array_equal(batch.observation[:, 0], before.observation[:, -1])


@pytest.mark.parametrize("model", MODELS)
def test_the_memory_of_a_stretch_has_read_what_came_before(model: str, collector: Any) -> None:
    agent = agent_for(MAZE, MODELS[model])
    stretches = list(collector(agent, MAZE).play(0, 8, epsilon=0.0, num_steps=2))
    assert len(stretches) > 3
    tokens = [read(agent, stretch) for stretch in stretches]
    with torch.no_grad():
        y_BLD, _ = agent.network.model(
            torch.cat(tokens, dim=1), agent.network.model.initial_state(8)
        )
        for number, stretch in enumerate(stretches):
            # What comes out now tells what the memory holds.
            found, _ = agent.network.model(tokens[number], stretch.memory)
            expected = y_BLD[:, 2 * number : 2 * number + found.shape[1]]
            running = stretch.batch.mask
            np.testing.assert_allclose(found[running], expected[running], rtol=1e-4, atol=1e-5)


def test_the_first_memory_can_be_learned_and_the_later_ones_have_no_gradient(
    collector: Any,
) -> None:
    agent = agent_for(MAZE, MODELS["rate"])
    first, *rest = list(collector(agent, MAZE).play(0, 4, epsilon=0.0, num_steps=3))
    assert first.memory.memory_BMD.requires_grad
    assert rest
    assert not any(stretch.memory.memory_BMD.requires_grad for stretch in rest)


def test_the_weights_may_change_between_two_stretches(collector: Any) -> None:
    agent = agent_for(MAZE, MODELS["gpt2"], DQN)
    play = collector(agent, MAZE).play(0, 6, epsilon=0.0, num_steps=2)
    before = next(play)
    kept = before.memory.detach()
    numbers = [t.clone() for t in vars(kept).values() if isinstance(t, torch.Tensor)]
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.mul_(-1.0)
    after = next(play)
    assert (after.batch.observation[:, 0] == before.batch.observation[:, -1]).all()
    # What is given away to act with is never the memory of a stretch.
    now = [t for t in vars(kept).values() if isinstance(t, torch.Tensor)]
    assert all(torch.equal(one, other) for one, other in zip(numbers, now, strict=True))


def test_epsilon_is_passed_on(collector: Any) -> None:
    torch.manual_seed(3)
    (stretch,) = collector(agent_for(MAZE, kind=DQN), MAZE).play(0, 40, epsilon=1.0)
    taken = stretch.batch.action[stretch.batch.mask]
    assert np.abs(np.bincount(taken, minlength=4) / len(taken) - 0.25).max() < 0.1


def test_episodes_without_an_end_are_told(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience, "LONG", 4)
    note.cache_clear()
    played = collector(agent_for(ENVIRONMENTS["odd"]), ENVIRONMENTS["odd"]).play(0, 8, epsilon=0.5)
    with pytest.warns(Note, match=r"gone on for 4 steps.* --option max_episode_steps=NUMBER"):
        list(played)
