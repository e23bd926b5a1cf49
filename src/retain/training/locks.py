"""Who may write to a run's folder: one process at a time trains a run, or adds to its results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from retain.core.errors import RunError

#: Seconds to wait for another process that adds to the results; it needs a moment.
PATIENCE = 60.0


@contextmanager
def training(folder: Path) -> Iterator[None]:
    """Keeps a run to this process while it trains; the lock goes with the process, however it ends.

    Args:
        folder: The run's folder.

    Raises:
        RunError: If another process trains the run.
    """
    try:
        with FileLock(folder / ".training.lock", timeout=0):
            yield
    except Timeout:
        raise RunError(
            f"{folder} is being trained by another process; wait for it to end, or stop it first"
        ) from None


@contextmanager
def results(folder: Path) -> Iterator[None]:
    """Keeps a run's results to this process while it reads them and writes them anew.

    Args:
        folder: The run's folder.

    Raises:
        RunError: If another process does not let go of them.
    """
    try:
        with FileLock(folder / ".results.lock", timeout=PATIENCE):
            yield
    except Timeout:
        raise RunError(
            f"the results of {folder} are held by another process; stop it, and evaluate again"
        ) from None
