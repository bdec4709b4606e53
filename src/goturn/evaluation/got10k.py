"""GOT-10k: average overlap and success rates over the frames of all videos together.

The first labelled frame, whose box the tracker was given, is not scored, nor are frames in which the
object is wholly covered.  Repetitions are pooled.  A long video weighs more than a short one: the mean of
the videos' figures is another number.  Frames in which the tracker gave no box have overlap 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from goturn.data.model import Video
from goturn.evaluation.bootstrap import intervals, quotient
from goturn.evaluation.otb import curve, success_curve
from goturn.evaluation.results import TrackerResult, Trajectory
from goturn.evaluation.speed import speed_of
from goturn.evaluation.truth import DECIMALS, Truth, repetitions

#: Overlaps to exceed.
SUCCESS_AT = np.linspace(0, 1, 101)

#: The headline figures.
SCORES = ("AO", "SR@0.5", "SR@0.75")


def scored_frames(video: Video) -> np.ndarray:
    """Which of the labelled frames are scored, (m,) bool: not the first, nor those that are ignored.

    Raises:
        ValueError: there is no labelled frame.
    """
    truth = Truth.of(video)
    scored = ~np.isin(truth.numbers, np.fromiter(video.ignored, np.int64, len(video.ignored)))
    scored[0] = False
    return np.asarray(scored)


def video_overlaps(
    video: Video,
    trajectories: Sequence[Trajectory],
    overlap: str = "bounded",
    decimals: int | None = DECIMALS,
) -> np.ndarray:
    """Overlaps in the scored frames, of one repetition after the other.

    Args:
        video: with a labelled frame.
        trajectories: one for each repetition.
        overlap: the definition (:mod:`goturn.evaluation.overlap`).
        decimals: of the boxes in the result files that other tools score; None for unrounded ones.

    Raises:
        ValueError: no labelled frame, no trajectory, or one of another length.
    """
    truth, rows = Truth.of(video), np.flatnonzero(scored_frames(video))
    return np.concatenate(
        [
            truth.overlaps(*truth.found(one, decimals), overlap, (one.width, one.height), rows)
            for one in repetitions(video, trajectories)
        ]
    )


def score(
    name: str,
    videos: Sequence[Video],
    trajectories: Mapping[str, Sequence[Trajectory]],
    overlap: str = "bounded",
    decimals: int | None = DECIMALS,
) -> TrackerResult:
    """A tracker on a data set.

    Args:
        name: of the tracker.
        videos: in any order, which changes nothing; each with a frame that is scored.
        trajectories: by video's name, one for each repetition.
        overlap: as in :func:`video_overlaps`.
        decimals: likewise.

    Raises:
        ValueError: as :func:`video_overlaps`, a video without a frame that is scored, or no videos.
    """
    if not videos:
        raise ValueError("there is no video to score")
    found = {}
    for video in sorted(videos, key=lambda video: video.name):
        found[video.name] = video_overlaps(
            video, trajectories.get(video.name, ()), overlap, decimals
        )
        if not len(found[video.name]):
            raise ValueError(f"{video.name} has no frame to score after its first; leave it out")
    table = np.array(
        [[iou.sum(), (iou > 0.5).sum(), (iou > 0.75).sum(), len(iou)] for iou in found.values()]
    )

    def pooled(sums: np.ndarray) -> dict[str, np.ndarray]:
        return {score: quotient(sums[..., i], sums[..., -1]) for i, score in enumerate(SCORES)}

    per_video = {video: pooled(row) for video, row in zip(found, table, strict=True)}
    return TrackerResult(
        name,
        intervals(table, pooled),
        {
            video.name: {
                **{score: float(value) for score, value in per_video[video.name].items()},
                "frames": float(scored_frames(video).sum()),
            }
            for video in videos
        },
        {
            "success": curve(
                SUCCESS_AT, success_curve(np.concatenate(list(found.values())), SUCCESS_AT)
            )
        },
        {},
        speed_of(one for video in videos for one in trajectories[video.name]),
        {video.name: trajectories[video.name] for video in videos},
    )
