"""OTB: ``<name>/img/0001.jpg ...`` and ``<name>/groundtruth_rect.txt``, coordinates from 1.

Two targets in one video have ``groundtruth_rect.1.txt`` and ``.2.txt`` and make two videos here, such as
``Jogging.1`` and ``Jogging.2``.
"""

from __future__ import annotations

import re
from pathlib import Path

from goturn.box import Box
from goturn.data.folder import frame_folder
from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import Dataset
from goturn.data.reading import file_names, numbers, rectangle, subfolders
from goturn.data.sequences import add_video

KIND = "otb"
LOOKS = "NAME/groundtruth_rect.txt with frames in NAME/img"

#: First and last frame of the videos that are labelled in part, by their numbers.
PARTS = {
    "David": (300, 770),
    "Diving": (1, 215),
    "Football1": (1, 74),
    "Freeman3": (1, 460),
    "Freeman4": (1, 283),
}

_TRUTH = re.compile(r"groundtruth_rect(\.[0-9]+)?\.txt")


def load(path: Path, *, progress: Progress = silent) -> Dataset:
    """The sequences in a folder, by name.

    Raises:
        DataError: there are none.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    for name in progress(found.subfolders(path), KIND):
        folder = path / name
        truths = _truths(folder, found.file_names(folder, (".txt",)))
        for truth in truths:
            if len(truths) > 1 and truth.stat().st_size == 0:
                found.notes.append(f"{name}/{truth.name} is empty, as in the original.")
                continue
            number = _TRUTH.fullmatch(truth.name)
            target = number[1] if number and number[1] else ""
            add_video(
                found,
                name + target,
                truth,
                frame_folder(folder),
                parse=from_one,
                part=PARTS.get(name),
                base=1,
            )
    return found.dataset(LOOKS)


def from_one(line: str) -> Box | None:
    """A line ``x,y,w,h`` whose first pixel is (1, 1); None where it is all NaN, or all 0.

    Raises:
        ValueError: anything else.
    """
    values = numbers(line)
    if len(values) == 4 and not any(values):
        return None
    box = rectangle(line)
    return box and box._replace(x=box.x - 1, y=box.y - 1)


def recognise(path: Path) -> bool:
    """Whether a folder in it has OTB's ground truth."""
    folders = [path / name for name in subfolders(path)]
    return any(_truths(folder, file_names(folder, (".txt",))) for folder in folders)


def _truths(folder: Path, names: list[str]) -> list[Path]:
    return [folder / name for name in names if _TRUTH.fullmatch(name)]


LAYOUT = Layout(KIND, LOOKS, load, recognise)
