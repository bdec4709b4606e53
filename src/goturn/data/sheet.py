"""A contact sheet: samples of data sets with their boxes, to see at a glance whether these fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from goturn.box import Box
from goturn.data.images import FrameReader
from goturn.data.model import DataError, Dataset, Photograph, Video
from goturn.outputs import letterbox
from goturn.overlay import draw_boxes
from goturn.weights.atomic import replacing

#: Width and height of a picture on the sheet, pixels.
PICTURE = (320, 240)
#: Height of the line under it.
CAPTION = 20
#: Between pictures.
GAP = 8

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_SCALE = 0.4
_TEXT_COLOUR = (230, 230, 230)


@dataclass(frozen=True)
class Sample:
    """A picture of the sheet."""

    caption: str
    source: Video | Photograph
    number: int | None
    """Which frame of a video."""

    def read(self, reader: FrameReader) -> tuple[np.ndarray, list[Box]]:
        """The image, and the boxes in its pixels.

        Raises:
            DataError: it cannot be decoded.
        """
        if isinstance(self.source, Photograph):
            image = reader.read(self.source.path)
            return image, [self.source.fitted(box, len(image)) for box in self.source.boxes]
        number = self.number or 0
        return reader.read(self.source.frames[number]), [self.source.boxes[number]]


def choose(datasets: Sequence[Dataset], count: int) -> list[Sample]:
    """``count`` labelled frames and photographs, or all if there are fewer.

    Half of them are of each kind, where there are enough.  They are evenly spaced: over the videos, over
    the labelled frames of a video, and over the photographs.
    """
    videos = [video for each in datasets for video in each.videos if video.boxes]
    photographs = [photograph for each in datasets for photograph in each.photographs]
    frames = sum(len(video.boxes) for video in videos)
    of_videos = min(frames, max(count - count // 2, count - len(photographs)))
    chosen: list[Sample] = []
    wanted = Counter(_spread(len(videos), of_videos))
    for index, times in wanted.items():
        video, numbers = videos[index], list(videos[index].boxes)
        for place in _spread(len(numbers), min(times, len(numbers))):
            number = numbers[place]
            chosen.append(Sample(f"{video.name} {number}", video, number))
    for index in _spread(len(photographs), min(count - of_videos, len(photographs))):
        chosen.append(Sample(photographs[index].name, photographs[index], None))
    return chosen


def make_sheet(samples: Sequence[Sample], reader: FrameReader) -> np.ndarray:
    """The samples in a grid, each with its boxes and under it its name: (H, W, 3) uint8 BGR.

    An image that cannot be decoded is left black, and its name says so.
    """
    columns = max(1, math.ceil(math.sqrt(len(samples))))
    rows = max(1, math.ceil(len(samples) / columns))
    width, height = PICTURE[0] + GAP, PICTURE[1] + CAPTION + GAP
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, sample in enumerate(samples):
        top, left = index // columns * height, index % columns * width
        _draw(sheet[top : top + height - GAP, left : left + width - GAP], sample, reader)
    return sheet


def _draw(cell: np.ndarray, sample: Sample, reader: FrameReader) -> None:
    caption = sample.caption
    try:
        image, boxes = sample.read(reader)
    except DataError:
        caption = f"cannot be decoded: {caption}"
    else:
        # Boxes are drawn after the image has its final size, so that their lines are equally thick.
        factor = min(PICTURE[0] / image.shape[1], PICTURE[1] / image.shape[0])
        size = tuple(max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        across, down = size[0] / image.shape[1], size[1] / image.shape[0]
        placed = [Box(b.x * across, b.y * down, b.w * across, b.h * down) for b in boxes]
        cell[: PICTURE[1]] = letterbox(draw_boxes(small, dict(enumerate(placed))), PICTURE)
    shown = "".join(c if " " <= c <= "~" else "?" for c in caption)  # OpenCV draws no others
    line = np.zeros(
        (CAPTION, PICTURE[0], 3), np.uint8
    )  # of its own, so that long names are cut off
    cv2.putText(line, shown, (4, 14), _FONT, _TEXT_SCALE, _TEXT_COLOUR, 1, cv2.LINE_AA)
    cell[PICTURE[1] :] = line


def _spread(length: int, count: int) -> list[int]:
    """``count`` numbers below ``length``, evenly spaced, some more than once if ``count`` is larger."""
    return [(2 * k + 1) * length // (2 * count) for k in range(count)] if length else []


def write_sheet(path: Path, sheet: np.ndarray) -> None:
    """Writes a picture as PNG, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    _, encoded = cv2.imencode(".png", sheet)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())
