"""ALOV300++: ``alov300++_rectangleAnnotation_full/<category>/<video>.ann`` and
``imagedata++/<category>/<video>/00000001.jpg ...``.

Where folders of these names are not in the root, two others that hold such files are taken.  About
every fifth frame is labelled, by a line ``frame Ax Ay Bx By Cx Cy Dx Dy`` with frames and coordinates
from 1; the corners are in any order (facts 3.6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from goturn.box import Box
from goturn.data.loader import Found, Layout, Progress, checked_root, parse_lines, silent
from goturn.data.model import Dataset, FrameFiles, Video
from goturn.data.reading import (
    count,
    holds,
    numbers,
    subfolders,
)
from goturn.data.sequences import frame_number
from goturn.data.vot import around
from goturn.video import IMAGE_SUFFIXES

KIND = "alov"
SUFFIX = ".ann"
ANNOTATIONS = "alov300++_rectangleAnnotation_full"
IMAGES = "imagedata++"
LOOKS = "a folder of CATEGORY/VIDEO.ann and one of CATEGORY/VIDEO/*.jpg"
SPLITS = ("all", "train", "val")

#: Videos that VOT2014 has too: a tracker that is evaluated there must not have seen them.
OVERLAP = frozenset(
    {
        "01-Light_video00016",
        "01-Light_video00022",
        "01-Light_video00023",
        "02-SurfaceCover_video00012",
        "03-Specularity_video00003",
        "03-Specularity_video00012",
        "10-LowContrast_video00013",
    }
)


def load(
    path: Path,
    *,
    split: str = "all",
    overlap: str = "remove",
    annotations: str = "",
    images: str = "",
    progress: Progress = silent,
) -> Dataset:
    """The videos, by category and name.

    Args:
        path: the folder with both.
        split: "train" or "val": of each category the last fifth, rounded down, is for validation; with
            the overlap removed these are 251 and 56 of all 307.
        overlap: "remove" or "keep" the seven videos that VOT2014 has too.
        annotations: their folder in ``path``, if it is to be another one.
        images: likewise.
        progress: wraps the videos.

    Raises:
        DataError: there are no such folders, or no videos.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    truths, frames = _roots(path, annotations, images)
    chosen: list[tuple[str, str]] = []
    removed = 0
    for category in found.subfolders(truths):
        names = [n[: -len(SUFFIX)] for n in found.file_names(truths / category, (SUFFIX,))]
        kept = [n for n in names if overlap == "keep" or full_name(category, n) not in OVERLAP]
        removed += len(names) - len(kept)
        chosen += [(category, name) for name in part(kept, split)]
    if removed:
        found.notes.append(
            f"{count(removed, 'video')} left out that VOT2014 has too; overlap=keep keeps them."
        )
    for category, name in progress(chosen, KIND):
        _add(found, category, name, truths / category / (name + SUFFIX), frames / category / name)
    return found.dataset(LOOKS)


def part(names: Sequence[str], split: str) -> Sequence[str]:
    """Of a category's videos, sorted, those of a split."""
    first_of_val = len(names) - len(names) // 5
    return {"all": names, "train": names[:first_of_val], "val": names[first_of_val:]}[split]


def full_name(category: str, name: str) -> str:
    """A video's name with its category, which the original's names begin with."""
    return name if name.startswith(category) else f"{category}_{name}"


def label(line: str) -> tuple[int, Box]:
    """A line's frame number from 1, and box in pixels from 0.

    Raises:
        ValueError: not nine numbers, of which the first is whole.
    """
    values = numbers(line)
    if len(values) != 9:
        raise ValueError(f"{count(len(values), 'number')} where 9 were expected")
    frame = values[0]
    if not 1 <= frame < 1e9 or frame != math.floor(frame):  # the former is false for NaN
        raise ValueError(f"{frame:g} is not a frame's number")
    box = around(values[1:])
    return int(frame), box._replace(x=box.x - 1, y=box.y - 1)


def _add(found: Found, category: str, name: str, annotation: Path, images: Path) -> None:
    read = found.lines_and_images(annotation, images)
    if read is None:
        return
    lines, names = read
    labels = parse_lines(annotation, dict(enumerate(lines)), label, found)
    if labels is None:
        return
    index = _index(names)
    boxes: dict[int, Box] = {}
    for line, (frame, box) in labels.items():
        file = index(frame)
        if file is None:
            found.leave_out(annotation, f"line {line + 1}: there is no frame {frame}")
        elif file in boxes:
            found.leave_out(annotation, f"line {line + 1}: frame {frame} is labelled already")
        else:
            boxes[file] = box
    if boxes:
        ordered = dict(sorted(boxes.items()))
        files = FrameFiles(images, names)
        found.videos.append(Video(full_name(category, name), files, ordered, base=1))


def _index(names: Sequence[str]) -> Callable[[int], int | None]:
    """From a frame's number to the image's place in order.

    That is the number less 1, as in the authors' code; but if images are missing from the middle of
    00000001.jpg ..., those after them would get others' boxes, so their own numbers count.
    """
    given = [frame_number(name) for name in names]
    if given[0] == 1 and None not in given and len(set(given)) == len(given):
        return {number: index for index, number in enumerate(given) if number is not None}.get
    return lambda frame: frame - 1 if frame <= len(names) else None


def _roots(path: Path, annotations: str, images: str) -> tuple[Path, Path]:
    """The folders of annotations and of images."""
    folders = [path, *(path / name for name in subfolders(path))]
    truths = path / annotations if annotations else _first(folders, ANNOTATIONS, (SUFFIX,), 1)
    frames = path / images if images else _first(folders, IMAGES, IMAGE_SUFFIXES, 2)
    return (
        checked_root(path, truths, "CATEGORY/VIDEO.ann", LOOKS),
        checked_root(path, frames, "CATEGORY/VIDEO/*.jpg", LOOKS),
    )


def _first(
    folders: Sequence[Path], name: str, suffixes: Sequence[str] | frozenset[str], depth: int
) -> Path | None:
    """The folder of that name, else the first with such files in folders in it."""
    named = [folder for folder in folders if folder.name == name and folder is not folders[0]]
    return next((f for f in (*named, *folders) if f in named or holds(f, suffixes, depth)), None)


def recognise(path: Path) -> bool:
    """Whether it, or a folder in it, has annotations as in ALOV300++."""
    return any(holds(f, (SUFFIX,), 1) for f in (path, *(path / name for name in subfolders(path))))


LAYOUT = Layout(
    KIND,
    LOOKS,
    load,
    recognise,
    {"split": SPLITS, "overlap": ("remove", "keep"), "annotations": (), "images": ()},
)
