"""Boxes and the geometry of the search window: pure arithmetic, no arrays, no images.

Three frames of reference occur, and each value below says which one it is in:

* *image*: pixels of the frame; pixel ``i`` covers ``[i, i + 1)``;
* *window*: pixels of the (not yet resized) search window, origin at its top left;
* *units*: the network's, 0..10 across the window's width and height.

``recenter`` and ``scale`` take a label from the image to the network, ``unscale`` and ``uncenter``
take a prediction back; training and tracking use the same four.  The rounding rules are those of the
authors' code: sizes are rounded up, positions truncated, while the *unrounded* origin and edge spacing
carry the coordinates.  All arithmetic is in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from itertools import islice
from reprlib import Repr
from typing import NamedTuple

#: The network's units span 0..UNITS over the search window (paper, section 4; the code's scale factor).
UNITS = 10.0

#: Largest coordinate or size accepted, in pixels.  Far beyond any image, yet small enough that every
#: intermediate value is an exact double and fits a 64-bit integer.
MAX_COORDINATE = 1e9

#: Shows what was given in place of a box, in few words however much of it there is.
SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 100


class Box(NamedTuple):
    """An axis-aligned box: left, top, width and height in pixels, continuous and 0-based.

    A negative width or height is representable (a prediction may be inverted) and counts as empty.
    """

    x: float
    y: float
    w: float
    h: float

    @classmethod
    def from_xyxy(cls, x1: float, y1: float, x2: float, y2: float) -> Box:
        """The box with corners (x1, y1) and (x2, y2); width is x2 - x1, with no "+1"."""
        return cls(x1, y1, x2 - x1, y2 - y1)

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom)."""
        return (self.x, self.y, self.x + self.w, self.y + self.h)

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the middle."""
        return (self.x + self.w / 2, self.y + self.h / 2)

    @property
    def area(self) -> float:
        """Width times height; 0 for an empty or inverted box."""
        return max(0.0, self.w) * max(0.0, self.h)

    def iou(self, other: Box) -> float:
        """Intersection over union with ``other``, in [0, 1]; 0 where both are empty."""
        ax1, ay1, ax2, ay2 = self.xyxy
        bx1, by1, bx2, by2 = other.xyxy
        width = max(0.0, min(ax2, bx2) - max(ax1, bx1))
        height = max(0.0, min(ay2, by2) - max(ay1, by1))
        intersection = width * height
        union = self.area + other.area - intersection
        return min(1.0, intersection / union) if union > 0 else 0.0


def as_box(box: Iterable[float]) -> Box:
    """``box`` as a Box of four finite floats, from a sequence or array of numbers x, y, w, h.

    Raises:
        TypeError: ``box`` is not a sequence of numbers.
        ValueError: not four values, or one that is not finite or beyond ``MAX_COORDINATE``.
    """
    try:
        if isinstance(box, (str, bytes, Set, Mapping)):  # iterable, but not four numbers in order
            raise TypeError
        # No further than needed: who knows how long what a stranger's tracker gives is.
        values = [float(value) for value in islice(box, 5)]
    except (TypeError, ValueError) as error:
        raise TypeError(f"box must be four numbers x, y, w, h; got {SHORT.repr(box)}") from error
    except OverflowError as error:
        raise ValueError(
            "box must be finite; one of its numbers is too large for a float"
        ) from error
    if len(values) != 4:
        count = "more" if len(values) > 4 else f"{len(values)} values"
        raise ValueError(f"box must be four numbers x, y, w, h; got {count}")
    if not all(abs(value) <= MAX_COORDINATE for value in values):  # false for NaN too
        raise ValueError(
            f"box must be finite and within {MAX_COORDINATE:.0e} pixels; got {tuple(values)}"
        )
    return Box(*values)


def check_initial_box(box: Iterable[float], frame_width: int, frame_height: int) -> Box:
    """``box`` as a Box that can start a track in a frame of this size.

    Raises:
        TypeError, ValueError: as :func:`as_box`; ValueError too if the box has no area or lies wholly
            outside the frame.
    """
    checked = as_box(box)
    if checked.w <= 0 or checked.h <= 0:
        raise ValueError(f"box width and height must be > 0; got {tuple(checked)}")
    x1, y1, x2, y2 = checked.xyxy
    if x1 >= frame_width or y1 >= frame_height or x2 <= 0 or y2 <= 0:
        raise ValueError(
            f"box {tuple(checked)} lies outside the {frame_width}x{frame_height} frame; "
            "it must overlap the frame to start a track"
        )
    return checked


class SearchWindow(NamedTuple):
    """Where a crop comes from: a region ``context_factor`` times the box, black outside the image.

    The window is a canvas of ``width`` x ``height`` pixels, black but for the ``columns`` x ``rows``
    image pixels from (``left``, ``top``), which lie on it at (``paste_x``, ``paste_y``).
    """

    x: float
    """Left of the visible part, image pixels, fractional: the origin of coordinates."""
    y: float
    """Top of the visible part, image pixels, fractional."""
    edge_x: float
    """Edge spacing: how far the window sticks out of the image on the left, pixels, fractional."""
    edge_y: float
    """As ``edge_x``, at the top."""
    width: int
    height: int
    left: int
    top: int
    columns: int
    rows: int

    @property
    def paste_x(self) -> int:
        """Column of the canvas where the image part begins."""
        return int(self.edge_x)

    @property
    def paste_y(self) -> int:
        """Row of the canvas where the image part begins."""
        return int(self.edge_y)


def _window_axis(
    low: float, high: float, extent: int, factor: float
) -> tuple[float, float, int, int, int]:
    """One axis of the search window: (origin, edge spacing, canvas size, first pixel, pixel count)."""
    middle = (low + high) / 2
    output = max(1.0, factor * (high - low))
    origin = max(0.0, middle - output / 2)
    span = max(1.0, min(output / 2, middle) + min(output / 2, extent - middle))

    first = int(min(origin, extent - 1))
    # The authors' code asks for ceil(span) pixels, which can pass the image's end by one when the
    # subtraction leaves a crumb above a whole number, and then aborts; hence the last min().
    count = min(extent, max(1, math.ceil((origin + span) - origin)), extent - first)
    canvas = max(math.ceil(output), count)
    edge = min(max(0.0, output / 2 - middle), canvas - 1.0)
    # Likewise on the canvas: in exact arithmetic the part fits, and a crumb must not decide.
    count = min(count, canvas - int(edge))
    return origin, edge, canvas, first, count


def search_window(
    box: Box, frame_width: int, frame_height: int, context_factor: float = 2.0
) -> SearchWindow:
    """The search window of ``box`` (image pixels) in a frame (facts: crop geometry; paper, section 3).

    Any finite box gives a valid window: empty and inverted boxes give one pixel, and the memory a crop
    needs depends on the frame alone, however large the box.

    Raises:
        ValueError: the box is not finite or beyond ``MAX_COORDINATE``, or the frame is empty.
    """
    if frame_width < 1 or frame_height < 1:
        raise ValueError(f"frame must have at least one pixel; got {frame_width}x{frame_height}")
    x1, y1, x2, y2 = as_box(box).xyxy
    x, edge_x, width, left, columns = _window_axis(x1, x2, frame_width, context_factor)
    y, edge_y, height, top, rows = _window_axis(y1, y2, frame_height, context_factor)
    return SearchWindow(x, y, edge_x, edge_y, width, height, left, top, columns, rows)


def recenter(box: Box, window: SearchWindow) -> Box:
    """From image to window pixels."""
    return box._replace(x=box.x - window.x + window.edge_x, y=box.y - window.y + window.edge_y)


def uncenter(box: Box, window: SearchWindow, frame_width: int, frame_height: int) -> Box:
    """From window to image pixels, then clipped as the authors' code clips.

    Left and top are raised to 0, right and bottom lowered to the frame's size; nothing else is
    ensured, so a wild prediction may come out inverted: see :func:`restore`.
    """
    x1, y1, x2, y2 = box.xyxy
    shift_x, shift_y = window.x - window.edge_x, window.y - window.edge_y
    return Box.from_xyxy(
        max(0.0, x1 + shift_x),
        max(0.0, y1 + shift_y),
        min(float(frame_width), x2 + shift_x),
        min(float(frame_height), y2 + shift_y),
    )


def scale(box: Box, window: SearchWindow) -> tuple[float, float, float, float]:
    """From window pixels to the network's units (x1, y1, x2, y2), 0..10 over the window."""
    x1, y1, x2, y2 = box.xyxy
    across, down = UNITS / window.width, UNITS / window.height
    return (x1 * across, y1 * down, x2 * across, y2 * down)


def unscale(units: Iterable[float], window: SearchWindow) -> Box:
    """From the network's units (x1, y1, x2, y2) to window pixels; the inverse of :func:`scale`."""
    x1, y1, x2, y2 = (float(value) for value in units)
    across, down = window.width / UNITS, window.height / UNITS
    return Box.from_xyxy(x1 * across, y1 * down, x2 * across, y2 * down)


def restore(box: Box, frame_width: int, frame_height: int) -> Box:
    """``box`` made usable as the next prior: at least one pixel wide and high.

    A box that :func:`uncenter` leaves ordered is inside the frame and returned as it is if it has at
    least one pixel a side.  A collapsed or inverted one, from which the authors' tracker would go on
    with meaningless numbers, becomes one pixel wide (or high) about its middle, moved into the frame.
    """
    x, w = _restore_axis(box.x, box.w, frame_width)
    y, h = _restore_axis(box.y, box.h, frame_height)
    return Box(x, y, w, h)


def _restore_axis(low: float, size: float, extent: int) -> tuple[float, float]:
    if size >= 1:
        return low, size
    middle = min(max(low + size / 2, 0.5), extent - 0.5)
    return middle - 0.5, 1.0
