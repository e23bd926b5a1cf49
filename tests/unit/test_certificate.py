"""Certificates of retention, on a memory made by hand whose every state is known."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import retain
from retain import envs
from retain.agents.dqn import DQN, DQNConfig
from retain.agents.sequence_policy import SequencePolicy, SequencePolicyConfig
from retain.certificate import Certificate, certify, certify_run, subject_of
from retain.certificate.play import find_inputs, play
from retain.certificate.reading import Memories, Reader, alike, numbers
from retain.certificate.record import Refusal, bound_of
from retain.certificate.tree import Choices, ask, grow
from retain.core.errors import ConfigError
from retain.evaluation import EnvironmentConfig, EvaluationConfig
from retain.memory import MemoryState, cache, clock, slots
from retain.models.memoryless import MemorylessConfig
from retain.training.runs import Run
from tiny_runs import tiny
from token_by_token import TokenByToken

# Axes: B rows, L tokens, D width, M numbers in memory.

K = 3  # small enough to list everything
Rule = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class LatchState(MemoryState):
    memory_BM: Tensor = slots()
    hint_B: Tensor = cache()
    noise_BK: Tensor = cache()
    clock_B: Tensor = clock()


class Latch(TokenByToken):
    """Keeps the last hint; `rule` makes the next memory from memory, [B, 1], and noise, [B, K]."""

    def __init__(self, rule: Rule, steps: int):
        super().__init__()
        self.rule, self.steps = rule, steps

    def initial_state(self, batch_size: int) -> LatchState:
        zeros = torch.zeros(batch_size)
        return LatchState(zeros[:, None], zeros, torch.zeros(batch_size, self.steps), zeros.long())

    def _token(self, x_BD: Tensor, state: LatchState) -> tuple[Tensor, LatchState]:
        begins = state.clock_B == 0
        hint = torch.where(begins, 0.0, state.hint_B)
        noise = torch.where(begins[:, None], 0.0, state.noise_BK)
        observed = x_BD[:, 4] > 0
        hint = torch.where(observed & (x_BD[:, 1] != 0), x_BD[:, 1], hint)
        here = nn.functional.one_hot(state.clock_B // 3, self.steps).bool() & observed[:, None]
        noise = torch.where(here, x_BD[:, 3:4].to(noise.dtype), noise)
        known = torch.where(hint != 0, hint, state.memory_BM[:, 0].sign())
        flag = x_BD[:, 2]
        nothing = torch.zeros_like(flag)
        y_BD = torch.stack([1 - flag, flag * known, nothing - 9, -flag * known, *[nothing] * 4], 1)
        clock_B = (state.clock_B + 1) % (3 * self.steps)
        written = torch.where((hint != 0)[:, None], hint[:, None], state.memory_BM)
        closed = (clock_B == 0)[:, None]
        memory = torch.where(closed, self.rule(written, noise), state.memory_BM)
        return y_BD, LatchState(memory, hint, noise, clock_B)


def latch(rule: Rule, steps: int = K, **agent: Any) -> SequencePolicy:
    """A policy for the T-Maze that walks to the right and turns to where its memory says."""
    env = envs.make("retain/TMaze-v0")
    policy = SequencePolicy(
        SequencePolicyConfig(**agent),
        MemorylessConfig(width=8),
        env.observation_space,
        env.action_space,
    )
    policy.model = Latch(rule, steps)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        (observation,) = (
            m for m in policy.tokens.observation.modules() if isinstance(m, nn.Linear)
        )
        observation.weight[:4] = torch.eye(4)
        observation.bias[4] = 1.0
        policy.head.linear.weight[:, :4] = torch.eye(4)
    return policy


def maze(length: int = 4 * K, **options: Any) -> EnvironmentConfig:
    kwargs = {"corridor_length": length, "balanced_goals": True, **options}
    return EnvironmentConfig(id="retain/TMaze-v0", kwargs=kwargs)


def run(rule: Rule, steps: int = K, length: int = 4 * K, **options: Any) -> Certificate:
    kwargs = {"episodes": 36, "samples": 64, **options}
    return certify(latch(rule, steps), maze(length), context_length=steps, **kwargs)


def hold(memory: Tensor, noise: Tensor) -> Tensor:
    return memory


def flip_if_rare(memory: Tensor, noise: Tensor) -> Tensor:
    return torch.where((noise == 1).all(dim=1, keepdim=True), -memory, memory)


class Rounded(nn.Module):
    """Rounds after a disturbance of at most 0.3, and says how near that comes to an edge."""

    def raw(self, memory: Tensor, noise: Tensor) -> Tensor:
        return memory + 0.3 * noise.mean(dim=1, keepdim=True)

    def forward(self, memory: Tensor, noise: Tensor) -> Tensor:
        return self.raw(memory, noise).clamp(-1, 1).round()

    def edge_distance(self, memory: Tensor, noise: Tensor) -> Tensor:
        return (self.raw(memory, noise).abs() - 0.5).abs().flatten(1).amin(dim=1)


def test_a_memory_that_holds_is_proved() -> None:
    found = run(hold)
    assert found.verdict == "proved", found.reason
    assert found.listed == (True, True, True)
    assert (found.states, found.transitions) == (2, 2 * 3**K)
    # Two hints, each beside three noises; the rest of the segment is free.
    assert (found.beginnings, found.beginnings_read) == (6, 6 * 3 ** (K - 1))
    assert (found.questions, found.decisions) == (3, 2 * 3 * (1 + 3 + 9))
    assert (found.symbols, found.held_actions, found.signals) == (3, (0,), (1.0,))
    assert found.stepwise_agree == found.double_agree == found.checked > 0
    assert (found.leaving_bound, found.lasting_steps) == (0.0, math.inf)
    assert found.drift == 0.0
    assert found.margin is None
    assert found.decision_margin == 1.0


def test_an_input_that_flips_the_memory_is_found_and_shown() -> None:
    steps = 5  # one segment of 243; the episodes played are two segments long
    found = run(flip_if_rare, steps, length=2 * steps, episodes=24)
    assert found.failures == 0
    assert found.verdict == "refused"
    assert "not separate" in found.reason or "wrong answer" in found.reason
    assert found.witness is not None
    ways = found.witness["ways"]
    seen = [way["beginning"] for way in ways]
    seen += [segment["observations"] for way in ways for segment in way["segments"]]
    assert any(all(observation[3] == 1 for observation in part) for part in seen)
    assert json.loads(json.dumps(found.to_json()))["verdict"] == "refused"
    assert "Witness" in "\n".join(found.lines())
    # Three random segments a memory do not meet it: a sample is no proof, and says so.
    lucky = [
        run(flip_if_rare, steps, 2 * steps, episodes=24, budget=8, samples=3, seed=seed).verdict
        for seed in range(3)
    ]
    assert "proved" not in lucky


def wears_out(memory: Tensor, noise: Tensor) -> Tensor:
    """A hint becomes 3 and wears out by one in a rare segment; what is worn out turns round."""
    worn = memory.sign() * (memory.abs() - (noise == -1).all(dim=1, keepdim=True).float())
    return torch.where(memory.abs() == 1, 3 * memory, torch.where(worn.abs() < 2, -3 * worn, worn))


def test_the_way_to_a_failure_is_shown() -> None:
    found = run(wears_out, 4)
    assert found.verdict == "refused"
    assert found.witness is not None
    assert max(len(way["segments"]) for way in found.witness["ways"]) >= 2
    for way in found.witness["ways"]:
        at = way["first"]
        for segment in way["segments"]:
            assert segment["from"] == at
            at = segment["to"]
        assert at == found.witness["memory"]


@pytest.mark.parametrize(
    "rule",
    [lambda memory, noise: 0.99 * memory, lambda memory, noise: memory + 1e-3 * noise[:, :1]],
    ids=["decay", "walk"],
)
def test_a_memory_of_real_numbers_that_drifts_is_refused(rule: Rule) -> None:
    found = run(rule, max_states=30, length=30)
    assert found.verdict == "refused"
    assert "no finite set: more than 30" in found.reason
    assert found.drift is not None
    assert found.drift > 1e-4
    assert found.played_memories > 8


def counted(memory: Tensor, noise: Tensor) -> Tensor:
    """Keeps the sign; the size wanders from 1 to 3 with the noise."""
    size = 1 + (memory.abs() + (noise == 1).sum(dim=1, keepdim=True)) % 3
    return memory.sign() * size


def test_the_set_is_that_of_brute_force() -> None:
    noises = list(itertools.product((-1.0, 0.0, 1.0), repeat=K))

    def after(memory: float, noise: tuple[float, ...]) -> float:
        return float(counted(torch.tensor([[memory]]), torch.tensor([noise])))

    known = {after(side, noise) for side in (-1.0, 1.0) for noise in noises}
    while new := {after(m, noise) for m in known for noise in noises} - known:
        known |= new
    found = run(counted)
    assert found.verdict == "proved", found.reason
    assert found.states == len(known) > 2
    assert found.transitions == len(known) * len(noises)


def test_the_margin_is_what_is_left_of_half_a_step() -> None:
    found = run(Rounded())
    assert found.verdict == "proved", found.reason
    assert found.margin == pytest.approx(0.2, abs=1e-6)
    assert found.writing_margin == pytest.approx(0.2, abs=1e-6)
    assert "far above round-off" in "\n".join(found.lines())


def test_a_sample_is_called_a_sample() -> None:
    found = run(hold, budget=20, samples=64)
    assert found.verdict == "sampled"
    assert found.walked == found.walked_questions == 64
    assert found.leaving_bound == pytest.approx(1 - (0.05 / 4) ** (1 / 64))
    assert 0 < (found.lasting_steps or 0) < 100
    assert "no proof" in found.lines()[0]
    assert found == dataclasses.replace(run(hold, budget=20, samples=64), seconds=found.seconds), (
        "a certificate can be repeated"
    )


def test_a_continuum_is_sampled() -> None:
    policy = latch(hold)
    found = certify(
        policy, maze(noise="continuous"), context_length=K, episodes=6, samples=64
    )  # fmt: skip
    assert found.verdict == "sampled", found.reason
    assert not found.finite_inputs
    assert "a continuum" in "\n".join(found.lines())


def wanders(memory: Tensor, noise: Tensor) -> Tensor:
    """What a hint wrote grows in a rare segment, and turns round in another one after that."""
    grows = (noise == 1).all(dim=1, keepdim=True)
    turns = (noise[:, :3] == -1).all(dim=1, keepdim=True)
    size = memory.abs()
    return torch.where(
        (size == 1) & grows, 2 * memory,
        torch.where((size == 2) & turns, -3 * memory.sign(), memory),
    )  # fmt: skip


def test_a_sample_knows_every_memory_that_was_met() -> None:
    """In the episodes played and in other arithmetic memories come up as well."""
    found = [run(wanders, 4, budget=20, samples=64, seed=100 * seed) for seed in range(6)]
    assert {certificate.verdict for certificate in found} <= {"sampled", "refused"}
    assert "refused" in {certificate.verdict for certificate in found}
    for certificate in found:
        if certificate.verdict == "sampled":
            assert certificate.states >= certificate.played_memories


def test_what_was_not_seen_together_is_not_claimed() -> None:
    found = run(hold, episodes=12)
    assert found.verdict == "proved"
    assert found.pairs < found.beginnings * found.questions
    seen = f"{found.pairs} of {found.beginnings * found.questions} pairs"
    assert seen in "\n".join(found.lines())
    complete = run(hold, episodes=256)
    assert complete.pairs == complete.beginnings * complete.questions == 18
    assert "pairs" not in "\n".join(complete.lines())


class NearlyStepsAside(Latch):
    """At a hint, another action is nearly as good as the right one."""

    def _token(self, x_BD: Tensor, state: LatchState) -> tuple[Tensor, LatchState]:
        y_BD, after = super()._token(x_BD, state)
        hint = (x_BD[:, 4] > 0) & (x_BD[:, 1] != 0)
        up = torch.where(hint, y_BD[:, 0] - 1e-6, y_BD[:, 1])
        return torch.cat([y_BD[:, :1], up[:, None], y_BD[:, 2:]], dim=1), after


@pytest.mark.parametrize("budget", [2**20, 20], ids=["listed", "sampled"])
def test_a_narrow_decision_in_the_beginning_counts(budget: int) -> None:
    policy = latch(Rounded())
    policy.model = NearlyStepsAside(Rounded(), K)
    found = certify(policy, maze(), context_length=K, episodes=36, budget=budget, samples=64)
    assert found.verdict == ("proved" if budget > 20 else "sampled"), found.reason
    assert found.decision_margin == pytest.approx(1e-6, rel=0.1)
    assert "The margin is small" in "\n".join(found.lines())


def test_what_does_not_hold_at_all_is_refused() -> None:
    found = run(lambda memory, noise: torch.ones_like(memory))
    assert found.verdict == "refused"
    assert found.failures == 18
    found = run(lambda memory, noise: -memory, length=4 * K)
    assert found.verdict == "refused"


def test_questions_where_nothing_should_be_asked_are_no_holding() -> None:
    """An answer there would be allowed as what one does while holding, right or wrong."""
    found = certify(latch(hold), maze(6, num_hints=3), context_length=K, episodes=64)
    assert found.verdict == "refused"
    assert "more than one action was taken while nothing was asked (0, 1, 3)" in found.reason


def test_a_memory_that_an_episode_had_counts_for_its_own_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even where it is known from another beginning, as if rounding had gone otherwise in play."""
    policy, forward = latch(hold), Latch.forward

    def confusing(
        self: Latch, x_BLD: Tensor, state: LatchState, *rest: Any, **options: Any
    ) -> tuple[Tensor, LatchState]:
        y_BLD, after = forward(self, x_BLD, state, *rest, **options)
        if x_BLD.shape[:2] == (36, 3 * K):  # the episodes played, and nothing else
            after = dataclasses.replace(after, memory_BM=-after.memory_BM.abs())
        return y_BLD, after

    monkeypatch.setattr(Latch, "forward", confusing)
    found = certify(policy, maze(4 * K + 2), context_length=K, episodes=36, samples=64)
    assert found.verdict == "refused"
    assert "memories are not separate" in found.reason


