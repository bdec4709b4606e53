"""What a data set holds, in lines for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from goturn.box import Box
from goturn.data.images import FrameReader
from goturn.data.model import LARGEST_PART, DataError, Dataset, Photograph, Video
from goturn.data.reading import count

#: Videos of which an image is decoded to learn its size: enough for percentiles.
SAMPLED_VIDEOS = 100

_PERCENTILES = (5, 50, 95)


def describe(dataset: Dataset, reader: FrameReader) -> list[str]:
    """What the data set holds, and its notes; not its problems.

    Args:
        dataset: from a loader.
        reader: decodes an image of some videos, whose sizes are in no annotation.
    """
    lines = []
    if dataset.videos:
        lines += _of_videos(dataset.videos, reader)
    if dataset.photographs:
        lines += _of_photographs(dataset.photographs)
    return lines + list(dataset.notes)


def _of_videos(videos: Sequence[Video], reader: FrameReader) -> list[str]:
    frames = sum(len(video.frames) for video in videos)
    labelled = sum(len(video.boxes) for video in videos)
    pairs = sum(max(0, len(video.boxes) - 1) for video in videos)
    parts = []
    sampled = evenly(videos, SAMPLED_VIDEOS)
    for video in sampled:
        try:
            height, width = reader.read(video.frames[next(iter(video.boxes))]).shape[:2]
        except DataError:  # a check of all images finds it
            continue
        parts += [part(box, (width, height)) for box in video.boxes.values()]
    return [
        f"{count(len(videos), 'video')}: {count(frames, 'frame')}, {labelled:,} labelled, "
        f"{count(pairs, 'pair')} of successive labelled frames",
        _sizes([side(box) for video in videos for box in video.boxes.values()], parts)
        + (f" (of {len(sampled)} videos)" if len(sampled) < len(videos) else ""),
    ]


def _of_photographs(photographs: Sequence[Photograph]) -> list[str]:
    boxes = [(box, photograph.size) for photograph in photographs for box in photograph.boxes]
    left = [len(photograph.with_room()) for photograph in photographs]
    return [
        f"{count(len(photographs), 'photograph')}: {count(len(boxes), 'box')}",
        _sizes([side(box) for box, _ in boxes], [part(box, size) for box, size in boxes]),
        f"  at most {LARGEST_PART:.0%} of the image wide and high: {count(sum(left), 'box')} in "
        f"{count(sum(map(bool, left)), 'photograph')}",
    ]


def side(box: Box) -> float:
    """A box's side, the square root of its area, pixels."""
    return math.sqrt(box.area)


def part(box: Box, size: tuple[int, int]) -> float:
    """A box's side over that of its image of ``size`` (width, height)."""
    return side(box) / math.sqrt(size[0] * size[1])


def evenly(videos: Sequence[Video], most: int) -> list[Video]:
    """At most so many of them, evenly spaced."""
    if len(videos) <= most:
        return list(videos)
    return [videos[(2 * k + 1) * len(videos) // (2 * most)] for k in range(most)]


def _sizes(sides: Sequence[float], parts: Sequence[float]) -> str:
    pixels = ", ".join(f"{value:.0f}" for value in np.percentile(sides, _PERCENTILES))
    names = ", ".join(f"{each}th" for each in _PERCENTILES)
    line = f"  side of a box, {names} percentile: {pixels} px"
    if parts:
        shares = ", ".join(f"{value:.1%}" for value in np.percentile(parts, _PERCENTILES))
        line += f"; {shares} of the image's"
    return line
