"""T-Maze: one hint, a long corridor, one turn.

Training sequences are N segments of K steps; the data are the oracle's episodes, none longer than
N * K steps. Sizes are small, since the task is: what differs between recipes is the memory.

torch is imported inside the functions, so that listing the recipes costs nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from retain.recipes import RECIPES
from retain.recipes.presets import (
    check_size,
    variant_of,
    with_lstm,
    with_model,
    with_plain_valve,
)

if TYPE_CHECKING:
    from retain.memory import ModelConfig
    from retain.training.config import RunConfig

LENGTHS = (30, 90, 150, 300, 900, 3000, 9600)
#: With longer training sequences it is learned in short corridors first: in a segment of hundreds
#: of steps nothing finds the one that matters.
LONG, SHORT, MASTERED = 300, 25, 0.95
#: Segments of a training sequence that need no late start of the memory's cost.
USUAL = 3
SIZE: dict[str, Any] = {"width": 64, "num_layers": 2, "num_heads": 2, "head_width": 32}

#: What `retain demo` compares, by the names in its results.
DEMO = {"rate": "tmaze/rate", "decision_transformer": "tmaze/decision_transformer"}

Lengths = Literal["uniform", "fixed"]


@RECIPES.register("tmaze/rate")
def rate(
    *, context_length: int = 30, num_segments: int = 3, lengths: Lengths = "uniform"
) -> RunConfig:
    """RATE with a ternary, gated memory, trained through all segments."""
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    valve = ValveConfig(kind="retaining", cost=1.0, commitment=0.5)
    model = RATEConfig(**SIZE, context_length=context_length, num_memory_tokens=5, valve=valve)
    run = _run("tmaze/rate", model, num_segments, lengths)
    # So high a cost leaves few memories that ever change; a rising one lets the task be learned. In
    # short corridors nothing has to be carried on, and any cost would close the gates there; over
    # many segments it is learned later that something has to be.
    start = 0.6 if run.train.curriculum_from else 0.3 if num_segments > USUAL else 0.0
    train = replace(run.train, memory_cost_start=start, memory_cost_warmup=1.0 - start)
    return replace(run, train=train)


@variant_of(rate, "tmaze/rate-plain")
def rate_plain(run: RunConfig) -> RunConfig:
    """RATE with the paper's valve (old memory queries new), trained through all segments."""
    return with_plain_valve(run)


@RECIPES.register("tmaze/rate-paper")
def rate_paper(
    *,
    context_length: int = 30,
    num_segments: int = 3,
    lengths: Lengths = "uniform",
    published_size: bool = False,
) -> RunConfig:
    """RATE as published: memory detached, an optimiser step a segment, twofold residual.

    With ``published_size``, also the sizes and rates of the authors' T-Maze script.
    """
    from retain.models.rate import RATEConfig
    from retain.nn.valve import ValveConfig

    if published_size:
        model = RATEConfig(
            width=64,
            num_layers=10,
            num_heads=4,
            head_width=32,
            context_length=context_length,
            num_memory_tokens=15,
            dropout=0.2,
            valve=ValveConfig(kind="cross_attention", num_heads=2),
            twofold_residual=True,
            shared_initial_memory=True,
        )
    else:
        model = RATEConfig(
            **SIZE,
            context_length=context_length,
            num_memory_tokens=5,
            valve=ValveConfig(kind="cross_attention"),
            twofold_residual=True,
            shared_initial_memory=True,
        )
    run = _run("tmaze/rate-paper", model, num_segments, lengths)
    train = replace(run.train, bptt_segments=1, update_per_segment=True)
    if published_size:
        train = replace(
            train,
            batch_size=128,
            learning_rate=3e-4,
            betas=(0.9, 0.999),
            warmup_updates=1000,
            schedule="linear",
            final_learning_rate=0.01,
            updates=200 * 38 * num_segments,
        )
    return replace(run, train=train)


@variant_of(rate, "tmaze/rmt")
def rmt(run: RunConfig) -> RunConfig:
    """RMT: memory tokens that every segment overwrites."""
    from retain.models.rmt import RMTConfig

    model = RMTConfig(**SIZE, context_length=run.model.context_length)
    return with_model(run, model)


@variant_of(rate, "tmaze/elmur")
def elmur(run: RunConfig) -> RunConfig:
    """ELMUR: two slots a layer, one of them rewritten in every segment."""
    from retain.models.elmur import ELMURConfig

    model = ELMURConfig(**SIZE, context_length=run.model.context_length)
    return with_model(run, model)


