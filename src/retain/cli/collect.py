"""`retain collect ENVIRONMENT`: plays episodes and keeps them as a Minari dataset."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

import tyro

from retain.cli.options import environment_options, parse


@dataclasses.dataclass(kw_only=True)
class Options:
    """Collect a dataset of episodes."""

    environment: Annotated[str, tyro.conf.Positional]
    """Gymnasium id of the environment."""

    option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """An option of the environment as NAME=VALUE; may be given several times."""

    policy: Literal["expert", "random"] = "expert"
    """Who plays."""

    episodes: int = 1000
    """Episodes."""

    seed: int = 0
    """Seed of the first episode; the others count up from it."""

    num_envs: int = 100
    """Episodes played at once."""

    dataset: str | None = None
    """Id of the dataset; by default made from what is collected."""

    overwrite: bool = False
    """Take the place of a dataset of that id."""


def run(arguments: list[str]) -> None:
    """Runs the command."""
    options = parse(
        Options, arguments, prog="retain collect", config=(tyro.conf.FlagCreatePairsOff,)
    )

    from retain.cli.info import show_dataset
    from retain.collection import CollectConfig, collect

    config = CollectConfig(
        env_id=options.environment,
        env_kwargs=environment_options(options.option),
        policy=options.policy,
        episodes=options.episodes,
        seed=options.seed,
        num_envs=options.num_envs,
        dataset_id=options.dataset,
    )
    dataset = collect(config, overwrite=options.overwrite)
    show_dataset(dataset)
