"""Overlap frame by frame, for looking at."""

from __future__ import annotations

import numpy as np

from goturn.box import MAX_COORDINATE
from goturn.data.model import Video
from goturn.evaluation.overlap import overlaps
from goturn.evaluation.results import SKIPPED, Trajectory


def frame_overlaps(video: Video, run: Trajectory, mode: str) -> np.ndarray:
    """The overlap of box and truth in each frame of a video.

    Args:
        video: with the truth.
        run: of the same video.
        mode: which definition of overlap: :mod:`goturn.evaluation.overlap`.

    Returns:
        (n,) float64 in [0, 1]: 0 where a tracker gave no box, NaN where there is no truth, or the
        tracker was not running.

    Raises:
        ValueError: an unknown definition.
    """
    result = np.full(len(run.boxes), np.nan)
    running = [k for k in video.boxes if k < len(run.codes) and run.codes[k] != SKIPPED]
    result[running] = 0.0
    boxes = np.asarray(run.boxes, np.float64)
    usable = np.all(np.abs(boxes) <= MAX_COORDINATE, axis=1)
    numbers = [k for k in running if usable[k]]
    if not numbers:
        return result
    truth = np.array([video.boxes[k] for k in numbers], np.float64)
    none = (np.nan,) * 8
    corners = np.array([video.corners.get(k, none) for k in numbers]) if video.corners else None
    result[numbers] = overlaps(boxes[numbers], truth, mode, (run.width, run.height), corners)
    return result