@variant_of(rate, "tmaze/transformer_xl")
def transformer_xl(run: RunConfig) -> RunConfig:
    """Transformer-XL: hidden states of all earlier segments of a training sequence."""
    from retain.models.transformer_xl import TransformerXLConfig

    length = run.model.context_length
    model = TransformerXLConfig(
        **SIZE, context_length=length, cache_length=3 * length * run.data.num_segments
    )
    return with_model(run, model)


@variant_of(transformer_xl, "tmaze/gtrxl")
def gtrxl(run: RunConfig) -> RunConfig:
    """GTrXL: Transformer-XL with normalisation first and gates for residuals."""
    from retain.nn.segments import SegmentConfig

    assert isinstance(run.model, SegmentConfig)
    return with_model(run, replace(run.model, block="gtrxl"))


@variant_of(rate, "tmaze/lstm")
def lstm(run: RunConfig) -> RunConfig:
    """An LSTM over the same tokens, trained through all of a sequence."""
    return with_lstm(run)


@variant_of(rate, "tmaze/gru")
def gru(run: RunConfig) -> RunConfig:
    """A GRU over the same tokens, trained through all of a sequence."""
    from retain.models.gru import GRUConfig

    model = GRUConfig(width=64, hidden=128, context_length=run.model.context_length)
    return with_model(run, model)


@variant_of(rate, "tmaze/stable_hadamard")
def stable_hadamard(run: RunConfig) -> RunConfig:
    """Stable Hadamard Memory over the same tokens, trained through all of a sequence."""
    from retain.models.stable_hadamard import StableHadamardConfig

    model = StableHadamardConfig(width=64, context_length=run.model.context_length)
    return with_model(run, model)


@RECIPES.register("tmaze/decision_transformer")
def decision_transformer(*, context_length: int = 90, lengths: Lengths = "uniform") -> RunConfig:
    """The Decision Transformer, with a window of all of a training sequence."""
    from retain.models.decision_transformer import DecisionTransformerConfig

    model = DecisionTransformerConfig(
        width=64,
        # One layer finds the hint in a short window, and a window is read anew at each step; in a
        # window of 150 steps it mostly does not, where two find it as soon as the others do.
        num_layers=1 if context_length <= 90 else 2,
        num_heads=2,
        context_length=context_length,
        dropout=0.0,
    )
    run = _run("tmaze/decision_transformer", model, 1, lengths)
    # Beyond its window it cannot but guess, and walks slowly: it is watched inside alone.
    evaluation = replace(run.evaluation, values_in_training=(context_length,))
    return replace(run, evaluation=evaluation)


def _run(name: str, model: ModelConfig, num_segments: int, lengths: Lengths) -> RunConfig:
    from retain.collection import CollectConfig
    from retain.evaluation import EnvironmentConfig, EvaluationConfig
    from retain.training.config import RunConfig
    from retain.training.settings import DataConfig, TrainConfig

    check_size("context_length", model.context_length)
    check_size("num_segments", num_segments)
    longest = model.context_length * num_segments
    # Uniform: every length; fixed: whole segments, as the paper's curriculum has it.
    shortest, step = (
        (1, 1) if lengths == "uniform" else (model.context_length, model.context_length)
    )
    collect = CollectConfig(
        env_id="retain/TMaze-v0",
        env_kwargs={
            "corridor_length": longest,
            "min_corridor_length": shortest,
            "length_step": step,
            "balanced_goals": True,
        },
        policy="expert",
        episodes=2000,
    )
    grows = longest > LONG and lengths == "uniform"
    return RunConfig(
        recipe=name,
        environment=EnvironmentConfig(
            id="retain/TMaze-v0", kwargs={"corridor_length": longest, "balanced_goals": True}
        ),
        data=DataConfig(collect=collect, num_segments=num_segments),
        model=model,
        # One thread: so small a model gains little from more, and several that wait for one another
        # crawl when another process has one of the cores.
        train=TrainConfig(
            updates=800,
            batch_size=32,
            schedule="cosine",
            evaluate_every=50 if grows else 100,
            num_threads=1,
            curriculum_from=SHORT if grows else None,
            curriculum_score=MASTERED if grows else None,
        ),
        evaluation=EvaluationConfig(
            parameter="corridor_length",
            values=tuple(sorted({longest, *LENGTHS})),
            values_in_training=(longest, 5 * longest),
        ),
    )
