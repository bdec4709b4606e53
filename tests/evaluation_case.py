"""Sequences whose scores the field's own tools have computed, and trajectories made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.overlap import overlaps
from goturn.evaluation.results import FAILED, SKIPPED, STARTED, TRACKED, Trajectory

LENGTHS = (60, 90, 125)
WIDTH, HEIGHT = 640, 480


def made_up(s: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and a tracker's boxes of sequence ``s``, (length, 4) both."""
    t = np.arange(length)
    truth = np.stack([100 + 2.0 * t + 7 * s, 80.0 + t, t * 0 + 60 + 5 * s, t * 0 + 40 + 3 * s], 1)
    found = truth.copy()
    found[:, 0] += (t % 11) * (1 + s)
    found[:, 1] -= (t % 7) * 0.5 * (1 + s)
    found[:, 2:] *= (1 + 0.02 * (t % 5))[:, None]
    found[t >= length - length // 6, 0] += 300
    found[0] = truth[0]
    return truth, np.round(found, 3)


def video(
    name: str,
    truth: np.ndarray | Mapping[int, Iterable[float]],
    frames: int | None = None,
    **more: object,
) -> Video:
    """A video labelled throughout (an array), or in some frames of so many."""
    items = truth.items() if isinstance(truth, Mapping) else enumerate(truth.tolist())
    boxes = {number: Box(*box) for number, box in items}
    length = len(truth) if frames is None else frames
    return Video(name, tuple(Path(f"{i}.jpg") for i in range(length)), boxes, **more)


def once(boxes: np.ndarray, seconds: float = 0.01) -> Trajectory:
    """A one-pass trajectory."""
    codes = np.full(len(boxes), TRACKED, np.uint8)
    codes[0] = STARTED
    return Trajectory(boxes, codes, np.full(len(boxes), seconds), WIDTH, HEIGHT)


def supervised(
    boxes: np.ndarray, truth: np.ndarray, lost: Callable[[int], bool] | None = None
) -> Trajectory:
    """A trajectory with restarts of a tracker that would give these boxes: an independent statement.

    ``lost`` says at which frames it has lost the object; by default where the rasterised overlap inside
    the image is 0.
    """
    iou = overlaps(boxes, truth, "raster", (WIDTH, HEIGHT))
    codes = np.full(len(boxes), SKIPPED, np.uint8)
    given = np.full(boxes.shape, np.nan)
    frame = 0
    while frame < len(boxes):
        codes[frame], given[frame] = STARTED, truth[frame]
        frame += 1
        while frame < len(boxes):
            given[frame] = boxes[frame]
            if iou[frame] <= 0 if lost is None else lost(frame):
                codes[frame] = FAILED
                frame += 5
                break
            codes[frame] = TRACKED
            frame += 1
    return Trajectory(given, codes, np.full(len(boxes), 0.01), WIDTH, HEIGHT)


def case(
    **more: object,
) -> tuple[list[Video], dict[str, list[Trajectory]], dict[str, list[Trajectory]]]:
    """The three sequences, and the tracker on them in one pass and with restarts."""
    videos, passes, resets = [], {}, {}
    for s, length in enumerate(LENGTHS):
        truth, found = made_up(s, length)
        videos.append(video(f"s{s}", truth, **more))
        passes[f"s{s}"] = [once(found)]
        resets[f"s{s}"] = [supervised(found, truth)]
    return videos, passes, resets


def truths(videos: Sequence[Video]) -> dict[str, np.ndarray]:
    """The boxes of fully labelled videos."""
    return {one.name: np.array(list(one.boxes.values())) for one in videos}
