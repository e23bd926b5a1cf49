"""Environments: made by id, alone or in a batch; and the experts that play them.

Every environment is a Gymnasium environment with an id, so `gymnasium.make` works too. `make` and
`make_vec` add clear errors and choose the fastest vector form that does what is asked.
Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode

from retain.core.errors import ConfigError, RetainError, UnknownNameError, first_line
from retain.core.registry import IMPORT_YOURS, load_plugins
from retain.core.spaces import OneArray
from retain.envs import associative_recall as _associative_recall  # these register their experts
from retain.envs import credit_tmaze as _credit_tmaze
from retain.envs import key_to_door as _key_to_door
from retain.envs import memory_chain as _memory_chain
from retain.envs import rooms_experts as _rooms_experts  # noqa: F401 (imported for its experts)
from retain.envs import tmaze as _tmaze
from retain.envs import visual_match as _visual_match
from retain.envs.batched import as_autoreset_mode
from retain.envs.checks import check_count
from retain.envs.experts import EXPERTS, Behaviour, expert, register_expert

__all__ = [
    "EXPERTS",
    "Behaviour",
    "expert",
    "find_spec",
    "make",
    "make_vec",
    "register_expert",
]

_FAMILIES: dict[str, tuple[type[Any], type[Any]]] = {
    "retain/TMaze-v0": (_tmaze.TMazeEnv, _tmaze.TMazeVectorEnv),
    "retain/AssociativeRecall-v0": (
        _associative_recall.AssociativeRecallEnv,
        _associative_recall.AssociativeRecallVectorEnv,
    ),
    "retain/VisualMatch-v0": (_visual_match.VisualMatchEnv, _visual_match.VisualMatchVectorEnv),
    "retain/KeyToDoor-v0": (_key_to_door.KeyToDoorEnv, _key_to_door.KeyToDoorVectorEnv),
    "retain/PassiveTMaze-v0": (_credit_tmaze.PassiveTMazeEnv, _credit_tmaze.PassiveTMazeVectorEnv),
    "retain/ActiveTMaze-v0": (_credit_tmaze.ActiveTMazeEnv, _credit_tmaze.ActiveTMazeVectorEnv),
    "retain/MemoryLength-v0": (_memory_chain.MemoryLengthEnv, _memory_chain.MemoryLengthVectorEnv),
    "retain/MemorySize-v0": (_memory_chain.MemorySizeEnv, _memory_chain.MemorySizeVectorEnv),
    "retain/DistributedMemory-v0": (
        _memory_chain.DistributedMemoryEnv,
        _memory_chain.DistributedMemoryVectorEnv,
    ),
}

for _id, (_env, _vector_env) in _FAMILIES.items():
    if _id not in gym.registry:
        # As text, so that the spec can be written to a dataset and read back.
        gym.register(
            _id,
            entry_point=f"{_env.__module__}:{_env.__qualname__}",
            vector_entry_point=f"{_vector_env.__module__}:{_vector_env.__qualname__}",
        )


def find_spec(id: str) -> EnvSpec:
    """Returns Gymnasium's record of an environment; `module:id` imports `module` first.

    Raises:
        UnknownNameError: If there is none; the message has the nearest ids.
        ConfigError: If the module cannot be imported, or the id is no text.
    """
    if not isinstance(id, str):
        raise ConfigError(
            f"an environment is given by its id, not by an object ({type(id).__name__}); register "
            "it by gymnasium.register(id, entry_point=...) and give that id"
        )
    module, _, name = id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"module '{module}' of '{id}' cannot be imported: {error}") from None
    if name not in gym.registry:
        load_plugins()
    if name not in gym.registry:
        raise UnknownNameError("environment", name, gym.registry, IMPORT_YOURS)
    return gym.registry[name]


def make(id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    """Makes one environment.

    Args:
        id: The environment's id.
        **kwargs: Its options, and `render_mode` and `max_episode_steps`. The latter goes to the
            environment if it names such an option, else Gymnasium cuts the episodes.

    Returns:
        The environment. Observations that are a Dict, a Tuple or several discrete numbers come as
        one array: see `retain.core.spaces.OneArray`.

    Raises:
        UnknownNameError: If the id is unknown.
        ConfigError: If an option is unknown or unusable.
    """
    spec = copy.deepcopy(find_spec(id))
    with _told_what_is_missing(spec.id):
        known = _parameters(spec.entry_point)
    _check_options(spec.id, kwargs, known, {"render_mode", "max_episode_steps"})
    outer: dict[str, Any] = {}
    if "max_episode_steps" in kwargs and "max_episode_steps" not in (known or ()):
        outer["max_episode_steps"] = kwargs.pop("max_episode_steps")
        check_count("max_episode_steps", outer["max_episode_steps"])
    spec.kwargs |= kwargs
    with _told_what_is_missing(spec.id), _told_of_options(spec.id, kwargs):
        env = gym.make(spec, **outer)
    one_array = OneArray.of(env.observation_space)
    if one_array is not None:
        from gymnasium.wrappers import TransformObservation  # slow to import

        one_array.tell(spec.id)
        env = TransformObservation(env, one_array, one_array.space)
    return env


def make_vec(
    id: str,
    num_envs: int,
    *,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    independent_rows: bool = False,
    **kwargs: Any,
) -> gym.vector.VectorEnv[Any, Any, Any]:
    """Makes a batch of environments.

    The environment's own vector form is used where it has one that can do what is asked, else
    Gymnasium's `SyncVectorEnv`.

    Args:
        id: The environment's id.
        num_envs: Number of rows.
        autoreset_mode: What happens to a row whose episode has ended.
        independent_rows: Ask that rows can be seeded and reset one by one, and that a row's
            course depends on its own seed alone.
        **kwargs: As for `make`.

    Raises:
        UnknownNameError: If the id is unknown.
        ConfigError: If an option is unknown or unusable.
    """
    if num_envs < 1:
        raise ConfigError(f"num_envs must be at least 1, got {num_envs}")
    spec = find_spec(id)
    mode = as_autoreset_mode(autoreset_mode)
    if spec.vector_entry_point is not None:
        with _told_what_is_missing(spec.id):
            known = _parameters(spec.vector_entry_point)
            rows = getattr(_creator(spec.vector_entry_point), "independent_rows", False)
        takes_mode = known is not None and "autoreset_mode" in known
        takes_kwargs = set(kwargs) <= known if known else "max_episode_steps" not in kwargs
        usual = mode is AutoresetMode.NEXT_STEP
        if (rows or not independent_rows) and (takes_mode or usual) and takes_kwargs:
            if takes_mode:
                kwargs = {**kwargs, "autoreset_mode": mode}
            with _told_what_is_missing(spec.id):
                envs = gym.make_vec(
                    spec.id, num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs
                )
            if OneArray.of(envs.single_observation_space) is None:
                return envs
            envs.close()
    return gym.vector.SyncVectorEnv(
        [lambda: make(spec.id, **kwargs) for _ in range(num_envs)], autoreset_mode=mode
    )


@contextlib.contextmanager
def _told_what_is_missing(id: str) -> Iterator[None]:
    """Turns a package that an environment needs and that is not installed into one line."""
    try:
        yield
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        # Gymnasium's own errors say how to install it; of others the module alone is known.
        module = error.name if isinstance(error, ModuleNotFoundError) else None
        hint = f"; install the package that has it, such as by `pip install {module}`"
        raise ConfigError(
            f"{id} cannot be made: {first_line(error)}{hint if module else ''}"
        ) from None


@contextlib.contextmanager
def _told_of_options(id: str, kwargs: dict[str, Any]) -> Iterator[None]:
    """Turns an environment's own complaint of its options into one line.

    Without options it is a fault of the environment, whose place in the code is worth seeing.
    """
    try:
        yield
    except (AssertionError, LookupError, TypeError, ValueError, gym.error.Error) as error:
        if isinstance(error, RetainError | gym.error.DependencyNotInstalled) or not kwargs:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        why = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{id} cannot be made with {given}: {why}") from error


def _creator(entry_point: Any) -> Any:
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _parameters(entry_point: Any) -> set[str] | None:
    """The names an entry point accepts, or None if it takes any."""
    parameters = inspect.signature(_creator(entry_point)).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return {parameter.name for parameter in parameters}


def _check_options(
    id: str, kwargs: dict[str, Any], known: set[str] | None, always: set[str]
) -> None:
    if known is None:
        return
    unknown = sorted(set(kwargs) - known - always)
    if unknown:
        options = ", ".join(sorted(known | always))
        raise ConfigError(f"{id} has no option '{unknown[0]}'; its options: {options}")
