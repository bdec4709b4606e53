"""Labelled videos and photographs, whatever data set they come from.

A loader reads annotations and names files; it decodes no image.  What it had to leave out it lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import overload

from goturn.box import Box

#: A box larger than this part of its photograph, in either dimension, leaves no room for random crops
#: (paper, section 5.1).
LARGEST_PART = 0.66

#: Part of a data set's files or labels that may be bad; beyond it something is wrong with the whole.
BAD_LIMIT = 0.01


class DataError(ValueError):
    """A data set that cannot be used: not there in the form expected, or too much of it is bad."""


class FrameFiles(Sequence[Path]):
    """Files of one folder, in the order given.

    Only their names are kept, and a path is made when it is asked for: large sets have over a million
    frames, and as many paths take half a gigabyte.
    """

    __slots__ = ("folder", "names")

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FrameFiles: ...
    def __getitem__(self, index: int | slice) -> Path | FrameFiles:
        if isinstance(index, slice):
            return FrameFiles(self.folder, self.names[index])
        return self.folder / self.names[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FrameFiles):
            return NotImplemented
        return self.folder == other.folder and self.names == other.names

    def __hash__(self) -> int:
        return hash((self.folder, self.names))

    def __repr__(self) -> str:
        return f"FrameFiles({str(self.folder)!r}, {len(self)} files)"


@dataclass(frozen=True)
class Video:
    """Frames in order, and the object's box in some of them or all."""

    name: str
    """Unique in its data set."""
    frames: Sequence[Path]
    """Files of all frames, in order; a tuple or :class:`FrameFiles`."""
    boxes: Mapping[int, Box]
    """Truth by frame number from 0, ascending: labelled frames only; image pixels, 0-based."""
    corners: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    """Where the truth is a quadrangle: x1, y1 ... x4, y4 by frame number, 0-based; ``boxes`` then holds
    the upright rectangles around them."""
    tags: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Attributes such as "occlusion": the numbers of the frames that have each."""
    ignored: frozenset[int] = frozenset()
    """Labelled frames that evaluation passes by: those in which the object is wholly covered."""
    base: int = 0
    """The coordinate that the set's own files give the first pixel, 0 or 1.  ``boxes`` and ``corners``
    begin at 0 whatever it is; who writes boxes for the set's own tools adds it to x and y."""

    def pairs(self) -> list[tuple[int, int]]:
        """Successive labelled frames, (previous, current)."""
        numbers = list(self.boxes)
        return list(pairwise(numbers))


@dataclass(frozen=True)
class Photograph:
    """A still image and the boxes of the objects in it."""

    name: str
    """Unique in its data set."""
    path: Path
    size: tuple[int, int]
    """(width, height) of the image that the boxes were drawn in, pixels."""
    boxes: tuple[Box, ...]
    """Truth, 0-based pixels of an image of ``size``."""

    def with_room(self, largest: float = LARGEST_PART) -> tuple[Box, ...]:
        """The boxes that fill at most ``largest`` of the photograph in both dimensions."""
        width, height = self.size
        return tuple(
            box for box in self.boxes if box.w <= largest * width and box.h <= largest * height
        )

    def fitted(self, box: Box, height: int) -> Box:
        """``box`` in pixels of the image file, ``height`` rows high.

        Where that is not the size that the box was drawn in, both axes are scaled by the ratio of the
        heights, as the authors' code does (facts 3.7).
        """
        if height == self.size[1]:
            return box
        factor = height / self.size[1]
        return Box(*(value * factor for value in box))


@dataclass(frozen=True)
class Problem:
    """Something of a data set that was left out."""

    path: Path
    """The file."""
    reason: str
    """What is wrong, a clause: "line 3: 5 numbers where 4 were expected"."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """What a loader found."""

    kind: str
    """Which loader: "folder", "alov" ..."""
    path: Path
    videos: tuple[Video, ...] = ()
    photographs: tuple[Photograph, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What was left out because it is bad."""
    notes: tuple[str, ...] = field(default=())
    """What was left out on purpose, or is worth knowing: a sentence each."""

    @property
    def name(self) -> str:
        """Kind and path, for messages."""
        return f"{self.kind}:{self.path}"

    @property
    def files(self) -> int:
        """How many images there are: frames, labelled or not, and photographs."""
        return sum(len(video.frames) for video in self.videos) + len(self.photographs)


def check_problems(what: str, problems: tuple[Problem, ...], total: int) -> None:
    """That bad files are few.

    Raises:
        DataError: more than 1 % of ``total`` are bad; the message lists them.
    """
    if problems and len(problems) > BAD_LIMIT * total:
        shown = [f"\n  {problem}" for problem in problems[:50]]
        more = "" if len(problems) <= 50 else f"\n  and {len(problems) - 50} more"
        raise DataError(
            f"{what}: {len(problems)} of {total} files are bad, more than {BAD_LIMIT:.0%}; mend or "
            f"remove them:{''.join(shown)}{more}"
        )
