"""Associative recall: pairs of a key and a value, then a long gap, then the keys are asked.

The agent is shown pairs at steps of a first phase, waits through a gap in which nothing is shown,
and is then asked key by key for the values. What it must keep are the links, not the values in
their order; and a key can be shown again with another value, which then counts.

    | store: `store_steps` | gap: from `min_gap` to `gap` | ask: a step for each question |

Observation, float32 of shape [num_values + num_keys + 2]: `[value, key, asking, noise]`.
    value   one-hot, where a pair is shown, else zeros
    key     one-hot, where a pair is shown or a key is asked, else zeros
    asking  1 where a key is asked, else 0
    noise   a number that means nothing
Actions: 0 waits, 1 to `num_values` name a value. Where nothing is asked, actions do nothing.

Every question is one step and gives 1 / `num_queries` if the answer is right, else 0. An episode
has `store_steps` + gap + `num_queries` steps and ends as terminated; the last observation is empty
but for the noise. Without memory an answer is right with chance 1 / `num_values`.

The rules are our own, after the associative retrieval task of Ba et al., "Using Fast Weights to
Attend to the Recent Past" (2016), with steps of an agent for the characters of a text. The value
stands before the key, so that an expert can read both without knowing how many there are.

Axes: B rows, P pairs, N showings (pairs, then replacements), Q questions, C columns of a script
(steps of the store phase, questions, and a last one where nothing is shown), O observation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from retain.core.errors import ConfigError
from retain.envs.associative_picture import Scene, as_picture, as_text
from retain.envs.batched import BatchedEnv, BatchedRules, BatchedVectorEnv, Transition
from retain.envs.checks import check_count
from retain.envs.experts import register_expert
from retain.envs.noise import Noise, RowNoise

NOTHING = -1  # in a script: no key, or no value


@dataclass(frozen=True, kw_only=True)
class AssociativeRecallOptions:
    """What can be chosen about associative recall.

    Raises:
        ConfigError: If a value is out of range or two do not fit together.
    """

    num_pairs: int = 2
    """Pairs to remember, each with a key of its own."""
    num_keys: int = 8
    """Keys that the pairs are drawn from."""
    num_values: int = 4
    """Values that each pair's is drawn from; two pairs may have the same."""
    replacements: int = 0
    """Pairs shown after the first `num_pairs`: one of their keys with a newly drawn value; the last
    value of a key counts."""
    store_steps: int | None = None
    """Steps of the first phase, at random ones of which the pairs are shown; by default one for
    each pair and replacement."""
    gap: int = 10
    """Steps between the first phase and the questions; the most, if gaps are drawn."""
    min_gap: int | None = None
    """If given, each episode draws its gap uniformly from here up to `gap`."""
    num_queries: int | None = None
    """Keys asked for, each at most once and in random order; by default all pairs' keys."""
    noise: Noise = "discrete"
    """`discrete`: -1, 0 or 1; `continuous`: from -1 to 1; `none`: always 0."""

    def __post_init__(self) -> None:
        for name, least in (
            ("num_pairs", 1),
            ("num_keys", 1),
            ("num_values", 2),  # of one value there is nothing to remember
            ("replacements", 0),
            ("store_steps", 1),
            ("gap", 0),
            ("min_gap", 0),
            ("num_queries", 1),
        ):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), least)
        if self.noise not in get_args(Noise):
            names = ", ".join(get_args(Noise))
            raise ConfigError(f"noise '{self.noise}' is not one of {names}")
        if self.num_pairs > self.num_keys:
            raise ConfigError(
                f"num_pairs {self.num_pairs} is greater than num_keys {self.num_keys}: each pair "
                "has a key of its own"
            )
        if self.questions > self.num_pairs:
            raise ConfigError(
                f"num_queries {self.num_queries} is greater than num_pairs {self.num_pairs}: a "
                "key is asked for once at most"
            )
        if self.first_phase < self.num_showings:
            raise ConfigError(
                f"store_steps {self.store_steps} is too small for num_pairs {self.num_pairs} and "
                f"replacements {self.replacements}: at least {self.num_showings}"
            )
        if self.shortest_gap > self.gap:
            raise ConfigError(f"min_gap {self.min_gap} is greater than gap {self.gap}")

    @property
    def num_showings(self) -> int:
        """Pairs and replacements together."""
        return self.num_pairs + self.replacements

    @property
    def first_phase(self) -> int:
        """Steps of the first phase."""
        return self.num_showings if self.store_steps is None else self.store_steps

    @property
    def shortest_gap(self) -> int:
        """The smallest gap an episode can have."""
        return self.gap if self.min_gap is None else self.min_gap

    @property
    def questions(self) -> int:
        """Keys asked for."""
        return self.num_pairs if self.num_queries is None else self.num_queries