def test_a_return_to_go_that_changes_is_refused() -> None:
    found = certify(latch(hold), maze(step_penalty=0.01), context_length=K, episodes=4)
    assert found.verdict == "refused"
    assert "return-to-go changes" in found.reason


def test_the_rule_of_three() -> None:
    assert bound_of(1000, 1) == pytest.approx(3 / 1000, rel=0.01)
    assert bound_of(1000, 10) > bound_of(1000, 1)
    assert bound_of(0, 1) == 1.0


def test_where_holding_begins_and_the_question_comes() -> None:
    inputs, located = find_inputs(play(subject_of(latch(hold)), maze(14), episodes=12, seed=3))
    assert inputs.count(2) == 9
    assert {(e.held_from, e.asked_at, len(e.steps)) for e in located} == {(1, 13, 14)}
    assert all(episode.success for episode in located)
    assert inputs.weight_S.sum() == pytest.approx(1)


def real(name: str, model: dict[str, Any] | None = None) -> SequencePolicy:
    torch.manual_seed(0)
    config = tiny(name, model=model)
    env = envs.make("retain/TMaze-v0")
    return SequencePolicy(
        config.agent, config.model, env.observation_space, env.action_space
    ).eval()


@pytest.mark.parametrize("name", ["tmaze/rate", "tmaze/rate-plain", "tmaze/rmt", "tmaze/elmur"])
def test_segments_are_read_from_the_memory_alone(name: str) -> None:
    policy = subject_of(real(name))
    rng = np.random.default_rng(0)
    observation = rng.integers(-1, 2, (5, 8, 4)).astype(np.float32)
    returns, action = np.ones((5, 8), dtype=np.float32), np.zeros((5, 8), dtype=np.int64)
    reader = Reader(policy)
    whole = reader.read(policy.initial_state(5), observation, returns, action)
    first = [array[:, :4] for array in (observation, returns, action)]
    second = [array[:, 4:] for array in (observation, returns, action)]
    memories = Memories(policy, 10)
    which = memories.add(reader.read(policy.initial_state(5), *first).after)
    again = reader.read(memories.state(which), *second)
    np.testing.assert_allclose(numbers(again.after), numbers(whole.after), atol=1e-5)
    np.testing.assert_array_equal(again.action_BT, whole.action_BT[:, 4:])
    np.testing.assert_array_equal(memories.add(memories.state(which)), which)
    assert alike(memories.state(which), memories.state(which)).all()
    moved = memories.state(which[[1, 0, 2, 3, 4]])
    assert alike(moved, memories.state(which)).tolist() == [False, False, True, True, True]
    # Actions are those the policy would really take, whatever was guessed.
    other = reader.read(policy.initial_state(5), observation, returns, action + 3)
    np.testing.assert_array_equal(other.action_BT, whole.action_BT)


