"""Memory-RL's tasks (Ni et al. 2023, arXiv 2307.03864): how long a memory, how far back the credit.

DQN on the T-Mazes, SAC-Discrete on the pixel tasks, with any model for memory. The budget
``published`` has the settings and the number of episodes of the authors' commands; ``short`` is for
a machine with two cores. `short_corridors` and `growing` are ours: they learn where it is cheap to
learn, and are judged at the authors' longest corridor, or grow to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from retain.core.errors import ConfigError
from retain.recipes import RECIPES
from retain.recipes.presets import check_size, model_config

if TYPE_CHECKING:
    from retain.agents.online import OnlineAgentConfig
    from retain.training.config import OnlineRunConfig
    from retain.training.settings import OnlineTrainConfig

Budget = Literal["short", "published"]

#: Episodes of the authors' runs, by task and length.
EPISODES = {
    "passive_tmaze": {
        50: 20_000,
        100: 20_000,
        250: 16_000,
        500: 8_000,
        750: 8_000,
        1000: 8_000,
        1250: 8_000,
        1500: 6_700,
    },
    "active_tmaze": {20: 40_000, 50: 40_000, 100: 40_000, 250: 32_000, 500: 16_000},
    "visual_match": {60: 40_000, 120: 30_000, 250: 15_000, 500: 10_000, 750: 10_000, 1000: 10_000},
    "key_to_door": {60: 40_000, 120: 40_000, 250: 30_000, 500: 15_000},
}


#: Length that a growing task begins with, and steps of a segment there: what is short is cheap.
GROWING_FROM = {"passive_tmaze": 25, "active_tmaze": 5, "visual_match": 5, "key_to_door": 5}
SEGMENT = 10


@RECIPES.register("passive_tmaze/dqn")
def passive_tmaze(
    *, length: int = 50, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Passive T-Maze with DQN: remember a goal for `length` steps."""
    kwargs = {"corridor_length": length}
    return _tmaze("passive_tmaze", "PassiveTMaze", kwargs, length + 1, length, model, budget)


@RECIPES.register("passive_tmaze/short_corridors")
def passive_short_corridors(*, length: int = 29, model: str = "rate") -> OnlineRunConfig:
    """Passive T-Maze with DQN on corridors of 1 to `length` steps, judged on far longer ones."""
    run = passive_tmaze(length=length, model=model)
    train = replace(
        run.train,
        episodes=6_000,
        exploration_fraction=0.375,
        learning_rate=3e-4,
        updates_per_step=0.05,
        evaluate_every=200 * length,
    )
    return _short_corridors(replace(run, train=train), length)


