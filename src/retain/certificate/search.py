"""The search for inputs that change what a memory holds: its parts in their order."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from retain.agents.policy import Policy
from retain.agents.sequence_policy import SequencePolicy
from retain.certificate.closure import Closure
from retain.certificate.play import Episode, find_inputs, play
from retain.certificate.reading import Reader, Refusal, in_double, kept, numbers
from retain.certificate.record import Certificate
from retain.core.errors import ConfigError
from retain.evaluation import EnvironmentConfig

#: Segments from each memory that are read in three ways, and memories for which that is done.
CHECKED_SEGMENTS, CHECKED_MEMORIES = 128, 16


def certify(
    policy: Policy,
    environment: EnvironmentConfig,
    *,
    context_length: int,
    episodes: int = 256,
    seed: int = 0,
    budget: int = 2**20,
    samples: int = 2**15,
    max_states: int = 4096,
) -> Certificate:
    """Looks for inputs that change what a policy's memory holds.

    Args:
        policy: A sequence policy; it is left in the mode it came in.
        environment: Where it plays. Its episodes should be several segments long, and in their
            second half nothing should be shown that is to be remembered.
        context_length: Steps of a segment, K: a memory is looked at every K steps.
        episodes: Episodes to play.
        seed: Seed of the first episode, and of all samples.
        budget: The most sequences to list in each part of the search (beginnings, segments, parts
            of segments before a question); where there are more, some are sampled.
        samples: Segments of random episodes to read where they cannot be listed, in each of up to
            four rounds.
        max_states: The most memories to follow.

    Raises:
        ConfigError: If the policy does not act by discrete actions without chance, has no memory,
            a number is not positive, or episodes are too short.
    """
    counts = (("context_length", context_length), ("episodes", episodes), ("budget", budget),
              ("samples", samples), ("max_states", max_states))  # fmt: skip
    for name, given in counts:
        if given < 1:
            raise ConfigError(f"{name} must be at least 1, not {given}")
    if seed < 0:
        raise ConfigError(f"seed must be at least 0, not {seed}")
    checked = check_policy(policy)
    training = policy.training
    policy.eval()
    try:
        return _certify(
            checked, environment, context_length, episodes, seed, budget, samples, max_states
        )
    finally:
        policy.train(training)


def _certify(
    policy: SequencePolicy,
    environment: EnvironmentConfig,
    context_length: int,
    episodes: int,
    seed: int,
    budget: int,
    samples: int,
    max_states: int,
) -> Certificate:
    start = time.perf_counter()
    weight = next(policy.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    facts: dict[str, Any] = {
        "environment": environment.id,
        "options": dict(environment.kwargs),
        "context_length": context_length,
        "arithmetic": f"{weight.device.type} {dtype}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
    }
    played = play(policy, environment, episodes=episodes, seed=seed)
    failures = sum(episode.success is False for episode in played)
    facts |= {
        "episodes": len(played),
        "failures": failures,
        "rightness_known": all(episode.success is not None for episode in played),
    }
    inputs, located = find_inputs(played)
    returns = inputs.return_to_go_S
    facts |= {
        "symbols": len(returns),
        "finite_inputs": inputs.finite,
        "returns_to_go": tuple(sorted({float(returns.min()), float(returns.max())})),
        "held_from": max(episode.held_from for episode in located),
    }
    closure: Closure | None = None
    verdict: dict[str, Any]
    try:
        facts |= _replay(policy, located, context_length)
        if len(facts["returns_to_go"]) > 1:
            raise Refusal(
                "the return-to-go changes while the memory holds, so longer episodes show inputs "
                "that were not seen"
            )
        right = [episode for episode in located if episode.success is not False]
        if not right:
            raise Refusal(f"all {failures} episodes failed, so there is nothing to hold")
        closure = Closure(
            policy,
            inputs,
            right,
            context_length=context_length,
            budget=budget,
            samples=samples,
            most=max_states,
            rng=np.random.default_rng(seed),
        )
        if not closure.shown.beginnings:
            raise ConfigError(
                "in no episode a segment ends between what is shown and the question; certify in "
                "longer ones"
            )
        with closure.reader.measured(), torch.inference_mode():
            starts = closure.begin()
            facts["writing_margin"], closure.reader.margin = closure.reader.margin, None
            closure.explore()
            closure.decide(starts, quick=True)
            closure.close()
            facts |= _other_arithmetic(closure)
            closure.decide(closure.starts(), quick=not closure.listed[2])
        if failures:
            raise Refusal(f"{failures} of {len(played)} episodes failed")
        verdict = {"verdict": "proved" if all(closure.listed) else "sampled"}
    except Refusal as refusal:
        verdict = {"verdict": "refused", "reason": refusal.reason, "witness": refusal.witness}
    if closure is not None:
        gap = closure.decision_margin
        facts |= {
            "held_actions": tuple(closure.held_actions.tolist()),
            "beginnings": len(closure.shown.beginnings),
            "beginnings_read": closure.beginnings_read,
            "states": len(closure.memories),
            "transitions": closure.transitions,
            "walked": closure.walked,
            "questions": len(closure.shown.questions),
            "decisions": closure.decisions,
            "walked_questions": closure.walked_questions,
            "listed": tuple(closure.listed),
            "margin": closure.reader.margin,
            "decision_margin": None if np.isinf(gap) else gap,
        }
    return Certificate(**facts, **verdict, seconds=time.perf_counter() - start)


def check_policy(policy: Policy) -> SequencePolicy:
    """Returns a policy that can be certified as what it is.

    Raises:
        ConfigError: If it cannot be.
    """
    if not isinstance(policy, SequencePolicy):
        raise ConfigError(
            f"only sequence policies can be certified, not '{policy.config.registered_name}'"
        )
    if not isinstance(policy.action_space, gym.spaces.Discrete):
        raise ConfigError(
            f"only discrete actions can be certified, but the actions are {policy.action_space}"
        )
    if policy.config.sample_actions:
        raise ConfigError(
            "a policy that samples its actions cannot be certified; set agent.sample_actions false"
        )
    memory = kept(policy.model.initial_state(1), ("slots", "carry"))
    if not sum(tensor.numel() for tensor in memory):
        raise ConfigError(
            "this model has no memory to certify: it keeps nothing but what it has read"
        )
    return policy


@torch.inference_mode()
def _replay(policy: SequencePolicy, episodes: list[Episode], context_length: int) -> dict[str, Any]:
    """Reads the episodes again, in whole segments, and looks at the memories between them.

    Raises:
        Refusal: If the policy would not act as it did.
    """
    ordered = sorted(episodes, key=lambda episode: -len(episode.steps))
    reader = Reader(policy)
    state = policy.model.initial_state(len(ordered))
    ends: set[bytes] = set()
    changes, count = [], 0
    last = np.zeros((0, 0))
    for stop in range(context_length, len(ordered[0].steps) + 1, context_length):
        alive = [episode for episode in ordered if len(episode.steps) >= stop]
        part = [episode.steps.part(stop - context_length, stop) for episode in alive]
        action = np.stack([steps.action_T for steps in part])
        read = reader.read(
            state.rows(slice(0, len(alive))),
            np.stack([steps.observation_T for steps in part]),
            np.stack([steps.return_to_go_T for steps in part]),
            action,
        )
        if not np.array_equal(read.action_BT, action):
            raise Refusal("read in whole segments, the policy acts otherwise than step by step")
        state, now = read.after, numbers(read.after) + 0.0
        held = [e.held_from <= stop <= e.asked_at for e in alive]
        ends |= {row.tobytes() for row in now[held]}
        count += sum(held)
        before = [
            e.held_from <= stop - context_length and h for e, h in zip(alive, held, strict=True)
        ]
        if len(last) and any(before):
            changes.append(np.abs(now - last[: len(now)])[before].mean())
        last = now
    drift = float(np.mean(changes)) if changes else None
    return {"played_memories": len(ends), "played_segments": count, "drift": drift}


def _other_arithmetic(closure: Closure) -> dict[str, Any]:
    """Reads some segments also step by step, and in double precision.

    Raises:
        Refusal: If step by step gives another memory.
    """
    double = Reader(in_double(closure.policy))
    length = closure.context_length
    checked = stepwise = in_twice = 0
    for number in range(min(CHECKED_MEMORIES, len(closure.memories))):
        size = (CHECKED_SEGMENTS, length)
        chosen = closure.rng.choice(len(closure.inputs.weight_S), size, p=closure.inputs.weight_S)
        told = closure.inputs.observation_S[chosen], closure.inputs.return_to_go_S[chosen]
        action = np.full(size, closure.usual_action)
        state = closure.memories.state(np.full(len(chosen), number))
        whole = closure.memories.find(closure.reader.read(state, *told, action).after)
        steps = closure.memories.find(closure.reader.read(state, *told, action, pieces=1).after)
        after = double.read(state.to(torch.float64), *told, action).after
        twice = closure.memories.find(after.to(closure.reader.dtype))
        checked += len(chosen)
        stepwise += int((steps == whole).sum())
        in_twice += int((twice == whole).sum())
    if stepwise < checked:
        raise Refusal(
            f"step by step, {checked - stepwise} of {checked} segments give another memory than as "
            "a whole: values lie on the edge of rounding"
        )
    return {"checked": checked, "stepwise_agree": stepwise, "double_agree": in_twice}