@pytest.mark.parametrize("name", ["tmaze/rate", "tmaze/rmt"])
def test_a_tree_is_what_its_sequences_are(name: str) -> None:
    policy = subject_of(real(name))
    reader, rng = Reader(policy), np.random.default_rng(0)
    observation = rng.normal(size=(3, 4)).astype(np.float32)
    choices = [Choices(observation, np.ones(3, dtype=np.float32), 3)] * 4
    memories, lengths = Memories(policy, 100), [0] * 5
    for branches in grow(reader, policy.initial_state(1), choices):
        path = branches.path_BT
        lengths[branches.length] += len(path)
        state, rows = policy.initial_state(len(path)), len(path)
        ending = rng.normal(size=(2, 4)).astype(np.float32)
        returns, given = np.ones(2, dtype=np.float32), np.array([1, 2])
        asked, _ = ask(reader, branches, ending, returns, given)
        observations = np.concatenate(
            [observation[path], np.repeat(ending[None], rows, axis=0)], axis=1
        )
        actions = np.zeros(observations.shape[:2], dtype=np.int64)
        told = observations, np.ones(actions.shape, dtype=np.float32), actions
        read = reader.read(state, *told)
        np.testing.assert_array_equal(read.action_BT[:, : branches.length], branches.action_BT)
        np.testing.assert_array_equal(read.action_BT[:, branches.length :], asked)
        np.testing.assert_array_equal(branches.seen(0, choices) if path.size else [],
                                      observation[path[0]] if path.size else [])  # fmt: skip
        if branches.length == 4:
            whole = reader.read(state, *[array[:, :4] for array in told]).after
            np.testing.assert_allclose(numbers(branches.state), numbers(whole), atol=1e-5)
            memories.add(branches.state)
    assert lengths == [1, 3, 9, 27, 81]


