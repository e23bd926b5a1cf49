"""Experience from acting: rounds of whole episodes, played at once, each from a seed of its own.

Every episode of a run has a number, and its environment is reset with a seed made of the run's seed
and that number. So a run needs no state of an environment to go on from a checkpoint, whatever the
environment is.

Axes: B rows (episodes of a round), T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import VectorEnv

from retain.agents.online import OnlineAgent
from retain.core.seeding import generator
from retain.data.replay import EpisodeBatch
from retain.envs import make_vec
from retain.evaluation import EnvironmentConfig
from retain.memory import MemoryState
from retain.rollout import Episodes, check_finite, note_long, read_success

Array = npt.NDArray[Any]
#: Steps after which the user is told that episodes have not ended.
LONG = 10_000
_ENVIRONMENT = 1  # the stream of a run's seed that environments are reset from


@dataclass(frozen=True)
class Stretch:
    """Some consecutive steps of a round: all of them, or n."""

    batch: EpisodeBatch
    """The steps; what lies beyond an episode's end is arbitrary, but for the mask."""
    memory: MemoryState
    """The agent's memory before the first step."""
    ended: Episodes
    """The episodes that ended in these steps."""
    returns: Array
    """The sum of the rewards so far in its episode, at each real step, [N]; those of earlier steps
    are discounted."""

    def episodes(self) -> Iterator[tuple[Array, Array, Array, bool]]:
        """Yields observations [T + 1, ...], actions, rewards and whether it ended for good."""
        batch = self.batch
        for row, steps in enumerate(batch.mask.sum(axis=1).tolist()):
            yield (
                batch.observation[row, : steps + 1],
                batch.action[row, :steps],
                batch.reward[row, :steps],
                bool(batch.terminated[row].any()),
            )


class Collector:
    """Plays rounds of episodes with an agent that explores.

    Args:
        agent: The agent.
        environment: The environment.
        seed: The run's seed.
    """

    def __init__(self, agent: OnlineAgent, environment: EnvironmentConfig, seed: int):
        self.agent = agent
        self.environment = environment
        self.seed = seed
        self._env: VectorEnv[Any, Any, Any] | None = None
        self._options: dict[str, Any] = {}

    def close(self) -> None:
        """Closes the environments."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def play(
        self,
        first: int,
        count: int,
        *,
        epsilon: float,
        num_steps: int | None = None,
        options: Mapping[str, Any] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Stretch]:
        """Plays episodes to their ends; the agent may be changed between two stretches.

        Args:
            first: Number of the first episode.
            count: Episodes, B.
            epsilon: Share of actions drawn uniformly.
            num_steps: Steps in a stretch; None for whole episodes.
            options: Options of the environment in these episodes, over its own.
            stopped: Asked before each step whether to leave the round, by a KeyboardInterrupt.
        """
        env = self._environments(count, {**self.environment.kwargs, **(options or {})})
        draw = [generator(self.seed, _ENVIRONMENT, first + row) for row in range(count)]
        seeds = [int(rng.integers(2**31)) for rng in draw]
        observation, _ = env.reset(seed=seeds)  # type: ignore[arg-type]
        round_ = _Round(self.agent, env, np.asarray(observation), epsilon)
        while round_.running.any():
            yield round_.play(num_steps, stopped)

    def _environments(self, count: int, options: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
        if self._env is None or self._env.num_envs != count or self._options != options:
            self.close()
            self._env = make_vec(self.environment.id, count, independent_rows=True, **options)
            self._options = options
        return self._env


class _Round:
    """Episodes that are being played."""

    def __init__(
        self, agent: OnlineAgent, env: VectorEnv[Any, Any, Any], observation: Array, epsilon: float
    ):
        rows = len(observation)
        self.agent, self.env, self.epsilon = agent, env, epsilon
        self.device = next(agent.parameters()).device
        self.observation = observation
        self.reward = np.zeros(rows, dtype=np.float32)
        self.action = agent.no_action(rows).cpu().numpy()
        self.running = np.ones(rows, dtype=np.bool_)
        check_finite(observation, self.reward, self.running)
        self.tracked = np.arange(rows)  # the rows that the agent still acts in
        self.returns, self.lengths = np.zeros(rows), np.zeros(rows, dtype=np.int64)
        self.sums = np.zeros(rows)
        self.success = np.full(rows, np.nan)
        self.begins, self.read = True, 0
        self.state = agent.acting_state(rows)

    def play(self, num_steps: int | None, stopped: Callable[[], bool]) -> Stretch:
        """Plays some steps, or to the end of all episodes."""
        memory, was_running = self.state.memory, self.running.copy()
        previous = self.action, self.reward
        begins = np.full(len(was_running), self.begins)
        read_before = np.full(len(was_running), self.read)
        steps: dict[str, list[Array]] = {
            name: [] for name in ("observation", "action", "reward", "terminated", "mask", "sum")
        }
        steps["observation"].append(self.observation)
        # Before the first step of a stretch, the state is not given away: the memory is wanted.
        donate = False
        # Tensors made in inference mode cannot be trained from, and a later stretch is.
        quietly = torch.inference_mode if num_steps is None else torch.no_grad
        while self.running.any() and (num_steps is None or len(steps["mask"]) < num_steps):
            if num_steps is None and self.running.sum() * 2 <= len(self.tracked):
                self._drop()
            if stopped():
                raise KeyboardInterrupt
            steps["mask"].append(self.running.copy())
            if self.read == LONG:
                note_long("episodes", LONG)
            with quietly():
                terminated = self._step(donate)
            donate = True
            steps["observation"].append(self.observation)
            steps["action"].append(self.action)
            steps["reward"].append(self.reward)
            steps["terminated"].append(terminated)
            steps["sum"].append(self.sums)
        stacked = {name: np.stack(arrays, axis=1) for name, arrays in steps.items()}
        sums = stacked.pop("sum")
        batch = EpisodeBatch(
            **stacked,
            previous_action=previous[0],
            previous_reward=previous[1],
            begins=begins,
            read_before=read_before,
        )
        over = was_running & ~self.running
        ended = Episodes(self.returns[over], self.lengths[over], self.success[over])
        return Stretch(batch, memory, ended, sums[batch.mask])

    def _drop(self) -> None:
        """Goes on acting in the rows alone that have not ended."""
        kept = np.flatnonzero(self.running[self.tracked])
        self.state = self.state.rows(torch.as_tensor(kept, device=self.device))
        self.tracked = self.tracked[kept]

    def _step(self, donate: bool) -> Array:
        rows = self.tracked
        chosen, _, self.state = self.agent.act(
            self._tensor(self.observation[rows]),
            self._tensor(self.reward[rows]),
            self._tensor(np.full(len(rows), self.begins)),
            self.state,
            donate=donate,
            epsilon=self.epsilon,
        )
        self.begins, self.read = False, self.read + 1
        self.action = self.action.copy()
        self.action[rows] = chosen.cpu().numpy()
        observation, reward, terminated, truncated, info = self.env.step(self.action)
        self.observation = np.asarray(observation)
        check_finite(self.observation, np.asarray(reward), self.running)
        self.reward = np.where(self.running, reward, 0.0).astype(np.float32)
        self.returns += self.reward
        self.sums = self.agent.config.discount * self.sums + self.reward
        self.lengths += self.running
        ended = self.running & (np.asarray(terminated) | np.asarray(truncated))
        read_success(info, ended, self.success)
        for_good = self.running & np.asarray(terminated)
        self.running = self.running & ~ended
        return for_good

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.as_tensor(array, device=self.device)
