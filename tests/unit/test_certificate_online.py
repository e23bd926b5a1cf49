"""Certificates of agents that learned by acting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from retain import envs
from retain.agents import AGENTS as REGISTERED
from retain.agents.a2c import A2CConfig
from retain.agents.dqn import DQN, DQNConfig
from retain.agents.sac_discrete import SACDiscreteConfig
from retain.certificate import Certificate, certify, subject_of
from retain.certificate.reading import Memories, Reader, numbers
from retain.certificate.tree import Choices, grow
from retain.evaluation import EnvironmentConfig
from retain.memory import MemoryState, cache, clock, slots
from retain.models.lstm import LSTMConfig
from retain.models.memoryless import MemorylessConfig
from retain.models.rate import RATEConfig
from retain.tokens import StepTokenConfig
from token_by_token import TokenByToken

# Axes: B rows, T steps, D width.

K = 3
ID = "retain/PassiveTMaze-v0"
Rule = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class LatchState(MemoryState):
    memory_B1: Tensor = slots()
    side_B: Tensor = cache()
    clock_B: Tensor = clock()


class Latch(TokenByToken):
    """Keeps the side it saw last; `rule` makes the next memory at the end of a segment.

    A token is [at the junction, one side, the other, ...]; the output scores right, up, left, down.
    """

    def __init__(self, rule: Rule):
        super().__init__()
        self.rule = rule

    def initial_state(self, batch_size: int) -> LatchState:
        zeros = torch.zeros(batch_size)
        return LatchState(zeros[:, None], zeros, zeros.long())

    def _token(self, x_BD: Tensor, state: LatchState) -> tuple[Tensor, LatchState]:
        side_B = torch.where(state.clock_B == 0, 0.0, state.side_B)
        here_B = x_BD[:, 1] - x_BD[:, 2]
        side_B = torch.where((here_B != 0) & (x_BD[:, 0] == 0), here_B, side_B)
        known_B = torch.where(side_B != 0, side_B, state.memory_B1[:, 0])
        junction_B = x_BD[:, 0]
        up_B = junction_B * known_B.sign()
        y_BD = torch.stack([0.5 - junction_B, up_B, 0 * up_B - 9, -up_B, *[0 * up_B] * 4], dim=1)
        clock_B = (state.clock_B + 1) % K
        written_B1 = torch.where(side_B != 0, side_B, state.memory_B1[:, 0])[:, None]
        memory_B1 = torch.where((clock_B == 0)[:, None], self.rule(written_B1), state.memory_B1)
        return y_BD, LatchState(memory_B1, side_B, clock_B)


def latch(rule: Rule) -> DQN:
    """Walks to the right and turns to the side that its memory says."""
    env = envs.make(ID)
    config = DQNConfig(hidden=())
    agent = DQN(config, MemorylessConfig(width=8), env.observation_space, env.action_space)
    agent.network.model = Latch(rule)
    with torch.no_grad():
        for parameter in agent.online.parameters():
            parameter.zero_()
        linears = [m for m in agent.online.modules() if isinstance(m, torch.nn.Linear)]
        linears[0].weight[:3] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        linears[-1].weight[:, :4] = torch.eye(4)
    return agent


def run(rule: Rule, length: int = 14, **options: Any) -> Certificate:
    environment = EnvironmentConfig(id=ID, kwargs={"corridor_length": length})
    return certify(latch(rule), environment, context_length=K, episodes=24, **options)


def test_an_agent_that_holds_is_proved() -> None:
    found = run(lambda memory: memory)
    assert found.verdict == "proved", found.reason
    assert (found.failures, found.listed) == (0, (True, True, True))
    # The corridor shows one thing: one segment from each memory, and the question at K places.
    assert (found.symbols, found.states, found.transitions) == (1, 2, 2)
    assert (found.beginnings, found.questions, found.decisions) == (2, 1, 2 * K)
    assert (found.signal, found.signals) == ("reward before", (0.0,))
    assert "(reward before 0), action 0" in "\n".join(found.lines())


def test_an_agent_that_will_forget_is_refused() -> None:
    """It loses a fifth at every segment, and turns rightly in the corridors that were played."""
    found = run(lambda memory: memory.sign() * (memory.abs() - 0.2).clamp(min=0).round(decimals=1))
    assert (found.verdict, found.failures) == ("refused", 0)
    assert "wrong answer" in found.reason or "not separate" in found.reason
    assert found.witness is not None


def test_a_memory_of_real_numbers_is_refused() -> None:
    found = run(lambda memory: 0.9 * memory, max_states=16)
    assert found.verdict == "refused"
    assert "no finite set: more than 16" in found.reason


AGENTS = {
    "dqn": DQNConfig(hidden=()),
    "sac_discrete": SACDiscreteConfig(hidden=(), skip=True),
    "a2c": A2CConfig(hidden=()),
}
MODELS = {
    "rate": RATEConfig(width=16, context_length=4, num_layers=1, num_heads=2, num_memory_tokens=2),
    "lstm": LSTMConfig(width=16, context_length=4),
}


@pytest.mark.parametrize("reads", [(0, 0), (3, 2)], ids=["observations", "everything"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("agent", AGENTS)
def test_segments_are_read_as_they_are_lived(
    agent: str, model: str, reads: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    tokens = StepTokenConfig(action_width=reads[0], reward_width=reads[1])
    config = dataclasses.replace(AGENTS[agent], tokens=tokens)
    env = envs.make(ID)
    kind = REGISTERED.get(agent)
    policy = kind(config, MODELS[model], env.observation_space, env.action_space).eval()
    for module in policy.modules():  # heads whose best action is not always the same
        if isinstance(module, torch.nn.Linear) and module.out_features == 4:
            torch.nn.init.normal_(module.weight)
    rng = np.random.default_rng(1)
    rows, steps = 5, 12
    observation = 9 * rng.normal(size=(rows, steps, 2)).astype(np.float32)
    reward = rng.normal(size=(rows, steps)).astype(np.float32)
    state, lived = policy.acting_state(rows), []
    with torch.inference_mode():
        for t in range(steps):
            told = torch.tensor(observation[:, t]), torch.tensor(reward[:, t])
            action, _, state = policy.act(*told, torch.full((rows,), t == 0), state)
            lived.append(action.numpy())
    acted = np.stack(lived, axis=1)
    assert len(np.unique(acted)) > 1

    subject = subject_of(policy)
    reader, memories = Reader(subject), Memories(subject, 100)
    at, guess = subject.initial_state(rows), np.zeros_like(acted)
    for start in range(0, steps, 4):  # only what `Memories` keeps goes on
        span = slice(start, start + 4)
        read = reader.read(at, observation[:, span], reward[:, span], guess[:, span])
        np.testing.assert_array_equal(read.action_BT, acted[:, span])
        at = memories.state(memories.add(read.after))
    np.testing.assert_allclose(numbers(at), numbers(state.memory), atol=1e-5)

    # The tree reads the same, branch by branch.
    choices = [Choices(observation[:3, t], reward[:3, t], 2) for t in range(4)]
    for branches in grow(reader, subject.initial_state(1), choices):
        if branches.length == 4:
            path, each = branches.path_BT, np.arange(4)
            whole = reader.read(
                subject.initial_state(len(path)),
                observation[:3][path, each], reward[:3][path, each], np.zeros_like(path),
            )  # fmt: skip
            np.testing.assert_array_equal(whole.action_BT, branches.action_BT)
            np.testing.assert_allclose(numbers(whole.after), numbers(branches.state), atol=1e-5)
