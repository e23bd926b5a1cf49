"""Your own memory in one file outside the package: a GRU, trained on the T-Maze.

    python examples/own_model.py
    python examples/own_model.py --updates 1500 --context-length 10

Importing this file registers a model and a recipe, so the command line knows them too:

    retain --plugin examples/own_model.py check example_gru
    retain --plugin examples/own_model.py train example/gru --train.updates 100
    retain --plugin examples/own_model.py evaluate runs/example-gru-seed0 --corridor-lengths 6 12
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

import retain
from retain.contract import check_model
from retain.memory import MemoryState, ModelConfig, SequenceModel, carry
from retain.training.config import RunConfig

# Axes: B rows, L tokens, D width.


@dataclass(frozen=True, kw_only=True)
class GRUConfig(ModelConfig):
    """A GRU. `width` and `context_length` are inherited; every field becomes a flag."""

    registered_name: ClassVar[str] = "example_gru"  # what config.json calls it

    dropout: float = 0.0
    """Dropout of the outputs."""


@dataclass(frozen=True)
class GRUState(MemoryState):
    """All that the model knows of the past. Each field says what kind of state it is."""

    hidden_BD: Tensor = carry()


@retain.MODELS.register("example_gru")
class GRU(SequenceModel):
    """A GRU over tokens.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make a step; a GRU does not care.
    """

    Config: ClassVar[type[ModelConfig]] = GRUConfig

    def __init__(self, config: GRUConfig, *, tokens_per_step: int):
        super().__init__()
        self.cell = nn.GRUCell(config.width, config.width)
        self.first_D = nn.Parameter(torch.zeros(config.width))
        self.dropout = nn.Dropout(config.dropout)

    @property
    def reach(self) -> int | None:
        """None: an output can depend on every token before it."""
        return None

    def initial_state(self, batch_size: int) -> GRUState:
        """The state in front of the first token of an episode."""
        return GRUState(hidden_BD=self.first_D.expand(batch_size, -1))

    def forward(
        self,
        x_BLD: Tensor,
        state: GRUState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,  # a hint that may be ignored
        donate: bool = False,  # likewise
    ) -> tuple[Tensor, GRUState]:
        """Reads tokens one by one, so that it makes no difference how they are cut into calls."""
        hidden_BD = state.hidden_BD
        outputs = []
        for token in range(x_BLD.shape[1]):
            if reset_BL is not None:
                # Before the token is read, and in the rows that are marked alone.
                reset_B1 = reset_BL[:, token, None]
                hidden_BD = torch.where(reset_B1, self.first_D, hidden_BD)
            hidden_BD = self.cell(x_BLD[:, token], hidden_BD)
            outputs.append(hidden_BD)
        return self.dropout(torch.stack(outputs, dim=1)), GRUState(hidden_BD=hidden_BD)


@retain.RECIPES.register("example/gru")
def gru(*, context_length: int = 3, num_segments: int = 3) -> RunConfig:
    """A GRU on the T-Maze, with the data of `tmaze/rate`."""
    base = retain.recipe("tmaze/rate", context_length=context_length, num_segments=num_segments)
    longest = context_length * num_segments
    return replace(
        base,
        recipe="example/gru",
        model=GRUConfig(width=64, context_length=context_length),
        evaluation=replace(base.evaluation, values=(longest, 2 * longest)),
    )


def main() -> None:
    """Checks the model, trains it and evaluates it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--context-length", type=int, default=3, help="steps of a segment")
    parser.add_argument("--episodes", type=int, default=400, help="in the dataset")
    parser.add_argument("--updates", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="runs", help="folder of all runs")
    parser.add_argument("--name", default="own-model", help="of the run's folder")
    arguments = parser.parse_args()

    check_model("example_gru")
    print("the contract holds")

    # A recipe gives a whole configuration; what should differ is replaced.
    config = retain.recipe("example/gru", context_length=arguments.context_length)
    assert config.data.collect is not None
    config = replace(
        config,
        seed=arguments.seed,
        data=replace(
            config.data, collect=replace(config.data.collect, episodes=arguments.episodes)
        ),
        train=replace(
            config.train,
            updates=arguments.updates,
            learning_rate=3e-3,
            evaluate_every=None,
            num_threads=1,
        ),
    )
    run = retain.train(config, name=arguments.name, runs=arguments.runs)
    for record in run.results()["evaluations"]:
        print(f"corridor of {record['value']}: success {record['mean']:.2f}")


if __name__ == "__main__":
    main()
