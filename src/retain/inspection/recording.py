"""Recording: a policy acts in a batch of episodes, and its memory is looked at at every step.

The memory is what a state's fields of the kinds `slots` and `carry` hold, flattened and side by
side: C components. It is noted every `window` steps, which for models with segments is once a
segment: entry n is what is held when step n * window has been read. The space that a recording
takes does not grow with the length of the episodes: long series are thinned.

Axes: B episodes, C components, R entries noted, T steps, V hidden variables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from retain.agents.policy import ActingState, Policy
from retain.core.errors import ConfigError
from retain.inspection.thinning import Array, Thinned
from retain.memory import MemoryState
from retain.rollout import judged, read_success

#: Numbers of the memory that are kept in all (32 MB), and the most entries.
MOST_NUMBERS = 2**23
MOST_ENTRIES = 512
#: Steps of which the size of the change is kept.
MOST_STEPS = 2**12

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A field of the memory's state."""

    name: str
    kind: str
    shape: tuple[int, ...]
    """Of one episode."""

    @property
    def size(self) -> int:
        """Components."""
        return math.prod(self.shape)


def parts_of(state: MemoryState) -> list[Part]:
    """Returns the parts of a state that are memory: `slots` and `carry` that are not empty."""
    kinds = {field.name: field.metadata["kind"] for field in fields(state)}
    return [
        Part(name, kinds[name.partition(".")[0]], tuple(tensor.shape[1:]))
        for name, tensor in state.named_tensors()
        if kinds[name.partition(".")[0]] in ("slots", "carry") and tensor.shape[1:].numel()
    ]


def memory_of(state: MemoryState) -> Tensor:
    """Returns the memory of a state, [B, C], as a copy."""
    named = dict(state.named_tensors())
    return torch.cat([named[part.name].flatten(1).float() for part in parts_of(state)], dim=1)


