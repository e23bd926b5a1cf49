"""The T-Maze: a hint at the start, a long corridor, a turn at its end.

The agent starts at the left end of a corridor, is told once on which side the goal is, walks to
the junction and turns. Nothing it sees on the way helps, so the turn shows whether it remembers.

    start . . . . . . junction     `corridor_length` cells, both ends included

Observation, float32 of shape [4]: `[y, hint, flag, noise]`; with `named_hints` [4 + N], with one
number more for each of N hints.
    y      0 in the corridor, +1 or -1 after the last turn
    hint   the side of the goal (+1 up, -1 down) when a hint is shown, else 0
    flag   the number of the question asked (1 with one hint) at the junction, else 0;
           -1 where the hint is a distractor
    noise  a number that means nothing
    names  only with `named_hints`: 1 for the question that the hint shown is for, or (at the
           junction) for the question asked; else 0
Actions: 0 right, 1 up, 2 left, 3 down; a move into a wall does nothing.

An optimal episode takes `corridor_length - 1` moves to the right and one turn per hint. The
literature counts differently: its horizon T (a corridor of T - 2 moves, then a turn) is
`corridor_length = T - 1` here.

The rules follow the passive T-Maze of Ni et al., "When Do Transformers Shine in RL? Decoupling
Memory from Credit Assignment" (2023), in the form used by Cherepanov et al., "Recurrent Action
Transformer with Memory" (2023). Each row has a generator of its own.

Hints can be replaced by later ones (the last one for a question counts), and there can be
distractors. What is shown once more must say which question it is for: its name does. A hint and
the question it is for have the same name, so that the one can be looked up by the other.

Axes: B rows, N hints, S showings (hints, then replacements, then distractors), O observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.envs.batched import BatchedEnv, BatchedRules, BatchedVectorEnv, Transition
from retain.envs.checks import check_count, check_lengths, check_number
from retain.envs.draws import balanced_bits
from retain.envs.experts import register_expert
from retain.envs.noise import Noise, RowNoise
from retain.envs.tmaze_picture import Scene, as_picture, as_text

RIGHT, UP, LEFT, DOWN = range(4)
HintTime = Literal["start", "random"]


@dataclass(frozen=True, kw_only=True)
class TMazeOptions:
    """What can be chosen about a T-Maze.

    Raises:
        ConfigError: If a value is out of range or two do not fit together.
    """

    corridor_length: int = 10
    """Cells from the start to the junction, both included; the longest, if lengths are drawn."""
    min_corridor_length: int | None = None
    """If given, each episode draws its length uniformly from here up to `corridor_length`."""
    length_step: int = 1
    """Distance between the lengths that can be drawn."""
    num_hints: int = 1
    """Hints to remember. With several, the junction asks for them one by one, in their order."""
    hint_time: HintTime = "start"
    """`start`: at the first observations; `random`: at random ones before the junction."""
    named_hints: bool = False
    """Show with a hint which question it is for, in a fifth channel; hints come in any order."""
    replacements: int = 0
    """Further hints after the first `num_hints`, each with a new side for one of the questions,
    both drawn at random; the last hint for a question counts. They need `named_hints`."""
    distractors: int = 0
    """Steps before the junction at which the hint shows a side that means nothing; flag -1."""
    goal_reward: float = 1.0
    """Reward at the end of an episode in which every turn was right."""
    wrong_reward: float = 0.0
    """Reward at the end of an episode with a wrong turn. One cut short by the limit gives 0."""
    step_penalty: float = 0.0
    """Subtracted at every step that is not the last."""
    balanced_goals: bool = False
    """Take the goals from the reset seed, so that each is up in half of consecutive seeds."""
    noise: Noise = "discrete"
    """`discrete`: -1, 0 or 1; `continuous`: from -1 to 1; `none`: always 0."""
    max_episode_steps: int | None = None
    """Steps after which an episode is cut short; by default two more than the best play needs."""

    def __post_init__(self) -> None:
        for name in ("length_step", "num_hints"):
            check_count(name, getattr(self, name))
        for name in ("replacements", "distractors"):
            check_count(name, getattr(self, name), least=0)
        if self.max_episode_steps is not None:
            check_count("max_episode_steps", self.max_episode_steps)
        for name in ("goal_reward", "wrong_reward", "step_penalty"):
            check_number(name, getattr(self, name))
        for name, allowed in (("hint_time", HintTime), ("noise", Noise)):
            value, names = getattr(self, name), get_args(allowed)
            if value not in names:
                raise ConfigError(f"{name} '{value}' is not one of {', '.join(names)}")
        check_lengths(self.min_corridor_length, self.corridor_length)
        for name in ("named_hints", "balanced_goals"):  # a text would be true, whatever it says
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.replacements and not self.named_hints:
            raise ConfigError(
                f"replacements {self.replacements} need named_hints: a hint that replaces another "
                "must say which"
            )
        self._check_room()
        needed = self.corridor_length - 1 + self.num_hints
        if self.max_episode_steps is not None and self.max_episode_steps < needed:
            raise ConfigError(
                f"max_episode_steps {self.max_episode_steps} is too small: "
                f"the best play needs {needed} steps"
            )

    def _check_room(self) -> None:
        # A hint shown at the junction itself would not have to be remembered; only unnamed hints at
        # the start may be, so that a corridor of one cell is a task too.
        extra = self.replacements + self.distractors
        room = self.shortest - (self.hint_time == "random" or extra > 0 or self.named_hints)
        if self.num_hints + extra <= room:
            return
        if extra:
            raise ConfigError(
                f"num_hints {self.num_hints}, replacements {self.replacements} and distractors "
                f"{self.distractors} do not fit a corridor of {self.shortest} cells: "
                f"{room} at most, all together"
            )
        raise ConfigError(
            f"num_hints {self.num_hints} does not fit a corridor of {self.shortest} cells "
            f"with hint_time '{self.hint_time}'{' and names' * self.named_hints}: {room} at most"
        )

    @property
    def num_showings(self) -> int:
        """Hints, replacements and distractors together."""
        return self.num_hints + self.replacements + self.distractors

    @property
    def shortest(self) -> int:
        """The smallest corridor length an episode can have."""
        return (
            self.corridor_length if self.min_corridor_length is None else self.min_corridor_length
        )


class TMazeRules(BatchedRules):
    """The rules of `num_rows` T-Mazes; see the module's text."""

    options: TMazeOptions

    def __init__(self, options: TMazeOptions, num_rows: int):
        super().__init__(options, num_rows)
        high, low = [1, 1, options.num_hints, 1], [-1, -1, -1 if options.distractors else 0, -1]
        if options.named_hints:
            high, low = [*high, *[1] * options.num_hints], [*low, *[0] * options.num_hints]
        low_O, high_O = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
        self.observation_space = gym.spaces.Box(low_O, high_O, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(4)
        self._lengths = range(options.shortest, options.corridor_length + 1, options.length_step)

        self.x_B = np.zeros(num_rows, dtype=np.int64)
        self.y_B = np.zeros(num_rows, dtype=np.int64)
        self.time_B = np.zeros(num_rows, dtype=np.int64)
        self.question_B = np.zeros(num_rows, dtype=np.int64)  # questions answered so far
        self.correct_B = np.ones(num_rows, dtype=np.bool_)  # every answer so far was right
        self.ended_B = np.ones(num_rows, dtype=np.bool_)
        self.length_B = np.ones(num_rows, dtype=np.int64)
        self.limit_B = np.ones(num_rows, dtype=np.int64)
        self.goals_BN = np.zeros((num_rows, options.num_hints), dtype=np.int64)
        showings = (num_rows, options.num_showings)
        self.times_BS = np.zeros(showings, dtype=np.int64)
        self.sides_BS = np.zeros(showings, dtype=np.int64)
        self.items_BS = np.zeros(showings, dtype=np.int64)  # 0 for a distractor
        self._noise = RowNoise(options.noise, num_rows)

    def begin(self, row: int, rng: np.random.Generator) -> None:
        """Draws length, goals, times, what else is shown, and the first noise, in this order."""
        options = self.options
        count = options.num_hints
        length = self._lengths[-1]
        if len(self._lengths) > 1:
            length = self._lengths[int(rng.integers(len(self._lengths)))]
        if options.balanced_goals:
            bits_N: Any = balanced_bits(self.seeds[row] or 0, count)
        else:
            bits_N = rng.integers(0, 2, size=count)
        self.goals_BN[row] = 2 * bits_N - 1
        self.times_BS[row] = self._draw_times(length, rng)
        self._draw_showings(row, rng)
        self.length_B[row] = length
        self.limit_B[row] = options.max_episode_steps or length + count + 1
        self.x_B[row] = self.y_B[row] = self.time_B[row] = self.question_B[row] = 0
        self.correct_B[row], self.ended_B[row] = True, False
        self._noise.draw(row, rng)

    def _draw_times(self, length: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """The times of the showings, shape [S]: those of hints and replacements in rising order."""
        options = self.options
        count, told = options.num_hints, options.num_hints + options.replacements
        if options.hint_time == "random":
            times_S = rng.choice(length - 1, size=options.num_showings, replace=False)
        else:
            times_S = np.arange(options.num_showings)
            if options.num_showings > count:
                later = rng.choice(
                    length - 1 - count, size=options.num_showings - count, replace=False
                )
                times_S[count:] = count + later
        times_S[:told] = np.sort(times_S[:told])
        return times_S

    def _draw_showings(self, row: int, rng: np.random.Generator) -> None:
        """What the showings say; draws only for what the options add to a hint per question."""
        options = self.options
        count, told = options.num_hints, options.num_hints + options.replacements
        items_S, sides_S = self.items_BS[row], self.sides_BS[row]
        items_S[:count] = np.arange(count)
        if options.named_hints:
            items_S[:count] = rng.permutation(count)
        if options.num_showings > count:
            items_S[count:told] = rng.integers(count, size=options.replacements)
            sides_S[:] = 2 * rng.integers(0, 2, size=options.num_showings) - 1
        # The goals are drawn apart, so that they can be balanced; the last hint tells them.
        last_N = np.empty(count, dtype=np.int64)
        last_N[items_S[:told]] = np.arange(told)  # of equal indices the last one stays
        sides_S[last_N] = self.goals_BN[row]
        items_S[:told] += 1
        items_S[told:] = 0

    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Moves every running row; `actions_B` holds 0 right, 1 up, 2 left, 3 down."""
        options = self.options
        running_B = ~self.ended_B
        junction_B = self.x_B == self.length_B - 1
        self.x_B += (actions_B == RIGHT) & ~junction_B & running_B
        self.x_B -= (actions_B == LEFT) & (self.x_B > 0) & running_B
        self.time_B += running_B

        terminated_B = np.zeros(self.num_rows, dtype=np.bool_)
        rewards_B = np.where(running_B, 0.0 - options.step_penalty, 0.0)
        # UP and DOWN are the odd actions; elsewhere than at the junction they meet a wall.
        turns = np.flatnonzero((actions_B & 1 == 1) & junction_B & running_B)
        if turns.size:
            sides = 2 - actions_B[turns]
            self.correct_B[turns] &= sides == self.goals_BN[turns, self.question_B[turns]]
            self.question_B[turns] += 1
            last = self.question_B[turns] == options.num_hints
            self.y_B[turns[last]] = sides[last]
            terminated_B[turns] = last
            end_rewards = np.where(self.correct_B[turns], options.goal_reward, options.wrong_reward)
            rewards_B[turns[last]] = end_rewards[last]
        truncated_B = running_B & ~terminated_B & (self.time_B >= self.limit_B)
        rewards_B[truncated_B] = 0.0
        self.ended_B = self.ended_B | terminated_B | truncated_B

        self._noise.advance(self.time_B, running_B, self.generators)
        return Transition(rewards_B, terminated_B, truncated_B)

    def observe(self) -> npt.NDArray[np.float32]:
        """The observations, float32 of shape [B, 4], or [B, 4 + N] with named hints."""
        options = self.options
        width = 4 + options.named_hints * options.num_hints
        observations_BO = np.empty((self.num_rows, width), dtype=np.float32)
        asked_B = (self.x_B == self.length_B - 1) & (self.y_B == 0)
        shown_BS = self.times_BS == self.time_B[:, None]
        observations_BO[:, 0] = self.y_B
        observations_BO[:, 1] = (shown_BS * self.sides_BS).sum(axis=1)
        observations_BO[:, 2] = np.where(asked_B, self.question_B + 1, 0)
        observations_BO[:, 3] = self._noise.at(self.time_B)
        if options.distractors:  # they come before the junction, so no question is hidden
            observations_BO[(shown_BS & (self.items_BS == 0)).any(axis=1), 2] = -1
        if options.named_hints:
            item_B = (shown_BS * self.items_BS).sum(axis=1) + asked_B * (self.question_B + 1)
            observations_BO[:, 4:] = item_B[:, None] == np.arange(1, options.num_hints + 1)
        return observations_BO

    def hidden(self) -> dict[str, Any]:
        """The side of each goal, in the order in which the junction asks for them."""
        goals_NB = self.goals_BN.T.copy()
        if len(goals_NB) == 1:
            return {"goal": goals_NB[0]}
        return {f"goal {number}": goal_B for number, goal_B in enumerate(goals_NB, start=1)}

    def row_info(self) -> dict[str, Any]:
        """The corridor's length in this episode."""
        return {"corridor_length": self.length_B}

    def end_info(self) -> dict[str, Any]:
        """Whether every turn was right."""
        return {"success": self.correct_B & (self.question_B == self.options.num_hints)}

    def render(self, row: int, mode: str) -> str | npt.NDArray[np.uint8]:
        """Draws one row, as text (`ansi`) or as a picture (`rgb_array`)."""
        question = min(int(self.question_B[row]), self.options.num_hints - 1)
        seen_O = self.observe()[row]
        scene = Scene(
            length=int(self.length_B[row]),
            longest=self.options.corridor_length,
            x=int(self.x_B[row]),
            y=int(self.y_B[row]),
            time=int(self.time_B[row]),
            hint=int(seen_O[1]),
            goal=int(self.goals_BN[row, question]),
            question=question + 1,
            num_hints=self.options.num_hints,
            success=bool(self.end_info()["success"][row]) if self.y_B[row] else None,
            item=int(seen_O[4:].argmax()) + 1 if seen_O[1] and seen_O[4:].any() else 0,
            distractor=bool(seen_O[2] < 0),
        )
        return as_text(scene) if mode == "ansi" else as_picture(scene)


class TMazeEnv(BatchedEnv):
    """One T-Maze (`retain/TMaze-v0`); the options are those of `TMazeOptions`."""

    rules_type = TMazeRules
    options_type = TMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


class TMazeVectorEnv(BatchedVectorEnv):
    """Many T-Mazes in one batch; the options are those of `TMazeOptions`."""

    rules_type = TMazeRules
    options_type = TMazeOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}  # noqa: RUF012


@register_expert("retain/TMaze-v0")
class TMazeOracle:
    """Plays every variant of the T-Maze optimally, from observations alone."""

    def __init__(self) -> None:
        self._hints_BN = np.zeros((0, 1), dtype=np.int64)
        self._count_B = np.zeros(0, dtype=np.int64)

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations_BO: The observations, shape [B, 4] or [B, 4 + N].
            reset_B: True where the observation is the first of an episode.
        """
        num_rows = len(observations_BO)
        if len(self._count_B) != num_rows:
            self._hints_BN = np.zeros((num_rows, 1), dtype=np.int64)
            self._count_B = np.zeros(num_rows, dtype=np.int64)
        self._count_B = np.where(reset_B, 0, self._count_B)
        told = np.flatnonzero((observations_BO[:, 1] != 0) & (observations_BO[:, 2] >= 0))
        if told.size:
            if observations_BO.shape[1] > 4:
                place = observations_BO[told, 4:].argmax(axis=1)
            else:  # hints without a name come in the order of the questions
                place = self._count_B[told]
            missing = int(place.max()) + 1 - self._hints_BN.shape[1]
            if missing > 0:
                self._hints_BN = np.pad(self._hints_BN, ((0, 0), (0, missing)))
            self._hints_BN[told, place] = np.sign(observations_BO[told, 1])
            self._count_B[told] = np.maximum(self._count_B[told], place + 1)
        actions_B = np.full(num_rows, RIGHT, dtype=np.int64)
        asked = np.flatnonzero(observations_BO[:, 2] > 0)
        if asked.size:
            question = observations_BO[asked, 2].astype(np.int64) - 1
            known = question < self._count_B[asked]
            side = np.where(known, self._hints_BN[asked, np.where(known, question, 0)], 1)
            actions_B[asked] = np.where(side > 0, UP, DOWN)
        return actions_B
