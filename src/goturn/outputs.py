"""What tracking leaves behind: an annotated video or folder of images, and boxes as text.

Text is flushed after every frame, so that whatever ends a run, the lines so far are whole.  Existing
files are overwritten.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TextIO

import cv2
import numpy as np

from goturn.box import Box

#: Codec by the video's extension; both are in every build of OpenCV that can write video at all.
VIDEO_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}

#: Rate of a written video whose source has none.
DEFAULT_FPS = 25.0

JPEG_QUALITY = 95

#: Writes the boxes to standard output.
STDOUT = "-"


#: Confidences where nobody knows any.
UNKNOWN: Mapping[int, float] = MappingProxyType({})


def csv_line(frame: int, key: int, box: Box, confidence: float | None = None) -> str:
    """``frame,object,x,y,w,h,confidence``: frame and object from 0; left, top, width, height in pixels;
    the confidence in [0, 1], nothing where it is not known.
    """
    known = "" if confidence is None else f"{confidence:.3f}"
    return f"{frame},{key},{box.x:.3f},{box.y:.3f},{box.w:.3f},{box.h:.3f},{known}\n"


def mot_line(frame: int, key: int, box: Box, confidence: float | None = None) -> str:
    """A row of MOT's ``gt.txt``, which CVAT imports: ``frame,id,x,y,w,h,not_ignored,class,visibility``.

    Frame and id count from 1, as the format demands; the box is the same as in the CSV.
    """
    numbers = f"{box.x:.3f},{box.y:.3f},{box.w:.3f},{box.h:.3f}"
    return f"{frame + 1},{key + 1},{numbers},1,1,1\n"


def json_line(frame: int, key: int, box: Box, confidence: float | None = None) -> str:
    """``{"frame": 0, "object": 0, "box": [x, y, w, h], "confidence": 0.9}``: numbers as in the CSV."""
    values = [round(value, 3) for value in box]
    line = {"frame": frame, "object": key, "box": values}
    if confidence is not None:
        line["confidence"] = round(confidence, 3)
    return json.dumps(line) + "\n"


#: Header and line of each text format.
BOX_FORMATS: Mapping[str, tuple[str, Callable[[int, int, Box, float | None], str]]] = {
    "csv": ("frame,object,x,y,w,h,confidence\n", csv_line),
    "mot": ("", mot_line),
    "jsonl": ("", json_line),
}


class Output(ABC):
    """Takes every frame with its boxes, in order.  A context manager that closes it."""

    name: str
    """Where it writes, for messages."""

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # else the error inside the block is the one to tell of
                raise

    @abstractmethod
    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        """Adds a frame.

        Args:
            index: the frame's number in its source, from 0.
            frame: (H, W, 3) uint8 BGR, as it shall be seen.
            boxes: box in pixels of the frame, by object number.
            confidences: of the boxes, by object number; formats without a place for them pass them by.

        Raises:
            OSError: it cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """Completes the file.

        Raises:
            OSError: it could not be written whole.
        """


class BoxFile(Output):
    """Boxes as text, a line an object and frame, in one of ``BOX_FORMATS``; "-" is standard output.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, layout: str = "csv") -> None:
        header, self._line = BOX_FORMATS[layout]
        self.name = str(path)
        self._file: TextIO = sys.stdout
        if self.name != STDOUT:
            self._file = open(path, "w", encoding="utf-8", newline="\n")  # noqa: SIM115 (close does)
        self._file.write(header)
        self._file.flush()

    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        self._file.write(
            "".join(self._line(index, key, box, confidences.get(key)) for key, box in boxes.items())
        )
        self._file.flush()

    def close(self) -> None:
        if self.name != STDOUT:
            self._file.close()


class ImageFolder(Output):
    """Frames as ``00001.jpg`` and so on in a folder, which is made if need be.

    Images of other numbers that are in it already stay.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._folder = Path(path)
        self._folder.mkdir(exist_ok=True)
        self._count = 0

    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        self._count += 1
        _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (self._folder / f"{self._count:05d}.jpg").write_bytes(encoded.tobytes())

    def close(self) -> None:
        """Each image is whole once written."""


class VideoFile(Output):
    """A video, MPEG-4 in ``.mp4`` or Motion JPEG in ``.avi``.

    The video has the size of the first frame; one of another size is scaled to fit, on black.  Of an
    odd width or height OpenCV drops the last column or row.

    Raises:
        ValueError: another extension.
        RuntimeError: OpenCV has no encoder for it, or refuses the size or rate.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float | None = None) -> None:
        self.name = str(path)
        self._size = size
        self._count = 0
        codec = VIDEO_CODECS[check_video_suffix(path)]
        rate = fps or DEFAULT_FPS
        try:
            self._writer = cv2.VideoWriter(
                self.name, cv2.VideoWriter.fourcc(*codec), rate, size, isColor=True
            )
            opened = self._writer.isOpened()
        except cv2.error:
            opened = False
        if not opened:
            raise RuntimeError(
                f"{path}: OpenCV cannot write {codec} video of {size[0]}x{size[1]} at {rate:g} frames a "
                "second here; try the other of .mp4 and .avi, or a folder of images (a name that ends "
                "in /)"
            )

    def write(
        self,
        index: int,
        frame: np.ndarray,
        boxes: Mapping[int, Box],
        confidences: Mapping[int, float] = UNKNOWN,
    ) -> None:
        self._writer.write(letterbox(frame, self._size))
        self._count += 1

    def close(self) -> None:
        """Completes the video, then reads its last frame: the encoder reports no full disk."""
        self._writer.release()
        if self._count == 0:
            return
        check = cv2.VideoCapture(self.name)
        check.set(cv2.CAP_PROP_POS_FRAMES, self._count - 1)
        complete, _ = check.read()
        check.release()
        if not complete:
            raise OSError(f"{self.name} could not be written whole; is the disk full?")


def letterbox(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``frame`` at ``size`` (width, height): scaled to fit, its shape kept, centred on black."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    factor = min(size[0] / width, size[1] / height)
    inner = (max(1, round(width * factor)), max(1, round(height * factor)))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(frame, inner)
    return canvas


def is_image_folder(path: str | Path) -> bool:
    """Whether an output's name asks for a folder of images: it ends in a slash, or is a folder."""
    return str(path).endswith(("/", "\\")) or Path(path).is_dir()


def check_video_suffix(path: str | Path) -> str:
    """The video's extension in lower case.

    Raises:
        ValueError: one that is not written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in VIDEO_CODECS:
        raise ValueError(
            f"{path}: an annotated video ends in {' or '.join(VIDEO_CODECS)}; a name that ends in / is "
            "a folder of JPEG images"
        )
    return suffix


def open_pictures(
    path: str | Path, size: tuple[int, int], fps: float | None = None
) -> VideoFile | ImageFolder:
    """The output for annotated frames that ``path`` asks for, by its extension."""
    return ImageFolder(path) if is_image_folder(path) else VideoFile(path, size, fps)
