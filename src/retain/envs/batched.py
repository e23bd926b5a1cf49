"""Environments whose rules are written once, on arrays, for any number of rows.

A family writes its dynamics as `BatchedRules`. `BatchedEnv` shows one row of them as a
`gymnasium.Env`, `BatchedVectorEnv` all rows as a `gymnasium.vector.VectorEnv`; so the two cannot
drift apart. Rows are independent: each has its own generator, and row b that is reset with seed s
goes exactly through what the single environment goes through when it is reset with s.

Axes: B rows, R rows chosen from them.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from retain.core.errors import ConfigError
from retain.envs.checks import whole_number
from retain.envs.snapshots import Snapshot

Array = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]


class Transition(NamedTuple):
    """What one step gives, per row; observations are asked for apart."""

    rewards_B: npt.NDArray[np.float64]
    terminated_B: BoolArray
    truncated_B: BoolArray


class BatchedRules(ABC):
    """The dynamics of `num_rows` independent copies of one environment.

    A row whose episode has ended stands still until it is reset: stepping it gives reward 0 and
    reports no second end.

    Args:
        options: The family's options, a frozen dataclass.
        num_rows: How many copies.
    """

    observation_space: gym.Space[Any]
    action_space: gym.spaces.Discrete

    def __init__(self, options: Any, num_rows: int):
        self.options = options
        self.num_rows = num_rows
        # The generator of a row, and the seed that names its present episode. Both are None
        # until the row's first reset.
        self.generators: list[np.random.Generator | None] = [None] * num_rows
        self.seeds: list[int | None] = [None] * num_rows

    def reset(self, rows: Sequence[int], seeds: Sequence[int | None]) -> None:
        """Starts a new episode in each of `rows`.

        Args:
            rows: The rows to reset.
            seeds: One per entry of `rows`. A number seeds the row's generator afresh; None goes
                on with the present one and counts the row's seed up by one.
        """
        for row, seed in zip(rows, seeds, strict=True):
            rng, last = self.generators[row], self.seeds[row]
            if seed is None and rng is not None and last is not None:
                self.seeds[row] = last + 1
            else:
                if seed is None:
                    seed = int(np.random.SeedSequence().generate_state(1)[0])
                rng = np.random.default_rng(seed)
                self.generators[row], self.seeds[row] = rng, seed
            self.begin(row, rng)

    def go_on(self, rows: npt.NDArray[np.int64]) -> None:
        """Starts a new episode without a new seed in each of `rows`, shape [R]."""
        self.reset(rows.tolist(), [None] * len(rows))

    def generator(self, row: int) -> np.random.Generator | None:
        """The row's generator, or None before its first reset."""
        return self.generators[row]

    @abstractmethod
    def begin(self, row: int, rng: np.random.Generator) -> None:
        """Puts `row` at the start of a new episode, drawing from `rng` alone."""

    @abstractmethod
    def step(self, actions_B: npt.NDArray[np.int64]) -> Transition:
        """Advances every row whose episode is still running by one step."""

    @abstractmethod
    def observe(self) -> Array:
        """The present observation of every row, a new array of shape [B, ...]."""

    def row_info(self) -> dict[str, Array]:
        """What `info` says after every reset and step; arrays of shape [B]."""
        return {}

    def end_info(self) -> dict[str, Array]:
        """What `info` says in addition when an episode has just ended; arrays of shape [B]."""
        return {}

    def hidden(self) -> dict[str, Array]:
        """What a player has to remember, by name; whole numbers of shape [B].

        It is told to nobody who plays: `retain inspect` asks whether a memory holds it.
        """
        return {}

    def render(self, row: int, mode: str) -> str | npt.NDArray[np.uint8]:
        """Draws one row."""
        raise NotImplementedError


