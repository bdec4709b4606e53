"""OTB's one-pass evaluation: success, precision and normalised precision.

A tracker is started once and scored on all labelled frames, the first one, whose box it was given, too.
Each sequence gives its curves; the data set's are their plain means, so a short sequence weighs as much
as a long one.  Frames in which the tracker gave no box count as misses in every curve: they overlap
nothing and are no distance away that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from goturn.data.model import Video
from goturn.evaluation.bootstrap import intervals
from goturn.evaluation.results import Curve, TrackerResult, Trajectory
from goturn.evaluation.speed import speed_of
from goturn.evaluation.truth import DECIMALS, Truth, repetitions

#: Overlaps to exceed.
SUCCESS_AT = np.linspace(0, 1, 21)

#: Distances of centres to stay within, pixels.
PRECISION_AT = np.arange(51.0)

#: The same in parts of the true box's width and height (LaSOT).
NORMALISED_AT = np.linspace(0, 0.5, 51)


@dataclass(frozen=True, eq=False)
class VideoScore:
    """One video's curves and means over its labelled frames."""

    success: np.ndarray
    """(21,) part of the frames whose overlap is above :data:`SUCCESS_AT`; 0 at 1, even of a perfect
    tracker."""
    precision: np.ndarray
    """(51,) part of the frames whose centre is at most :data:`PRECISION_AT` away."""
    normalised: np.ndarray
    """(51,) likewise for :data:`NORMALISED_AT`."""
    overlap: float
    """Mean overlap."""
    distance: float
    """Mean distance of the centres where there are boxes, pixels."""

    @property
    def figures(self) -> dict[str, float]:
        """By the names that data sets' scores have."""
        return {
            "AUC": float(self.success.mean()),
            "P@20": float(self.precision[20]),
            "SR@0.5": float(self.success[10]),
            "norm. P AUC": float(self.normalised.mean()),
            "norm. P@0.2": float(self.normalised[20]),
            "mean IoU": self.overlap,
        }


def score_video(
    video: Video,
    trajectories: Sequence[Trajectory],
    overlap: str = "exact",
    decimals: int | None = DECIMALS,
) -> VideoScore:
    """The curves of one video; with repetitions, of the frames of all of them.

    Args:
        video: with at least one labelled frame.
        trajectories: one, or repetitions.
        overlap: the definition (:mod:`goturn.evaluation.overlap`).
        decimals: of the boxes in the result files that other tools score; None for unrounded ones.

    Raises:
        ValueError: no labelled frame, no trajectory, or one of another length.
    """
    truth = Truth.of(video)
    ious, distances, relative = [], [], []
    for trajectory in repetitions(video, trajectories):
        boxes, there = truth.found(trajectory, decimals)
        boxes[0], there[0] = truth.boxes[0], True
        offset = _centres(boxes) - _centres(truth.boxes)
        distances.append(np.where(there, np.sqrt((offset**2).sum(axis=1)), np.inf))
        offset = offset / np.maximum(1.0, truth.boxes[:, 2:])
        relative.append(np.where(there, np.sqrt((offset**2).sum(axis=1)), np.inf))
        size = (trajectory.width, trajectory.height)
        ious.append(truth.overlaps(boxes, there, overlap, size))
    iou, distance = np.concatenate(ious), np.concatenate(distances)
    return VideoScore(
        success_curve(iou, SUCCESS_AT),
        _within(distance, PRECISION_AT),
        _within(np.concatenate(relative), NORMALISED_AT),
        float(iou.mean()),
        float(distance[np.isfinite(distance)].mean()),
    )


def score(
    name: str,
    videos: Sequence[Video],
    trajectories: Mapping[str, Sequence[Trajectory]],
    overlap: str = "exact",
    decimals: int | None = DECIMALS,
) -> TrackerResult:
    """A tracker on a data set.

    Args:
        name: of the tracker.
        videos: in any order, which changes nothing; each with a labelled frame.
        trajectories: by video's name.
        overlap: as in :func:`score_video`.
        decimals: likewise.

    Raises:
        ValueError: as :func:`score_video`, or no videos.
    """
    if not videos:
        raise ValueError("there is no video to score")
    ordered = sorted(videos, key=lambda video: video.name)
    scores = {
        video.name: score_video(video, trajectories.get(video.name, ()), overlap, decimals)
        for video in ordered
    }
    figures = {video: one.figures for video, one in scores.items()}
    names = list(next(iter(figures.values())))
    table = np.array([[*one.values(), 1.0] for one in figures.values()])
    curves = {
        "success": (SUCCESS_AT, [one.success for one in scores.values()]),
        "precision": (PRECISION_AT, [one.precision for one in scores.values()]),
        "normalised precision": (NORMALISED_AT, [one.normalised for one in scores.values()]),
    }
    return TrackerResult(
        name,
        intervals(
            table, lambda sums: dict(zip(names, (sums[..., :-1] / sums[..., -1:]).T, strict=True))
        ),
        {
            video.name: {**figures[video.name], "centre error": scores[video.name].distance}
            for video in videos
        },
        {key: curve(x, np.mean(lines, axis=0)) for key, (x, lines) in curves.items()},
        {},
        speed_of(one for video in videos for one in trajectories[video.name]),
        {video.name: trajectories[video.name] for video in videos},
    )


def success_curve(iou: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Part of the overlaps that is above each threshold."""
    above = len(iou) - np.searchsorted(np.sort(iou), thresholds, side="right")
    return np.asarray(above / len(iou))


def _within(distance: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Part of the distances that is at most each threshold."""
    return np.asarray(np.searchsorted(np.sort(distance), thresholds, side="right") / len(distance))


def curve(x: np.ndarray, y: np.ndarray) -> Curve:
    """A line of plain numbers."""
    return Curve(tuple(x.tolist()), tuple(y.tolist()))


def _centres(boxes: np.ndarray) -> np.ndarray:
    """got10k's: its distances differ from those of (x + w / 2, ...) in the last bit, which decides
    whether one that is a whole number counts.
    """
    return np.asarray(boxes[:, :2] + (boxes[:, 2:] - 1) / 2)
