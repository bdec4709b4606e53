"""Batches, made by threads while the network computes, in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Batches(Generic[T]):
    """What ``make`` gives for iteration ``start``, ``start + 1`` ..., computed ahead.

    Use as a context manager: leaving it waits for the threads.

    Args:
        make: makes the batch of an iteration; called from several threads.
        start: the first iteration.
        stop: the iteration after the last.
        workers: threads.
    """

    def __init__(
        self,
        make: Callable[[int], T],
        *,
        start: int,
        stop: int,
        workers: int = 1,
    ) -> None:
        self._make, self._next, self._stop = make, start, stop
        self._depth = workers + 1
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="goturn-batches")
        self._futures: deque[Future[T]] = deque()
        self.waited = 0.0
        """Seconds that :meth:`next` has waited in all."""

    def __enter__(self) -> Batches[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self) -> T:
        """The next batch.

        Raises:
            IndexError: there is none any more.
            Exception: what ``make`` raised for it.
        """
        begun = time.perf_counter()
        while self._next < self._stop and len(self._futures) < self._depth:
            self._futures.append(self._pool.submit(self._make, self._next))
            self._next += 1
        batch = self._futures.popleft().result()
        self.waited += time.perf_counter() - begun
        return batch