@dataclass(frozen=True)
class Window:
    """A stretch of one episode that can be read again; it has `window` + 1 steps.

    The last step is the first of the next window: there, models with segments write what they
    have made of the segment.
    """

    start: int
    """The episode's step that comes first."""
    state: ActingState
    """What the policy carried before it, one row."""
    observations_T: Array
    rewards_T: Array
    actions_T: Array
    """What was done at each step."""
    before_C: Array
    """The memory when the first step has been read."""
    after_C: Array
    """The memory when the last step has been read."""

    @property
    def size(self) -> float:
        """How far the memory moved."""
        return float(distance(self.after_C[None], self.before_C[None])[0])

    @property
    def changed(self) -> int:
        """Components that changed."""
        return int((self.after_C != self.before_C).sum())


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was seen of the memory in a batch of episodes."""

    parts: list[Part]
    window: int
    """Steps from one entry to the next before thinning."""
    returns_B: Floats
    lengths_B: npt.NDArray[np.int64]
    success_B: Floats | None
    steps_R: npt.NDArray[np.int64]
    """The step of each entry."""
    memory_RBC: npt.NDArray[np.float32]
    running_RB: npt.NDArray[np.bool_]
    """Whether the episode was still going on; else the memory is of no meaning."""
    hidden: dict[str, Array]
    """What had to be remembered, as the environment says it, by name: [R, B]."""
    to_previous_RB: Floats
    """Distance to the entry before (the greatest one where entries are thinned)."""
    to_first_RB: Floats
    """Distance to entry 1."""
    changed_RB: npt.NDArray[np.int64]
    """Components that differ from the entry before (the most where entries are thinned)."""
    pairs_B: npt.NDArray[np.int64]
    """Pairs of neighbouring entries, before thinning."""
    equal_B: npt.NDArray[np.int64]
    """Of these, those without any difference."""
    last_change_B: npt.NDArray[np.int64]
    """The last step at which the memory changed, of all steps; -1 if it never did."""
    shown: int
    """The episode of which more is known."""
    change_places_T: npt.NDArray[np.int64]
    change_size_T: Floats
    """How far the memory moved at a step, of the episode shown (the farthest of several steps)."""
    observations_T: Array
    """Observations of the episode shown; one out of so many where it is long."""
    windows: list[Window]
    """Of the episode shown: those in which the memory changed the most, in order of time."""
    last_window: Window | None
    """The last whole one."""

    @property
    def num_components(self) -> int:
        """Components C."""
        return sum(part.size for part in self.parts)


def distance(one_BC: Array, other_BC: Array) -> Floats:
    """Returns the root of the mean squared difference over components, [B]."""
    difference_BC = one_BC.astype(np.float64) - other_BC
    return np.asarray(np.sqrt((difference_BC**2).mean(axis=1)))


@torch.inference_mode()
def record(
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    seeds: list[int],
    *,
    window: int,
    shown: int = 0,
    most_windows: int = 4,
) -> Recording:
    """Plays one episode in every row and records the memory.

    Args:
        policy: The policy, in evaluation mode.
        env: The environments; their observations must be numbers of one shape.
        seeds: A seed for each row.
        window: Steps from one entry to the next.
        shown: The row of which windows are kept.
        most_windows: How many of them.

    Raises:
        ConfigError: If the model has no memory.
    """
    return _Recorder(policy, env, seeds, window, shown, most_windows).run()


class _Recorder:
    def __init__(
        self,
        policy: Policy,
        env: VectorEnv[Any, Any, Any],
        seeds: list[int],
        window: int,
        shown: int,
        most_windows: int,
    ):
        self.policy, self.env, self.seeds = policy.eval(), env, seeds
        self.window, self.shown, self.most_windows = window, shown, most_windows
        self.device = next(policy.parameters()).device
        rows = len(seeds)
        self.state: ActingState = policy.acting_state(rows)
        self.parts = parts_of(self.state.memory)
        if not self.parts:
            raise ConfigError(
                "the run's model has no memory to look at: its state has no field of the kind "
                "slots or carry; inspect a run of a model that has (rate, rmt, elmur, lstm, ...)"
            )
        components = sum(part.size for part in self.parts)
        capacity = min(MOST_ENTRIES, max(4, MOST_NUMBERS // (rows * components)))
        self.memory, self.running = Thinned(capacity), Thinned(capacity)
        self.to_previous, self.to_first = Thinned(capacity, "max"), Thinned(capacity)
        self.changed, self.change_size = Thinned(capacity, "max"), Thinned(MOST_STEPS, "max")
        self.observations = Thinned(MOST_STEPS)
        self.hidden: dict[str, Thinned] = {}
        self.capacity = capacity
        self.pairs_B, self.equal_B = np.zeros((2, rows), dtype=np.int64)
        self.last_change_B = np.full(rows, -1, dtype=np.int64)
        self.before_BC: Array | None = None
        self.first_BC: Array | None = None
        self.windows: list[Window] = []
        self.last_window: Window | None = None
        self.trace: list[tuple[Array, Array, Array]] = []
        self.trace_state: ActingState | None = None

    def run(self) -> Recording:
        env, rows = self.env, len(self.seeds)
        observation, info = env.reset(seed=self.seeds)  # type: ignore[arg-type]
        told: dict[str, Array] = {}
        _listen(info, told, rows)
        reward = np.zeros(rows)
        returns, lengths = np.zeros(rows), np.zeros(rows, dtype=np.int64)
        success = np.full(rows, np.nan)
        running = np.ones(rows, dtype=np.bool_)
        memory = memory_of(self.state.memory)
        step = 0
        while running.any():
            hidden = _hidden(env, told) if step % self.window == 0 else {}
            carried = self._carried(step, running)
            action = self._act(observation, reward, step == 0)
            if running[self.shown]:
                seen = (observation[self.shown], reward[self.shown], action[self.shown])
                self.trace.append((np.array(seen[0]), np.array(seen[1]), np.array(seen[2])))
            previous, memory = memory, memory_of(self.state.memory)
            self._note_step(step, previous, memory, running, observation)
            if step % self.window == 0:
                self._note_entry(step, memory.cpu().numpy(), running, hidden, carried)
            observation, reward, terminated, truncated, info = env.step(action)
            _listen(info, told, rows)
            returns += np.where(running, reward, 0.0)
            lengths += running
            ended = running & (np.asarray(terminated) | np.asarray(truncated))
            read_success(info, ended, success)
            running &= ~ended
            step += 1
        kept = sorted(self.windows, key=lambda found: found.start)
        return Recording(
            parts=self.parts,
            window=self.window,
            returns_B=returns,
            lengths_B=lengths,
            success_B=judged(success),
            steps_R=self.memory.places() * self.window,
            memory_RBC=self.memory.values(),
            running_RB=self.running.values(),
            hidden={name: series.values() for name, series in self.hidden.items()},
            to_previous_RB=self.to_previous.values(),
            to_first_RB=self.to_first.values(),
            changed_RB=self.changed.values(),
            pairs_B=self.pairs_B,
            equal_B=self.equal_B,
            last_change_B=self.last_change_B,
            shown=self.shown,
            change_places_T=self.change_size.places(),
            change_size_T=self.change_size.values(),
            observations_T=self.observations.values(),
            windows=kept,
            last_window=self.last_window,
        )

    def _carried(self, step: int, running_B: Array) -> ActingState | None:
        """A copy of what the row shown carries, where a window begins."""
        if step % self.window or not running_B[self.shown]:
            return None
        return self.state.rows([self.shown])

    def _act(self, observation_B: Array, reward_B: Array, first: bool) -> Array:
        rows = len(self.seeds)
        action, _, self.state = self.policy.act(
            torch.tensor(np.asarray(observation_B), device=self.device),
            torch.tensor(np.asarray(reward_B), dtype=torch.float32, device=self.device),
            torch.full((rows,), first, device=self.device),
            self.state,
            donate=True,
        )
        return action.cpu().numpy()

    def _note_step(
        self, step: int, previous: Tensor, memory: Tensor, running_B: Array, observation_B: Array
    ) -> None:
        changed_B = (memory != previous).any(dim=1).cpu().numpy() & running_B
        self.last_change_B[changed_B] = step
        if running_B[self.shown]:
            moved = (memory[self.shown] - previous[self.shown]).double().square().mean().sqrt()
            self.change_size.push(float(moved))
            self.observations.push(np.asarray(observation_B[self.shown]))

    def _note_entry(
        self,
        step: int,
        memory_BC: Array,
        running_B: Array,
        hidden: dict[str, Array],
        carried: ActingState | None,
    ) -> None:
        before_BC = memory_BC if self.before_BC is None else self.before_BC
        number = step // self.window
        if self.first_BC is None or number == 1:
            self.first_BC = memory_BC
        differ_B = (memory_BC != before_BC).sum(axis=1)
        if number:
            self.pairs_B += running_B
            self.equal_B += running_B & (differ_B == 0)
        self.memory.push(memory_BC)
        self.running.push(running_B)
        self.changed.push(np.where(running_B, differ_B, 0))
        nowhere = np.where(running_B, 0.0, np.nan)
        self.to_previous.push(distance(memory_BC, before_BC) + nowhere)
        self.to_first.push(distance(memory_BC, self.first_BC) + nowhere)
        for name, value_B in hidden.items():
            if number == 0 or name in self.hidden:
                self.hidden.setdefault(name, Thinned(self.capacity)).push(value_B)
        if carried is not None:
            self._close_window(step, before_BC[self.shown], memory_BC[self.shown])
            self.trace, self.trace_state = self.trace[-1:], carried
        self.before_BC = memory_BC

    def _close_window(self, step: int, before_C: Array, after_C: Array) -> None:
        if self.trace_state is None:
            return
        observations, rewards, actions = map(np.stack, zip(*self.trace, strict=True))
        window = Window(
            step - self.window,
            self.trace_state,
            observations,
            rewards,
            actions,
            before_C.copy(),
            after_C.copy(),
        )
        self.last_window = window
        self.windows.append(window)
        if len(self.windows) > self.most_windows:
            # Of those that changed the least, the latest: the first segment is where things begin.
            sizes = [found.size for found in self.windows]
            del self.windows[len(sizes) - 1 - int(np.argmin(sizes[::-1]))]


def _hidden(env: Any, told: dict[str, Array]) -> dict[str, Array]:
    """What has to be remembered now: asked of the environment, else what `info` has told."""
    ask = getattr(env.unwrapped, "hidden", None)
    return dict(ask()) if callable(ask) else told


def _listen(info: dict[str, Any], told: dict[str, Array], rows: int) -> None:
    """Notes `hidden` of an environment's info: numbers by name, or one number."""
    if "hidden" not in info:
        return
    found = info["hidden"]
    for name, value_B in (found if isinstance(found, dict) else {"hidden": found}).items():
        if name.startswith("_") or np.shape(value_B) != (rows,):
            continue
        mask_B = found.get(f"_{name}") if isinstance(found, dict) else info.get("_hidden")
        known_B = np.ones(rows, dtype=np.bool_) if mask_B is None else np.asarray(mask_B)
        old_B = told.get(name, np.zeros(rows, dtype=np.int64))
        told[name] = np.where(known_B, np.asarray(value_B).astype(np.int64), old_B)
