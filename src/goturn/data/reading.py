"""Text, numbers, boxes and folders of data sets, none of which is trusted.

Functions here raise ValueError with a clause, "not a text file", to which the caller adds the path.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from goturn.box import MAX_COORDINATE, Box
from goturn.video import IMAGE_SUFFIXES, natural_key

#: Largest text annotation that is read, bytes: some 300,000 lines.
MAX_TEXT_BYTES = 16 << 20

_SEPARATORS = re.compile(r"[,;\s]+")


def check_folder(path: Path) -> None:
    """That ``path`` is a folder.

    Raises:
        FileNotFoundError: it is not.
    """
    if not path.is_dir():
        reason = "is not a folder" if path.exists() else "no such folder"
        raise FileNotFoundError(f"{path}: {reason}; give the folder of a data set")


def read_bytes(path: Path, limit: int) -> bytes:
    """A file's content.

    Raises:
        ValueError: not a regular file, one of more than ``limit`` bytes, or one that cannot be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            raise ValueError("not a file")
        if status.st_size > limit:
            raise ValueError(f"larger than {limit / 1e6:.0f} MB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without blanks around each and without empty ones at the end.

    Raises:
        ValueError: it cannot be read, is no text, or is empty.
    """
    try:
        text = read_bytes(path, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not a text file") from error
    # Not splitlines(), which also splits at characters that no editor shows as a new line.
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip()
    if not text:
        raise ValueError("empty")
    return [line.strip() for line in text.split("\n")]


def numbers(line: str) -> list[float]:
    """The numbers of a line, between commas, tabs, blanks or semicolons; NaN and infinity are numbers.

    Raises:
        ValueError: something is not a number.
    """
    values = []
    for part in _SEPARATORS.split(line.strip()):
        try:
            if "_" in part:  # float() takes 1_000
                raise ValueError
            values.append(float(part))
        except ValueError:
            shown = f"{part[:20]!r} where a number was expected" if part else "no number"
            raise ValueError(shown) from None
    return values


def rectangle(line: str) -> Box | None:
    """A line ``x,y,w,h`` as a Box; None where all four are NaN, which says unlabelled.

    Raises:
        ValueError: anything else.
    """
    values = numbers(line)
    if len(values) != 4:
        raise ValueError(f"{count(len(values), 'number')} where 4 were expected")
    if all(math.isnan(value) for value in values):
        return None
    return checked_box(*values)


def checked_box(x: float, y: float, w: float, h: float) -> Box:
    """The box of these numbers.

    Raises:
        ValueError: one is not finite or beyond ``MAX_COORDINATE``, or the box has no area.
    """
    if not all(abs(value) <= MAX_COORDINATE for value in (x, y, w, h)):  # false for NaN too
        raise ValueError(f"a box must be finite and within {MAX_COORDINATE:.0e} pixels")
    if w <= 0 or h <= 0:
        raise ValueError(f"a box must have width and height above 0, not {w:g} x {h:g}")
    return Box(x, y, w, h)


def checked_size(width: float, height: float) -> tuple[int, int]:
    """(width, height) of an image, pixels.

    Raises:
        ValueError: not whole numbers from 1 to a million.
    """
    if not all(1 <= side <= 1e6 and side == int(side) for side in (width, height)):
        raise ValueError(f"an image cannot be of size {width:g} x {height:g}")
    return int(width), int(height)


def check_inside(box: Box, size: tuple[int, int]) -> Box:
    """``box`` if a part of it is in an image of ``size`` (width, height).

    Raises:
        ValueError: none is.
    """
    x1, y1, x2, y2 = box.xyxy
    if x1 >= size[0] or y1 >= size[1] or x2 <= 0 or y2 <= 0:
        shown = ", ".join(f"{value:g}" for value in box)
        raise ValueError(f"box {shown} lies outside the image of {size[0]} x {size[1]}")
    return box


def plain_name(name: str) -> str:
    """``name`` if it is that of a file or folder within its own folder.

    Raises:
        ValueError: it leads elsewhere, or cannot be a name.
    """
    if name in ("", ".", "..") or any(c in name for c in "/\\\0") or len(name) > 255:
        raise ValueError(f"{name[:80]!r} is not the plain name of a file")
    return name


def file_names(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """Names of the files in a folder with one of these endings (lower case), in no order; hidden ones
    are passed over.

    The folder is read once and no file is looked at, so large ones are quick.

    Raises:
        ValueError: it cannot be read.
    """
    wanted = tuple(suffixes)
    with _scanned(folder) as entries:
        return [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(wanted)
            and not entry.name.startswith(".")
            and entry.is_file()
        ]


def image_names(folder: Path) -> list[str]:
    """Names of the images in a folder, as people sort them: 2 before 10.

    Raises:
        ValueError: it cannot be read, or has none.
    """
    names = file_names(folder, IMAGE_SUFFIXES)
    if not names:
        raise ValueError("has no images")
    if len({len(name) for name in names}) == 1 and all(n.split(".")[0].isdigit() for n in names):
        return sorted(names)  # the same order, and quick
    return sorted(names, key=lambda name: natural_key(Path(name)))


def subfolders(folder: Path) -> list[str]:
    """Names of a folder's folders, sorted, without hidden ones.

    Raises:
        ValueError: it cannot be read.
    """
    with _scanned(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def holds(folder: Path, suffixes: Iterable[str], depth: int, spread: int = 5) -> bool:
    """Whether there is a file with one of these endings ``depth`` folders below.

    A look at the first ``spread`` folders of each, and the first thousand entries, is enough.
    """
    try:
        if depth == 0:
            return _holds_here(folder, tuple(suffixes))
        below = subfolders(folder)[:spread]
    except ValueError:
        return False
    return any(holds(folder / name, suffixes, depth - 1, spread) for name in below)


def count(number: int, thing: str) -> str:
    """``1 box``, ``2 boxes``, ``1,000 frames``."""
    plural = "es" if thing.endswith("x") else "s"
    return f"{number:,} {thing}{'' if number == 1 else plural}"


def _holds_here(folder: Path, suffixes: tuple[str, ...]) -> bool:
    with _scanned(folder) as entries:
        for seen, entry in enumerate(entries):
            if entry.name.lower().endswith(suffixes) and entry.is_file():
                return True
            if seen == 1000:
                break
    return False


@contextmanager
def _scanned(folder: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    """``os.scandir`` whose errors, and those within the block, are clauses."""
    try:
        with os.scandir(folder) as entries:
            yield entries
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
