"""Boxes gathered by object, which is how annotation tools want them, and written when the run ends."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from goturn.box import Box
from goturn.outputs import UNKNOWN, Output
from goturn.video import ImageSource, Source
from goturn.weights.atomic import replacing

#: The class of what is tracked, where no other is given.
DEFAULT_LABEL = "object"

#: What XML 1.0 cannot hold, escaped or not, and lone surrogates, which UTF-8 cannot.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Clip:
    """What annotation tools must know besides the boxes."""

    name: str
    """Of the video or the folder of images, without the path to it."""
    label: str = DEFAULT_LABEL
    """The objects' class, as it is called in the tool."""
    fps: float | None = None
    """Frames per second; None where that is not known."""
    files: Sequence[Path] = ()
    """The images, by frame number; none for a video."""
    folder: Path = Path()
    """Where the images, or the folders with them, are."""
    length: int | None = None
    """How many frames the source says to have; it may say wrong."""

    def frame_name(self, index: int) -> str:
        """A frame's file, by its number from 0.

        Images keep their names, relative to their folder.  A video's frames are called as
        ``ffmpeg -i clip.mp4 clip/%06d.jpg`` writes them: ``clip/000001.jpg`` is the first.
        """
        if index < len(self.files):
            return writable(self.files[index].relative_to(self.folder).as_posix())
        return f"{writable(Path(self.name).stem)}/{index + 1:06d}.jpg"


def clip_of(source: Source, *, label: str = DEFAULT_LABEL, fps: float | None = None) -> Clip:
    """What there is to know of a source of frames.

    A stream's name is the last part of its address: user and password do not get into files.
    """
    name, folder = source.name, Path()
    files: Sequence[Path] = ()
    if isinstance(source, ImageSource):
        files = source.paths
        folder = Path(os.path.commonpath([path.parent for path in files]))
        place = folder.resolve()
        name = place.parent.name if place.name == "img" else place.name
    elif "://" in source.name:
        parts = urlsplit(source.name)
        name = Path(parts.path).name or parts.hostname or "stream"
    elif source.paths:
        name = source.paths[0].name
    length = None if source.claimed is None else source.start + source.claimed
    return Clip(name, label, fps or source.fps, files, folder, length)


@dataclass
class Frames:
    """Successive frames of one size."""

    first: int
    stop: int
    """One beyond the last."""
    size: tuple[int, int]
    """(width, height), pixels."""


class Track:
    """One object's boxes by frame, ascending: 40 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._values = array("d")

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[tuple[int, Box]]:
        for row, number in enumerate(self._numbers):
            yield number, Box(*self._values[4 * row : 4 * row + 4])

    def add(self, number: int, box: Box) -> None:
        """Adds the box in frame ``number``, which follows those that are there."""
        self._numbers.append(number)
        self._values.extend(box)

    def stretches(self) -> Iterator[list[tuple[int, Box]]]:
        """The boxes, parted wherever the object was away for a frame or more."""
        rows = enumerate(self)
        for _, group in groupby(rows, key=lambda row: row[1][0] - row[0]):
            yield [entry for _, entry in group]


class TrackFile(Output):
    """A file that is written whole when it is closed, if there was a frame at all.

    Args:
        path: the file; one that is there is replaced.
        clip: what the boxes belong to.

    Raises:
        ValueError: ``path`` is something else than a file.
        OSError: nothing can be written in its folder.
    """

    def __init__(self, path: str | Path, clip: Clip) -> None:
        self.name = str(path)
        self.clip = clip
        self.tracks: dict[int, Track] = {}
        self.frames: list[Frames] = []
        self._closed = False
        target = Path(path)
        if target.exists() and not target.is_file():  # a device would be replaced by a file
            raise ValueError(f"{path} is not a file; give the name of a file for the boxes")
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(f"{path}: nothing can be written in the folder {target.parent}")

    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        size = (frame.shape[1], frame.shape[0])
        if self.frames and (self.frames[-1].stop, self.frames[-1].size) == (index, size):
            self.frames[-1].stop += 1
        else:
            self.frames.append(Frames(index, index + 1, size))
        for key, box in boxes.items():
            self.tracks.setdefault(key, Track()).add(index, box)

    def close(self) -> None:
        if self._closed or not self.frames:
            return
        self._closed = True
        with replacing(self.name) as temporary:
            self.save(temporary)

    def save(self, path: Path) -> None:
        """Writes the file, as text unless a format has another idea."""
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(self.parts())

    @abstractmethod
    def parts(self) -> Iterator[str]:
        """The file's text, piece by piece."""

    @property
    def stop(self) -> int:
        """One beyond the last frame that was written."""
        return self.frames[-1].stop

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first frame, pixels."""
        return self.frames[0].size

    @property
    def length(self) -> int:
        """How many frames there are: as many as the source says to have, or have been seen."""
        return max(self.stop, self.clip.length or 0)


def writable(text: str) -> str:
    """``text`` with U+FFFD for what neither XML nor UTF-8 can hold."""
    return _UNWRITABLE.sub("\ufffd", text)
