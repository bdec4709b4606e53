"""Replace and remove folders in one step: a reader sees the whole of one, or none, at any moment.

Folders being made or deleted have the name ``.<name>.tmp.<process>.<number>``, and one that makes way for
another ``.<name>.old.<process>.<number>``.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from goturn.weights.atomic import sync

_TEMPORARY = re.compile(r"\.(.+)\.(tmp|old)\.([0-9]+)\.[0-9]+")
_numbers = itertools.count()
#: The temporary folders that this process is making at this moment.
_being_made: set[Path] = set()


class Temporary(NamedTuple):
    """What the name of a temporary folder says."""

    name: str
    """Of the folder that it stands for."""
    kind: str
    """"tmp" for one being made or deleted; "old" for one that is whole, and about to be replaced."""
    process: int
    """Number of the process that gave it the name."""


def parse_temporary(path: Path) -> Temporary | None:
    """What the name says; None where it is not a temporary one."""
    match = _TEMPORARY.fullmatch(path.name)
    return Temporary(match[1], match[2], int(match[3])) if match else None


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Gives a new folder to fill, which takes the place of ``target`` when the block ends well.

    The block sees to it that what it wrote is on the disk (files and folder); the name is when this
    returns.  If the block raises, the new folder is removed and what was at ``target`` stays.  Replacing
    a folder takes two renames: in between it is there under an "old" name only.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    temporary, old = _beside(target, "tmp"), None
    _being_made.add(temporary)
    try:
        temporary.mkdir()
        yield temporary
        if target.is_dir():
            old = _beside(target, "old")
            os.rename(target, old)
        os.rename(temporary, target)
    except BaseException:
        if old is not None and not target.exists():
            os.rename(old, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        _being_made.discard(temporary)
    sync(target.parent)
    if old is not None:
        remove(old)


def remove(path: Path) -> None:
    """Removes a folder, whose name nobody finds any more from the first step on.

    Errors are passed over: a file that somebody reads on a network drive, say, is no reason to stop.
    :func:`remove_left` tries again.
    """
    temporary = parse_temporary(path)
    if temporary is None or temporary.kind != "tmp":
        new = _beside(path, "tmp")
        try:
            os.rename(path, new)
        except OSError:
            return
        path = new
    shutil.rmtree(path, ignore_errors=True)


def remove_left(folder: Path, kinds: Collection[str]) -> None:
    """Removes the temporary folders of these kinds in ``folder`` whose makers are gone."""
    for path in entries(folder):
        temporary = parse_temporary(path)
        if temporary is None or temporary.kind not in kinds or path in _being_made:
            continue
        # A process of our own number may be an earlier one: containers count from 1.
        if temporary.process == os.getpid() or not _runs(temporary.process):
            remove(path)


def entries(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _beside(path: Path, kind: str) -> Path:
    """A temporary name beside ``path`` that nobody has."""
    temporary = parse_temporary(path)
    name = temporary.name if temporary else path.name
    while True:
        new = path.with_name(f".{name}.{kind}.{os.getpid()}.{next(_numbers)}")
        if not os.path.lexists(new):
            return new


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
