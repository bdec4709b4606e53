"""Overlap of regions as pixels: the VOT toolkit's definition, without drawing any mask.

All numbers become float32 and are rounded, halves to even.  A box then covers whole columns and rows; in
a row, a quadrangle covers the pixels from one crossing of its outline to the next, crossings rounded
towards the left edge of the part of the image that both regions span.  Both follow from arithmetic.

Of the toolkit's corner cases these are kept: two regions that span no more than one column or one row
together have overlap 1, and so do two empty ones at the same place; regions of which the image holds no
more than one column or row have 0.  One is not: without an image's size, its boxes lose columns and rows
where a coordinate is negative.
"""

from __future__ import annotations

import numpy as np

#: Rows of quadrangles that are worked on at once: about 40 MiB.
CHUNK = 1 << 17

#: No image has more rows; a taller quadrangle, without an image to bound it, is a mistake.
MAX_ROWS = 1 << 16


def raster_overlaps(
    boxes: np.ndarray,
    truth: np.ndarray,
    size: tuple[int, int] | None = None,
    rotated: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Pixels in both regions over pixels in either.

    Args:
        boxes: (n, 4) finite, x, y, w, h.
        truth: (n, 4) likewise.
        size: (width, height) of the image, whose pixels alone count; None for all pixels.
        rotated: rows whose truth is a quadrangle, (k,), and those quadrangles, (k, 4, 2).

    Raises:
        ValueError: a quadrangle over more than :data:`MAX_ROWS` rows.
    """
    found, true = _pixels(boxes), _pixels(truth)
    points = None
    if rotated is not None:
        points = np.rint(rotated[1].astype(np.float32)).astype(np.float64)
        true[rotated[0]] = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)

    low, high = np.minimum(found[:, :2], true[:, :2]), np.maximum(found[:, 2:], true[:, 2:])
    thin = (low >= high).any(axis=1)
    if size is not None:
        low, high = np.maximum(low, 0), np.minimum(high, np.array(size, np.float64) - 1)
    outside = (low >= high).any(axis=1)

    window = np.concatenate([low, high], axis=1)
    mine, yours = _common(found, window), _common(true, window)
    both = _common(_within(found, window), _within(true, window))
    if rotated is not None and points is not None:
        rows = rotated[0]
        yours[rows], both[rows] = _quadrangle_pixels(points, window[rows], found[rows])
    union = mine + yours - both
    result = both / np.where(union > 0, union, 1)
    result[outside] = 0.0
    result[thin] = 1.0
    return np.asarray(result)


def _pixels(boxes: np.ndarray) -> np.ndarray:
    """(n, 4): left, top, right, bottom, the last pixel's included; right < left in an empty box."""
    rounded = np.rint(boxes.astype(np.float32))
    last = (rounded[:, :2] + rounded[:, 2:]).astype(np.float64) - 1
    return np.concatenate([rounded[:, :2].astype(np.float64), last], axis=1)


def _within(pixels: np.ndarray, window: np.ndarray) -> np.ndarray:
    low, high = np.maximum(pixels[:, :2], window[:, :2]), np.minimum(pixels[:, 2:], window[:, 2:])
    return np.concatenate([low, high], axis=1)


def _common(pixels: np.ndarray, window: np.ndarray) -> np.ndarray:
    """How many pixels two rectangles have in common."""
    cut = _within(pixels, window)
    sides = np.maximum(cut[:, 2:] - cut[:, :2] + 1, 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def _quadrangle_pixels(
    points: np.ndarray, window: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many pixels of the window each quadrangle covers, and how many of these its box does too.

    Args:
        points: (k, 4, 2) corners, whole numbers.
        window: (k, 4) left, top, right, bottom of the pixels that count, included.
        boxes: (k, 4) likewise.
    """
    origin = np.tile(window[:, :2], 2)
    inside, box = window[:, 2:] - window[:, :2], boxes - origin
    corners = points - window[:, None, :2]
    top = np.maximum(corners[..., 1].min(axis=1), 0)
    bottom = np.minimum(corners[..., 1].max(axis=1), inside[:, 1])
    rows = np.maximum(bottom - top + 1, 0).astype(np.int64)
    if len(rows) and rows.max() > MAX_ROWS:
        raise ValueError(
            f"a true quadrangle is {rows.max()} pixels high, more than any image; mend it, or give "
            "the image's size"
        )
    covered, shared = np.zeros(len(points)), np.zeros(len(points))
    ends = np.cumsum(rows)
    begin = 0
    while begin < len(points):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
        part = slice(begin, end)
        frame = np.repeat(np.arange(end - begin), rows[part])
        first = np.concatenate([[0], np.cumsum(rows[part])[:-1]])
        y = top[part][frame] + (np.arange(len(frame)) - first[frame])
        spans = _spans(corners[part][frame], y, inside[part, 0][frame])
        crossed = (box[part, 1][frame] <= y) & (y <= box[part, 3][frame])
        left, right = box[part, 0][frame], box[part, 2][frame]
        for low, high in spans:
            length = np.maximum(high - low + 1, 0)
            common = np.maximum(np.minimum(high, right) - np.maximum(low, left) + 1, 0)
            covered[part] += np.bincount(frame, length, end - begin)
            shared[part] += np.bincount(frame, common * crossed, end - begin)
        begin = end
    return covered, shared


def _spans(
    corners: np.ndarray, y: np.ndarray, last: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pixels of each row that lie in its quadrangle: three spans, disjoint, some empty.

    Args:
        corners: (r, 4, 2), from the window's left top pixel.
        y: (r,) the row.
        last: (r,) the window's last column.

    Returns:
        First and last pixel of each, (r,) both; last < first in an empty one.
    """
    before = np.roll(corners, 1, axis=1)
    x0, y0 = corners[..., 0], corners[..., 1]
    across, down = before[..., 0] - x0, before[..., 1] - y0
    row = y[:, None]
    hit = (np.minimum(y0, before[..., 1]) <= row) & (row <= np.maximum(y0, before[..., 1]))
    slope = (row - y0) / np.where(down == 0, 1.0, down) * across
    nodes = np.trunc(np.where(down == 0, x0, x0 + slope))
    nodes = np.sort(np.where(hit, nodes, np.inf), axis=1)
    number = hit.sum(axis=1)

    # Nodes are taken in pairs; of a pair that is one point the first is passed by, unless it is the row's
    # last pair, for both edges at a corner of the outline have it.
    at, active = np.zeros(len(y), np.int64), np.ones(len(y), bool)
    lines, filled = np.arange(len(y)), np.full(len(y), -1.0)
    spans = []
    for _ in range(3):  # as many steps as four nodes can need
        first, second = nodes[lines, at], nodes[lines, np.minimum(at + 1, 3)]
        active &= (at < number - 1) & (first <= last)
        double = active & (first == second) & (at < number - 2)
        fill = active & ~double & (second >= 0)
        low = np.where(fill, np.maximum(first, filled + 1), 1.0)
        high = np.where(fill, np.minimum(second, last), 0.0)
        filled = np.where(fill, np.maximum(filled, high), filled)
        spans.append((low, high))
        at = np.minimum(at + np.where(double, 1, 2), 3)
    return spans
