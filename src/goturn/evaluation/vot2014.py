"""VOT2014: accuracy and robustness of trackers that are started again when they have lost the object.

The trajectories are those of a supervised experiment, ``baseline`` or ``region_noise``: a frame without
overlap is a failure, the next start is five frames later.

* *Accuracy* is the mean overlap over valid frames: those tracked, but for the first ten from each start.
  Repetitions are averaged frame by frame.  A data set's is the mean of the videos', each weighted by its
  length; a video without a valid frame has 0.
* *Robustness*, raw, is the number of failures: the mean over repetitions, summed over videos.  As a
  figure in [0, 1] it is exp(-30 F / N) of F failures in N frames.  The paper's R is that of the whole
  set; the toolkit's A-R plot has that of the length-weighted mean of failures in a video of mean length.
* The paper's errors are 1 - A, 1 - R and 1 - (A + R) / 2.

By attribute, the frames of all videos that have it are pooled.  Burn-in is counted in the whole video;
the archived toolkit counts it among the frames of the attribute alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from goturn.data.model import Video
from goturn.evaluation.bootstrap import intervals, quotient
from goturn.evaluation.reset import BURN_IN, SENSITIVITY
from goturn.evaluation.results import FAILED, STARTED, TRACKED, TrackerResult, Trajectory
from goturn.evaluation.speed import speed_of
from goturn.evaluation.truth import Truth, repetitions

#: The attributes of VOT2014 in its order; ``empty`` are the frames that have none.
EMPTY = "empty"
ATTRIBUTES = (
    "camera_motion",
    "illum_change",
    "occlusion",
    "size_change",
    "motion_change",
    EMPTY,
)

#: Scores of which less is better.
BETTER_LOW = frozenset(
    {
        "overall error",
        "accuracy error",
        "robustness error",
        "failures",
        "mean failures",
        "failures over attributes",
        "rank",
        "accuracy rank",
        "robustness rank",
    }
)


@dataclass(frozen=True, eq=False)
class VideoScore:
    """A tracker on one video, at its labelled frames."""

    name: str
    numbers: np.ndarray
    """(m,) frame numbers."""
    overlaps: np.ndarray
    """(m,) mean over the repetitions in which the frame is valid, NaN where it is in none."""
    failed: np.ndarray
    """(repetitions, m) bool."""
    attributes: Mapping[str, np.ndarray]
    """(m,) bool by name: which frames have each; nothing where the video has no attributes."""

    def sums(self, frames: np.ndarray | slice = slice(None)) -> tuple[float, float, float, float]:
        """Over these frames: overlaps, valid frames, failures (mean of repetitions), frames."""
        iou = self.overlaps[frames]
        valid = ~np.isnan(iou)
        failures = self.failed[:, frames].sum(axis=1).mean()
        return float(iou[valid].sum()), float(valid.sum()), float(failures), float(len(iou))


def score_video(
    video: Video, trajectories: Sequence[Trajectory], overlap: str = "raster"
) -> VideoScore:
    """Overlaps and failures of one video.

    Args:
        video: with a labelled frame.
        trajectories: one for each repetition, of a supervised experiment.
        overlap: the definition (:mod:`goturn.evaluation.overlap`).  Failures are where the trajectories
            have them, by whatever definition they were found.

    Raises:
        ValueError: no labelled frame, no trajectory, or one of another length.
    """
    truth = Truth.of(video)
    total, valid = np.zeros(len(truth.numbers)), np.zeros(len(truth.numbers))
    failed = []
    for one in repetitions(video, trajectories):
        boxes, there = truth.found(one)
        codes = np.asarray(one.codes)
        rows = np.flatnonzero(counts_for_accuracy(codes)[truth.numbers])
        total[rows] += truth.overlaps(boxes, there, overlap, (one.width, one.height), rows)
        valid[rows] += 1
        failed.append(codes[truth.numbers] == FAILED)
    return VideoScore(
        video.name,
        truth.numbers,
        quotient(total, valid),
        np.stack(failed),
        _attributes(video, truth.numbers),
    )


def counts_for_accuracy(codes: np.ndarray) -> np.ndarray:
    """Which frames are valid, (n,) bool: tracked, and ten or more after the last start."""
    frames = np.arange(len(codes))
    start = np.maximum.accumulate(np.where(codes == STARTED, frames, -BURN_IN))
    return np.asarray((codes == TRACKED) & (frames - start >= BURN_IN))


def _attributes(video: Video, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Which labelled frames have each attribute; ``empty`` those that have none."""
    has = {
        tag: np.isin(numbers, np.fromiter(frames, np.int64, len(frames)))
        for tag, frames in video.tags.items()
        if tag != EMPTY
    }
    if video.tags:
        has[EMPTY] = ~np.any(list(has.values()), axis=0) if has else np.ones(len(numbers), bool)
    return has


