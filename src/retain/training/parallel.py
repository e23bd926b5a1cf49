"""Several processes for one run, one a device, on one machine.

The process that is asked to train leads: it has rank 0, starts the others, and alone reports and
writes files. The others are told the run's folder, find everything there, and end with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException

from retain.core.errors import ConfigError, RetainError, TrainingError
from retain.core.plugins import import_plugin, imported_plugins
from retain.training.settings import OnlineTrainConfig, TrainConfig

Work = Callable[..., None]
"""Called in a further process with its place, a function to call when it is ready, and the
arguments of `workers`."""


class Place(NamedTuple):
    """Which of a run's processes this one is, and where they meet."""

    rank: int = 0
    port: int = 0


class _Processes(LightningEnvironment):
    """Tells Fabric that the processes are there, whatever the variables of the environment say."""

    def __init__(self, place: Place):
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._place.port

    def local_rank(self) -> int:
        return self._place.rank

    def node_rank(self) -> int:
        return 0


def limit_threads(settings: TrainConfig | OnlineTrainConfig) -> None:
    """Gives this process the threads that a run asks for.

    Several threads gain small models little, and crawl where other work has the cores.
    """
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)


def fabric(settings: TrainConfig | OnlineTrainConfig, place: Place | None = None) -> Fabric:
    """Returns the Fabric of one process, not launched yet.

    Raises:
        ConfigError: If the machine has no such accelerator, or not so many of it.
    """
    try:
        return Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            precision=settings.precision,
            strategy="ddp" if settings.devices > 1 else "auto",
            plugins=[_Processes(place or Place())],
        )
    except (RuntimeError, ValueError, ImportError, MisconfigurationException) as error:
        raise ConfigError(
            f"train.accelerator={settings.accelerator} with train.devices={settings.devices} "
            f"cannot be used here: {' '.join(str(error).split())}"
        ) from None


@contextlib.contextmanager
def workers(work: Work, arguments: tuple[Any, ...], devices: int) -> Iterator[Place]:
    """Has the further processes of a run work while the body runs, and gives the leader's place.

    Args:
        work: What they do; a function of a module.
        arguments: Its arguments, after its place and the function that says that it is ready.
        devices: Processes in all; with one, nothing is started.

    Raises:
        TrainingError: If one of them cannot start, or ends too soon.
    """
    if devices == 1:
        yield Place()
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not forked: a process that has used threads or an accelerator cannot be.
    context = multiprocessing.get_context("spawn")
    started: list[Any] = []
    try:
        for rank in range(1, devices):
            mine, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_begin,
                args=(work, Place(rank, port), theirs, imported_plugins(), arguments),
                daemon=True,
            )
            process.start()
            theirs.close()
            started.append(process)
            problem = _problem(mine)
            if problem is not None:
                raise TrainingError(f"the process of device {rank} cannot start: {problem}")
        yield Place(0, port)
        for process in started:
            process.join()
    except RuntimeError as error:  # what a collective call raises when its partner has gone
        for process in started:
            process.join(5)
        ended = [process.exitcode for process in started if process.exitcode]
        if not ended:
            raise
        raise TrainingError(
            f"a process of the run ended with status {ended[0]}; go on by `retain resume`"
        ) from error
    finally:
        for process in started:
            if process.is_alive():
                process.terminate()
            process.join()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _problem(connection: Connection) -> str | None:
    """Waits until a process says that it is ready, or why it is not."""
    try:
        message: str | None = connection.recv()
    except EOFError:
        return "it ended at once"
    finally:
        connection.close()
    return message


def _begin(
    work: Work,
    place: Place,
    connection: Connection,
    plugins: list[str],
    arguments: tuple[Any, ...],
) -> None:
    """What a further process does."""
    ready = False

    def say_ready() -> None:
        nonlocal ready
        connection.send(None)
        ready = True

    try:
        for plugin in plugins:
            import_plugin(plugin)
        work(place, say_ready, *arguments)
    except RetainError as error:
        # Later errors are those of the leader too, who tells them.
        if not ready:
            connection.send(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
