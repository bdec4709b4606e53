"""Images of data sets, decoded and kept: training asks for the same ones again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from goturn.data.model import DataError
from goturn.video import read_image

#: Decoded images that are kept if nothing else is asked for, bytes: at most so much, ...
LARGEST_DEFAULT = 2 << 30
#: ... and at most this part of the memory that is free.
PART_OF_FREE = 4
#: What is kept where the system does not say how much is free.
FALLBACK = 256 << 20


class FrameReader:
    """Reads images, and keeps those last used within a bound.  Any number of threads may share it.

    An image that two threads want at once is decoded once.  One that cannot be decoded is not tried
    again.

    Args:
        capacity: how many bytes of decoded images are kept at most; None for the smaller of 2 GiB and a
            quarter of the free memory; 0 for none.

    Raises:
        ValueError: ``capacity`` is negative.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = default_capacity() if capacity is None else capacity
        """Bytes."""
        if self.capacity < 0:
            raise ValueError(f"capacity must be a number of bytes from 0 on; got {capacity}")
        self.bad: dict[Path, str] = {}
        """Images that could not be read, and the sentence that says why."""
        self.hits = 0
        """Reads that decoded nothing."""
        self.misses = 0
        """Reads that decoded an image, or tried to."""
        self.held = 0
        """Bytes of the images that are kept now."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[Path, np.ndarray] = OrderedDict()
        self._coming: dict[Path, Future[np.ndarray | None]] = {}

    def read(self, path: Path) -> np.ndarray:
        """The image in a file, (H, W, 3) uint8 BGR; shared, so it cannot be written to.

        Raises:
            DataError: it cannot be read, or is no whole image; also in ``bad``.
        """
        while True:
            with self._lock:
                if path in self.bad:
                    raise DataError(self.bad[path])
                kept = self._kept.get(path)
                if kept is not None:
                    self._kept.move_to_end(path)
                    self.hits += 1
                    return kept
                coming = self._coming.get(path)
                if coming is None:
                    mine = self._coming[path] = Future()
                    self.misses += 1
            if coming is None:
                return self._decode(path, mine)
            image = coming.result()
            if image is not None:
                with self._lock:
                    self.hits += 1
                return image
            # The other thread failed: the image is bad, or, if that thread was stopped, this one's turn.

    def _decode(self, path: Path, mine: Future[np.ndarray | None]) -> np.ndarray:
        image: np.ndarray | None = None
        try:
            image = read_image(path)
            image.flags.writeable = False
            return image
        except (OSError, ValueError) as error:
            reason = (
                f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
            )
            with self._lock:
                self.bad[path] = reason
            raise DataError(reason) from error
        finally:
            with self._lock:
                del self._coming[path]
                if image is not None:
                    self._keep(path, image)
            mine.set_result(image)

    def _keep(self, path: Path, image: np.ndarray) -> None:
        """Makes room and keeps an image, unless it is larger than all there is; the lock is held."""
        if image.nbytes > self.capacity:
            return
        while self.held + image.nbytes > self.capacity:
            self.held -= self._kept.popitem(last=False)[1].nbytes
        self._kept[path] = image
        self.held += image.nbytes


def default_capacity() -> int:
    """Bytes of decoded images that may be kept on this machine now."""
    free = free_memory()
    return FALLBACK if free is None else min(LARGEST_DEFAULT, free // PART_OF_FREE)


def free_memory(
    report: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """Bytes of memory that programs can still have, as Linux reports it; None where it does not.

    In a container with a limit, that is the most it can be.
    """
    free = _available(report)
    try:
        most = int(limit.read_text(encoding="ascii"))
    except (OSError, ValueError):  # there is none, or it is "max"
        return free
    return most if free is None else min(free, most)


def _available(report: Path) -> int | None:
    try:
        for line in report.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None
