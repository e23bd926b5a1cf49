"""Checkpoints: whole or not there, and enough to go on bit for bit.

checkpoints/step-000500/model.safetensors   the policy's weights
checkpoints/step-000500/training.pt         optimiser, schedules, generators, counters
checkpoints/last -> step-000500             the newest
checkpoints/best -> step-000400             the best by evaluation
initial/model.safetensors                   what training began with, if with a run's weights
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from retain.core.errors import RunError, TrainingError, first_line

WEIGHTS = "model.safetensors"
TRAINING = "training.pt"
INITIAL = "initial"


def save(
    folder: Path, step: int, module: nn.Module, training: dict[str, Any], *, best: bool = False
) -> Path:
    """Writes a checkpoint and points ``last`` at it.

    The files are written in a folder of another name, which is renamed when they are complete, so
    a run that is killed meanwhile keeps its last whole checkpoint.

    Args:
        folder: The run's ``checkpoints`` folder.
        step: Optimiser steps made.
        module: What is trained.
        training: The rest: tensors, numbers, strings, and lists and dicts of them.
        best: Point ``best`` at it too.

    Returns:
        The checkpoint's folder.

    Raises:
        RunError: If it cannot be written; ``last`` is left as it was.
    """
    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.tmp"
    try:
        if not target.exists():
            # What is there is whole, and of the same run at the same step: nothing to do.
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            tensors = module.state_dict().items()
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}
            save_file(weights, temporary / WEIGHTS)
            torch.save(training, temporary / TRAINING)
            for file in temporary.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            temporary.rename(target)
        if best:  # first: a run that is killed now goes on from `last`, and comes here again
            point(folder, "best", target)
        point(folder, "last", target)
    except (OSError, SafetensorError) as error:
        raise RunError(f"checkpoint {target} cannot be written: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def give_up(folder: Path, why: str, updates: int) -> NoReturn:
    """Ends a training whose numbers are no longer numbers.

    Args:
        folder: The run's ``checkpoints`` folder.
        why: What is wrong.
        updates: Updates made before.

    Raises:
        TrainingError: Always; it names the checkpoint that is left.
    """
    kept = (folder / "last").resolve().name if (folder / "last").exists() else "none yet"
    raise TrainingError(
        f"{why} at update {updates + 1}; training stopped. "
        f"Last good checkpoint: {kept}. Train anew with a lower --train.learning-rate"
    )


def point(folder: Path, name: str, target: Path) -> None:
    """Makes ``folder/name`` a link to a checkpoint beside it, in one step."""
    temporary = folder / f".{name}.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    temporary.replace(folder / name)


def prune(folder: Path, keep: int) -> None:
    """Deletes all but the latest `keep` checkpoints and those that a link names.

    Of these, older ones keep their weights alone: a run goes on from its latest checkpoint, and a
    replay beside the best weights can be large. What a killed run has left half-written goes too.
    """
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
    named = {link.resolve() for link in folder.iterdir() if link.is_symlink()}
    steps = [path for path in _steps(folder) if not path.is_symlink()]
    for path in steps[:-keep]:
        if path.resolve() not in named:
            shutil.rmtree(path)
        elif path.resolve() != (folder / "last").resolve():
            (path / TRAINING).unlink(missing_ok=True)


def step_of(checkpoint: Path) -> int:
    """Returns the number of optimiser steps that a checkpoint's folder is named after."""
    return int(checkpoint.name.removeprefix("step-"))


def _steps(folder: Path) -> list[Path]:
    """The checkpoints in a folder by their steps; `step-backup` and the like are the user's own."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-[0-9]+", path.name)]
    return sorted(found, key=step_of)


def find(run: Path, which: str = "last") -> Path:
    """Returns the folder of a checkpoint of a run.

    Args:
        run: The run's folder.
        which: ``last``, ``best``, or a step's folder name.

    Raises:
        RunError: If there is no such checkpoint.
    """
    folder = run / "checkpoints"
    whole = [path for path in _steps(folder) if (path / WEIGHTS).exists()]
    path = (folder / which).resolve()
    if which == "last" and whole and not (folder / which).is_symlink():
        # The run was killed after its first checkpoint and before the link to it.
        path = whole[-1].resolve()
    if path not in [checkpoint.resolve() for checkpoint in whole]:
        known = ", ".join(checkpoint.name for checkpoint in whole)
        hint = f"it has {known}" if known else "it has none; train it first"
        raise RunError(f"run {run} has no whole checkpoint '{which}'; {hint}")
    return path


def latest(run: Path) -> Path | None:
    """Returns the checkpoint that a run goes on from; None if it has not come to one.

    Raises:
        RunError: If it is not whole.
    """
    return find(run) if _steps(run / "checkpoints") else None


def begin(run: Path, module: nn.Module, *, given: bool) -> Path | None:
    """Loads the weights that training begins or goes on with.

    Args:
        run: The run's folder.
        module: What is trained; without a checkpoint or initial weights it keeps its own.
        given: Whether the run was given weights to begin with.

    Returns:
        The checkpoint that training goes on from; None at its beginning.

    Raises:
        RunError: If they are not whole, or do not fit.
    """
    checkpoint = latest(run)
    if checkpoint is not None:
        load_weights(module, checkpoint)
    elif given:
        load_weights(module, run / INITIAL)
    return checkpoint


def named(folder: Path) -> Path:
    """Returns the checkpoint that is meant by a run's folder, its last, or by its own folder.

    Raises:
        RunError: If there is none.
    """
    if (folder / WEIGHTS).exists():
        return folder.resolve()
    wanted = "give the folder of a run or of a checkpoint"
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise RunError(f"{folder} {what}; {wanted}")
    if not (folder / "checkpoints").is_dir():
        raise RunError(f"{folder} holds no checkpoint; {wanted}")
    return find(folder)


def load_weights(module: nn.Module, checkpoint: Path) -> None:
    """Loads weights into a module.

    Raises:
        RunError: If the file is missing or damaged, or its keys or shapes do not fit.
    """
    path = checkpoint / WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    wanted = module.state_dict()
    problems = [f"lacks '{name}'" for name in wanted if name not in weights]
    problems += [
        f"has '{name}', which the model does not" for name in weights if name not in wanted
    ]
    problems += [
        f"has '{name}' of shape {list(weights[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more such)" if len(problems) > 1 else ""
        raise RunError(f"{path} does not fit the run's model: it {problems[0]}{more}")
    module.load_state_dict(weights)


def load_training(checkpoint: Path) -> dict[str, Any]:
    """Loads what a run needs to go on, beside the weights.

    Raises:
        RunError: If the file is missing or damaged.
    """
    path = checkpoint / TRAINING
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise RunError(f"{path} is missing: the run can be evaluated but not resumed") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {first_line(error)}") from None
    except Exception:  # torch raises half a dozen kinds for a damaged file, and advises to trust it
        raise RunError(
            f"{path} is damaged, or is no checkpoint: the run can be evaluated but not resumed"
        ) from None
    return state


def random_state() -> dict[str, Tensor]:
    """Returns the state of torch's generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Tensor]) -> None:
    """Puts torch's generators back to where `random_state` found them."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