def test_the_margin_is_that_of_the_real_valve() -> None:
    policy = subject_of(real("tmaze/rate"))
    reader = Reader(policy)
    told = np.zeros((5, 8, 4), np.float32), np.ones((5, 8), np.float32), np.zeros((5, 8), np.int64)
    with reader.measured():
        reader.read(policy.initial_state(5), *told)
    # Three levels from -1 to 1: no value is more than half a step from an edge.
    assert reader.margin is not None
    assert 0 < reader.margin <= 0.5
    found = certify(policy.policy, maze(), context_length=4, episodes=6, samples=16, max_states=8)
    assert found.margin is None or found.margin >= 0
    plain = Reader(subject_of(real("tmaze/rate-plain")))
    with plain.measured():
        plain.read(plain.subject.initial_state(5), *told)
    assert plain.margin is None, "a valve that does not round has no edges"


def test_a_model_that_looks_at_its_cache_is_noticed() -> None:
    policy = subject_of(real("tmaze/rate", {"cache_length": 8}))
    memories = Memories(policy, 10)
    zeros = np.zeros((1, 4, 4), dtype=np.float32)
    told = zeros, np.ones((1, 4), dtype=np.float32), np.zeros((1, 4), dtype=np.int64)
    read = Reader(policy).read(policy.initial_state(1), *told)
    with pytest.raises(Refusal, match="cached"):
        Reader(policy).read(memories.state(memories.add(read.after)), *told)


