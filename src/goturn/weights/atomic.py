"""Replace files in one step: a reader, or a crash at any moment, sees the old or the new one whole."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count()


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and moves it there when the block ends well.

    The file's data reach the disk before its name does, and the name before this returns.  If the
    block raises, the temporary file is removed and what was at ``path`` stays.  Threads and processes
    may do this for one path at the same time: the last to finish wins.

    Raises:
        OSError: writing failed (disk full, no permission ...); the message names ``path``.
    """
    target = Path(path)
    with replacing_together([target]) as (temporary,), naming(target):
        yield temporary


@contextmanager
def replacing_together(targets: Sequence[Path]) -> Iterator[list[Path]]:
    """As :func:`replacing`, for files of one folder that belong together: all are on the disk before
    the first is renamed, and the renames, in the order given, follow one another at once.

    The block itself says whose an OSError in it is, by :func:`naming`.
    """
    temporaries: list[Path] = []
    try:
        for target in targets:
            with naming(target):
                temporaries.append(_create_beside(target))
        yield temporaries
        for target, temporary in zip(targets, temporaries, strict=True):
            with naming(target):
                sync(temporary)
        for target, temporary in zip(targets, temporaries, strict=True):
            with naming(target):
                os.replace(temporary, target)
    except BaseException:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
        raise
    sync(targets[0].parent)


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Makes an OSError in the block say that ``target`` could not be written, and why."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"could not write: {reason}", str(target)) from error


def _create_beside(target: Path) -> Path:
    """A new, empty file of a name that nobody else has, with the permissions that the umask leaves."""
    while True:
        name = f"{target.name}.tmp.{os.getpid()}.{next(_numbers)}"
        temporary = target.with_name(name)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # left by a process that was killed, or another machine's
            continue
        os.close(descriptor)
        return temporary


def sync(path: Path) -> None:
    """Waits until a file's data, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
