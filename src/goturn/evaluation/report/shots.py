"""Which frames of a video a report shows, and their pictures as text that a page can hold."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from goturn.data.model import Video
from goturn.evaluation.results import FAILED, Trajectory

#: Frames that are shown of each video whatever happened, evenly spaced ...
EVEN = 8
#: ... and at most, with those in which a tracker did badly.
MOST = 16

#: Width in pixels and JPEG quality, from the first that fits in what a video may take.
_SIZES = ((360, 75), (300, 70), (240, 65), (180, 60), (120, 50), (80, 40))

#: A picture is at most so much higher than wide.
_TALLEST = 2


@dataclass(frozen=True)
class Shot:
    """One frame to show."""

    number: int
    """Which frame of the video, from 0."""
    reasons: tuple[str, ...] = ()
    """Why it is shown, where it is not merely one of the evenly spaced."""


@dataclass(frozen=True)
class Picture:
    """A frame, made small."""

    uri: str | None
    """As a data URI; None where the frame could not be read."""
    width: int
    height: int
    """Of the frame itself, pixels: what boxes are in."""


def choose_shots(
    video: Video, trajectories: Mapping[str, Trajectory], overlaps: Mapping[str, np.ndarray]
) -> list[Shot]:
    """Evenly spaced frames, and those in which a tracker was lost or its overlap is the lowest.

    A tracker's first failure comes before another's second, until there are :data:`MOST` frames.

    Args:
        video: from its first labelled frame on.
        trajectories: by tracker.
        overlaps: by tracker, (n,), NaN where there is none.

    Returns:
        In the order of the video; none where it has no labelled frame.
    """
    if not video.boxes:
        return []
    first, last = next(iter(video.boxes)), len(video.frames) - 1
    reasons: dict[int, list[str]] = {
        round(number): [] for number in np.linspace(first, last, min(EVEN, last - first + 1))
    }
    bad = {name: _bad_frames(run, overlaps[name]) for name, run in trajectories.items()}
    for turn in range(max((len(frames) for frames in bad.values()), default=0)):
        for name, frames in bad.items():
            if turn < len(frames) and (frames[turn][0] in reasons or len(reasons) < MOST):
                number, what = frames[turn]
                reasons.setdefault(number, []).append(f"{name}: {what}")
    return [Shot(number, tuple(why)) for number, why in sorted(reasons.items())]


def lost_frames(run: Trajectory, overlaps: np.ndarray) -> list[int]:
    """Where a tracker failed; of one that was not started again, where its overlap fell to 0."""
    failed = np.flatnonzero(run.codes == FAILED)
    if failed.size:
        return [int(number) for number in failed]
    labelled = np.flatnonzero(np.isfinite(overlaps))
    none = overlaps[labelled] <= 0
    falls = none & ~np.concatenate([[False], none[:-1]])
    return [int(number) for number in labelled[falls]]


def _bad_frames(run: Trajectory, overlaps: np.ndarray) -> list[tuple[int, str]]:
    lost = lost_frames(run, overlaps)
    if lost:
        return [(number, "lost") for number in lost]
    if not np.isfinite(overlaps).any():
        return []
    return [(int(np.nanargmin(overlaps)), "its lowest overlap")]


def take_pictures(
    video: Video,
    shots: Sequence[Shot],
    read: Callable[[Path], np.ndarray],
    *,
    size: tuple[int, int],
    allowance: int,
) -> list[Picture]:
    """The frames of ``shots``, all of one scale, as small JPEG files.

    Args:
        video: whose frames.
        shots: which.
        read: decodes a frame, (H, W, 3) uint8 BGR; a ValueError or OSError of it leaves a frame out.
        size: (width, height) of a frame that cannot be read.
        allowance: characters that the pictures may take together; of the smallest size they may take
            more.
    """
    kept: list[np.ndarray | None] = []
    sizes: list[tuple[int, int]] = []
    for shot in shots:
        image = _read(read, video.frames[shot.number])
        kept.append(None if image is None else _shrunk(image, _SIZES[0][0]))
        sizes.append(size if image is None else (image.shape[1], image.shape[0]))
    uris: list[str | None] = []
    for width, quality in _SIZES:
        uris = [None if image is None else _encoded(image, width, quality) for image in kept]
        if sum(len(uri) for uri in uris if uri) <= allowance:
            break
    return [Picture(uri, *size) for uri, size in zip(uris, sizes, strict=True)]


def _read(read: Callable[[Path], np.ndarray], path: Path) -> np.ndarray | None:
    try:
        return read(path)
    except (OSError, ValueError):
        return None


def _shrunk(image: np.ndarray, width: int) -> np.ndarray:
    height = math.ceil(width * _TALLEST)
    factor = min(1.0, width / image.shape[1], height / image.shape[0])
    if factor == 1:
        return image
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _encoded(image: np.ndarray, width: int, quality: int) -> str:
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    _, data = cv2.imencode(".jpg", _shrunk(image, width), flags)
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"