@RECIPES.register("active_tmaze/dqn")
def active_tmaze(
    *, length: int = 20, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Active T-Maze with DQN: fetch the goal first, and get the credit `length` steps later."""
    kwargs = {"corridor_length": length}
    return _tmaze("active_tmaze", "ActiveTMaze", kwargs, length + 3, length, model, budget)


@RECIPES.register("active_tmaze/short_corridors")
def active_short_corridors(*, length: int = 19, model: str = "rate") -> OnlineRunConfig:
    """Active T-Maze with DQN on corridors of 1 to `length` steps, judged on far longer ones."""
    run = active_tmaze(length=length, model=model)
    train = replace(run.train, exploration_fraction=0.17, evaluate_every=1000 * length)
    return _short_corridors(replace(run, train=train), length)


@RECIPES.register("visual_match/sac_discrete")
def visual_match(
    *, length: int = 60, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Passive Visual Match with SAC-Discrete: remember a colour over `length` steps of apples."""
    return _pixels("visual_match", "VisualMatch", length, length + 30, model, budget)


@RECIPES.register("key_to_door/sac_discrete")
def key_to_door(
    *, length: int = 60, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Key-to-Door with SAC-Discrete: take a key that pays off `length` steps later."""
    return _pixels("key_to_door", "KeyToDoor", length, length + 25, model, budget)


@RECIPES.register("passive_tmaze/growing")
def passive_growing(*, length: int = 1500, model: str = "lstm") -> OnlineRunConfig:
    """Passive T-Maze with DQN in corridors that grow to `length` steps as they are mastered."""
    run = passive_tmaze(length=length, model=model)
    train = replace(
        run.train, updates_per_episode=2.0, replay_episodes=1000, exploration_fraction=0.05
    )
    return _growing_corridor(replace(run, train=train))


@RECIPES.register("active_tmaze/growing")
def active_growing(*, length: int = 500, model: str = "lstm") -> OnlineRunConfig:
    """Active T-Maze with DQN in corridors that grow to `length` steps as they are mastered."""
    run = active_tmaze(length=length, model=model)
    train = replace(run.train, updates_per_episode=0.5, replay_episodes=2000)
    return _growing_corridor(replace(run, train=train))


@RECIPES.register("visual_match/growing")
def visual_match_growing(*, length: int = 1000, model: str = "gpt2") -> OnlineRunConfig:
    """Visual Match with SAC-Discrete; the apples between grow to `length` steps of them."""
    return _growing_room(visual_match(length=length, model=model), length)


@RECIPES.register("key_to_door/growing")
def key_to_door_growing(*, length: int = 500, model: str = "lstm") -> OnlineRunConfig:
    """Key-to-Door with SAC-Discrete; the apples between grow to `length` steps of them."""
    return _growing_room(key_to_door(length=length, model=model), length)


def _growing_corridor(run: OnlineRunConfig) -> OnlineRunConfig:
    train = replace(
        run.train,
        num_envs=32,
        # Up to the present length: what was learned is not lost where the next is walked badly.
        env_kwargs={"min_corridor_length": 1},
        evaluate_every=10_000,
        log_every=10_000,
    )
    return _growing(replace(run, train=train))


def _growing_room(run: OnlineRunConfig, length: int) -> OnlineRunConfig:
    train = replace(
        run.train,
        env_steps=200_000 + 400 * length,
        episodes=None,
        updates_per_episode=2.0,
        replay_episodes=1000,
        evaluate_every=20_000,
        log_every=20_000,
    )
    return _growing(replace(run, train=train))


def _growing(run: OnlineRunConfig) -> OnlineRunConfig:
    """Begins with what is short; models that read segments have them as long as is fit for it."""
    task = run.recipe.split("/")[0]
    from retain.models import MODELS

    model: Any = run.model
    if MODELS.of(model).segmented:
        model = replace(model, context_length=SEGMENT)
    train = replace(run.train, curriculum_from=GROWING_FROM[task])
    return replace(run, recipe=f"{task}/growing", model=model, train=train)


def _tmaze(
    task: str,
    env: str,
    kwargs: dict[str, Any],
    steps: int,
    length: int,
    model: str,
    budget: Budget,
) -> OnlineRunConfig:
    check_size("length", length)
    from retain.agents.dqn import DQNConfig
    from retain.tokens import StepTokenConfig
    from retain.training.settings import OnlineTrainConfig

    attends = model not in ("lstm", "gru", "memoryless")
    if budget == "published":
        tokens = StepTokenConfig(action_width=64 if attends else 16)
        # The authors give the transformer a second layer and head where credit is to be assigned.
        depth = 2 if attends and task == "active_tmaze" else 1
        memory: dict[str, Any] = {"width": 128, "num_layers": depth, "num_heads": depth}
        agent = DQNConfig(tokens=tokens)
        train = _published(task, length, evaluate_every=10 * steps)
    else:
        # Dropout while acting makes missteps, and one misstep can cost an episode.
        memory = {"width": 64, "num_heads": 4, "dropout": 0.0}
        agent = DQNConfig(tokens=StepTokenConfig(action_width=16), hidden=(128,), target_rate=0.01)
        # Few episodes find the goal first and then lose no step, so the active task needs many.
        active = task == "active_tmaze"
        train = OnlineTrainConfig(
            episodes=40_000 if active else 10_000,
            num_envs=32 if active else 16,
            batch_size=32,
            # At most an update an episode: longer episodes cost more and teach no more.
            updates_per_step=min(0.02, 1 / length),
            learning_rate=1e-3,
            gradient_clip=1.0,
            evaluate_every=(1000 if active else 200) * steps,
            log_every=100 * steps,
            checkpoint_every=2000 * steps,
            stop_at_return=0.995,
            num_threads=1,
        )
    episodes = 10 if budget == "published" else 100
    train = replace(train, curriculum_option="corridor_length")
    return _run(f"{task}/dqn", env, kwargs, model, steps, memory, agent, train, episodes)


def _short_corridors(run: OnlineRunConfig, length: int) -> OnlineRunConfig:
    """Trains on short corridors too, and is judged at the longest one that the authors have.

    Neither what to write nor how to walk depends on the length, and in a short episode most steps
    matter. Training ends once ten times the length is walked, and the question is answered at every
    step of a segment, soon and late: a memory that is kept may still be read wrongly at some of
    them, and may not have settled in the first few segments.
    """
    task = run.recipe.split("/")[0]
    # A segment is a third of the longest episode, which is at most three steps longer.
    segment = length // 3 + 2
    asked = [at for last in (length, 10 * length) for at in range(last - segment + 1, last + 1)]
    train = replace(run.train, env_kwargs={"min_corridor_length": 1})
    evaluation = replace(
        run.evaluation,
        values=(length, 10 * length, max(EPISODES[task])),
        values_in_training=tuple(at for at in asked if at > 0),
    )
    return replace(run, recipe=f"{task}/short_corridors", train=train, evaluation=evaluation)


def _pixels(
    task: str, env: str, length: int, steps: int, model: str, budget: Budget
) -> OnlineRunConfig:
    check_size("length", length)
    from retain.agents.sac_discrete import SACDiscreteConfig
    from retain.training.settings import OnlineTrainConfig

    if budget == "published":
        attends = model not in ("lstm", "gru", "memoryless")
        depth = 2 if attends and task == "key_to_door" else 1
        width = 100 if attends else 128
        memory: dict[str, Any] = {"width": width, "num_layers": depth, "num_heads": depth}
        agent = SACDiscreteConfig()
        train = _published(task, length, evaluate_every=50 * steps)
    else:
        memory = {"width": 64, "num_heads": 4, "dropout": 0.0}
        agent = SACDiscreteConfig(hidden=(128,), target_rate=0.01)
        train = OnlineTrainConfig(
            episodes=4_000,
            num_envs=16,
            batch_size=16,
            updates_per_step=0.06,
            learning_rate=1e-3,
            gradient_clip=1.0,
            evaluate_every=500 * steps,
            log_every=100 * steps,
            checkpoint_every=2000 * steps,
            num_threads=1,
        )
    train = replace(train, curriculum_option="distractor_length")
    kwargs = {"distractor_length": length}
    episodes = 20 if budget == "published" else 100
    recipe = f"{task}/sac_discrete"
    return _run(recipe, env, kwargs, model, steps, memory, agent, train, episodes)


def _published(task: str, length: int, evaluate_every: int) -> OnlineTrainConfig:
    from retain.training.settings import OnlineTrainConfig

    known = EPISODES[task]
    if length not in known:
        raise ConfigError(
            f"there is no published budget for {task} of length {length}, only for "
            f"{', '.join(map(str, known))}; give --budget short and --train.episodes"
        )
    # One environment, as the authors have it; more of them collect the same data faster.
    return OnlineTrainConfig(
        episodes=known[length] + 10,
        num_envs=1,
        replay_capacity=max(1_000_000, 1000 * length),
        evaluate_every=evaluate_every,
    )


def _run(
    name: str,
    env: str,
    kwargs: dict[str, Any],
    model: str,
    steps: int,
    memory: dict[str, Any],
    agent: OnlineAgentConfig,
    train: OnlineTrainConfig,
    episodes: int,
) -> OnlineRunConfig:
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.training.config import OnlineRunConfig

    return OnlineRunConfig(
        recipe=name,
        environment=EnvironmentConfig(id=f"retain/{env}-v0", kwargs=kwargs),
        model=model_config(model, steps=steps + 1, **memory),
        agent=agent,
        train=train,
        evaluation=EvaluationConfig(episodes=episodes, parameter=next(iter(kwargs))),
    )
