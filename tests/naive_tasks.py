"""Small tasks written a second time, in plain Python and one at a time, from their rules.

They share no code with `retain.envs` and are given what is hidden (side, bits, query), so that the
arrays can be held to them step by step. The T-Maze is also the speed benchmark's stand-in for an
environment of the usual kind.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Step = tuple[npt.NDArray[np.float32], float, bool]


class NaiveTMaze:
    """A T-Maze with fixed horizon; `oracle_distance` 0 is the passive one."""

    def __init__(self, corridor_length: int, oracle_distance: int, distract_reward: float = 0.0):
        self.corridor_length = corridor_length
        self.oracle_distance = oracle_distance
        self.distract_reward = distract_reward
        self.horizon = corridor_length + 2 * oracle_distance + 1

    def reset(self, side: int) -> npt.NDArray[np.float32]:
        self.side, self.x, self.y, self.t, self.told = side, self.oracle_distance, 0, 0, False
        return self.observe()

    def observe(self) -> npt.NDArray[np.float32]:
        if self.x == 0:
            shown = 0 if self.told else self.side
            self.told = True
            return np.array([0, shown], dtype=np.float32)
        if self.x < self.oracle_distance + self.corridor_length:
            return np.array([0, 0], dtype=np.float32)
        return np.array([1, self.y], dtype=np.float32)

    def step(self, action: int) -> Step:
        self.t += 1
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[action]
        x, y = self.x + dx, self.y + dy
        junction = self.oracle_distance + self.corridor_length
        if (y == 0 and 0 <= x <= junction) or (x == junction and abs(y) == 1):
            self.x, self.y = x, y
        done = self.t == self.horizon
        if done:
            reward = 1.0 if self.y == self.side else 0.0
        else:
            reward = 0.0
            if self.x < self.t - self.oracle_distance:
                reward -= 1 / self.corridor_length
            if self.x == 0:
                reward += self.distract_reward
        return self.observe(), reward, done


class NaiveChain:
    """A memory chain: all bits at the start, a query at the end."""

    def __init__(self, memory_length: int, num_bits: int):
        self.memory_length, self.num_bits = memory_length, num_bits

    def reset(self, bits: Sequence[int], query: int) -> npt.NDArray[np.float32]:
        self.bits, self.query, self.steps = list(bits), query, 0
        return self.observe()

    def observe(self) -> npt.NDArray[np.float32]:
        t = max(self.steps - 1, 0)  # the clock stands still at the first step
        query = self.query if t == self.memory_length - 1 else 0
        bits = [2 * bit - 1 if t == 0 else 0 for bit in self.bits]
        return np.array([1 - t / self.memory_length, query, *bits], dtype=np.float32)

    def step(self, action: int) -> Step:
        self.steps += 1
        done = self.steps == self.memory_length + 1
        reward = 0.0
        if done:
            reward = 1.0 if action == self.bits[self.query] else -1.0
        return self.observe(), reward, done


class NaiveDistributed:
    """A distributed memory task: bit i is shown at `times[i]` alone, the majority is asked for."""

    def __init__(self, memory_length: int, times: Sequence[int]):
        self.memory_length, self.times = memory_length, times

    def reset(self, bits: Sequence[int]) -> npt.NDArray[np.float32]:
        self.bits, self.t = list(bits), 0
        return self.observe()

    def observe(self) -> npt.NDArray[np.float32]:
        bits = [
            2 * bit - 1 if time == self.t else 0
            for bit, time in zip(self.bits, self.times, strict=True)
        ]
        return np.array([1 - self.t / self.memory_length, 0, *bits], dtype=np.float32)

    def step(self, action: int) -> Step:
        self.t += 1
        done = self.t == self.memory_length
        reward = 0.0
        if done:
            majority = sum(2 * bit - 1 for bit in self.bits) > 0
            reward = 1.0 if (action == 1) == majority else -1.0
        return self.observe(), reward, done


class NaiveShownTMaze:
    """The T-Maze of the offline recipes, without noise: what is shown when is given.

    `shown` has time -> (side, item), with item 0 for a distractor; the last side of an item counts.
    """

    def __init__(self, num_hints: int, *, named: bool):
        self.num_hints, self.named = num_hints, named

    def reset(self, length: int, shown: dict[int, tuple[int, int]]) -> npt.NDArray[np.float32]:
        self.length, self.shown = length, shown
        self.goals = {item: side for _, (side, item) in sorted(shown.items()) if item}
        self.t = self.x = self.y = 0
        self.answers: list[int] = []
        return self.observe()

    def observe(self) -> npt.NDArray[np.float32]:
        side, item = self.shown.get(self.t, (0, -1))
        flag = len(self.answers) + 1 if self.x == self.length - 1 and not self.y else 0
        if item == 0:
            assert flag == 0, "a distractor at the junction would hide the question"
            flag = -1
        names = range(1, self.num_hints + 1) if self.named else []
        name = [float(number in (item, flag)) for number in names]
        return np.array([self.y, side, flag, 0, *name], dtype=np.float32)

    def step(self, action: int) -> Step:
        self.t += 1
        done, reward = False, 0.0
        if action in (1, 3):
            if self.x == self.length - 1:
                self.answers.append(2 - action)
                if len(self.answers) == self.num_hints:
                    self.y, done = self.answers[-1], True
                    right = [self.goals[i + 1] == a for i, a in enumerate(self.answers)]
                    reward = float(all(right))
        else:
            self.x = min(max(self.x + 1 - action, 0), self.length - 1)
        return self.observe(), reward, done


class NaiveRecall:
    """Associative recall without noise: `shown` has time -> (key, value)."""

    def __init__(self, num_keys: int, num_values: int, store_steps: int):
        self.num_keys, self.num_values, self.store_steps = num_keys, num_values, store_steps

    def reset(
        self, shown: dict[int, tuple[int, int]], gap: int, asked: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        self.shown, self.asked = shown, list(asked)
        self.first_question = self.store_steps + gap
        self.known = {key: value for _, (key, value) in sorted(shown.items())}
        self.t = 0
        return self.observe()

    def question(self) -> int | None:
        number = self.t - self.first_question
        return self.asked[number] if 0 <= number < len(self.asked) else None

    def observe(self) -> npt.NDArray[np.float32]:
        values, keys = [0] * self.num_values, [0] * self.num_keys
        if self.t in self.shown:
            key, value = self.shown[self.t]
            keys[key] = values[value] = 1
        key_asked = self.question()
        if key_asked is not None:
            keys[key_asked] = 1
        return np.array([*values, *keys, key_asked is not None, 0], dtype=np.float32)

    def step(self, action: int) -> Step:
        key, reward = self.question(), 0.0
        if key is not None and action == self.known[key] + 1:
            reward = 1 / len(self.asked)
        self.t += 1
        return self.observe(), reward, self.t == self.first_question + len(self.asked)
