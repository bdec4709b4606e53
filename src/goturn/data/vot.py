"""VOT challenges: ``list.txt``, and in each folder it names ``groundtruth.txt`` and the frames.

A line is ``x,y,w,h`` or four corners ``x1,y1,...,x4,y4``: these are kept, and the upright rectangle
around them is the box.  Frames are in ``color/`` or beside the ground truth.  Coordinates begin at 1, as
the authors' code has it (facts 2.2); the option ``base=0`` is for sets that begin at 0.

Attributes, such as ``camera_motion``, ``illum_change``, ``occlusion``, ``size_change`` and
``motion_change``, are files of their names ending in ``.tag`` or ``.label``, a line 1 or 0 per frame;
where lines are missing at the end, the frames do not have it.
"""

from __future__ import annotations

import math
from pathlib import Path

from goturn.box import Box
from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import Dataset
from goturn.data.reading import checked_box, count, numbers
from goturn.data.sequences import LIST, add_video, listed, read_flags

KIND = "vot"
TRUTH = "groundtruth.txt"
LOOKS = "list.txt and NAME/groundtruth.txt with frames in NAME/color or NAME"
BASES = ("1", "0")

#: How the files of attributes end, in the data set of 2014 and in later ones.
TAGS = (".label", ".tag")


def load(path: Path, *, base: str = "1", progress: Progress = silent) -> Dataset:
    """The sequences of a challenge, in the order of its list.

    Args:
        path: the folder with ``list.txt``.
        base: "1" or "0", the coordinate of the first pixel.
        progress: wraps the sequences.

    Raises:
        DataError: there are none.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    first = int(base)

    def parse(line: str) -> Box | None:
        box = region(line)
        return box and box._replace(x=box.x - first, y=box.y - first)

    def corners(line: str) -> tuple[float, ...] | None:
        values = numbers(line)
        return tuple(value - first for value in values) if len(values) == 8 else None

    for name in progress(listed(found, path), KIND):
        folder = path / name
        colour = folder / "color"
        images = colour if colour.is_dir() else folder
        add_video(
            found,
            name,
            folder / TRUTH,
            images,
            parse=parse,
            corners=corners,
            tags=_tags(found, folder),
            base=first,
        )
    return found.dataset(LOOKS)


def _tags(found: Found, folder: Path) -> dict[str, list[bool]]:
    """By attribute, whether each frame has it; an attribute that cannot be read is a problem."""
    tags = {}
    for name in found.file_names(folder, TAGS):
        try:
            tags[Path(name).stem] = [flag == 1 for flag in read_flags(folder / name)]
        except ValueError as error:
            found.leave_out(folder / name, error)
    return tags


def region(line: str) -> Box | None:
    """The upright rectangle around a line's region; None where all its numbers are NaN.

    Raises:
        ValueError: no rectangle or quadrangle of numbers.
    """
    if line.startswith("m"):
        raise ValueError("a mask; only sets with rectangles and quadrangles can be read")
    values = numbers(line)
    if len(values) not in (4, 8):
        raise ValueError(f"{count(len(values), 'number')} where 4 or 8 were expected")
    if all(math.isnan(value) for value in values):
        return None
    if len(values) == 4:
        return checked_box(*values)
    return around(values)


def around(corners: list[float]) -> Box:
    """The upright rectangle around corners x1, y1, x2, y2 ..., in whatever order they are.

    Raises:
        ValueError: a number is not finite, or the corners are on one upright or level line.
    """
    if any(math.isnan(value) for value in corners):  # min() and max() would pass some by
        raise ValueError("a corner that is not a number")
    xs, ys = corners[0::2], corners[1::2]
    return checked_box(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


def recognise(path: Path) -> bool:
    """Whether it has a list, and a folder that it names a ground truth."""
    if not (path / LIST).is_file():
        return False
    return any((path / name / TRUTH).exists() for name in listed(Found(KIND, path), path))


LAYOUT = Layout(KIND, LOOKS, load, recognise, {"base": BASES})
