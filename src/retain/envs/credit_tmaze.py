"""The T-Mazes that tell memory from credit assignment: passive and active, with fixed horizons.

    oracle . start . . . . . junction     cells 0, ..., o + c; the start is cell o

`c` is `corridor_length` and `o` the distance of the oracle, which alone knows the goal's side. In
the passive maze the agent starts on the oracle (o = 0). In the active one it must first walk away
from the junction to be told, and is paid for that only at the end. The corridor's length can be
drawn for each episode (`min_corridor_length`); `c` is then the length drawn.

Observation, float32 of shape [2]:
    [0, side]  on the oracle, at the first visit; side is +1 (up) or -1 (down)
    [0, 0]     on the oracle later, and in the corridor
    [1, y]     at the junction (y = 0) and in its arms (y = +1 or -1)
Actions: 0 right, 1 up, 2 left, 3 down; a blocked move does nothing, and arms can be left again.

An episode always has 2 o + c + 1 steps, as many as the best play needs, and ends as terminated.
The last step gives 1 if the agent then is in the goal's arm, else 0. Every other step t = 1, 2, ...
gives -1/c if the new cell x < t - o, that is, if the agent is behind one that never hesitates; and
`distract_reward` if the new cell is the oracle.

The rules are those of Ni et al., "When Do Transformers Shine in RL? Decoupling Memory from Credit
Assignment" (2023).

Axes: B rows, R rows chosen from them, C cells, S states, A actions, O observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.envs.batched import BatchedEnv, BatchedVectorEnv, Transition
from retain.envs.checks import check_count, check_lengths, check_number
from retain.envs.draws import FixedHorizonRules, Rows, below, bits
from retain.envs.experts import register_expert
from retain.envs.tmaze_picture import Scene, as_picture, as_text

RIGHT, UP, LEFT, DOWN = range(4)
STAY = 4  # what a row does whose episode has ended
NUM_MOVES = 5
SHIFT = 3  # a state's moves have 8 places in the table of moves, which makes their place a shift


@dataclass(frozen=True, kw_only=True)
class PassiveTMazeOptions:
    """What can be chosen about a passive T-Maze.

    Raises:
        ConfigError: If a value is out of range.
    """

    corridor_length: int = 50
    """Moves from the start to the junction; the most of them, if lengths are drawn."""
    min_corridor_length: int | None = None
    """If given, each episode draws its length uniformly from here up to `corridor_length`."""
    distract_reward: float = 0.0
    """Added at every step but the last that ends on the oracle's cell."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def oracle_distance(self) -> int:
        """Moves from the start to the oracle."""
        return 0


@dataclass(frozen=True, kw_only=True)
class ActiveTMazeOptions:
    """What can be chosen about an active T-Maze.

    Raises:
        ConfigError: If a value is out of range.
    """

    corridor_length: int = 20
    """Moves from the start to the junction; the most of them, if lengths are drawn."""
    min_corridor_length: int | None = None
    """If given, each episode draws its length uniformly from here up to `corridor_length`."""
    oracle_distance: int = 1
    """Moves from the start to the oracle, away from the junction."""
    distract_reward: float = 0.0
    """Added at every step but the last that ends on the oracle's cell."""

    def __post_init__(self) -> None:
        _check(self)
        check_count("oracle_distance", self.oracle_distance)


