"""Boxes drawn on a frame."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from goturn.box import Box

Colour = tuple[int, int, int]

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

    Lines and text grow with the frame.  A dark rim keeps the box visible on any ground.

    Args:
        frame: (H, W, 3) uint8 BGR; not changed.
        boxes: box in pixels of the frame, by object number.
    """
    drawn: np.ndarray = frame.copy()
    thickness = max(1, round(max(frame.shape[:2]) / 400))
    for key, box in boxes.items():
        colour = COLOURS[key % len(COLOURS)]
        corners = _corners(box, frame)
        cv2.rectangle(drawn, *corners, _DARK, thickness + 2)
        cv2.rectangle(drawn, *corners, colour, thickness)
        if len(boxes) > 1:
            _draw_label(drawn, str(key), corners[0], colour, thickness)
    return drawn


def _corners(box: Box, frame: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last pixel of the box, kept close to the frame: OpenCV draws with 32-bit numbers."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = box.xyxy
    return (
        (round(min(max(x1, -9), width + 9)), round(min(max(y1, -9), height + 9))),
        (round(min(max(x2 - 1, -9), width + 9)), round(min(max(y2 - 1, -9), height + 9))),
    )


def _draw_label(
    image: np.ndarray, text: str, corner: tuple[int, int], colour: Colour, thickness: int
) -> None:
    """``text`` on a plate of the object's colour: above the box, or inside it at the frame's top."""
    scale = 0.45 * thickness
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = 2 * thickness
    plate_width, plate_height = width + 2 * pad, height + below + 2 * pad
    left = min(max(corner[0], 0), max(0, image.shape[1] - plate_width))
    top = corner[1] - plate_height if corner[1] >= plate_height else max(corner[1], 0)
    cv2.rectangle(image, (left, top), (left + plate_width, top + plate_height), colour, cv2.FILLED)
    origin = (left + pad, top + pad + height)
    cv2.putText(image, text, origin, _FONT, scale, _DARK, thickness, cv2.LINE_AA)