def attributes_of(videos: Sequence[VideoScore]) -> tuple[str, ...]:
    """The attributes that some frame has, VOT2014's first; none where no video has any.

    A video without attributes, among others that have them, is ``empty`` throughout.
    """
    found = {name for video in videos for name, has in video.attributes.items() if has.any()}
    if found and any(not video.attributes for video in videos):
        found.add(EMPTY)
    if found <= {EMPTY}:
        return ()
    others = sorted(found.difference(ATTRIBUTES))
    known = [name for name in ATTRIBUTES if name in found and name != EMPTY]
    return (*known, *others, *([EMPTY] if EMPTY in found else []))


def having(video: VideoScore, attribute: str) -> np.ndarray:
    """Which of the video's labelled frames have the attribute, (m,) bool."""
    if not video.attributes:
        return np.full(len(video.numbers), attribute == EMPTY)
    return video.attributes.get(attribute, np.zeros(len(video.numbers), bool))


def score(
    name: str,
    videos: Sequence[Video],
    trajectories: Mapping[str, Sequence[Trajectory]],
    overlap: str = "raster",
) -> TrackerResult:
    """A tracker on a data set, by one experiment.

    Args:
        name: of the tracker.
        videos: in any order, which changes nothing; each with a labelled frame.
        trajectories: by video's name, one for each repetition.
        overlap: as in :func:`score_video`.

    Raises:
        ValueError: as :func:`score_video`, or no videos.
    """
    scored = score_videos(videos, trajectories, overlap)
    attributes = attributes_of(scored)
    table = np.array([_statistics(video, attributes) for video in scored])
    pooled = table.sum(axis=0)
    by_name = {video.name: video for video in scored}
    return TrackerResult(
        name,
        intervals(table, _scores),
        {video.name: _figures(*by_name[video.name].sums()) for video in videos},
        {},
        {
            attribute: _figures(*pooled[first : first + 4])
            for attribute, first in zip(attributes, range(BASE, table.shape[1], 4), strict=True)
        },
        speed_of(one for video in videos for one in trajectories[video.name]),
        {video.name: trajectories[video.name] for video in videos},
    )


def score_videos(
    videos: Sequence[Video], trajectories: Mapping[str, Sequence[Trajectory]], overlap: str
) -> list[VideoScore]:
    """:func:`score_video` of each, in the order of their names.

    Raises:
        ValueError: as that, or no videos.
    """
    if not videos:
        raise ValueError("there is no video to score")
    ordered = sorted(videos, key=lambda video: video.name)
    return [score_video(video, trajectories.get(video.name, ()), overlap) for video in ordered]


#: Columns of the table before those of the attributes.
BASE = 7


def _statistics(video: VideoScore, attributes: Sequence[str]) -> list[float]:
    """What a video adds to the sums that scores are made of."""
    overlap, valid, failures, frames = video.sums()
    accuracy = overlap / valid if valid else 0.0
    values = [frames * accuracy, frames, failures, frames * failures, 1.0, overlap, valid]
    for attribute in attributes:
        values += video.sums(having(video, attribute))
    return values


def _scores(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of the sums of :func:`_statistics`, (..., k)."""
    weighted, frames, failures, weighted_failures, videos, overlap, valid = np.moveaxis(
        sums[..., :BASE], -1, 0
    )
    accuracy, robustness = weighted / frames, np.exp(-SENSITIVITY * failures / frames)
    mean_failures = weighted_failures / frames
    scores = {
        "overall error": 1 - (accuracy + robustness) / 2,
        "accuracy": accuracy,
        "accuracy error": 1 - accuracy,
        "failures": failures,
        "robustness": robustness,
        "robustness error": 1 - robustness,
        "mean overlap": quotient(overlap, valid, 0.0),
        "mean failures": mean_failures,
        "A-R plot robustness": np.exp(-SENSITIVITY * mean_failures * videos / frames),
    }
    if sums.shape[-1] > BASE:
        tags = sums[..., BASE:].reshape(*sums.shape[:-1], -1, 4)
        tagged, length = tags[..., 3], tags[..., 3].sum(axis=-1)
        by_tag = quotient(tags[..., 0], tags[..., 1], 0.0)
        scores["accuracy over attributes"] = quotient((by_tag * tagged).sum(axis=-1), length)
        scores["failures over attributes"] = quotient((tags[..., 2] * tagged).sum(axis=-1), length)
    return scores


def _figures(overlap: float, valid: float, failures: float, frames: float) -> dict[str, float]:
    """Of one video, or of the frames of one attribute."""
    return {
        "accuracy": float(overlap / valid) if valid else 0.0,
        "failures": float(failures),
        "robustness": float(np.exp(-SENSITIVITY * failures / frames)),
        "frames": float(frames),
        "valid frames": float(valid),
    }
