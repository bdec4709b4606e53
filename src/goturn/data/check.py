"""A look at every image of a data set: can it be decoded, and do its boxes belong to it?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from goturn.data.loader import Progress, silent
from goturn.data.model import Dataset, Photograph, Problem, Video
from goturn.data.reading import check_inside
from goturn.video import read_image

#: Images are handed to threads in groups of so many, so that what waits for one takes little memory.
GROUP = 4096

#: How far an image's shape may be from that which its boxes were drawn in: more than sizes are rounded.
SHAPE_TOLERANCE = 0.02

#: An image to be looked at: that of a photograph, or a frame of a video, by number.
Job = tuple[Photograph | Video, int]


def check_images(
    dataset: Dataset, *, progress: Progress = silent, threads: int | None = None
) -> list[Problem]:
    """Decodes every image, and says what is wrong: those that cannot be decoded, or have not the shape
    that their boxes were drawn in, or do not contain them.

    Args:
        dataset: from a loader.
        progress: wraps the images.
        threads: how many decode; None for one a processor.
    """
    jobs: list[Job] = [(video, n) for video in dataset.videos for n in range(len(video.frames))]
    jobs += [(photograph, 0) for photograph in dataset.photographs]
    problems = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        checked = _checked(jobs, pool)
        for _, (path, reason) in zip(progress(jobs, "images"), checked, strict=True):
            if reason:
                problems.append(Problem(path, reason))
    return problems


def _checked(jobs: Sequence[Job], pool: ThreadPoolExecutor) -> Iterator[tuple[Path, str | None]]:
    for start in range(0, len(jobs), GROUP):
        yield from pool.map(_check, jobs[start : start + GROUP])


def _check(job: Job) -> tuple[Path, str | None]:
    """An image's path, and what is wrong with it."""
    source, number = job
    path = source.path if isinstance(source, Photograph) else source.frames[number]
    try:
        height, width = read_image(path).shape[:2]
        if isinstance(source, Photograph):
            _check_shape(source, width, height)
        elif number in source.boxes:
            check_inside(source.boxes[number], (width, height))
    except OSError as error:
        return path, str(error.strerror or error)
    except ValueError as error:
        return path, str(error).removeprefix(f"{path}: ")
    return path, None


def _check_shape(photograph: Photograph, width: int, height: int) -> None:
    """That an image is the one that boxes were drawn in, or that one scaled.

    Raises:
        ValueError: it is neither; turned by 90 degrees, as a rule.
    """
    expected = photograph.size[0] * height / photograph.size[1]
    if abs(width - expected) > max(1.5, SHAPE_TOLERANCE * expected):
        w, h = photograph.size
        raise ValueError(f"{width} x {height} pixels, but its boxes were drawn in {w} x {h}")
