"""One pass: a tracker is started on the first labelled frame and never again (OTB's protocol)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from goturn.box import Box
from goturn.data.model import Video


class AnyTracker(Protocol):
    """What is evaluated."""

    def init(self, frame: np.ndarray, box: Iterable[float]) -> object:
        """Starts on what is in ``box`` of ``frame``."""

    def update(self, frame: np.ndarray) -> Sequence[float]:
        """x, y, w, h in the next frame, pixels."""


class Stopped(Exception):
    """Somebody asked to stop."""


def first_labelled(video: Video) -> int:
    """The frame to start a tracker on.

    Raises:
        ValueError: there is none.
    """
    for number in video.boxes:
        return number
    raise ValueError(f"{video.name} has no labelled frame to start a tracker on")


def track_video(
    tracker: AnyTracker,
    video: Video,
    read: Callable[[Path], np.ndarray],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, Box]:
    """Boxes by frame number, from the first labelled frame (its true box) to the video's last.

    Args:
        tracker: started here.
        video: with at least one labelled frame.
        read: decodes a frame.
        stop: asked before each frame.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded.
        Stopped: ``stop`` said so.
    """
    first = first_labelled(video)
    tracker.init(read(video.frames[first]), video.boxes[first])
    boxes = {first: video.boxes[first]}
    for number in range(first + 1, len(video.frames)):
        if stop():
            raise Stopped
        boxes[number] = Box(*tracker.update(read(video.frames[number])))
    return boxes


def mean_overlap(video: Video, boxes: dict[int, Box]) -> float:
    """Mean IoU over the labelled frames, the first, whose box the tracker was given, among them."""
    return float(np.mean([truth.iou(boxes[number]) for number, truth in video.boxes.items()]))


def mean_overlaps(
    tracker: AnyTracker,
    videos: Sequence[Video],
    read: Callable[[Path], np.ndarray],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """:func:`mean_overlap` of each video, by name."""
    return {
        video.name: mean_overlap(video, track_video(tracker, video, read, stop=stop))
        for video in videos
    }
