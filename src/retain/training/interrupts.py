"""Ctrl-C while training: what was begun is ended and saved first."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Turns the first Ctrl-C into a wish to stop, which the training loop looks at when it can.

    The second one stops at once. Where Ctrl-C has a handler of somebody else, or training runs in a
    thread, which cannot have one, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether to save and stop."""
        self._before: Any = None

    def __enter__(self) -> Self:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping as soon as it can be saved; Ctrl-C again stops at once", file=sys.stderr)
