"""Frames from a camera, a video file, a stream, a folder of images or a glob pattern.

Every source is an iterable of frames that can be gone through once::

    with open_source("clip.mp4") as source:
        for frame in source:
            ...
    if source.problem:
        print(source.problem)        # "clip.mp4: read 30 of 60 frames; ..."

A source that breaks off early is no error: the frames before are good, and ``problem`` says what
happened.  The number of frames that a file claims is never relied upon.
"""

from __future__ import annotations

import glob
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

#: Extensions (lower case) of files that are taken as images.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

#: Extensions (lower case) of videos whose index is at the end, as a rule: cut short they say nothing.
INDEXED_SUFFIXES = frozenset({".mp4", ".m4v", ".mov"})

#: Largest image file that is read, bytes: beyond any picture, and bounds what a stray file can take.
MAX_IMAGE_BYTES = 1 << 28

#: Frame rates above this are a container's clock, not a rate.
MAX_FPS = 1000.0

#: Many containers store no count, and OpenCV estimates one from the duration.  A source is cut short
#: only if it lacks more than one frame and more than this part of the claim.
CLAIM_TOLERANCE = 0.02


class Source(ABC):
    """Frames in order, (H, W, 3) uint8 BGR, each perhaps of its own size.  Iterate once.

    Close it, or use it as a context manager.
    """

    name: str
    """What was opened, for messages."""
    fps: float | None = None
    """Frames per second; None for images, and where the file does not say."""
    claimed: int | None = None
    """How many frames there are said to be, from ``start`` on; None if unknown."""
    paths: tuple[Path, ...] = ()
    """The files that are read."""
    read: int = 0
    """How many frames the iteration has given."""
    problem: str | None = None
    """One sentence once the source has broken off before its end."""

    def __init__(self, name: str, start: int) -> None:
        self.name = name
        self.start = start
        self._pending: np.ndarray | None = None
        self._closed = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the first frame, pixels."""
        return self._size

    def __iter__(self) -> Iterator[np.ndarray]:
        while self._pending is not None:
            frame, self._pending = self._pending, None
            self.read += 1
            yield frame
            if self._closed:
                return
            self._pending = self._next()
            if self._pending is None:
                self.problem = self.problem or self._shortfall()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Releases the camera or file; no frame comes after it."""
        self._closed = True
        self._pending = None

    @abstractmethod
    def _next(self) -> np.ndarray | None:
        """The next frame, None after the last; says in ``problem`` why a frame cannot be had."""

    def _shortfall(self) -> str | None:
        """After the last frame: why there are fewer than there should be; None if there are not."""
        return None

    def _read_first(self) -> None:
        """Reads ahead one frame, so that a source without any is refused when it is opened."""
        self._pending = self._next()
        if self._pending is None:
            self.close()
            raise ValueError(
                self.problem
                or (
                    f"{self.name}: no frame {self.start}, the source ends before it"
                    if self.start
                    else f"{self.name}: no frame could be read; is it a video that OpenCV can decode?"
                )
            )
        height, width = self._pending.shape[:2]
        self._size = (width, height)


class VideoSource(Source):
    """A camera, a video file or a network stream, read through ``cv2.VideoCapture``."""

    def __init__(self, name: str, target: int | str, start: int = 0) -> None:
        super().__init__(name, start)
        self._camera = isinstance(target, int)
        live = isinstance(target, int) or "://" in target
        if not live:
            self.paths = (Path(str(target)),)
        try:
            self._capture = cv2.VideoCapture(target)
            opened = self._capture.isOpened()
        except cv2.error:
            opened = False
        if not opened:
            raise _not_opened(name, target, live)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= MAX_FPS else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not live and start < count < 2**31:
            self.claimed = int(count) - start
        for _ in range(start):
            if not self._capture.grab():
                break
        self._read_first()

    def close(self) -> None:
        super().close()
        self._capture.release()

    def _next(self) -> np.ndarray | None:
        try:
            valid, frame = self._capture.read()
        except cv2.error as error:
            self.problem = (
                f"{self.name}: frame {self.start + self.read} cannot be decoded ({error.err})"
            )
            return None
        return frame if valid and frame is not None and frame.size else None

    def _shortfall(self) -> str | None:
        if self._camera:
            return f"{self.name} stopped after {self.read} frames; was it disconnected?"
        missing = 0 if self.claimed is None else self.claimed - self.read
        if self.claimed is None or missing <= max(1, CLAIM_TOLERANCE * self.claimed):
            return None
        return (
            f"{self.name}: read {self.read} of {self.claimed} frames; "
            "the file is damaged or was cut short"
        )


