"""How a command ends: exit codes, and stopping at a frame's end on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

DONE = 0
ERROR = 1
USAGE = 2
ENDED_EARLY = 3
DIVERGED = 4

#: A process that ends by a signal gives this plus the signal's number: 130 Ctrl-C, 143 SIGTERM.
SIGNAL_BASE = 128


class UsageError(Exception):
    """The command line asks for something that cannot be done as asked; exit code 2."""


@dataclass
class StopRequest:
    """Which signal has asked to stop; 0 while none has."""

    signal: int = 0


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Within the block Ctrl-C and SIGTERM only note that they came, so that work in hand completes.

    A second signal acts as usual.  Outside the main thread, where Python allows no handlers, signals
    are left alone.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal = number
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
