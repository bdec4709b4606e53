"""Worker processes: what is to be done is handed out, and a process that dies takes one thing with it.

They are processes even where there is one, since an OpenCV tracker can end its process; new ones, not
forked, since neither CUDA nor OpenCV's threads survive that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Protocol

from goturn.evaluation.worker import Answer, Failed, Question, Step

#: How often it is asked whether to stop, seconds.
ASK_EVERY = 0.1

#: How long one frame, or the making of a tracker, may take, seconds.
PATIENCE = 600.0

#: Variables that say how many threads a process may have: ours, OpenMP's, and NumPy's BLAS'.
THREADS = ("GOTURN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Work(Protocol):
    """Questions that one worker answers, one after another."""

    def question(self) -> Question | None:
        """The next one; None where there is no more."""

    def take(self, answer: Answer) -> None:
        """What came of it.  After :class:`Failed` no more is asked of this work."""


class Pool:
    """Up to ``jobs`` workers; a context manager, at whose end they are ended.

    Args:
        jobs: how many processes.
        patience: a worker that gives no sign of life for so many seconds is ended, as one that died:
            some trackers never come back (OpenCV's MIL from a box one pixel high).

    Raises:
        ValueError: ``jobs`` is none.
    """

    def __init__(self, jobs: int, *, patience: float = PATIENCE) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be a number from 1 on; got {jobs}")
        self._jobs, self._patience = jobs, patience
        self._idle: list[_Process] = []
        self._busy: dict[Connection, tuple[_Process, Work]] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in [*self._idle, *(process for process, _ in self._busy.values())]:
            process.end()
        self._idle.clear()
        self._busy.clear()

    def do(self, works: Iterable[Work], *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Has all of it done, in the order given, by whichever worker has nothing to do.

        Args:
            works: what is to be done.
            stop: asked all the time; work in hand is given up then.

        Returns:
            False where it was stopped.
        """
        left = deque(works)
        while not stop():
            while left and len(self._busy) < self._jobs:
                self._begin(left.popleft())
            if not self._busy:
                return True
            for connection in wait(list(self._busy), timeout=ASK_EVERY):
                assert isinstance(connection, Connection)
                self._receive(connection)
            self._lose_patience()
        return False

    def _begin(self, work: Work) -> None:
        question = work.question()
        if question is None:
            return
        process = self._idle.pop() if self._idle else _Process(self._jobs)
        self._busy[process.connection] = process, work
        self._ask(process, work, question)

    def _lose_patience(self) -> None:
        late = time.monotonic() - self._patience
        for process, work in [each for each in self._busy.values() if each[0].heard < late]:
            del self._busy[process.connection]
            process.end()
            work.take(
                Failed(f"no frame was done in {self._patience:g} seconds; its process was ended")
            )

    def _ask(self, process: _Process, work: Work, question: Question) -> None:
        process.heard = time.monotonic()
        try:
            process.connection.send(question)
        except OSError:
            self._lose(process, work)

    def _receive(self, connection: Connection) -> None:
        process, work = self._busy[connection]
        try:
            answer = connection.recv()
        except (EOFError, OSError):
            self._lose(process, work)
            return
        process.heard = time.monotonic()
        work.take(answer)
        if isinstance(answer, Step):
            return
        question = None if isinstance(answer, Failed) else work.question()
        if question is None:
            del self._busy[connection]
            self._idle.append(process)
        else:
            self._ask(process, work, question)

    def _lose(self, process: _Process, work: Work) -> None:
        del self._busy[process.connection]
        work.take(Failed(f"its process was ended by {process.ended()}"))


class _Process:
    """A worker process and the connection to it."""

    def __init__(self, jobs: int) -> None:
        self.connection, theirs = Pipe()
        self.heard = time.monotonic()
        # Modules come from where ours do: not, as -c has it, from the current folder before all others.
        path = [str(each) or os.getcwd() for each in sys.path]
        code = (
            f"import sys; sys.path[:] = {path!r}; "
            f"from goturn.evaluation.worker import main; main({theirs.fileno()}, {jobs})"
        )
        # Not in our group: Ctrl-C is for us, who end the workers.  What a tracker prints is not output.
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[theirs.fileno()],
            env=worker_environment(jobs),
            start_new_session=True,
        )
        theirs.close()

    def end(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.wait()
        self.connection.close()

    def ended(self) -> str:
        """How a process that has closed its end of the connection has ended."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:  # it lives on without a connection: of no use to anybody
            self._process.kill()
            code = self._process.wait()
        self.connection.close()
        if code >= 0:
            return f"itself, with exit code {code}"
        try:
            return f"signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"signal {-code}"


def worker_environment(jobs: int) -> dict[str, str]:
    """The environment of a worker: ours, with threads so few that ``jobs`` processes share the
    processors; what a user has set stands.
    """
    environment = dict(os.environ)
    if jobs > 1:
        for name in THREADS:
            environment.setdefault(name, str(max(1, processors() // jobs)))
    return environment


def processors() -> int:
    """How many this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
