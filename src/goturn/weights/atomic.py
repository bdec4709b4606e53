"""Replace a file in one step: a reader, or a crash at any moment, sees the old or the new one whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and moves it there when the block ends well.

    The file's data reach the disk before its name does, and the name before this returns.  If the
    block raises, the temporary file is removed and what was at ``path`` stays.

    Raises:
        OSError: writing failed (disk full, no permission ...); the message names ``path``.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.tmp.{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"could not write: {reason}", str(target)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Waits until a file's data, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
