"""The VOT challenge's protocol of 2014: a tracker that has lost its object is started again (facts 4.2).

A frame without overlap is a failure; the tracker starts anew five frames later.  Accuracy is the mean
overlap of the frames that count: the first ten from each start do not, since a tracker is good at what it
has just been shown.  Robustness is the number of failures.

The experiment ``region_noise`` starts the tracker on a box that is a little off, as a person or a
detector would give it: scaled by 0.9 to 1.1 in each axis, and shifted by up to a tenth of its size.  VOT
also turns it by up to 0.1 rad, which is left out: an upright box, as ours all are, cannot be turned.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.overlap import MODES, overlaps
from goturn.evaluation.results import FAILED, STARTED, TRACKED, Trajectory
from goturn.evaluation.session import Read, Session
from goturn.evaluation.trackers import AnyTracker

#: Frames from a failure to the next start.
SKIP = 5

#: Frames from each start, the start among them, that do not count for accuracy.
BURN_IN = 10

#: S of R = exp(-S failures / frames), the reliability that is drawn in accuracy-robustness plots.
SENSITIVITY = 30.0

#: How far a starting box's sides may be from the truth's in ``region_noise``, a part of them ...
SCALE_NOISE = 0.1
#: ... and how far it may be shifted, likewise.
SHIFT_NOISE = 0.1

#: Overlap of a box with the truth of a video's frame, in [0, 1]; also given the frames' (width, height).
Overlap = Callable[[Box, Video, int, tuple[int, int]], float]

#: The box that a tracker is started on in a frame of a video.
Start = Callable[[Video, int], Box]


def failure_overlap(mode: str) -> Overlap:
    """The overlap that decides a failure, by its name in :mod:`goturn.evaluation.overlap`; "raster"
    within the image, as the VOT toolkit has it.

    Raises:
        ValueError: an unknown name.
    """
    if mode not in MODES:
        raise ValueError(f"unknown definition of overlap {mode!r}; there are {', '.join(MODES)}")

    def overlap(box: Box, video: Video, number: int, size: tuple[int, int]) -> float:
        corners = video.corners.get(number)
        quadrangles = None if corners is None else np.array([corners])
        truth = np.array([video.boxes[number]])
        return float(overlaps(np.array([box]), truth, mode, size, quadrangles)[0])

    return overlap


def true_start(video: Video, number: int) -> Box:
    """The truth."""
    return video.boxes[number]


def noisy_start(repetition: int) -> Start:
    """The truth a little off, in each repetition (from 0) otherwise, and the same whenever it is run:
    what is drawn depends on the video's name, the frame and the repetition alone.
    """

    def start(video: Video, number: int) -> Box:
        truth = video.boxes[number]
        name = int.from_bytes(hashlib.sha256(video.name.encode()).digest()[:8], "little")
        random = np.random.default_rng([name, number, repetition])
        scale_x, scale_y = random.uniform(1 - SCALE_NOISE, 1 + SCALE_NOISE, 2).tolist()
        shift_x, shift_y = random.uniform(-SHIFT_NOISE, SHIFT_NOISE, 2).tolist()
        x, y = truth.center
        w, h = truth.w * scale_x, truth.h * scale_y
        return Box(x + shift_x * truth.w - w / 2, y + shift_y * truth.h - h / 2, w, h)

    return start


def with_resets(
    session: Session, video: Video, overlap: Overlap, start: Start = true_start
) -> None:
    """Tracks a video from its first labelled frame, anew after each failure.

    Frames without a label, and those that evaluation passes by, are tracked and do not count; a restart
    waits for one that is labelled and counts.

    Args:
        session: of a tracker on ``video``.
        overlap: of a box and the truth; a failure is where it is 0, or there is no box.
        start: the box that the tracker is given.

    Raises:
        ValueError: a frame that cannot be decoded.
        Stopped: on request.
    """
    start_at, running = session.first, False
    for number in range(session.first, len(video.frames)):
        counts = number in video.boxes and (number not in video.ignored or number == session.first)
        if not running:
            if number >= start_at and counts:
                session.start(number, start(video, number))
                running = True
            continue
        box = session.follow(number)
        if counts and (box is None or overlap(box, video, number, session.size) <= 0):
            session.fail(number)
            start_at, running = number + SKIP, False


@dataclass(frozen=True)
class ResetRun:
    """One video, tracked with restarts."""

    frames: int
    """Labelled ones."""
    overlaps: tuple[float, ...]
    """Of the frames that count for accuracy."""
    failures: tuple[int, ...]
    """The frames at which the object was lost."""


@dataclass(frozen=True)
class ResetScore:
    """The paper's three errors over a number of videos."""

    accuracy: float
    """Mean over the videos, each weighted by its length, of the mean overlap of its frames that count."""
    robustness: float
    """exp(-30 failures / frames), 1 where the object was never lost."""
    failures: int
    frames: int

    @property
    def accuracy_error(self) -> float:
        """1 - A."""
        return 1 - self.accuracy

    @property
    def robustness_error(self) -> float:
        """1 - R."""
        return 1 - self.robustness

    @property
    def overall_error(self) -> float:
        """1 - (A + R) / 2."""
        return 1 - (self.accuracy + self.robustness) / 2


def track_with_resets(
    tracker: AnyTracker,
    video: Video,
    read: Read,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> ResetRun:
    """:func:`with_resets` by exact overlap, and what of it the score needs.

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
    with_resets(session, video, failure_overlap("exact"))
    return reset_run(video, session.run().trajectory)


def reset_run(video: Video, trajectory: Trajectory) -> ResetRun:
    """What of a trajectory the score needs."""
    scored = video.boxes.keys() - video.ignored
    overlaps, started = [], 0
    for number, code in enumerate(trajectory.codes.tolist()):
        if code == STARTED:
            started = number
        elif code == TRACKED and number >= started + BURN_IN and number in scored:
            overlaps.append(video.boxes[number].iou(Box(*trajectory.boxes[number].tolist())))
    failures = np.flatnonzero(trajectory.codes == FAILED).tolist()
    return ResetRun(len(scored), tuple(overlaps), tuple(failures))


def reset_score(runs: Sequence[ResetRun]) -> ResetScore:
    """The score over videos: frames and failures of all together.

    Raises:
        ValueError: there is no video.
    """
    if not runs:
        raise ValueError("there is no video to score")
    counting = [run for run in runs if run.overlaps]
    accuracy = 0.0
    if counting:
        means = [float(np.mean(run.overlaps)) for run in counting]
        accuracy = float(np.average(means, weights=[run.frames for run in counting]))
    failures = sum(len(run.failures) for run in runs)
    frames = sum(run.frames for run in runs)
    return ResetScore(accuracy, math.exp(-SENSITIVITY * failures / frames), failures, frames)
