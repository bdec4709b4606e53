"""Changes to the pictures of training examples, and to the boxes in them, for more variety than the data
has: :mod:`goturn.training.variety` says how much of each.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from goturn.box import Box
from goturn.training.motion import Uniform

#: How often a region is drawn before the photograph's own box is taken.
REGION_TRIES = 10
#: Sides of regions, parts of the image's; and the largest ratio of width to height, or the reverse.
REGION_SIDES = (0.06, 0.5)
REGION_ASPECT = 2.0
#: A region must have at least this standard deviation of grey levels, of 255, to be an object.
REGION_CONTRAST = 18.0

#: The part of the changes of colour that the two frames do not share.
OWN_COLOUR = 0.35
#: How often colours are taken away altogether, where colours change.
GREY = 0.1
#: Standard deviation of the blur, in sides of the object's box (geometric mean), at most.
BLUR_REACH = 0.04
#: An occluder's sides, parts of the object's.
OCCLUDER_SIDES = (0.2, 0.6)
#: A turned picture is also stretched by up to this part for each degree that it may be turned.
STRETCH_PER_DEGREE = 0.01


def region(image: np.ndarray, uniform: Uniform) -> Box | None:
    """A box about something with contrast, anywhere in ``image``; None if none was met.

    Args:
        image: (H, W, 3) uint8.
        uniform: random numbers.
    """
    height, width = image.shape[:2]
    low, high = (math.log(side) for side in REGION_SIDES)
    for _ in range(REGION_TRIES):
        side = math.exp(low + (high - low) * uniform()) * math.sqrt(width * height)
        stretch = REGION_ASPECT ** (uniform() - 0.5)
        w, h = side * stretch, side / stretch
        x, y = uniform() * (width - w), uniform() * (height - h)
        if x < 0 or y < 0 or min(w, h) < 8:
            continue
        part = image[int(y) : int(y + h), int(x) : int(x + w)]
        if float(part.mean(axis=2).std()) >= REGION_CONTRAST:
            return Box(x, y, w, h)
    return None


def mirrored(image: np.ndarray) -> np.ndarray:
    """``image`` with left and right exchanged."""
    return np.ascontiguousarray(image[:, ::-1])


def mirrored_box(box: Box, width: int) -> Box:
    """Where ``box`` is after :func:`mirrored`, in an image of ``width`` pixels."""
    return Box(width - box.x - box.w, box.y, box.w, box.h)


def moved_likewise(box: Box, before: Box, after: Box) -> Box:
    """``box`` moved and resized as ``before`` became ``after``, in units of their sizes."""
    (x, y), (x1, y1), (x2, y2) = box.center, before.center, after.center
    w, h = box.w * after.w / before.w, box.h * after.h / before.h
    x, y = x + box.w * (x2 - x1) / before.w, y + box.h * (y2 - y1) / before.h
    return Box(x - w / 2, y - h / 2, w, h)


def turned(image: np.ndarray, box: Box, degrees: float, uniform: Uniform) -> tuple[np.ndarray, Box]:
    """``image`` turned about the middle of ``box`` and stretched, and the box of what was in it.

    That box is about the ellipse in ``box``, turned likewise: objects seldom fill their boxes' corners.
    What comes in from outside is the image's edge, repeated.

    Args:
        image: (H, W, 3) uint8.
        box: image pixels.
        degrees: the largest turn.
        uniform: random numbers.
    """
    angle = math.radians(degrees * (2 * uniform() - 1))
    stretch = degrees * STRETCH_PER_DEGREE
    across, down = (math.exp(stretch * (2 * uniform() - 1)) for _ in range(2))
    (x, y), cos, sin = box.center, math.cos(angle), math.sin(angle)
    a, b, c, d = cos * across, -sin * down, sin * across, cos * down
    # OpenCV's pixel centres are whole numbers, ours lie half a pixel further.
    x, y = x - 0.5, y - 0.5
    matrix = np.array([[a, b, x - a * x - b * y], [c, d, y - c * x - d * y]])
    height, width = image.shape[:2]
    warped = cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    w = math.hypot(a * box.w, b * box.h)
    h = math.hypot(c * box.w, d * box.h)
    return warped, Box(x + 0.5 - w / 2, y + 0.5 - h / 2, w, h)


def recoloured(
    images: tuple[np.ndarray, np.ndarray], strength: float, uniform: Uniform
) -> tuple[np.ndarray, np.ndarray]:
    """Both images with brightness, contrast and colours changed: in common, and the second a little more.

    Args:
        images: (H, W, 3) uint8.
        strength: largest relative change.
        uniform: random numbers.
    """
    common = _levels(strength, uniform)
    own = _levels(strength * OWN_COLOUR, uniform)
    grey = uniform() < GREY
    tables = _table(common), _table(common, own)
    first, second = (
        cv2.LUT(_without_colour(image) if grey else image, table)
        for image, table in zip(images, tables, strict=True)
    )
    return first, second


def _levels(strength: float, uniform: Uniform) -> np.ndarray:
    """(2, 3): what a level is multiplied by, and what is then added, for each channel."""
    change = [strength * (2 * uniform() - 1) for _ in range(5)]
    factor = (1 + change[0]) * (1 + 0.5 * np.array(change[1:4]))
    # About the middle of the range, so that contrast and brightness are separate.
    return np.stack([factor, 127.5 * (1 - factor) + 127.5 * change[4]])


def _table(*levels: np.ndarray) -> np.ndarray:
    """(1, 256, 3) uint8 for cv2.LUT: one change after the other."""
    values = np.tile(np.arange(256.0)[:, np.newaxis], 3)
    for factor, added in levels:
        values = values * factor + added
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)[np.newaxis]


def _without_colour(image: np.ndarray) -> np.ndarray:
    grey: np.ndarray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    colours: np.ndarray = cv2.merge([grey, grey, grey])
    return colours


def blurred(image: np.ndarray, box: Box, uniform: Uniform) -> np.ndarray:
    """``image`` out of focus, by at most ``BLUR_REACH`` of the object's size."""
    sigma = max(0.3, BLUR_REACH * uniform() * math.sqrt(max(box.area, 1.0)))
    smooth: np.ndarray = cv2.GaussianBlur(image, (0, 0), min(sigma, 8.0))
    return smooth


def occluded(image: np.ndarray, box: Box, uniform: Uniform) -> np.ndarray:
    """A copy of ``image`` in which a piece from elsewhere in it lies over an edge of the object.

    Args:
        image: (H, W, 3) uint8.
        box: the object's, image pixels.
        uniform: random numbers.
    """
    height, width = image.shape[:2]
    low, high = OCCLUDER_SIDES
    w, h = (round(side * (low + (high - low) * uniform())) for side in (box.w, box.h))
    w, h = min(w, width), min(h, height)
    from_x, from_y = int(uniform() * (width - w + 1)), int(uniform() * (height - h + 1))
    # Its middle is anywhere in the object.
    x = int(box.x + uniform() * box.w - w / 2)
    y = int(box.y + uniform() * box.h - h / 2)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    changed: np.ndarray = image.copy()
    if left < right and top < bottom:
        source = image[
            from_y + top - y : from_y + bottom - y, from_x + left - x : from_x + right - x
        ]
        changed[top:bottom, left:right] = source
    return changed
