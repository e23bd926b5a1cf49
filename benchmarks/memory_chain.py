"""bsuite's memory length and memory size with A2C, beside the published table.

    python benchmarks/memory_chain.py

10,000 episodes for each run, sixteen at a time, and an update for each sixteen; three seeds. The
published runs cover 23 lengths and 17 sizes with an update after each episode; here is a choice of
them that shows the curves.
"""

from __future__ import annotations

from dataclasses import replace

from common import Experiment, job_parser, run_all

SUITE = "memory_chain"
#: The published names of the architectures, and what they are in truth.
PUBLISHED = {
    "memoryless": "No Memory",
    "lstm": "LSTM",
    "transformer_xl": "Transformer-XL",
    "gtrxl_recurrent": "GTrXL",
    "rezero": "ReZero",
    "universal": "Universal Transformer",
    "integrated_recurrent": "Integrated Transformer",
}
#: What the published table does not have: genuine gates, and RATE online.
OTHERS = ("gtrxl", "integrated", "gru", "gpt2", "rate")
MODELS = (*PUBLISHED, *OTHERS)


def experiment(task: str, value: int, model: str) -> Experiment:
    name = {"memory_length": "--length", "memory_size": "--bits"}[task]
    return Experiment(
        label=model,
        key=f"{task}-{value}-{model}",
        recipe=f"{task}/a2c",
        seeds=range(3),
        flags=(name, str(value), "--model", model, "--train.no-tensorboard"),
    )


#: The settings of the table of all models come first, and what takes long comes last.
FIRST: tuple[tuple[str, int], ...] = (("memory_length", 13), ("memory_size", 5))
SETTINGS = [
    *FIRST,
    *(("memory_size", size) for size in (10, 3, 20, 1)),
    *(("memory_length", length) for length in (3, 7, 30, 19, 60, 100)),
]
#: Whether gates or a recurrence made the published GTrXL: the published way, one episode an update,
#: where the authors' thirty seeds tell it from the LSTM (length 19) and where they do not (13).
AS_PUBLISHED = ("lstm", "transformer_xl", "gtrxl_recurrent", "gtrxl")
PUBLISHED_LENGTHS = {13: 3, 19: 5}  # and seeds of each


def as_published(length: int, model: str) -> Experiment:
    return Experiment(
        label=f"{model}, as published",
        key=f"published-memory_length-{length}-{model}",
        recipe="memory_length/a2c",
        seeds=range(PUBLISHED_LENGTHS[length]),
        flags=(
            *("--length", str(length), "--model", model, "--budget", "published"),
            "--train.no-tensorboard",
        ),
    )


#: Whether an LSTM does better whose units remember for as long as the episode at first.
SPANS = (60, 100)


def long_spans(length: int) -> Experiment:
    plain = experiment("memory_length", length, "lstm")
    return replace(
        plain,
        label="lstm, long spans",
        key=f"{plain.key}-long_spans",
        flags=(*plain.flags, "--model.chrono", str(length)),
    )


if __name__ == "__main__":
    options = job_parser(__doc__).parse_args()
    for length in PUBLISHED_LENGTHS:
        run_all(SUITE, [as_published(length, model) for model in AS_PUBLISHED], options)
    for setting in SETTINGS:  # all seeds of one before the next, so that what there is is whole
        run_all(SUITE, [experiment(*setting, model) for model in MODELS], options)
    run_all(SUITE, [long_spans(length) for length in SPANS], options)
