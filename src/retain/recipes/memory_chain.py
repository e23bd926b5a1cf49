"""The tasks of transformers-for-rl (Makkink 2021): longer, larger and scattered memories.

A2C from whole episodes, with any model for memory. The budget ``published`` has one environment and
an update after each of 10,000 episodes; ``short`` plays as many episodes sixteen at a time. PPO
plays as ``short`` does, and makes sixteen updates where A2C makes one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from retain.recipes import RECIPES
from retain.recipes.presets import check_size, model_config

if TYPE_CHECKING:
    from retain.agents.actor_critic import ActorCriticConfig
    from retain.training.config import OnlineRunConfig

Budget = Literal["short", "published"]


@RECIPES.register("memory_length/a2c")
def memory_length(
    *, length: int = 10, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Bsuite's memory length with A2C: remember one bit for `length` steps."""
    return _memory_length("a2c", length, model, budget)


@RECIPES.register("memory_length/ppo")
def memory_length_ppo(*, length: int = 10, model: str = "lstm") -> OnlineRunConfig:
    """Bsuite's memory length with PPO: remember one bit for `length` steps."""
    return _memory_length("ppo", length, model)


def _memory_length(
    agent: str, length: int, model: str, budget: Budget = "short"
) -> OnlineRunConfig:
    check_size("length", length)
    kwargs = {"memory_length": length, "num_bits": 1}
    return _run(f"memory_length/{agent}", "MemoryLength", kwargs, length + 2, model, budget)


@RECIPES.register("memory_length/growing")
def memory_length_growing(*, length: int = 100, model: str = "lstm") -> OnlineRunConfig:
    """Bsuite's memory length with A2C, for spans that grow to `length` as they are mastered."""
    run = memory_length(length=length, model=model)
    train = replace(
        run.train,
        curriculum_option="memory_length",
        curriculum_from=5,
        evaluate_every=5_000,
        # Evaluations sample from the policy: a few of a hundred episodes may go wrong.
        stop_at_return=0.95,
    )
    return replace(run, recipe="memory_length/growing", train=train)


@RECIPES.register("memory_size/a2c")
def memory_size(*, bits: int = 5, model: str = "lstm", budget: Budget = "short") -> OnlineRunConfig:
    """Bsuite's memory size with A2C: remember `bits` bits for two steps, asked for one of them."""
    return _memory_size("a2c", bits, model, budget)


@RECIPES.register("memory_size/ppo")
def memory_size_ppo(*, bits: int = 5, model: str = "lstm") -> OnlineRunConfig:
    """Bsuite's memory size with PPO: remember `bits` bits for two steps, asked for one of them."""
    return _memory_size("ppo", bits, model)


def _memory_size(agent: str, bits: int, model: str, budget: Budget = "short") -> OnlineRunConfig:
    kwargs = {"memory_length": 2, "num_bits": bits}
    return _run(f"memory_size/{agent}", "MemorySize", kwargs, 4, model, budget)


@RECIPES.register("distributed_memory/a2c")
def distributed_memory(
    *, length: int = 10, bits: int = 5, model: str = "lstm", budget: Budget = "short"
) -> OnlineRunConfig:
    """Distributed memory with A2C: the majority of `bits` bits shown at scattered steps."""
    return _distributed_memory("a2c", length, bits, model, budget)


@RECIPES.register("distributed_memory/ppo")
def distributed_memory_ppo(
    *, length: int = 10, bits: int = 5, model: str = "lstm"
) -> OnlineRunConfig:
    """Distributed memory with PPO: the majority of `bits` bits shown at scattered steps."""
    return _distributed_memory("ppo", length, bits, model)


def _distributed_memory(
    agent: str, length: int, bits: int, model: str, budget: Budget = "short"
) -> OnlineRunConfig:
    check_size("length", length)
    kwargs = {"memory_length": length, "num_bits": bits}
    name = f"distributed_memory/{agent}"
    return _run(name, "DistributedMemory", kwargs, length + 1, model, budget)


def _run(
    name: str, env: str, kwargs: dict[str, Any], steps: int, model: str, budget: Budget
) -> OnlineRunConfig:
    from retain.agents.a2c import A2CConfig
    from retain.agents.ppo import PPOConfig
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.tokens import StepTokenConfig
    from retain.training.config import OnlineRunConfig
    from retain.training.settings import OnlineTrainConfig

    published = budget == "published"
    task, learns_by = name.split("/")
    shared: dict[str, Any] = {
        "hidden": (), "skip": True, "sample_actions": True, "tokens": StepTokenConfig(layers=2),
    }  # fmt: skip
    agent: ActorCriticConfig
    if learns_by == "ppo":
        agent, learning_rate = PPOConfig(**shared), 3e-4
    else:
        # Within one episode, the steps before a reward at the end always look bad.
        agent = A2CConfig(**shared, normalize="episode" if published else "batch")
        # What is written to a memory for good is easily unlearned by large steps.
        learning_rate = 1e-3 if published or model in ("rate", "rmt") else 3e-3
    train = OnlineTrainConfig(
        episodes=10_000,
        num_envs=1 if published else 16,
        learning_rate=learning_rate,
        # What PPO compares is not to be blurred by noise of the model's own.
        dropout_in_collection=learns_by != "ppo",
        evaluate_every=None,
        log_every=100 * steps,
        checkpoint_every=2000 * steps,
        num_threads=1,
    )
    # Another number of bits would be another observation.
    parameter = None if task == "memory_size" else "memory_length"
    return OnlineRunConfig(
        recipe=name,
        environment=EnvironmentConfig(id=f"retain/{env}-v0", kwargs=kwargs),
        model=model_config(model, width=64, steps=steps, dropout=0.0),
        agent=agent,
        train=train,
        evaluation=EvaluationConfig(episodes=100, parameter=parameter),
    )