class AssociativeRecallRules(BatchedRules):
    """The rules of `num_rows` recall tasks; see the module's text.

    What a row shows is a script of columns. Its time runs through those of the store phase, stands
    at the last, empty one during the gap, and goes on through those of the questions.
    """

    options: AssociativeRecallOptions

    def __init__(self, options: AssociativeRecallOptions, num_rows: int):
        super().__init__(options, num_rows)
        size = options.num_values + options.num_keys + 2
        low_O, high_O = np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.float32)
        low_O[-1] = -1
        self.observation_space = gym.spaces.Box(low_O, high_O, dtype=np.float32)
        self.action_space = gym.spaces.Discrete(1 + options.num_values)

        self.time_B = np.zeros(num_rows, dtype=np.int64)
        self.gap_B = np.zeros(num_rows, dtype=np.int64)
        self.right_B = np.zeros(num_rows, dtype=np.int64)  # right answers so far
        self.ended_B = np.ones(num_rows, dtype=np.bool_)
        columns = (num_rows, options.first_phase + options.questions + 1)
        self.key_BC = np.full(columns, NOTHING, dtype=np.int64)
        self.value_BC = np.full(columns, NOTHING, dtype=np.int64)
        self.answer_BC = np.zeros(columns, dtype=np.int64)  # the right action, 0 where none is
        self.last_BP = np.zeros((num_rows, options.num_pairs), dtype=np.int64)
        self._noise = RowNoise(options.noise, num_rows)
        self._rows = np.arange(num_rows)

    def begin(self, row: int, rng: np.random.Generator) -> None:
        """Draws gap, keys, what is replaced, values, times, questions and noise, in this order."""
        options = self.options
        pairs, first_phase = options.num_pairs, options.first_phase
        gap = options.gap
        if options.shortest_gap < gap:
            gap = int(rng.integers(options.shortest_gap, gap + 1))
        keys_P = rng.choice(options.num_keys, size=pairs, replace=False)
        pair_N = np.append(np.arange(pairs), rng.integers(pairs, size=options.replacements))
        values_N = rng.integers(options.num_values, size=options.num_showings)
        times_N = np.sort(rng.choice(first_phase, size=options.num_showings, replace=False))
        asked_Q = rng.permutation(pairs)[: options.questions]
        last_P = np.empty(pairs, dtype=np.int64)
        last_P[pair_N] = np.arange(options.num_showings)  # of equal indices the last one stays

        asking = slice(first_phase, first_phase + options.questions)
        self.key_BC[row] = self.value_BC[row] = NOTHING
        self.key_BC[row, times_N] = keys_P[pair_N]
        self.value_BC[row, times_N] = values_N
        self.key_BC[row, asking] = keys_P[asked_Q]
        self.answer_BC[row, asking] = 1 + values_N[last_P[asked_Q]]
        self.last_BP[row] = values_N[last_P]
        self.gap_B[row] = gap
        self.time_B[row] = self.right_B[row] = 0
        self.ended_B[row] = False
        self._noise.draw(row, rng)

    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Takes the answer of every running row, where one is asked for, and goes on."""
        running_B = ~self.ended_B
        answer_B = self.answer_BC[self._rows, self._columns()]
        right_B = running_B & (answer_B > 0) & (actions_B == answer_B)
        self.right_B += right_B
        self.time_B += running_B
        steps_B = self.options.first_phase + self.gap_B + self.options.questions
        terminated_B = running_B & (self.time_B >= steps_B)
        self.ended_B = self.ended_B | terminated_B
        self._noise.advance(self.time_B, running_B, self.generators)
        truncated_B = np.zeros(self.num_rows, dtype=np.bool_)
        return Transition(right_B / self.options.questions, terminated_B, truncated_B)

    def observe(self) -> npt.NDArray[np.float32]:
        """The observations `[value, key, asking, noise]`, float32 of shape [B, O]."""
        options = self.options
        column_B = self._columns()
        observations_BO = np.zeros((self.num_rows, options.num_values + options.num_keys + 2))
        key_B = self.key_BC[self._rows, column_B]
        value_B = self.value_BC[self._rows, column_B]
        # In the gap, where most steps are, no row is found.
        with_value, with_key = np.flatnonzero(value_B >= 0), np.flatnonzero(key_B >= 0)
        observations_BO[with_value, value_B[with_value]] = 1
        observations_BO[with_key, options.num_values + key_B[with_key]] = 1
        observations_BO[:, -2] = self.answer_BC[self._rows, column_B] > 0
        observations_BO[:, -1] = self._noise.at(self.time_B)
        return observations_BO.astype(np.float32)

    def hidden(self) -> dict[str, Any]:
        """The values that count at the end, pair by pair in the order of their first showing."""
        return {f"pair {p + 1}": last_B for p, last_B in enumerate(self.last_BP.T)}

    def row_info(self) -> dict[str, Any]:
        """The gap of this episode."""
        return {"gap": self.gap_B}

    def end_info(self) -> dict[str, Any]:
        """Whether every answer was right."""
        return {"success": self.right_B == self.options.questions}

    def render(self, row: int, mode: str) -> str | npt.NDArray[np.uint8]:
        """Draws one row, as text (`ansi`) or as a picture (`rgb_array`)."""
        options = self.options
        column = int(self._columns()[row])
        time, gap = int(self.time_B[row]), int(self.gap_B[row])
        scene = Scene(
            num_keys=options.num_keys,
            num_values=options.num_values,
            time=time,
            phase_ends=(
                options.first_phase,
                options.first_phase + gap,
                options.first_phase + gap + options.questions,
            ),
            key=int(self.key_BC[row, column]),
            value=int(self.value_BC[row, column]),
            asked=bool(self.answer_BC[row, column]),
            right=int(self.right_B[row]),
            num_questions=options.questions,
        )
        return as_text(scene) if mode == "ansi" else as_picture(scene)

    def _columns(self) -> npt.NDArray[np.int64]:
        """The column of the script that every row is at, shape [B]."""
        first_phase, empty = self.options.first_phase, self.key_BC.shape[1] - 1
        later_B = self.time_B - self.gap_B
        column_B = np.where(later_B >= first_phase, np.minimum(later_B, empty), empty)
        return np.where(self.time_B < first_phase, self.time_B, column_B)


class AssociativeRecallEnv(BatchedEnv):
    """One recall task (`retain/AssociativeRecall-v0`); options: `AssociativeRecallOptions`."""

    rules_type = AssociativeRecallRules
    options_type = AssociativeRecallOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012


class AssociativeRecallVectorEnv(BatchedVectorEnv):
    """Many recall tasks in one batch; options: `AssociativeRecallOptions`."""

    rules_type = AssociativeRecallRules
    options_type = AssociativeRecallOptions
    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012


@register_expert("retain/AssociativeRecall-v0")
class AssociativeRecallOracle:
    """Remembers every pair, answers every question, and waits in between."""

    def __init__(self) -> None:
        self._answer_BO = np.zeros((0, 0), dtype=np.int64)  # by the key's place in the observation

    def __call__(
        self, observations_BO: npt.NDArray[Any], reset_B: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the actions of all rows.

        Args:
            observations_BO: The observations, shape [B, num_values + num_keys + 2].
            reset_B: True where the observation is the first of an episode.
        """
        marks_BO = observations_BO[:, :-2] > 0
        if self._answer_BO.shape != marks_BO.shape:
            self._answer_BO = np.zeros(marks_BO.shape, dtype=np.int64)
        self._answer_BO[reset_B] = 0
        # Of two marks the first is the value; the last mark is the key.
        first_B = marks_BO.argmax(axis=1)
        key_B = marks_BO.shape[1] - 1 - marks_BO[:, ::-1].argmax(axis=1)
        shown = np.flatnonzero(marks_BO.sum(axis=1) == 2)
        self._answer_BO[shown, key_B[shown]] = 1 + first_B[shown]
        answer_B = self._answer_BO[np.arange(len(marks_BO)), key_B]
        return np.where(observations_BO[:, -2] > 0, answer_B, 0)
