"""Files that a command reads, kept from those that it writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from goturn.commands.exits import UsageError


def check_not_overwritten(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuses outputs that would overwrite what is read, by whatever name or link.

    Raises:
        UsageError: with a sentence.
    """
    read = {identity for path in inputs for identity in _identities(path)}
    for path in outputs:
        if not read.isdisjoint(_identities(path)):
            raise UsageError(
                f"{path} is read as input and writing it would destroy it; give another name"
            )


def _identities(path: Path) -> set[Path | tuple[int, int]]:
    """A file's full name, and where it exists device and inode, which hard links share."""
    identities: set[Path | tuple[int, int]] = {path.resolve()}
    try:
        status = path.stat()
    except OSError:
        return identities
    return identities | {(status.st_dev, status.st_ino)}