class CreditTMazeRules(FixedHorizonRules):
    """The rules of `num_rows` T-Mazes; see the module's text.

    A row's whole situation is one number, its state: where it is, whether it was at the oracle, and
    on which side its goal is. Moves, observations and positions are then looked up in tables.

    A shorter corridor is the end of the longest one: cells are missing at the oracle's side, and
    the clock starts with as many steps.
    """

    options: PassiveTMazeOptions | ActiveTMazeOptions

    def __init__(self, options: PassiveTMazeOptions | ActiveTMazeOptions, num_rows: int):
        distance = options.oracle_distance
        super().__init__(options, num_rows, 2 * distance + options.corridor_length + 1)
        low_O, high_O = np.array([0, -1], np.float32), np.array([1, 1], np.float32)
        self.observation_space = gym.spaces.Box(low_O, high_O, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(4)
        self.junction = distance + options.corridor_length
        self._late_reward_B = np.full(num_rows, -1.0 / options.corridor_length)
        # Cells of the corridor that a row does without, and the first state that is left to it.
        self._shorter_B = np.zeros(num_rows, dtype=np.int64)
        self._first_B = np.zeros(num_rows, dtype=np.int64)

        cells_C2, moves_CA = _moves(self.junction)
        count = len(cells_C2)
        # States of one goal: the cells once the oracle was seen, the first visit to the oracle and,
        # where there is a way to it, the cells before it.
        self.first_visit, self._untold = count, count + 1
        on_oracle_A = np.array([1, 0, 0, 0, self.first_visit])
        moves_SA = np.concatenate([moves_CA, on_oracle_A[None]])
        places_S2 = np.concatenate([cells_C2, [[0, 0]]])
        self._start = self.first_visit
        if distance:
            untold_CA = np.where(moves_CA == 0, self.first_visit, moves_CA + self._untold)
            moves_SA = np.concatenate([moves_SA, untold_CA])
            places_S2 = np.concatenate([places_S2, cells_C2])
            self._start = self._untold + distance

        self.states_per_goal = size = len(moves_SA)
        side_SO = np.stack([places_S2[:, 0] == self.junction, places_S2[:, 1]], axis=1)
        down_SO, up_SO = side_SO.astype(np.float32), side_SO.astype(np.float32)
        down_SO[self.first_visit, 1], up_SO[self.first_visit, 1] = -1, 1
        # From here on S counts the states of both goals: down, then up.
        moves_SA = np.concatenate([moves_SA, moves_SA + size])
        moves_SA = np.pad(moves_SA, ((0, 0), (0, (1 << SHIFT) - NUM_MOVES)))
        x_S, y_S = np.tile(places_S2.T, 2)
        self._observations_SO = _constant(np.concatenate([down_SO, up_SO]))
        self.x_S, self.y_S = _constant(x_S), _constant(y_S)
        self._next = _constant(moves_SA.ravel())
        self.state_B = np.full(num_rows, self._start)

    def begin_rows(self, rows: Rows) -> None:
        """Puts `rows` at the start; the first bit of their words is the side of the goal.

        Where lengths are drawn, the second word says which.
        """
        super().begin_rows(rows)
        words_RW = self.draws.words(rows, 2)
        goal_R = bits(words_RW[:, :1], 1)[:, 0].astype(np.int64) * self.states_per_goal
        self.state_B[rows] = self._start + goal_R
        longest, shortest = self.options.corridor_length, self.options.min_corridor_length
        if shortest is not None:
            shorter_R = below(words_RW[:, 1], longest - shortest + 1)
            self._shorter_B[rows] = shorter_R
            self._first_B[rows] = goal_R + shorter_R
            self._late_reward_B[rows] = -1.0 / (longest - shorter_R)
            if self.options.oracle_distance:
                self.state_B[rows] += shorter_R
            self.begin_earlier(rows, shorter_R)

    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Moves every running row; `actions_B` holds 0 right, 1 up, 2 left, 3 down."""
        still = np.flatnonzero(self.ended_B) if np.count_nonzero(self.ended_B) else None
        if still is not None:
            actions_B = actions_B.copy()
            actions_B[still] = STAY
        terminated_B, last = self.tick()
        before_B = self.state_B
        self.state_B = self._next.take((before_B << SHIFT) + actions_B)
        drawn = self.options.min_corridor_length is not None
        if drawn:
            self._mend_shorter(before_B, actions_B)
        x_B = self.x_S.take(self.state_B)
        if drawn:
            np.maximum(x_B, self._shorter_B, out=x_B)
        late_B = x_B < self.ages() - self.options.oracle_distance
        rewards_B = np.zeros(self.num_rows)
        np.copyto(rewards_B, self._late_reward_B, where=late_B)
        if self.options.distract_reward:
            rewards_B += (x_B == self._shorter_B) * self.options.distract_reward
        if still is not None:
            rewards_B[still] = 0.0
        if last is not None:
            state_R = self.state_B[last]
            goal_R = np.where(state_R < self.states_per_goal, -1, 1)
            self.success_B[last] = self.y_S[state_R] == goal_R
            rewards_B[last] = self.success_B[last]
        return Transition(rewards_B, terminated_B, np.zeros(self.num_rows, dtype=np.bool_))

    def _mend_shorter(
        self, before_B: npt.NDArray[np.int64], actions_B: npt.NDArray[np.int64]
    ) -> None:
        """Sees to what the tables say of the oracle's cell, for rows whose oracle is in another."""
        leaves_B = before_B % self.states_per_goal == self.first_visit
        leaves_B &= actions_B == RIGHT
        np.maximum(self.state_B, self._first_B + leaves_B, out=self.state_B)
        if self.options.oracle_distance:
            is_told_B = self.state_B == self._first_B + self._untold
            np.copyto(
                self.state_B, self._first_B - self._shorter_B + self.first_visit, where=is_told_B
            )

    def observe(self) -> npt.NDArray[np.float32]:
        """The observations `[junction, side]`, float32 of shape [B, 2]."""
        return self._observations_SO.take(self.state_B, axis=0)

    def hidden(self) -> dict[str, npt.NDArray[np.int64]]:
        """The side of the goal."""
        return {"goal": np.where(self.state_B < self.states_per_goal, -1, 1)}

    def row_info(self) -> dict[str, Any]:
        """The corridor's length in this episode, where it is drawn."""
        if self.options.min_corridor_length is None:
            return {}
        return {"corridor_length": self.options.corridor_length - self._shorter_B}

    def render(self, row: int, mode: str) -> str | npt.NDArray[np.uint8]:
        """Draws one row, as text (`ansi`) or as a picture (`rgb_array`)."""
        state, shorter = int(self.state_B[row]), int(self._shorter_B[row])
        goal = -1 if state < self.states_per_goal else 1
        first = state % self.states_per_goal == self.first_visit
        scene = Scene(
            length=self.junction + 1 - shorter,
            longest=self.junction + 1,
            x=max(int(self.x_S[state]), shorter) - shorter,
            y=int(self.y_S[state]),
            time=min(self.now - int(self.start_B[row]), self.horizon) - shorter,
            hint=goal if first else 0,
            goal=goal,
            question=1,
            num_hints=1,
            success=bool(self.success_B[row]) if self.ended_B[row] else None,
        )
        return as_text(scene) if mode == "ansi" else as_picture(scene)


def _constant(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a copy that cannot be written to, which a snapshot need not keep."""
    array = array.copy()
    array.setflags(write=False)
    return array


def _moves(junction: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cells as (x, y), shape [C, 2], and where each move leads from each, shape [C, A].

    Cells 0 to `junction` are the corridor, the next two the arms, up and down.
    """
    up, down = junction + 1, junction + 2
    corridor = np.arange(junction + 1)
    cells_C2 = np.zeros((junction + 3, 2), dtype=np.int64)
    cells_C2[corridor, 0] = corridor
    cells_C2[[up, down]] = (junction, 1), (junction, -1)
    moves_CA = np.repeat(np.arange(len(cells_C2))[:, None], NUM_MOVES, axis=1)
    moves_CA[corridor, RIGHT] = np.minimum(corridor + 1, junction)
    moves_CA[corridor, LEFT] = np.maximum(corridor - 1, 0)
    moves_CA[junction, [UP, DOWN]] = up, down
    moves_CA[up, DOWN] = moves_CA[down, UP] = junction
    return cells_C2, moves_CA


class PassiveTMazeEnv(BatchedEnv):
    """One passive T-Maze (`retain/PassiveTMaze-v0`); options: `PassiveTMazeOptions`."""

    rules_type = CreditTMazeRules
    options_type = PassiveTMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class PassiveTMazeVectorEnv(BatchedVectorEnv):
    """Many passive T-Mazes in one batch; options: `PassiveTMazeOptions`."""

    rules_type = CreditTMazeRules
    options_type = PassiveTMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class ActiveTMazeEnv(BatchedEnv):
    """One active T-Maze (`retain/ActiveTMaze-v0`); options: `ActiveTMazeOptions`."""

    rules_type = CreditTMazeRules
    options_type = ActiveTMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class ActiveTMazeVectorEnv(BatchedVectorEnv):
    """Many active T-Mazes in one batch; options: `ActiveTMazeOptions`."""

    rules_type = CreditTMazeRules
    options_type = ActiveTMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


@register_expert("retain/PassiveTMaze-v0")
@register_expert("retain/ActiveTMaze-v0")
class CreditTMazeOracle:
    """Plays both mazes optimally, from observations alone: to the oracle, then to the goal."""

    def __init__(self) -> None:
        self._goal_B = np.zeros(0)

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations_BO: The observations, shape [B, 2].
            reset_B: True where the observation is the first of an episode.
        """
        if len(self._goal_B) != len(observations_BO):
            self._goal_B = np.zeros(len(observations_BO))
        there_B, seen_B = observations_BO[:, 0] > 0, observations_BO[:, 1]
        self._goal_B = np.where(reset_B, 0, self._goal_B)
        self._goal_B = np.where(~there_B & (seen_B != 0), seen_B, self._goal_B)
        actions_B = np.where(self._goal_B == 0, LEFT, RIGHT)
        # In the right arm, RIGHT is a wall.
        turn_B = there_B & (seen_B != self._goal_B)
        return np.where(turn_B, np.where(self._goal_B > seen_B, UP, DOWN), actions_B)


def _check(options: PassiveTMazeOptions | ActiveTMazeOptions) -> None:
    """Checks what both mazes have."""
    check_lengths(options.min_corridor_length, options.corridor_length)
    check_number("distract_reward", options.distract_reward)
