"""What a file of results must hold, whoever wrote it; how it looks is shown in `results.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retain.core.errors import RunError

FORMAT = 1

Result = dict[str, Any]

_RUN_KEYS = {"run": str, "recipe": str, "model": str, "seed": int, "evaluations": list}
_EVALUATION_KEYS = {"environment": str, "metric": str, "episodes": int, "step": int}
# What other programs may leave out, or write as null; `float` stands for any number.
_OPTIONAL_KEYS = {
    "parameter": str, "kwargs": dict, "seeds": list, "seconds": float,
    "returns": list, "lengths": list,
}  # fmt: skip
_TRAINING_KEYS = {"history": list, "curriculum": list, "best": float, "seconds": float}


def check_result(data: Any, file: Path) -> Result:
    """Returns what was read from a result file, if it is one.

    Raises:
        RunError: If it is not, or of another format.
    """
    if not isinstance(data, dict) or "format" not in data:
        raise RunError(f"{file} is not a result file: it has no 'format'")
    if data["format"] != FORMAT:
        raise RunError(
            f"{file} has format {data['format']!r}, and this version reads {FORMAT}; "
            "evaluate the run again"
        )
    _check_keys(data, _RUN_KEYS, file, "")
    _check_optional(data, {"training": dict, "config": dict}, file, "")
    training = data["training"] = data.get("training") or {}
    _check_optional(training, _TRAINING_KEYS, file, "training.")
    for name, key in (("history", "mean"), ("curriculum", "value")):
        if training.get(name) is None:
            training.pop(name, None)
        for i, row in enumerate(training.get(name, [])):
            if not isinstance(row, dict):
                raise RunError(f"{file}: training.{name}.{i} is not a dict")
            number = row.get(key, "missing")
            if name == "curriculum" and number is None:  # what was mastered is always known
                number = "missing"
            _check_number(number, file, f"training.{name}.{i}.{key}")
    for i, evaluation in enumerate(data["evaluations"]):
        where = f"evaluations.{i}"
        if not isinstance(evaluation, dict):
            raise RunError(f"{file}: {where} is not a dict")
        _check_keys(evaluation, _EVALUATION_KEYS, file, f"{where}.")
        _check_optional(evaluation, _OPTIONAL_KEYS, file, f"{where}.")
        if evaluation["episodes"] < 1:
            raise RunError(f"{file}: {where}.episodes must be at least 1")
        if not isinstance(evaluation.get("value"), float | int | str | None):
            raise RunError(f"{file}: {where}.value must be a number, a text or null")
        for key in ("returns", "lengths"):
            for number in evaluation.get(key) or []:
                _check_number(number, file, f"{where}.{key}")
        for key in ("mean", "stderr"):
            _check_number(evaluation.get(key, "missing"), file, f"{where}.{key}")
        for key in ("return_mean", "return_stderr"):
            _check_number(evaluation.get(key), file, f"{where}.{key}")
    return data


def _check_number(number: Any, file: Path, where: str) -> None:
    if isinstance(number, bool | str) or not isinstance(number, float | int | None):
        raise RunError(f"{file}: {where} must be a number or null")


def _check_optional(data: dict[str, Any], kinds: dict[str, type], file: Path, where: str) -> None:
    for key, kind in kinds.items():
        if data.get(key) is None:
            continue
        if kind is float:
            _check_number(data[key], file, f"{where}{key}")
        elif not isinstance(data[key], kind):
            raise RunError(f"{file}: {where}{key} must be of type {kind.__name__} or null")


def _check_keys(data: dict[str, Any], kinds: dict[str, type], file: Path, where: str) -> None:
    for key, kind in kinds.items():
        if key not in data:
            raise RunError(f"{file}: {where}{key} is missing")
        if not isinstance(data[key], kind) or isinstance(data[key], bool):
            raise RunError(f"{file}: {where}{key} must be of type {kind.__name__}")
