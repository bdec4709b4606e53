"""Videos whose truth is a text file with a line per frame: what folder, OTB, VOT and GOT-10k share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from goturn.box import Box
from goturn.data.loader import MAX_BAD_LINES, Found, parse_lines
from goturn.data.model import FrameFiles, Video
from goturn.data.reading import count, plain_name, read_lines, rectangle

#: Names of sequences, where a set has them in a file.
LIST = "list.txt"

_NUMBER = re.compile(r"([0-9]{1,12})\.[^.]*$")


def add_video(
    found: Found,
    name: str,
    annotation: Path,
    images: Path,
    *,
    parse: Callable[[str], Box | None] = rectangle,
    part: tuple[int, int] | None = None,
    absent: Sequence[bool] = (),
    ignored: Sequence[bool] = (),
    tags: Mapping[str, Sequence[bool]] | None = None,
    corners: Callable[[str], tuple[float, ...] | None] | None = None,
    base: int = 0,
) -> None:
    """Reads a sequence into ``found``: as a video, or as the problems that it has.

    Args:
        found: takes it.
        name: of the video.
        annotation: a line per frame.
        images: the folder of frames.
        parse: a line to a box; None for an unlabelled frame; ValueError for a bad line.
        part: numbers of the first and last frame that are labelled, if there are more frames than lines.
        absent: where given, whether each frame's line is not to be read.
        ignored: where given, whether evaluation passes by each frame.
        tags: by attribute, whether each frame has it; as many as lines, or fewer where the rest have not.
        corners: a line that ``parse`` takes to the quadrangle in it; None where it has none.
        base: of the video.
    """
    read = found.lines_and_images(annotation, images)
    if read is None:
        return
    lines, names = read
    for flags, what in ((absent, "absence"), (ignored, "cover")):
        if flags and len(flags) != len(lines):
            found.leave_out(
                annotation,
                f"{count(len(lines), 'line')}, but there are {len(flags)} flags of {what}",
            )
            return
    if part is not None and len(names) > len(lines):
        inside = [each for each in names if part[0] <= (frame_number(each) or 0) <= part[1]]
        names = inside or names
    try:
        files = files_of_lines(names, len(lines))
    except ValueError as error:
        found.leave_out(annotation, error)
        return
    missing = files.count(None)
    if missing > MAX_BAD_LINES:
        found.leave_out(images, f"{missing:,} of {count(len(lines), 'frame')} are missing")
        return
    present = {n: line for n, line in enumerate(lines) if not absent or not absent[n]}
    parsed = parse_lines(annotation, present, parse, found)
    if parsed is None:
        return
    boxes: dict[int, Box] = {}
    quadrangles: dict[int, tuple[float, ...]] = {}
    for line, box in parsed.items():
        file = files[line]
        if file is None:
            found.leave_out(images, f"the frame of line {line + 1} of {annotation.name} is missing")
        elif box is not None:
            boxes[file] = box
            quadrangle = corners(lines[line]) if corners else None
            if quadrangle is not None:
                quadrangles[file] = quadrangle
    if not boxes:
        found.leave_out(annotation, "no frame is labelled")
        return
    found.videos.append(
        Video(
            name,
            FrameFiles(images, names),
            boxes,
            corners=quadrangles,
            tags={tag: _numbers(flags, files) for tag, flags in (tags or {}).items()},
            ignored=_numbers(ignored, files) & boxes.keys(),
            base=base,
        )
    )


def _numbers(flags: Sequence[bool], files: Sequence[int | None]) -> frozenset[int]:
    """The frames whose line is flagged."""
    pairs = zip(flags, files, strict=False)  # attributes may end early
    return frozenset(file for flag, file in pairs if flag and file is not None)


def read_flags(path: Path, highest: int = 1) -> list[int]:
    """A file with a whole number from 0 to ``highest`` in each line.

    Raises:
        ValueError: anything else; a clause.
    """
    known = {str(value): value for value in range(highest + 1)}
    flags = [known.get(line) for line in read_lines(path)]
    if None in flags:
        allowed = "neither 0 nor 1" if highest == 1 else f"not from 0 to {highest}"
        raise ValueError(f"a line that is {allowed}")
    return [flag for flag in flags if flag is not None]


def files_of_lines(names: Sequence[str], lines: int) -> list[int | None]:
    """For each of ``lines`` lines, which of the images it is about; None where that is missing.

    As a rule there are as many of both.  Where images are missing, those that are there can be told by
    their numbers; where there are too many, what the lines are about cannot be known.

    Raises:
        ValueError: it cannot be told.
    """
    if len(names) == lines:
        return list(range(lines))
    mismatch = f"{count(lines, 'line')} for {count(len(names), 'image')}"
    given = [frame_number(name) for name in names]
    of_number = {number: index for index, number in enumerate(given) if number is not None}
    if len(names) > lines or len(of_number) < len(names):
        raise ValueError(
            f"{mismatch}; there must be one line per frame, nan,nan,nan,nan if unlabelled"
        )
    lowest, highest = min(of_number), max(of_number)
    # Numbers begin at 1 or 0, or, in a part of a longer video, wherever the part does.
    for first in (min(lowest, 1), lowest):
        if highest - first < lines:
            return [of_number.get(number) for number in range(first, first + lines)]
    raise ValueError(f"{mismatch}, which are numbered {lowest} to {highest}")


def frame_number(name: str) -> int | None:
    """The number that the name of an image ends in: 12 of ``img00012.jpg``."""
    match = _NUMBER.search(name)
    return int(match[1]) if match else None


def listed(found: Found, folder: Path) -> list[str]:
    """Names of a set's sequences: those in its ``list.txt``, or, where there is none, all its folders.

    What the list names and is not there is a problem.
    """
    path = folder / LIST
    if not path.exists():
        return found.subfolders(folder)
    try:
        lines = read_lines(path)
    except ValueError as error:
        found.leave_out(path, error)
        return []
    there = set(found.subfolders(folder))
    names = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            if plain_name(line) not in there:
                raise ValueError(f"there is no folder {line}")
            names.append(line)
        except ValueError as error:
            found.leave_out(path, f"line {number}: {error}")
    return names
