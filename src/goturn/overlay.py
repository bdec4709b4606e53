"""Boxes drawn on a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from goturn.box import Box

Colour = tuple[int, int, int]
Corners = tuple[tuple[int, int], tuple[int, int]]

#: Left, top, width, height of a label, pixels.
Plate = tuple[int, int, int, int]

#: One colour an object, BGR: bright, far apart in hue, and told apart by most colour-blind people.
COLOURS: tuple[Colour, ...] = (
    (80, 220, 60),
    (40, 160, 255),
    (255, 170, 60),
    (70, 70, 240),
    (240, 110, 230),
    (60, 230, 250),
    (230, 230, 90),
    (190, 190, 255),
)

_DARK: Colour = (20, 20, 20)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_boxes(frame: np.ndarray, boxes: Mapping[int, Box]) -> np.ndarray:
    """A copy of ``frame`` with each object's box, and its number where there are several.

    Lines and text grow with the frame.  A dark rim keeps the box visible on any ground.  Numbers are
    set where they hide no other.

    Args:
        frame: (H, W, 3) uint8 BGR; not changed.
        boxes: box in pixels of the frame, by object number.
    """
    drawn: np.ndarray = frame.copy()
    thickness = max(1, round(max(frame.shape[:2]) / 400))
    for key, box in boxes.items():
        corners = _corners(box, frame)
        cv2.rectangle(drawn, *corners, _DARK, thickness + 2)
        cv2.rectangle(drawn, *corners, _colour(key), thickness)
    taken: list[Plate] = []
    if len(boxes) > 1:
        for key, box in boxes.items():
            taken.append(_draw_label(drawn, key, _corners(box, frame), thickness, taken))
    return drawn


def _colour(key: int) -> Colour:
    return COLOURS[key % len(COLOURS)]


def _corners(box: Box, frame: np.ndarray) -> Corners:
    """First and last pixel of the box, kept close to the frame: OpenCV draws with 32-bit numbers."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = box.xyxy
    return (
        (round(min(max(x1, -9), width + 9)), round(min(max(y1, -9), height + 9))),
        (round(min(max(x2 - 1, -9), width + 9)), round(min(max(y2 - 1, -9), height + 9))),
    )


def _draw_label(
    image: np.ndarray, key: int, corners: Corners, thickness: int, taken: Sequence[Plate]
) -> Plate:
    """An object's number on a plate of its colour, beside its box; gives the plate."""
    scale = 0.45 * thickness
    (width, height), below = cv2.getTextSize(str(key), _FONT, scale, thickness)
    pad = 2 * thickness
    size = (width + 2 * pad, height + below + 2 * pad)
    left, top = _free_place(size, corners, image, taken)
    last = (left + size[0] - 1, top + size[1] - 1)
    cv2.rectangle(image, (left, top), last, _colour(key), cv2.FILLED)
    origin = (left + pad, top + pad + height)
    cv2.putText(image, str(key), origin, _FONT, scale, _DARK, thickness, cv2.LINE_AA)
    return (left, top, *size)


def _free_place(
    size: tuple[int, int], corners: Corners, image: np.ndarray, taken: Sequence[Plate]
) -> tuple[int, int]:
    """Left and top of a label where it hides no other, else of the first place.

    Places, in order: above the box, inside it at the top, inside at the bottom, below; each at the left
    edge, then at the right.  Where the frame ends they move into it.
    """
    (x1, y1), (x2, y2) = corners
    width, height = size
    right, bottom = max(0, image.shape[1] - width), max(0, image.shape[0] - height)
    tops = (y1 - height if y1 >= height else y1, y1, y2 + 1 - height, y2 + 1)
    places = [
        (min(max(left, 0), right), min(max(top, 0), bottom))
        for top in tops
        for left in (x1, x2 + 1 - width)
    ]
    free = (place for place in places if not any(_overlap((*place, *size), o) for o in taken))
    return next(free, places[0])


def _overlap(a: Plate, b: Plate) -> bool:
    """Whether two plates share a pixel."""
    return all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))
