"""Many starts: a tracker is started every so many frames, and followed for a while from each.

One pass and resets count a few dozen starts in all, and what became of one track decides much of them.
The same videos give ten times as many short tracks, whose mean is a steadier figure to choose by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.session import Read, Session, first_labelled
from goturn.evaluation.trackers import AnyTracker

#: Frames from one start to the next, at least.
EVERY = 30

#: Frames that are followed from a start, at most, and how many there must be behind any but the first.
LENGTH = 44
SHORTEST = 20


def starts(video: Video) -> list[int]:
    """The frames to start on: the first that is labelled, and from each :data:`EVERY` frames on, or where
    the next label is that counts.

    Raises:
        ValueError: a video without labels.
    """
    found, end = [first_labelled(video)], len(video.frames) - SHORTEST
    for number in video.boxes:
        if found[-1] + EVERY <= number < end and number not in video.ignored:
            found.append(number)
    return found


def followed(session: Session, video: Video, start: int) -> Iterator[tuple[int, Box | None]]:
    """Starts a tracker on a frame's true box; the numbers of the frames behind it, with its answers.

    Raises:
        ValueError, Stopped: as :meth:`Session.start` and :meth:`Session.follow`.
    """
    session.start(start, video.boxes[start])
    for number in range(start + 1, min(start + LENGTH + 1, len(video.frames))):
        yield number, session.follow(number)


def many_starts(
    tracker: AnyTracker,
    videos: Sequence[Video],
    read: Read,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """The mean IoU of each video, by name: of the labelled frames behind each start, then of the starts.

    A frame without an answer has an overlap of 0; one that evaluation passes by does not count.  Nor do
    starts with no frame behind them that does, and videos without any other.

    Args:
        tracker: started here; what it raises is raised.
        videos: each with at least one labelled frame, and a name of its own.
        read: decodes a frame.
        stop: asked before each frame.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded.
        Stopped: ``stop`` said so.
    """
    means = {}
    for video in videos:
        session = Session(tracker, video, read, strict=True, stop=stop)
        of_starts = [_mean_behind(session, video, start) for start in starts(video)]
        counted = [mean for mean in of_starts if mean is not None]
        if counted:
            means[video.name] = float(np.mean(counted))
    return means


def _mean_behind(session: Session, video: Video, start: int) -> float | None:
    """The mean IoU of the frames behind a start that count; None where there are none."""
    overlaps = [
        0.0 if box is None else video.boxes[number].iou(box)
        for number, box in followed(session, video, start)
        if number in video.boxes and number not in video.ignored
    ]
    return float(np.mean(overlaps)) if overlaps else None
