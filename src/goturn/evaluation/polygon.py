"""Exact overlap of upright boxes with quadrangles, over all frames at once."""

from __future__ import annotations

import numpy as np


def polygon_overlaps(boxes: np.ndarray, quadrangles: np.ndarray) -> np.ndarray:
    """Intersection over union of areas, in [0, 1]; 0 where both are empty.

    A quadrangle may be of either orientation, concave, or degenerate (area 0 then).  One that crosses
    itself covers its two triangles.

    Args:
        boxes: (n, 4) finite, x, y, w, h; one of negative size is empty.
        quadrangles: (n, 4, 2) finite, the corners in order.
    """
    size = np.maximum(boxes[:, 2:], 0.0)
    # Coordinates from the box's left top corner: areas far from the image's origin lose no digits.
    polygon = _untangled(quadrangles - boxes[:, None, :2])
    first, second = polygon, np.roll(polygon, -1, axis=1)
    cross = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    truth = np.abs(cross.sum(axis=1)) / 2
    box = size[:, 0] * size[:, 1]
    intersection = np.minimum(_area_within(polygon, size), np.minimum(box, truth))
    union = box + truth - intersection
    empty = union <= 0
    return np.where(empty, 0.0, np.minimum(1.0, intersection / np.where(empty, 1.0, union)))


def _area_within(polygon: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Area of each polygon inside (0, 0) .. ``size``.

    By Green's theorem it is the integral over the outline, of x clamped to the box, along y within the
    box.  On a straight edge the clamped x is linear between where the edge enters and leaves the box's
    columns, so the trapezoidal rule on these three pieces is exact.
    """
    start, step = polygon, np.roll(polygon, -1, axis=1) - polygon
    limit = size[:, None, :]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        at_low, at_high = (
            -start / step,
            (limit - start) / step,
        )  # parameters along the edge, per axis
    level, upright = step[..., 1] == 0, step[..., 0] == 0
    enter = np.clip(np.where(level, 0.0, np.minimum(at_low, at_high)[..., 1]), 0.0, 1.0)
    leave = np.clip(np.where(level, 0.0, np.maximum(at_low, at_high)[..., 1]), 0.0, 1.0)
    kinks = [np.where(upright, enter, at[..., 0]).clip(enter, leave) for at in (at_low, at_high)]
    s = np.sort(np.stack([enter, *kinks, leave], axis=-1), axis=-1)
    x = (start[..., :1] + s * step[..., :1]).clip(0.0, limit[..., :1])
    y = (start[..., 1:] + s * step[..., 1:]).clip(0.0, limit[..., 1:])
    pieces = (x[..., 1:] + x[..., :-1]) * (y[..., 1:] - y[..., :-1])
    return np.asarray(np.abs(pieces.sum(axis=(1, 2))) / 2)


def _untangled(quadrangles: np.ndarray) -> np.ndarray:
    """(n, 6, 2) outlines of the same areas in which no two edges cross.

    A quadrangle whose opposite edges cross is two triangles that touch there; gone round the same way,
    their signed areas add up.  All others get their last corner thrice.
    """
    outline = np.concatenate([quadrangles, quadrangles[:, 3:], quadrangles[:, 3:]], axis=1)
    for shift in (0, 1):
        p = np.roll(quadrangles, -shift, axis=1)
        p0, p1, p2, p3 = p[:, 0], p[:, 1], p[:, 2], p[:, 3]
        crosses = (np.sign(_side(p0, p1, p2)) * np.sign(_side(p0, p1, p3)) < 0) & (
            np.sign(_side(p2, p3, p0)) * np.sign(_side(p2, p3, p1)) < 0
        )
        if crosses.any():
            p0, p1, p2, p3 = p0[crosses], p1[crosses], p2[crosses], p3[crosses]
            whole = _side(p2, p3, p0) - _side(p2, p3, p1)
            part = _side(p2, p3, p0) / np.where(whole == 0, 1.0, whole)
            meet = p0 + part[:, None] * (p1 - p0)
            outline[crosses] = np.stack([meet, p2, p1, meet, p3, p0], axis=1)
    return outline


def _side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Twice the signed area of the triangle a, b, c: on which side of a-b is c."""
    u, v = b - a, c - a
    return np.asarray(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
