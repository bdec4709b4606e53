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

from collections.abc import Iterable

import numpy as np

#: Rows of quadrangles that are worked on at once: what fits a processor's cache.
CHUNK = 1 << 15

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
    corners = points - window[:, None, :2]
    boxes = boxes - np.tile(window[:, :2], 2)
    last = window[:, 2:] - window[:, :2]
    top = np.maximum(corners[..., 1].min(axis=1), 0)
    bottom = np.minimum(corners[..., 1].max(axis=1), last[:, 1])
    rows = np.maximum(bottom - top + 1, 0).astype(np.int64)
    if len(rows) and rows.max() > MAX_ROWS:
        raise ValueError(
            f"a true quadrangle is {rows.max()} pixels high, more than any image; mend it, or give "
            "the image's size"
        )
    edges, before = np.roll(corners, -1, axis=1) - corners, corners - np.roll(corners, 1, axis=1)
    turns = before[..., 0] * edges[..., 1] - before[..., 1] * edges[..., 0]
    convex = (turns > 0).all(axis=1) | (turns < 0).all(axis=1)
    covered, shared = np.zeros(len(points)), np.zeros(len(points))
    for chosen, spans in ((convex, _one_span), (~convex, _spans)):
        part = np.flatnonzero(chosen)
        ends = np.cumsum(rows[part])
        begin = 0
        while begin < len(part):
            done = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
            some = part[begin:end]
            for low, high in spans(corners[some], top[some], rows[some], last[some, 0]):
                whole, common = _counts(low, high, top[some], rows[some], boxes[some])
                covered[some] += whole
                shared[some] += common
            begin = end
    return covered, shared


Spans = Iterable[tuple[np.ndarray, np.ndarray]]


def _counts(
    low: np.ndarray, high: np.ndarray, top: np.ndarray, rows: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each quadrangle's spans (see :func:`_spans`), and those that its box has too."""
    ends = np.cumsum(rows)
    starts = ends - rows
    pixels = _running_total(high - low)
    common = _running_total(
        np.minimum(high, np.repeat(boxes[:, 2], rows))
        - np.maximum(low, np.repeat(boxes[:, 0], rows))
    )
    first = np.clip(boxes[:, 1] - top, 0, rows).astype(np.int64)
    after = np.clip(boxes[:, 3] + 1 - top, first, rows).astype(np.int64)
    return pixels[ends] - pixels[starts], common[starts + after] - common[starts + first]


def _running_total(lengths: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... lengths, once 1 is added to each and negative ones are 0, in place."""
    lengths += 1
    np.maximum(lengths, 0, out=lengths)
    return np.concatenate([[0.0], np.cumsum(lengths)])


def _one_span(corners: np.ndarray, top: np.ndarray, rows: np.ndarray, last: np.ndarray) -> Spans:
    """As :func:`_spans`, of quadrangles that are strictly convex: quicker, with one span in a row.

    Their outline is two chains of edges from top to bottom, and each row has one node of either.
    """
    before = np.roll(corners, 1, axis=1)
    x0, y0 = corners[..., 0], corners[..., 1]
    across, down = before[..., 0] - x0, before[..., 1] - y0
    begin = np.minimum(y0, before[..., 1])
    clockwise = (before[..., 0] * y0 - before[..., 1] * x0).sum(axis=1, keepdims=True) > 0
    lowest = (top + rows)[:, None]
    y = _numbered(top, rows)
    ends = []
    for right in (False, True):
        chain = (down < 0) == (clockwise == right)
        order = np.argsort(np.where(chain & (down != 0), begin, np.inf), axis=1)
        upper, height = (np.take_along_axis(a, order, axis=1) for a in (begin, np.abs(down)))
        real = np.take_along_axis(chain & (down != 0), order, axis=1)
        # An edge has the rows from its upper end to before its lower one; the last has that one too.
        final = real & ~np.concatenate([real[:, 1:], np.zeros_like(real[:, :1])], axis=1)
        first = np.clip(upper, top[:, None], lowest)
        after = np.clip(upper + height + final, first, lowest)
        number = np.where(real, after - first, 0).astype(np.int64).ravel()
        at = (np.take_along_axis(a, order, axis=1).ravel() for a in (y0, down, across, x0))
        node = y - np.repeat(next(at), number)
        for operation in (np.divide, np.multiply, np.add):
            operation(node, np.repeat(next(at), number), out=node)
        ends.append(np.trunc(node, out=node))
    low, high = ends
    yield np.maximum(low, 0, out=low), np.minimum(high, np.repeat(last, rows), out=high)


def _numbered(top: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``top``, ``top`` + 1, ... so many for each."""
    begin = np.cumsum(rows) - rows
    return np.asarray(np.arange(rows.sum()) + np.repeat(top - begin, rows))


def _spans(corners: np.ndarray, top: np.ndarray, rows: np.ndarray, last: np.ndarray) -> Spans:
    """The pixels of each row that lie in its quadrangle: three spans, disjoint, some empty.

    Args:
        corners: (k, 4, 2), from the window's left top pixel.
        top: (k,) the first row of each that is looked at.
        rows: (k,) how many are.
        last: (k,) the window's last column.

    Returns:
        First and last pixel of each, for one row after the other of one quadrangle after the other;
        last < first in an empty one.
    """
    y, last = _numbered(top, rows), np.repeat(last, rows)
    corners = np.repeat(corners, rows, axis=0)
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
    for _ in range(3):  # as many steps as four nodes can need
        first, second = nodes[lines, at], nodes[lines, np.minimum(at + 1, 3)]
        active &= (at < number - 1) & (first <= last)
        double = active & (first == second) & (at < number - 2)
        fill = active & ~double & (second >= 0)
        low = np.where(fill, np.maximum(first, filled + 1), 1.0)
        high = np.where(fill, np.minimum(second, last), 0.0)
        filled = np.where(fill, np.maximum(filled, high), filled)
        yield low, high
        at = np.minimum(at + np.where(double, 1, 2), 3)
