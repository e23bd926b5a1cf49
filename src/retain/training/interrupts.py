"""Ctrl-C, or a request to end, while training: what was begun is ended and saved first."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupts:
    """Turns the first Ctrl-C into a wish to stop, which the training loop looks at when it can.

    The second one stops at once. So it is with SIGTERM, which the schedulers of clusters send. A
    signal that has a handler of somebody else keeps it; and nothing is changed where training runs
    in a thread, which cannot have one.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether to save and stop."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
            for number, handler in usual.items():
                if signal.getsignal(number) is handler:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping as soon as it can be saved; Ctrl-C again stops at once", file=sys.stderr)
