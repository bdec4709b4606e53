"""Overlap of two regions, intersection over union, by each definition that trackers are compared with.

``exact``
    Areas of continuous boxes, with no "+1 pixel": what got10k, pysot and OTB's own code compute.
``bounded``
    The same after both boxes were clipped to the image as GOT-10k and VOT clip them: left and top first,
    then the size to what is left of them.  So a box that begins outside the image on the left or above is
    moved in, not cut: (-10, 0, 40, 30) against (0, 0, 30, 30) gives 0.75, where a cut would give 1.
``raster``
    Pixels that the regions cover once their numbers are rounded, which is what the VOT toolkit counts; it
    differs from ``exact`` where boxes are fractional.  Truth may be quadrangles.
``polygon``
    Exact areas, truth may be quadrangles: those of VOT2014 are rotated boxes.

``exact`` and ``bounded`` know upright boxes alone; against a quadrangle they take the box around it.  The
supervised experiment of the VOT toolkit applies the bounds of the image to ``raster``, both when it looks
for failures and when it measures accuracy; give ``size`` to have what it has.

A box of negative width or height is empty.  The overlap of two empty boxes is 0, in ``raster`` 1.
"""

from __future__ import annotations

import numpy as np

from goturn.box import MAX_COORDINATE
from goturn.evaluation.polygon import polygon_overlaps
from goturn.evaluation.raster import raster_overlaps

#: The definitions, by name.
MODES = ("exact", "bounded", "raster", "polygon")


def overlaps(
    boxes: np.ndarray,
    truth: np.ndarray,
    mode: str,
    size: tuple[int, int] | None = None,
    corners: np.ndarray | None = None,
) -> np.ndarray:
    """Overlap of each box with its truth, in [0, 1].

    Args:
        boxes: (n, 4), x, y, w, h in pixels.
        truth: (n, 4), likewise.
        mode: one of :data:`MODES`.
        size: (width, height) of the image: ``bounded`` needs it; ``raster`` counts pixels of the image
            alone where it is given.
        corners: (n, 8), x1, y1 ... x4, y4 of the true quadrangles, a row of NaN where the truth is the
            upright box.  Looked at by ``raster`` and ``polygon``.

    Returns:
        (n,) float64.

    Raises:
        ValueError: an unknown mode, shapes that do not fit, a number that is NaN, infinite or beyond
            :data:`goturn.box.MAX_COORDINATE`, or a size that is missing or not positive.
    """
    if mode not in MODES:
        raise ValueError(f"unknown definition of overlap {mode!r}; there are {', '.join(MODES)}")
    found = _checked(boxes, 4, "boxes")
    true = _checked(truth, 4, "truth")
    if len(found) != len(true):
        raise ValueError(f"{len(found)} boxes and {len(true)} true boxes; as many are expected")
    if size is not None and not (size[0] >= 1 and size[1] >= 1):
        raise ValueError(f"the image must have at least one pixel; got {size[0]}x{size[1]}")
    if mode == "exact":
        return _exact(found, true)
    if mode == "bounded":
        if size is None:
            raise ValueError("bounded overlap needs the image's size; give size=(width, height)")
        return _exact(_bounded(found, size), _bounded(true, size))
    rotated = _quadrangles(corners, len(true))
    if mode == "polygon":
        result = _exact(found, true)
        if rotated is not None:
            rows, quadrangles = rotated
            result[rows] = polygon_overlaps(found[rows], quadrangles)
        return result
    return raster_overlaps(found, true, size, rotated)


def _checked(values: np.ndarray, columns: int, name: str) -> np.ndarray:
    """``values`` as (n, columns) float64; not a copy where it is that already."""
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} must be an (n, {columns}) array; got shape {array.shape}")
    bad = ~(np.abs(array) <= MAX_COORDINATE).all(axis=1)  # true for NaN too
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"{name} must be finite and within {MAX_COORDINATE:.0e} pixels; row {row} is "
            f"{tuple(array[row].tolist())}: leave frames without a box out, or score them as misses"
        )
    return array


def _quadrangles(corners: np.ndarray | None, length: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows whose truth is a quadrangle, and those quadrangles (k, 4, 2); None where there is none."""
    if corners is None:
        return None
    array = np.asarray(corners, np.float64)
    if array.shape != (length, 8):
        raise ValueError(f"corners must be a ({length}, 8) array; got shape {array.shape}")
    rows = np.flatnonzero(~np.isnan(array).all(axis=1))
    if not len(rows):
        return None
    return rows, _checked(array[rows], 8, "corners").reshape(-1, 4, 2)


def _bounded(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    limit = np.array(size, np.float64)
    start = np.clip(boxes[:, :2], 0, limit)
    return np.concatenate([start, np.clip(boxes[:, 2:], 0, limit - start)], axis=1)


def _exact(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The arithmetic of :meth:`goturn.box.Box.iou`, operation for operation."""
    low = np.maximum(boxes[:, :2], truth[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], truth[:, :2] + truth[:, 2:])
    intersection = _area(high - low)
    return _ratio(intersection, _area(boxes[:, 2:]) + _area(truth[:, 2:]) - intersection)


def _area(sides: np.ndarray) -> np.ndarray:
    positive = np.maximum(sides, 0.0)
    return np.asarray(positive[:, 0] * positive[:, 1])


def _ratio(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Intersection over union; 0 where the union is empty."""
    empty = union <= 0
    return np.where(empty, 0.0, np.minimum(1.0, intersection / np.where(empty, 1.0, union)))
