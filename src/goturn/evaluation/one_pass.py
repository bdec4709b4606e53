"""One pass: a tracker is started on the first labelled frame and never again (OTB's protocol)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.session import Read, Session
from goturn.evaluation.trackers import AnyTracker


def one_pass(session: Session, video: Video) -> None:
    """Tracks from the first labelled frame (its true box) to the video's last.

    Raises:
        ValueError: a frame that cannot be decoded.
        Stopped: on request.
    """
    session.start(session.first, video.boxes[session.first])
    for number in range(session.first + 1, len(video.frames)):
        session.follow(number)


def track_video(
    tracker: AnyTracker,
    video: Video,
    read: Read,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, Box]:
    """Boxes by frame number, from the first labelled frame (its true box) to the video's last.

    Args:
        tracker: started here; what it raises is raised.
        video: with at least one labelled frame.
        read: decodes a frame.
        stop: asked before each frame.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded, or no box.
        Stopped: ``stop`` said so.
    """
    session = Session(tracker, video, read, strict=True, stop=stop)
    one_pass(session, video)
    boxes = session.run().trajectory.boxes.tolist()
    return {number: Box(*boxes[number]) for number in range(session.first, len(boxes))}


def mean_overlap(video: Video, boxes: dict[int, Box]) -> float:
    """Mean IoU over the labelled frames, the first, whose box the tracker was given, among them."""
    return float(np.mean([truth.iou(boxes[number]) for number, truth in video.boxes.items()]))


def mean_overlaps(
    tracker: AnyTracker,
    videos: Sequence[Video],
    read: Read,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """:func:`mean_overlap` of each video, by name."""
    return {
        video.name: mean_overlap(video, track_video(tracker, video, read, stop=stop))
        for video in videos
    }
