"""A text file that grows by lines, and survives crashes and full disks in the middle of one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from goturn.weights.atomic import naming, replacing, sync

#: Larger files are not ours: a row for each of 500,000 iterations takes half as much.
MAX_BYTES = 1 << 26


class Lines:
    """The lines of a file, in memory and on the disk.

    Only whole lines count: what follows the last line break was torn by a crash or a full disk, and the
    next change of the file removes it.

    Args:
        path: the file, which need not be there.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        #: Bytes of the file; of those of ``lines`` unless a line is torn.
        self._on_disk, self._bytes = -1, 0
        with suppress(FileNotFoundError):
            self._read()

    def _read(self) -> None:
        if self.path.exists() and not self.path.is_file():  # a pipe would have us wait for ever
            raise ValueError(f"{self.path}: not a regular file")
        with self.path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f"{self.path}: more than {MAX_BYTES} bytes, which we never write")
        whole = data[: data.rfind(b"\n") + 1]
        # Other bytes are no row's: who reads the lines will see that.
        self.lines = whole.decode("utf-8", "replace").split("\n")[:-1]
        self._on_disk, self._bytes = len(data), len(whole)

    @property
    def torn(self) -> bool:
        """Whether the file holds other bytes than ``lines``, as far as we know, or is not there."""
        return self._on_disk != self._bytes

    def replace(self, lines: list[str]) -> None:
        """Makes these the file's lines, in one step.

        Raises:
            OSError: writing failed; the message names the file, which stays as it was.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        with replacing(self.path) as temporary:
            temporary.write_bytes(data)
        self.lines, self._on_disk, self._bytes = list(lines), len(data), len(data)

    def append(self, line: str) -> None:
        """Adds a line, and hands it to the operating system.

        Raises:
            OSError: writing failed; the message names the file, and ``lines`` are as before.
        """
        with naming(self.path):
            size = self.path.stat().st_size if self.path.exists() else -1
            if size != self._bytes:  # torn by an earlier append, or not what we left
                self.replace(self.lines)
            data = f"{line}\n".encode()
            with self.path.open("r+b", buffering=0) as file:
                file.seek(self._bytes)
                try:
                    done = 0
                    while done < len(data):
                        done += file.write(data[done:])
                except OSError:
                    with suppress(OSError):
                        file.truncate(self._bytes)
                    raise
        self._bytes += len(data)
        self._on_disk = self._bytes
        self.lines.append(line)

    def sync(self) -> None:
        """Waits until all lines are on the disk.

        Raises:
            OSError: they cannot get there; the message names the file.
        """
        with naming(self.path):
            sync(self.path)