class ImageSource(Source):
    """Image files in the order given."""

    def __init__(self, name: str, files: Sequence[Path], start: int = 0) -> None:
        super().__init__(name, start)
        self.paths = tuple(files)
        self.claimed = max(0, len(files) - start)
        self._files = iter(files[start:])
        self._read_first()

    def _next(self) -> np.ndarray | None:
        path = next(self._files, None)
        if path is None:
            return None
        try:
            return read_image(path)
        except OSError as error:
            reason = f"{path}: {error.strerror}"
        except ValueError as error:
            reason = str(error)
        self.problem = f"{reason}; read {self.read} of {self.claimed} frames"
        return None


def open_source(source: str | Path, *, start: int = 0) -> Source:
    """Opens what ``source`` names.

    Args:
        source: a video file; a camera by number ("0" is the first; "./0" is a file of that name); the
            URL of a stream; a folder of images, or of a sequence that has them in ``img/``; or a glob
            pattern of images.  Images come in natural order, 2 before 10.
        start: how many frames to skip.

    Raises:
        FileNotFoundError: no such file or folder, or nothing matches the pattern.
        ValueError: not a video, a single image, a folder without images, no frame at ``start``.
        RuntimeError: a camera or stream that cannot be opened.
    """
    name = str(source)
    if not name:
        raise FileNotFoundError("the source's name is empty; give a video or a folder of images")
    if start < 0:
        raise ValueError(f"start must be a frame number from 0 on; got {start}")
    camera = re.fullmatch(r"(?:/dev/video)?([0-9]{1,4})", name)
    if camera:
        return VideoSource(f"camera {camera[1]}", int(camera[1]), start)
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        return VideoSource(name, name, start)
    path = Path(name)
    if path.is_dir():
        return ImageSource(name, _folder_images(path), start)
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise ValueError(
                f"{name} is a single image; give a video, or the folder with the images of a sequence"
            )
        return VideoSource(name, name, start)
    if glob.has_magic(name):
        return ImageSource(name, _matching_images(name), start)
    if path.exists():
        raise ValueError(
            f"{name} is neither a file nor a folder; give a video or a folder of images"
        )
    raise FileNotFoundError(
        f"{name}: no such file or folder; give a video, a folder of images, a glob pattern or a "
        "camera's number"
    )


def read_image(path: Path) -> np.ndarray:
    """The image in a file, (H, W, 3) uint8 BGR.

    The bytes are decoded in memory because ``cv2.imread`` gives a full-size picture for a truncated
    JPEG without a word.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, or not a whole image.
    """
    if path.stat().st_size > MAX_IMAGE_BYTES:
        raise ValueError(
            f"{path}: an image file of more than {MAX_IMAGE_BYTES >> 20} MiB is refused"
        )
    try:
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # an empty buffer, or a size beyond OpenCV's limits
        image = None
    if image is None:
        raise ValueError(f"{path}: not a whole image that OpenCV can decode")
    return image


def natural_key(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts names with numbers as people do: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)], str(path)


def _images_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _is_image(path)]


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _folder_images(folder: Path) -> list[Path]:
    files = _images_in(folder)
    if not files and (folder / "img").is_dir():
        files = _images_in(folder / "img")
    if not files:
        raise ValueError(
            f"{folder} has no images, neither itself nor in img/; known are "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(files, key=natural_key)


def _matching_images(pattern: str) -> list[Path]:
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
    if not matches:
        raise FileNotFoundError(f"{pattern}: nothing matches this pattern")
    files = [path for path in matches if _is_image(path)]
    if not files:
        raise ValueError(
            f"{pattern} matches no image; a pattern stands for the images of one sequence"
        )
    return sorted(files, key=natural_key)


def _not_opened(name: str, target: int | str, live: bool) -> Exception:
    if isinstance(target, int):
        return RuntimeError(
            f"{name} cannot be opened; is it connected, and free of other programs?"
        )
    if live:
        return RuntimeError(f"{name}: the stream cannot be opened")
    sentence = f"{name} cannot be opened as a video; it is damaged or of an unknown format"
    suffix = Path(name).suffix.lower()
    if suffix in INDEXED_SUFFIXES:
        sentence += f"; an {suffix[1:]} that was cut short has lost its index"
    return ValueError(sentence)
