"""How well confidence tells whether the object is lost, and the curve that makes a probability of it.

Facts come from videos with truth: in each frame the likeness (:mod:`goturn.confidence`), and whether the
box overlapped the object by at least :data:`goturn.confidence.LOST`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goturn.confidence import LOST, Calibration
from goturn.data.model import Video
from goturn.evaluation.session import Stopped, first_labelled
from goturn.network import Network
from goturn.tracker import Tracker

#: Newton steps of the fit; it needs about ten.
_STEPS = 100
#: Weight of the square of the slope: keeps it finite where likeness separates the two kinds.
_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Observations:
    """Labelled frames of tracked videos, those of the starts left out."""

    likeness: np.ndarray
    """(n,) float64."""
    held: np.ndarray
    """(n,) bool: whether the box overlapped the object by at least 0.2."""


def observe(
    network: Network,
    videos: Sequence[Video],
    read: Callable[[Path], np.ndarray],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Observations:
    """Tracks videos, one pass each.

    Args:
        network: to track with.
        videos: with truth.
        read: decodes a frame.
        stop: asked before each frame.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded.
        Stopped: ``stop`` said so.
    """
    tracker, values, held = Tracker(network), list[float](), list[bool]()
    for video in videos:
        first = first_labelled(video)
        tracker.init(read(video.frames[first]), video.boxes[first])
        for number in range(first + 1, len(video.frames)):
            if stop():
                raise Stopped
            box = tracker.update(read(video.frames[number]))
            likeness = tracker.likeness
            if number in video.boxes and likeness is not None:
                values.append(likeness)
                held.append(video.boxes[number].iou(box) >= LOST)
    return Observations(np.array(values, np.float64), np.array(held, bool))


def fit(seen: Observations) -> Calibration:
    """The logistic curve under which what was seen is most likely.

    Raises:
        ValueError: the object was held in all frames, or in none: nothing can be told from that; or it
            was held less often where likeness is high.
    """
    if seen.held.all() or not seen.held.any():
        raise ValueError(
            "a calibration needs frames in which the object was held and others in which it was lost; "
            f"of these {len(seen.held)} it was held in {int(seen.held.sum())}"
        )
    mean, spread = float(seen.likeness.mean()), float(seen.likeness.std()) or 1.0
    design = np.stack([(seen.likeness - mean) / spread, np.ones(len(seen.held))], axis=1)
    ridge = np.diag([_RIDGE, 0.0]) * len(seen.held)
    slopes = np.zeros(2)
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(design @ slopes, -500, 500)))
        gradient = design.T @ (probability - seen.held) + ridge @ slopes
        weights = probability * (1 - probability)
        step = np.linalg.solve((design.T * weights) @ design + ridge + 1e-12 * np.eye(2), gradient)
        # Far from the solution Newton's steps can overshoot.
        slopes -= step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-10:
            break
    if slopes[0] <= 0:
        raise ValueError("the object was not held more often where likeness is high")
    return Calibration(
        middle=float(mean - spread * slopes[1] / slopes[0]), width=float(spread / slopes[0])
    )


def roc_auc(seen: Observations) -> float:
    """The chance that of a frame that holds the object and one that has lost it, the former has the
    higher likeness, ties counted half; NaN where there are not both.
    """
    order = np.argsort(seen.likeness, kind="stable")
    ordered = seen.likeness[order]
    # The rank of each value is the mean of those of its equals.
    first = np.searchsorted(ordered, seen.likeness, "left")
    last = np.searchsorted(ordered, seen.likeness, "right")
    ranks = (first + last + 1) / 2
    held = int(seen.held.sum())
    lost = len(seen.held) - held
    if not held or not lost:
        return float("nan")
    return float((ranks[seen.held].sum() - held * (held + 1) / 2) / (held * lost))


def called_lost(seen: Observations, curve: Calibration) -> tuple[float, float]:
    """The parts of the frames that have lost the object, and of those that hold it, whose confidence is
    below one half; NaN where there are none.
    """
    below = np.array([curve.confidence(value) < 0.5 for value in seen.likeness], bool)
    lost, held = (
        float(below[which].mean()) if which.any() else float("nan")
        for which in (~seen.held, seen.held)
    )
    return lost, held


def brier(seen: Observations, curve: Calibration) -> float:
    """Mean squared difference between confidence and what came (1 held, 0 lost)."""
    confidence = np.array([curve.confidence(value) for value in seen.likeness])
    return float(np.mean((confidence - seen.held) ** 2))