class _Family:
    """What the two views share: the rules' class and the options' class of the family."""

    rules_type: ClassVar[type[BatchedRules]]
    options_type: ClassVar[type[Any]]
    metadata: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Gives the class a signature with every option, for `help` and for `make`."""
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "options_type"):
            return
        own = [
            parameter
            for parameter in inspect.signature(cls.__init__).parameters.values()
            if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        options = inspect.signature(cls.options_type).parameters.values()
        first = [p for p in own if p.kind is not p.KEYWORD_ONLY]
        rest = [p for p in own if p.kind is p.KEYWORD_ONLY]
        cls.__signature__ = inspect.Signature([*first, *options, *rest])  # type: ignore[attr-defined]

    def _check_render_mode(self, render_mode: str | None) -> None:
        modes = self.metadata["render_modes"]
        if render_mode is not None and render_mode not in modes:
            raise ConfigError(f"render_mode '{render_mode}' is not one of {', '.join(modes)}")


class BatchedEnv(_Family, gym.Env[Array, Any]):
    """One row of a family's rules as a Gymnasium environment.

    Args:
        render_mode: One of the family's render modes, or None.
        **options: The family's options.
    """

    def __init__(self, *, render_mode: str | None = None, **options: Any):
        self._check_render_mode(render_mode)
        self.render_mode = render_mode
        self.rules = self.rules_type(self.options_type(**options), 1)
        self.observation_space = self.rules.observation_space
        self.action_space = self.rules.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode; see `BatchedRules.reset` for the seed. `options` are ignored."""
        self.rules.reset([0], [None if seed is None else _seed(seed)])
        self._np_random, self._np_random_seed = self.rules.generator(0), self.rules.seeds[0]
        return self.rules.observe()[0], self._info(ended=False)

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Takes one step.

        Raises:
            gymnasium.error.ResetNeeded: If the episode has ended or never began.
            gymnasium.error.InvalidAction: If the action is not in the action space.
        """
        if getattr(self, "_ended", True):
            raise gym.error.ResetNeeded("the episode has ended; call reset() before step()")
        actions_B = _actions(np.asarray(action).reshape(1), 1, self.rules.action_space)
        rewards_B, terminated_B, truncated_B = self.rules.step(actions_B)
        terminated, truncated = bool(terminated_B[0]), bool(truncated_B[0])
        info = self._info(ended=terminated or truncated)
        return self.rules.observe()[0], float(rewards_B[0]), terminated, truncated, info

    def render(self) -> Any:
        """The present picture, in the form of the `render_mode` given to the constructor."""
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode; give one to the constructor")
            return None
        return self.rules.render(0, self.render_mode)

    def _info(self, *, ended: bool) -> dict[str, Any]:
        self._ended = ended
        info = {key: value_B[0].item() for key, value_B in self.rules.row_info().items()}
        if ended:
            info |= {key: value_B[0].item() for key, value_B in self.rules.end_info().items()}
        return info


class BatchedVectorEnv(_Family, gym.vector.VectorEnv[Array, Any, Array]):
    """All rows of a family's rules as a Gymnasium vector environment.

    Args:
        num_envs: Number of rows.
        render_mode: One of the family's render modes, or None.
        autoreset_mode: What happens to a row whose episode has ended, as Gymnasium defines it:
            `NextStep` (the next step is a reset), `SameStep` (it is reset at once, the last
            observation is in `info`), `Disabled` (you call `reset` with
            `options={"reset_mask": mask_B}`).
        **options: The family's options.

    Raises:
        ConfigError: If an argument is not usable.
    """

    # Rows may be seeded and reset one by one; `retain.envs.make_vec` asks for this.
    independent_rows: ClassVar[bool] = True

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        **options: Any,
    ):
        self._check_render_mode(render_mode)
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.autoreset_mode = as_autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.rules = self.rules_type(self.options_type(**options), num_envs)
        self.single_observation_space = self.rules.observation_space
        self.single_action_space = self.rules.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._ended_B: BoolArray | None = None

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Starts an episode in every row, or in those of `options["reset_mask"]`.

        Args:
            seed: A number s seeds row b with s + b; a list has one entry per row (None: go on);
                None goes on in every row.
            options: May hold `reset_mask`, a bool array of shape [B].

        Returns:
            The observations of all rows, and the infos of those that were reset.

        Raises:
            ConfigError: If the seeds or the mask do not fit the number of rows.
        """
        seeds = self._seeds(seed)
        mask_B = np.ones(self.num_envs, dtype=np.bool_)
        if options is not None and "reset_mask" in options:
            mask_B = np.asarray(options["reset_mask"])
            if mask_B.shape != (self.num_envs,) or mask_B.dtype != np.bool_ or not mask_B.any():
                raise ConfigError(
                    f"reset_mask must be a bool array of {self.num_envs} rows with at least one "
                    f"True, got {mask_B.dtype} of shape {mask_B.shape}"
                )
        if self._ended_B is None:
            if not mask_B.all():
                raise gym.error.ResetNeeded("the first reset must be without reset_mask")
            self._ended_B = np.zeros(self.num_envs, dtype=np.bool_)
        rows = np.flatnonzero(mask_B).tolist()
        self.rules.reset(rows, [seeds[row] for row in rows])
        self._ended_B = self._ended_B & ~mask_B
        return self.rules.observe(), self._infos({}, self.rules.row_info(), mask_B)

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Takes one step in every row.

        Raises:
            gymnasium.error.ResetNeeded: If a row has ended and the mode is `Disabled`.
            gymnasium.error.InvalidAction: If the actions are not in the action space.
        """
        if self._ended_B is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        actions_B = _actions(np.asarray(actions), self.num_envs, self.rules.action_space)
        stale_B = self._ended_B
        any_stale = np.count_nonzero(stale_B) > 0  # several times as fast as any() on small arrays
        if self.autoreset_mode is AutoresetMode.DISABLED and any_stale:
            raise gym.error.ResetNeeded(
                f"rows {np.flatnonzero(stale_B).tolist()} have ended; call "
                "reset(options={'reset_mask': mask}) before step()"
            )
        rewards_B, terminated_B, truncated_B = self.rules.step(actions_B)
        ended_B = terminated_B | truncated_B
        any_ended = np.count_nonzero(ended_B) > 0
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            if any_ended:
                self._final(infos, ended_B)
                self._go_on(ended_B)
                # The rows are fresh, so none is left to be reset.
                ended_B = np.zeros_like(ended_B)
        else:
            if any_stale:
                self._go_on(stale_B)
            if any_ended:
                self._infos(infos, self.rules.end_info(), ended_B)
        self._ended_B = ended_B
        row_info = self.rules.row_info()
        if row_info:
            self._infos(infos, row_info, np.ones(self.num_envs, dtype=np.bool_))
        return self.rules.observe(), rewards_B, terminated_B, truncated_B, infos

    def hidden(self) -> dict[str, Array]:
        """What the players of the present episodes have to remember; see `BatchedRules.hidden`."""
        return self.rules.hidden()

    def snapshot(self) -> tuple[Snapshot, BoolArray | None]:
        """Keeps where every row is, its generator included, for `restore`."""
        return Snapshot(self.rules), self._ended_B  # the flags are replaced, never written to

    def restore(self, snapshot: tuple[Snapshot, BoolArray | None]) -> None:
        """Goes back to where the rows were when `snapshot` was taken."""
        rules, self._ended_B = snapshot
        rules.restore()

    def render(self) -> tuple[Any, ...] | None:
        """One picture per row, in the form of the `render_mode` given to the constructor."""
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode; give one to the constructor")
            return None
        return tuple(self.rules.render(row, self.render_mode) for row in range(self.num_envs))

    def _go_on(self, mask_B: BoolArray) -> None:
        self.rules.go_on(np.flatnonzero(mask_B))

    def _final(self, infos: dict[str, Any], ended_B: BoolArray) -> None:
        """Keeps what the ended rows showed last, in the form Gymnasium gives it."""
        observations_B = self.rules.observe()
        final_obs_B = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended_B):
            final_obs_B[row] = observations_B[row]
        final_info = self._infos({}, self.rules.row_info() | self.rules.end_info(), ended_B)
        infos |= {"final_obs": final_obs_B, "_final_obs": ended_B.copy()}
        infos |= {"final_info": final_info, "_final_info": ended_B.copy()}

    def _infos(
        self, infos: dict[str, Any], values: dict[str, Array], mask_B: BoolArray
    ) -> dict[str, Any]:
        for key, value_B in values.items():
            infos[key] = np.where(mask_B, value_B, np.zeros((), dtype=value_B.dtype))
            infos[f"_{key}"] = mask_B.copy()
        return infos

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, Sequence | np.ndarray):
            if len(seed) != self.num_envs:
                raise ConfigError(f"got {len(seed)} seeds for {self.num_envs} rows")
            return [None if entry is None else _seed(entry) for entry in seed]
        return [_seed(seed) + row for row in range(self.num_envs)]


def as_autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    """Reads an autoreset mode from its Gymnasium value or name.

    Raises:
        ConfigError: If there is no such mode.
    """
    if isinstance(mode, AutoresetMode):
        return mode
    for known in AutoresetMode:
        if str(mode).replace("_", "").lower() == known.value.lower():
            return known
    names = ", ".join(known.value for known in AutoresetMode)
    raise ConfigError(f"autoreset_mode '{mode}' is not one of {names}")


def _seed(seed: Any) -> int:
    number = whole_number("a seed", seed)
    if number < 0:
        raise ConfigError(f"a seed must be at least 0, got {number}")
    return number


def _actions(
    actions: Array, num_rows: int, action_space: gym.spaces.Discrete
) -> npt.NDArray[np.int64]:
    first, count = int(action_space.start), int(action_space.n)
    usable = actions.shape == (num_rows,) and actions.dtype.kind in "iu"
    if usable:
        actions = actions.astype(np.int64, copy=False)
        # Read as unsigned, numbers below the first are huge: one pass instead of two.
        shifted = actions - first if first else actions
        usable = bool(shifted.view(np.uint64).max() < count)
    if not usable:
        raise gym.error.InvalidAction(
            f"actions must be {num_rows} whole numbers from {first} to {first + count - 1}, "
            f"got {actions!r}"
        )
    return actions
