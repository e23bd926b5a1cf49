"""The search for inputs that change what a memory holds: its parts in their order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from retain.agents.policy import Policy
from retain.certificate.closure import Closure
from retain.certificate.play import Episode, find_inputs, play
from retain.certificate.reading import Memories, Reader, alike, numbers
from retain.certificate.record import Certificate, Refusal
from retain.certificate.subject import Subject, subject_of
from retain.core.errors import ConfigError
from retain.core.seeding import check_seed
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
        policy: A sequence policy or an online agent; it is left in the mode it came in.
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
        ConfigError: If the policy is of another kind, does not act by discrete actions without
            chance or has no memory, a number is not positive, or episodes are too short.
    """
    counts = (("context_length", context_length), ("episodes", episodes), ("budget", budget),
              ("samples", samples), ("max_states", max_states))  # fmt: skip
    for name, given in counts:
        if given < 1:
            raise ConfigError(f"{name} must be at least 1, not {given}")
    check_seed("seed", seed)
    subject = subject_of(policy)
    training = policy.training
    policy.eval()
    try:
        return _certify(
            subject, environment, context_length, episodes, seed, budget, samples, max_states
        )
    finally:
        policy.train(training)


def _certify(
    subject: Subject,
    environment: EnvironmentConfig,
    context_length: int,
    episodes: int,
    seed: int,
    budget: int,
    samples: int,
    max_states: int,
) -> Certificate:
    start = time.perf_counter()
    weight = next(subject.policy.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    facts: dict[str, Any] = {
        "environment": environment.id,
        "options": dict(environment.kwargs),
        "context_length": context_length,
        "arithmetic": f"{weight.device.type} {dtype}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}",
    }
    played = play(subject, environment, episodes=episodes, seed=seed)
    failures = sum(episode.success is False for episode in played)
    facts |= {
        "episodes": len(played),
        "failures": failures,
        "rightness_known": all(episode.success is not None for episode in played),
    }
    inputs, located = find_inputs(played)
    signal = inputs.signal_S
    facts |= {
        "symbols": len(signal),
        "finite_inputs": inputs.finite,
        "signal": subject.signal,
        "signals": tuple(sorted({float(signal.min()), float(signal.max())})),
        "held_from": max(episode.held_from for episode in located),
    }
    closure: Closure | None = None
    verdict: dict[str, Any]
    try:
        replayed = _replay(subject, located, context_length)
        facts |= replayed.facts
        if subject.adds_up and len(facts["signals"]) > 1:
            raise Refusal(
                f"the {subject.signal} changes while the memory holds, so longer episodes show "
                "inputs that were not seen"
            )
        right = [episode for episode in located if episode.success is not False]
        ends = [
            e
            for e, episode in zip(replayed.ends, located, strict=True)
            if episode.success is not False
        ]
        if not right:
            raise Refusal(f"all {failures} episodes failed, so there is nothing to hold")
        closure = Closure(
            subject,
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
            closure.begin()
            facts["writing_margin"], closure.reader.margin = closure.reader.margin, None
            closure.explore()
            closure.decide(quick=True)
            # Whatever comes up outside the set belongs to it, and so is followed too.
            closure.meet(replayed.memories, ends)
            facts |= _other_arithmetic(closure)
            closure.explore()
            closure.close()
            closure.decide(quick=not closure.listed[2])
        if failures:
            raise Refusal(f"{failures} of {len(played)} episodes failed")
        verdict = {"verdict": "proved" if all(closure.listed) else "sampled"}
    except Refusal as refusal:
        verdict = {"verdict": "refused", "reason": refusal.reason, "witness": refusal.witness}
    if closure is not None:
        gap = closure.decision_margin
        facts |= {
            "held_actions": (closure.usual_action,),
            "beginnings": len(closure.shown.beginnings),
            "beginnings_read": closure.beginnings_read,
            "states": len(closure.memories),
            "transitions": closure.transitions,
            "walked": closure.walked,
            "questions": len(closure.shown.questions),
            "pairs": closure.shown.pairs,
            "too_short": closure.shown.kinds.count(None),
            "decisions": closure.decisions,
            "walked_questions": closure.walked_questions,
            "listed": tuple(closure.listed),
            "margin": closure.reader.margin,
            "decision_margin": None if np.isinf(gap) else gap,
        }
    return Certificate(**facts, **verdict, seconds=time.perf_counter() - start)


@dataclass(frozen=True)
class _Replayed:
    """Memories of the episodes played, where segments ended while they held."""

    memories: Memories
    ends: list[list[tuple[int, int]]]
    """Of each episode: the step at which a segment ended, and the memory."""
    drift: float | None

    @property
    def facts(self) -> dict[str, Any]:
        met = [number for stops in self.ends for _, number in stops]
        return {
            "played_memories": len(set(met)),
            "played_segments": len(met),
            "drift": self.drift,
        }


@torch.inference_mode()
def _replay(subject: Subject, episodes: list[Episode], context_length: int) -> _Replayed:
    """Reads the episodes again, in whole segments, and looks at the memories between them.

    Raises:
        Refusal: If the policy would not act as it did.
    """
    order = sorted(range(len(episodes)), key=lambda e: -len(episodes[e].steps))
    ordered = [episodes[e] for e in order]
    reader = Reader(subject)
    state = subject.initial_state(len(ordered))
    memories = Memories(subject, sum(len(e.steps) // context_length for e in episodes))
    ends: list[list[tuple[int, int]]] = [[] for _ in episodes]
    changes = []
    last = np.zeros((0, 0))
    for stop in range(context_length, len(ordered[0].steps) + 1, context_length):
        alive = [episode for episode in ordered if len(episode.steps) >= stop]
        part = [episode.steps.part(stop - context_length, stop) for episode in alive]
        action = np.stack([steps.action_T for steps in part])
        read = reader.read(
            state.rows(slice(0, len(alive))),
            np.stack([steps.observation_T for steps in part]),
            np.stack([steps.signal_T for steps in part]),
            action,
        )
        if not np.array_equal(read.action_BT, action):
            raise Refusal("read in whole segments, the policy acts otherwise than step by step")
        state, now = read.after, numbers(read.after) + 0.0
        held = [e.held_from <= stop <= e.asked_at for e in alive]
        rows = np.flatnonzero(held)
        for row, number in zip(rows, memories.add(state.rows(rows.tolist())), strict=True):
            ends[order[row]].append((stop, int(number)))
        before = [
            e.held_from <= stop - context_length and h for e, h in zip(alive, held, strict=True)
        ]
        if len(last) and any(before):
            changes.append(np.abs(now - last[: len(now)])[before].mean())
        last = now
    return _Replayed(memories, ends, float(np.mean(changes)) if changes else None)


def _other_arithmetic(closure: Closure) -> dict[str, Any]:
    """Reads some segments as a whole, step by step, and in double precision.

    Raises:
        Refusal: If step by step gives another memory.
    """
    double = Reader(closure.subject.in_double())
    length = closure.context_length
    checked = stepwise = in_twice = 0
    for number in range(min(CHECKED_MEMORIES, len(closure.memories))):
        numbers = np.full(CHECKED_SEGMENTS, number)
        chosen = closure.draw(len(numbers), length)
        told, action = closure.told(chosen), np.full(chosen.shape, closure.usual_action)
        state = closure.memories.state(numbers)
        whole = closure.memories.state(closure.follow(numbers, chosen))
        steps = closure.reader.read(state, *told, action, pieces=1).after
        twice = double.read(state.to(torch.float64), *told, action).after
        checked += len(chosen)
        stepwise += int(alike(steps, whole).sum())
        in_twice += int(alike(twice.to(closure.reader.dtype), whole).sum())
    if stepwise < checked:
        raise Refusal(
            f"step by step, {checked - stepwise} of {checked} segments give another memory than as "
            "a whole: values lie on the edge of rounding"
        )
    return {"checked": checked, "stepwise_agree": stepwise, "double_agree": in_twice}
