"""The target's half of the network: known before the next frame is there, so it can be begun at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from goturn.network import Network
from goturn.ops import Array


def target_half(network: Network, targets: Sequence[Array]) -> Array:
    """What is kept of target crops (3, S, S): (n, part_width), of :meth:`Network.project_target`."""
    return network.project_target(network.encode_target(network.ops.stack(targets)))


class TargetHalf:
    """:func:`target_half` in a thread of its own, begun when this is made.

    The thread ends with the computation, some milliseconds later; it holds the network and the crops
    until then, and nothing else.  It is no daemon: the interpreter waits for it before it ends, since a
    thread must not come back from compiled code after that.
    """

    def __init__(self, network: Network, targets: Sequence[Array]) -> None:
        self._network = network
        self._targets = list(targets)
        self._cancelled = False
        self._half: Array | None = None
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        if not threading.main_thread().is_alive():
            return  # the interpreter is ending, and would not wait for another thread
        thread = threading.Thread(target=self._run, name="goturn-ahead", daemon=False)
        try:
            thread.start()
        except RuntimeError:
            return  # no more threads to be had
        self._thread = thread

    def cancel(self) -> None:
        """Nobody will ask for the result: leaves out what has not begun."""
        self._cancelled = True

    def result(self) -> Array:
        """The result, waited for where it is not there yet.

        Raises:
            Exception: whatever the computation raised.
        """
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        if self._half is None:  # no thread, or this is a forked process and it stayed in the parent
            self._half = target_half(self._network, self._targets)
        return self._half

    def _run(self) -> None:
        try:
            if self._cancelled:
                return
            features = self._network.encode_target(self._network.ops.stack(self._targets))
            if not self._cancelled:
                self._half = self._network.project_target(features)
        except Exception as error:  # the caller's to deal with, in result()
            self._error = error