def test_whole_numbers_of_a_cache_are_part_of_the_memory() -> None:
    @dataclasses.dataclass(frozen=True)
    class Counting(MemoryState):
        memory_B1: Tensor = slots()
        seen_B: Tensor = cache()

    class Counter(Latch):
        def initial_state(self, batch_size: int) -> Any:
            return Counting(torch.zeros(batch_size, 1), torch.zeros(batch_size).long())

    policy = latch(hold)
    policy.model = Counter(hold, K)
    memories = Memories(subject_of(policy), 10)
    first = Counting(torch.zeros(3, 1), torch.tensor([0, 1, 0]))
    which = memories.add(first)
    assert which.tolist() == [0, 1, 0]
    back: Any = memories.state(which)
    assert back.seen_B.tolist() == [0, 1, 0]


def test_what_cannot_be_certified() -> None:
    with pytest.raises(ConfigError, match="no memory to certify"):
        certify(real("tmaze/decision_transformer"), maze(), context_length=4)
    spaces = envs.make("retain/TMaze-v0")
    agent = DQN(
        DQNConfig(), MemorylessConfig(), spaces.observation_space, spaces.action_space
    )  # fmt: skip
    with pytest.raises(ConfigError, match="no memory to certify"):
        certify(agent, maze(), context_length=4)
    other: Any = SimpleNamespace(config=SimpleNamespace(registered_name="mine"))
    with pytest.raises(ConfigError, match="online agents can be certified, not 'mine'"):
        certify(other, maze(), context_length=4)
    with pytest.raises(ConfigError, match="samples its actions"):
        certify(latch(hold, sample_actions=True), maze(), context_length=K)
    for name in ("context_length", "episodes", "budget", "samples", "max_states"):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            certify(latch(hold), maze(), **{"context_length": K, name: 0})
    with pytest.raises(ConfigError, match="seed"):
        certify(latch(hold), maze(), context_length=K, seed=-1)
    with pytest.raises(ConfigError, match="longer ones"):
        certify(latch(hold), maze(2), context_length=K, episodes=4)
    with pytest.raises(ConfigError, match="longer ones"):
        certify(latch(hold, 10), maze(6), context_length=10, episodes=4)


def test_the_policy_is_left_in_its_mode() -> None:
    policy = latch(hold).train()
    certify(policy, maze(), context_length=K, episodes=4, samples=8)
    assert policy.training


def test_a_run_is_certified_from_its_folder(tmp_path: Path) -> None:
    trained = retain.train(tiny(updates=1), runs=tmp_path, name="run", final_evaluation=False)
    few: dict[str, Any] = {"episodes": 6, "samples": 16, "max_states": 8}
    found = certify_run(trained.folder, value=24, options={"noise": "none"}, **few)
    assert found.context_length == 4
    assert found.options == {"corridor_length": 24, "balanced_goals": True, "noise": "none"}
    assert found.environment == "retain/TMaze-v0"
    assert (found.verdict, found.reason) == ("refused", found.reason)
    assert found.failures  # one update teaches nothing
    assert certify_run(trained, **few).options["corridor_length"] == 12
    silent = Run(trained.folder)
    evaluation = EvaluationConfig(episodes=1)
    silent.config = dataclasses.replace(trained.config, evaluation=evaluation)
    with pytest.raises(ConfigError, match="vary no option"):
        certify_run(silent, value=3)
