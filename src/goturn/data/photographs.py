"""Photographs in goturn's own form: ``img/<id>.jpg`` and ``boxes.json``.

The latter is ``{id: {"size": [w, h], "boxes": [{"class": str, "box": [x, y, w, h]}]}}``, pixels from 0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from goturn.box import Box
from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import DataError, Dataset, Photograph
from goturn.data.reading import (
    check_inside,
    checked_box,
    checked_size,
    count,
    image_names,
    plain_name,
    read_bytes,
)

KIND = "photographs"
TRUTH = "boxes.json"
IMAGES = "img"
LOOKS = "boxes.json with images in img"

#: Largest boxes.json, bytes: over a million boxes.
MAX_BYTES = 1 << 28


def load(path: Path, *, progress: Progress = silent) -> Dataset:
    """The photographs that have a box, in the order of ``boxes.json``.

    Raises:
        DataError: there are none, or ``boxes.json`` is not what it should be.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    entries = _entries(path / TRUTH)
    images = path / IMAGES
    try:
        files = {name.rpartition(".")[0]: images / name for name in image_names(images)}
    except ValueError as error:
        raise DataError(f"{images} {error}; looked for {LOOKS}") from error
    empty = 0
    for name in progress(list(entries), KIND):
        try:
            photograph = _photograph(found, name, entries[name], files)
        except ValueError as error:
            found.leave_out(path / TRUTH, f"{name[:80]!r}: {error}")
            continue
        if photograph is None:
            empty += 1
        elif photograph.boxes:
            found.photographs.append(photograph)
    if empty:
        found.notes.append(f"{count(empty, 'photograph')} without boxes left out.")
    return found.dataset(LOOKS)


def _entries(path: Path) -> dict[str, Any]:
    """What the file says.

    Raises:
        DataError: it cannot be read, or is not a JSON object.
    """
    try:
        entries = json.loads(read_bytes(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:  # the latter for a thousand brackets
        raise DataError(f"{path} cannot be used: {error}; looked for {LOOKS}") from error
    if not isinstance(entries, dict):
        raise DataError(f"{path} must be a JSON object of photographs by id")
    return entries


def _photograph(found: Found, name: str, entry: Any, files: dict[str, Path]) -> Photograph | None:
    """An entry's photograph, None where it has no boxes; bad boxes are problems.

    Raises:
        ValueError: the entry itself is bad.
    """
    plain_name(name)
    if not isinstance(entry, dict) or not isinstance(entry.get("boxes"), list):
        raise ValueError('must be {"size": [w, h], "boxes": [{"class": ..., "box": [x, y, w, h]}]}')
    size = checked_size(*_numbers(entry.get("size"), 2))
    if name not in files:
        raise ValueError(f"there is no image {IMAGES}/{name}.jpg")
    if not entry["boxes"]:
        return None
    boxes: list[Box] = []
    for number, item in enumerate(entry["boxes"], 1):
        try:
            values = _numbers(item.get("box") if isinstance(item, dict) else None, 4)
            boxes.append(check_inside(checked_box(*values), size))
        except ValueError as error:
            found.leave_out(files[name], f"box {number}: {error}")
    return Photograph(name, files[name], size, tuple(boxes))


def _numbers(value: Any, expected: int) -> list[float]:
    """A list of that many numbers.

    Raises:
        ValueError: it is something else.
    """
    if (
        not isinstance(value, list)
        or len(value) != expected
        or not all(
            type(each) in (int, float) for each in value
        )  # true and false are ints otherwise
    ):
        raise ValueError(f"{expected} numbers were expected")
    try:
        return [float(each) for each in value]
    except OverflowError as error:
        raise ValueError("a number that is too large") from error


def recognise(path: Path) -> bool:
    """Whether it has ``boxes.json``."""
    return (path / TRUTH).is_file()


LAYOUT = Layout(KIND, LOOKS, load, recognise)
