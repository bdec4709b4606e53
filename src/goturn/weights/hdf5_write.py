"""Writing HDF5 so that neither a crash nor a full disk costs anything but the new file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import h5py

from goturn.weights.atomic import replacing


@contextmanager
def replacing_hdf5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """An HDF5 file to fill, which takes the place of ``path`` in one step when the block ends well.

    If the block raises, or writing fails, what was at ``path`` stays.

    Raises:
        OSError: writing failed (disk full, no permission ...); the message names ``path``.
    """
    with replacing(path) as temporary, temporary.open("w+b", buffering=0) as file:
        disk = _Disk(file.fileno())
        try:
            with h5py.File(temporary, "w", driver="fileobj", fileobj=disk) as hdf5:
                yield hdf5
        finally:
            if disk.error is not None:
                raise disk.error


class _Disk:
    """The file as HDF5 sees it: one that never fails.

    HDF5 cannot close a file that it failed to write: it keeps it half open, and the process dies of it
    later.  So the first error is kept here, for us to raise, and HDF5 is let run on into the void.
    """

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._position = 0
        self._size = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data: memoryview) -> int:
        end = self._position + len(data)
        try:
            while self.error is None and self._position < end:
                rest = data[len(data) - (end - self._position) :]
                self._position += os.pwrite(self._descriptor, rest, self._position)
        except OSError as error:
            self.error = error
        self._position = end
        self._size = max(self._size, end)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        """HDF5 reads back what it wrote; zeros stand for what never reached the disk."""
        count = os.preadv(self._descriptor, [buffer], self._position)
        buffer[count:] = bytes(len(buffer) - count)
        self._position += len(buffer)
        return len(buffer)

    def truncate(self, size: int) -> int:
        self._size = size
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = self.error or error
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""
