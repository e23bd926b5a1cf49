"""Your own task: any Gymnasium environment, any Minari dataset, any model.

Settings that do for a start, with sizes that follow from the task. Whoever wants others has a flag
for each, or writes a recipe.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from retain.core.errors import ConfigError
from retain.recipes import RECIPES
from retain.recipes.presets import check_size, model_config

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

    from retain.agents.online import OnlineAgentConfig
    from retain.evaluation import EvaluationConfig
    from retain.training.config import OnlineRunConfig, RunConfig

Option = int | float | bool | str

#: Longer episodes than this are trained on in parts, offline.
LONGEST_SEQUENCE = 150

#: What each agent that acts begins with, besides what all have.
AGENT_SETTINGS: dict[str, dict[str, Any]] = {
    "dqn": {"target_rate": 0.01},
    # How much the entropy should weigh depends on the rewards, so it is learned.
    "sac_discrete": {"target_rate": 0.01, "learn_temperature": True, "target_entropy": 0.3},
    "sac": {"target_rate": 0.01},
    # Whole episodes, for the gradient to go back to what is to be remembered.
    "a2c": {"normalize": "batch", "entropy_weight": 0.01},
    "ppo": {},
}
#: How each agent is trained, where not as all are.
TRAIN_SETTINGS: dict[str, dict[str, Any]] = {
    # To climb its critics takes many updates, from what was played just before.
    "sac": {"updates_per_step": 0.25, "batch_size": 16, "num_envs": 4},
    # Its many updates from the same episodes are smaller ones, and compare what is learned with
    # what acted, which must not be blurred by noise of the model's own.
    "ppo": {"learning_rate": 3e-4, "dropout_in_collection": False},
}


def _register(
    agent: str, title: str, actions: str = "discrete", example: str = "CartPole-v1"
) -> None:
    """Registers the recipe of an agent that learns by acting."""

    def gymnasium(
        *,
        env: str = example,
        option: dict[str, Option] | None = None,
        steps: int | None = None,
        model: str = "lstm",
    ) -> OnlineRunConfig:
        return _online(agent, env, _checked(option), steps, model)

    gymnasium.__doc__ = f"Any Gymnasium environment of {actions} actions with {title}."
    RECIPES.register(f"gymnasium/{agent}")(gymnasium)


_register("dqn", "DQN")
_register("sac_discrete", "SAC-Discrete")
_register("sac", "SAC", "continuous", example="Pendulum-v1")
_register("a2c", "A2C", "discrete or continuous")
_register("ppo", "PPO", "discrete or continuous")


@RECIPES.register("minari/sequence_policy")
def minari_sequence_policy(
    *,
    dataset: str | None = None,
    env: str | None = None,
    option: dict[str, Option] | None = None,
    steps: int | None = None,
    model: str = "rate",
) -> RunConfig:
    """Any Minari dataset, offline, in sequences as long as its longest episode."""
    from retain.agents.sequence_policy import SequencePolicyConfig
    from retain.data.store import dataset_info, dataset_seeds
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.training.config import RunConfig
    from retain.training.settings import DataConfig, TrainConfig

    if dataset is None:
        raise ConfigError(
            "minari/sequence_policy needs --dataset ID; `retain list datasets` has those there are"
        )
    info = dataset_info(dataset)
    kwargs = {**(info.env_kwargs if env is None else {}), **_checked(option)}
    env = info.env_id if env is None else env
    if env is None and kwargs:
        raise ConfigError(
            f"option is of an environment, and dataset '{dataset}' names none; give --env ID"
        )
    if steps is None:
        steps = min(info.max_length, LONGEST_SEQUENCE)
    check_size("steps", steps)
    settings = model_config(
        model, width=64, steps=steps, tokens_per_step=3, num_layers=2, num_heads=4, dropout=0.0
    )
    return RunConfig(
        recipe=f"{dataset}/{model}",
        environment=None if env is None else EnvironmentConfig(id=env, kwargs=kwargs),
        data=DataConfig(
            dataset=dataset,
            num_segments=-(-steps // settings.context_length),
            start="episode" if info.max_length <= steps else "random",
        ),
        model=settings,
        agent=SequencePolicyConfig(
            target_return=info.max_return,
            return_scale=max(1.0, abs(info.max_return), abs(info.min_return)),
            normalize_observations=True,
        ),
        train=TrainConfig(
            updates=2000,
            batch_size=32,
            schedule="cosine",
            evaluate_every=None if env is None else 500,
            num_threads=1,
            # What a memory is good for is not known here, nor how long it takes to find out.
            memory_cost_start=0.5,
            memory_cost_warmup=0.4,
        ),
        evaluation=_unseen(EvaluationConfig(parameter=_varied(kwargs)), dataset_seeds(dataset)),
    )


def _unseen(evaluation: EvaluationConfig, seeds: set[int]) -> EvaluationConfig:
    """Moves the seeds of evaluations past those that data were collected with.

    An episode of the same seed may be one that was trained on.
    """
    first = evaluation.seed
    while seen := seeds.intersection(range(first, first + evaluation.episodes)):
        first = max(seen) + 1
    return replace(evaluation, seed=first)


def _checked(options: dict[str, Option] | None) -> dict[str, Option]:
    """The options of an environment, once it is known that a run can keep them."""
    for name, value in (options or {}).items():
        if not isinstance(value, int | float | bool | str):
            raise ConfigError(f"option {name} must be a number, a text, true or false, not {value}")
    return dict(options or {})


def _online(
    agent: str, env: str, options: dict[str, Option], steps: int | None, model: str
) -> OnlineRunConfig:
    from retain.agents import AGENTS
    from retain.envs import find_spec
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.tokens import StepTokenConfig
    from retain.training.config import OnlineRunConfig
    from retain.training.settings import OnlineTrainConfig

    spec = find_spec(env)
    steps = _longest_episode(spec, options) if steps is None else steps
    check_size("steps", steps)
    tokens = StepTokenConfig(action_width=16, reward_width=16)
    config_class = cast("type[OnlineAgentConfig]", AGENTS.get(agent).Config)
    train = OnlineTrainConfig(
        env_steps=100_000,
        episodes=None,
        batch_size=32,
        updates_per_step=0.05,
        checkpoint_every=10_000,
        learning_rate=1e-3,
        gradient_clip=1.0,
        num_threads=1,
    )
    return OnlineRunConfig(
        recipe=f"{spec.id}/{agent}",
        environment=EnvironmentConfig(id=env, kwargs=options),
        model=model_config(model, width=64, steps=steps + 1, num_heads=4, dropout=0.0),
        agent=config_class(
            tokens=tokens, hidden=(128,), normalize_observations=True, **AGENT_SETTINGS[agent]
        ),
        train=replace(train, **TRAIN_SETTINGS.get(agent, {})),
        evaluation=EvaluationConfig(parameter=_varied(options)),
    )


def _longest_episode(spec: EnvSpec, options: dict[str, Option]) -> int:
    """The steps after which Gymnasium, or the environment's own option, cuts an episode."""
    limit = options.get("max_episode_steps", spec.max_episode_steps)
    if type(limit) is not int:
        raise ConfigError(
            f"how long the episodes of {spec.id} can be is not known; give --steps NUMBER, from "
            "which the sizes of the model follow, or, where they need not end by themselves, "
            "--option max_episode_steps=NUMBER"
        )
    return limit


def _varied(options: dict[str, Option]) -> str | None:
    """The option that evaluations may set to other values: the first that is a whole number."""
    numbers = (name for name, value in options.items() if type(value) is int)
    return next((name for name in numbers if name != "max_episode_steps"), None)
