"""The VOT challenge's protocol of 2014: a tracker that has lost its object is started again (facts 4.2).

A frame without overlap is a failure; the tracker starts anew five frames later.  Accuracy is the mean
overlap of the frames that count: the first ten from each start do not, since a tracker is good at what it
has just been shown.  Robustness is the number of failures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.one_pass import AnyTracker, Stopped, first_labelled

#: Frames from a failure to the next start.
SKIP = 5

#: Frames from each start, the start among them, that do not count for accuracy.
BURN_IN = 10

#: S of R = exp(-S failures / frames), the reliability that is drawn in accuracy-robustness plots.
SENSITIVITY = 30.0


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
    read: Callable[[Path], np.ndarray],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> ResetRun:
    """Tracks a video from its first labelled frame, anew after each failure.

    Frames without a label are tracked and do not count; a restart waits for one that has a label.

    Args:
        tracker: started here.
        video: with at least one labelled frame.
        read: decodes a frame.
        stop: asked before each frame.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded.
        Stopped: ``stop`` said so.
    """
    overlaps, failures = [], []
    start_at, started = first_labelled(video), None
    for number in range(start_at, len(video.frames)):
        if stop():
            raise Stopped
        truth = video.boxes.get(number)
        if started is None:
            if number >= start_at and truth is not None:
                tracker.init(read(video.frames[number]), truth)
                started = number
            continue
        box = Box(*tracker.update(read(video.frames[number])))
        if truth is None:
            continue
        overlap = truth.iou(box)
        if overlap <= 0:
            failures.append(number)
            start_at, started = number + SKIP, None
        elif number >= started + BURN_IN:
            overlaps.append(overlap)
    return ResetRun(len(video.boxes), tuple(overlaps), tuple(failures))


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
