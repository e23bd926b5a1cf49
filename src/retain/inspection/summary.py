"""An inspection: a run's memory recorded, explained, and judged in one sentence.

Axes: B episodes, R entries, C components.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from retain.agents.policy import Policy
from retain.core.errors import ConfigError
from retain.core.seeding import check_seed
from retain.envs import make_vec
from retain.evaluation import EnvironmentConfig, check_spaces
from retain.inspection.attention import SegmentAttention, segment_attention
from retain.inspection.changes import Cause, causes, usual_observation
from retain.inspection.probe import Probe, probe
from retain.inspection.recording import Array, Floats, Recording, Window, parts_of, record
from retain.inspection.verdict import verdict
from retain.report.statistics import mean_stderr

FORMAT = 1
#: Hidden variables that are probed, and different values of the memory that are listed.
MOST_VARIABLES = 16
MOST_LEVELS = 16


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was found."""

    recording: Recording
    causes: list[tuple[Window, list[Cause]]]
    probes: dict[str, Probe]
    attention: list[SegmentAttention]
    record: dict[str, Any]
    """The findings as plain values; see docs/inspect.md."""


def usual_window(policy: Policy, context_length: int) -> int:
    """Returns after how many steps a memory is worth another look.

    Args:
        policy: The policy.
        context_length: Steps of a segment of its model.
    """
    parts = parts_of(policy.acting_state(1).memory)
    # Memory tokens are written once a segment; what a recurrence carries moves with every token.
    written_by_segment = any(part.kind == "slots" for part in parts)
    return context_length if written_by_segment else max(1, context_length // 10)


def inspect_policy(
    policy: Policy,
    environment: EnvironmentConfig,
    *,
    window: int,
    episodes: int,
    seed: int,
    shown: int = 0,
) -> Inspection:
    """Lets a policy act and looks at its memory.

    Args:
        policy: The policy.
        environment: Where it acts.
        window: Steps from one look at the memory to the next.
        episodes: Episodes, played at once.
        seed: Seed of the first; the others count up from it.
        shown: Number of the episode whose changes are explained.

    Raises:
        ConfigError: If a number is out of range, the policy does not fit the environment, or its
            model has no memory.
    """
    limits = (("episodes", episodes, 1), ("shown", shown, 0), ("window", window, 1))
    for name, given, least in limits:
        if given < least:
            raise ConfigError(f"{name} must be at least {least}, not {given}")
    check_seed("seed", seed)
    if shown >= episodes:
        raise ConfigError(f"shown must be below the number of episodes, {episodes}, not {shown}")
    seeds = [seed + number for number in range(episodes)]
    device = next(policy.parameters()).device
    training = policy.training
    kwargs: dict[str, Any] = dict(environment.kwargs)
    env = make_vec(environment.id, num_envs=episodes, independent_rows=True, **kwargs)
    # Sampled actions come from torch's generators: seeded here, and put back afterwards.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            check_spaces(policy, env.single_observation_space, env.single_action_space)
            recording = record(policy, env, seeds, window=window, shown=shown)
        finally:
            env.close()
        usual = usual_observation(policy.observation_space, recording.observations_T)
        found = [(w, causes(policy, w, usual)) for w in recording.windows if w.changed]
        attention = _attention(policy, recording)
    policy.train(training)
    probes = {
        name: probe(recording.memory_RBC, recording.running_RB, label_RB)
        for name, label_RB in list(recording.hidden.items())[:MOST_VARIABLES]
    }
    # What is the same in all episodes, or told of too few, cannot be probed.
    probes = {n: p for n, p in probes.items() if not np.isnan(p.accuracy_R).all()}
    plain = {
        "format": FORMAT,
        "environment": environment.id,
        "kwargs": kwargs,
        "episodes": episodes,
        "seeds": [seed, seeds[-1]],
        "shown": shown,
        "window": window,
        **_plain(recording, found, probes, attention),
    }
    plain["verdict"] = verdict(plain)
    return Inspection(
        recording=recording, causes=found, probes=probes, attention=attention, record=plain
    )


def _attention(policy: Policy, recording: Recording) -> list[SegmentAttention]:
    """Of the segment that changed the memory the most, and of the last."""
    windows = sorted(recording.windows, key=lambda window: -window.size)[:1]
    last = recording.last_window
    if last is not None and all(last.start != window.start for window in windows):
        windows.append(last)
    found = [segment_attention(policy, window) for window in windows]
    return [attention for attention in found if attention is not None]


def _plain(
    recording: Recording,
    found: list[tuple[Window, list[Cause]]],
    probes: dict[str, Probe],
    attention: list[SegmentAttention],
) -> dict[str, Any]:
    success_B = recording.success_B
    score_B = recording.returns_B if success_B is None else success_B
    mean, stderr = mean_stderr(score_B)
    pairs = int(recording.pairs_B.sum())
    return {
        "metric": "return" if success_B is None else "success",
        "mean": mean,
        "stderr": stderr,
        "lengths": recording.lengths_B.tolist(),
        "memory": _memory(recording),
        "steps": recording.steps_R.tolist(),
        "drift": {
            "to_previous": mean_over_episodes(recording.to_previous_RB).tolist(),
            "to_first": mean_over_episodes(recording.to_first_RB).tolist(),
            "changed": mean_over_episodes(
                np.where(recording.running_RB, recording.changed_RB, np.nan)
            ).tolist(),
            "exact_share": int(recording.equal_B.sum()) / pairs if pairs else None,
            "last_change": int(recording.last_change_B.max()),
            "last_changes": recording.last_change_B.tolist(),
        },
        "changes": [
            {
                "start": window.start,
                "stop": window.start + recording.window,
                "size": window.size,
                "components": window.changed,
                "causes": [_cause(cause) for cause in sorted(why, key=lambda c: -c.moved)[:3]],
            }
            for window, why in found
        ],
        "probe": {
            name: {
                "accuracy": found_probe.accuracy_R.tolist(),
                "stderr": found_probe.stderr_R.tolist(),
                "chance": found_probe.chance_R.tolist(),
                "between": found_probe.between_R.tolist(),
                "within": found_probe.within_R.tolist(),
            }
            for name, found_probe in probes.items()
        },
        "attention": [
            {
                "start": looks.start,
                "to_memory": looks.to_memory_NT.mean(axis=1).tolist(),
                "write_to_read": looks.write_NMS[
                    :, :, looks.num_cached : looks.num_cached + looks.num_memory
                ]
                .sum(axis=2)
                .mean(axis=1)
                .tolist(),
            }
            for looks in attention
        ],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    flat = cause.observation.ravel()
    return {
        "step": cause.step,
        "steps": cause.num_steps,
        "moved": cause.moved,
        "observation": flat.tolist() if flat.size <= 64 else None,
    }


def _memory(recording: Recording) -> dict[str, Any]:
    memory_RBC, running_RB = recording.memory_RBC, recording.running_RB
    seen = memory_RBC[running_RB]
    levels = np.unique(seen[:: max(1, len(seen) // 4096)])
    last_BC = memory_RBC[-1][running_RB[-1]]
    return {
        "parts": [
            {"name": part.name, "kind": part.kind, "shape": list(part.shape)}
            for part in recording.parts
        ],
        "components": recording.num_components,
        "levels": levels.tolist() if len(levels) <= MOST_LEVELS else None,
        "varying": int((last_BC != last_BC[:1]).any(axis=0).sum()),
        "different": len(np.unique(last_BC, axis=0)),
        "root_mean_square": float(np.sqrt((seen.astype(np.float64) ** 2).mean())),
    }


def mean_over_episodes(values_RB: Array) -> Floats:
    """The mean over the episodes that still went on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of entries without any
        return np.asarray(np.nanmean(values_RB, axis=1))
