"""Loggers: JSON lines always; TensorBoard and Weights & Biases when asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Protocol

from retain.core.errors import MissingExtraError, RunError
from retain.training.settings import LoopConfig

METRICS = "metrics.jsonl"


class Logger(Protocol):
    """Takes the metrics of one step."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Records metrics."""

    def close(self) -> None:
        """Writes what is left."""


class JsonLines:
    """Appends one line of JSON for each call, flushed at once.

    Args:
        path: The file; lines of later steps than `last_step` are dropped first, so that a run that
            goes on from a checkpoint does not record a step twice.
        last_step: The step to go on from.
    """

    def __init__(self, path: Path, last_step: int = 0):
        kept = []
        if path.exists() and last_step > 0:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # the line that a killed run was writing
                    continue
                step = record.get("step") if isinstance(record, dict) else None
                if not isinstance(step, int):
                    raise RunError(f"{path} is damaged: a line says no step; delete it to go on")
                if step <= last_step:
                    kept.append(line + "\n")
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Appends a line; numbers that are not finite become null."""
        finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """TensorBoard events.

    Args:
        folder: The folder of the event files.
        last_step: Events of later steps are hidden by the viewer.
    """

    def __init__(self, folder: Path, last_step: int = 0):
        from torch.utils.tensorboard import SummaryWriter

        purge = last_step + 1 if last_step else None
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Writes one scalar for each metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes."""
        self._writer.close()


class WeightsAndBiases:
    """Weights & Biases.

    Args:
        project: The project's name.
        run: Name of the run; a run of that name is gone on with.
        config: The run's configuration.

    Raises:
        MissingExtraError: If the package is not installed.
    """

    def __init__(self, project: str, run: str, config: dict[str, Any]):
        wandb = self.check()
        self._run = wandb.init(project=project, name=run, id=run, config=config, resume="allow")

    @staticmethod
    def check() -> Any:
        """Returns the package.

        Raises:
            MissingExtraError: If it is not installed.
        """
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("Weights & Biases (wandb)", "wandb") from None
        return wandb

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Sends the metrics of a step."""
        self._run.log(metrics, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


class Loggers:
    """Several loggers as one."""

    def __init__(self, loggers: list[Logger]):
        self._loggers = loggers

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Passes the metrics on to all."""
        for logger in self._loggers:
            logger.log(step, metrics)

    def close(self) -> None:
        """Closes all."""
        for logger in self._loggers:
            logger.close()


def open_loggers(
    folder: Path, settings: LoopConfig, config: dict[str, Any], last_step: int
) -> Loggers:
    """Opens what a run logs to.

    Args:
        folder: The run's folder.
        settings: Says which loggers are wanted.
        config: The run's configuration, for Weights & Biases.
        last_step: The step that the run goes on from.
    """
    loggers: list[Logger] = [JsonLines(folder / METRICS, last_step)]
    if settings.tensorboard:
        loggers.append(TensorBoard(folder / "tensorboard", last_step))
    if settings.wandb is not None:
        loggers.append(WeightsAndBiases(settings.wandb, folder.resolve().name, config))
    return Loggers(loggers)
