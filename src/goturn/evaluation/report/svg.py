"""Charts as SVG for the page: text, that any browser draws sharply and no library has to.

All that comes from outside is escaped.  Numbers are rounded to a tenth of a unit, which keeps pages
small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

import numpy as np

from goturn.evaluation.report.charts import Chart, Series, decades, finite_points, tick_text, ticks
from goturn.evaluation.report.looks import Look

#: Width and height of a chart, and where its axes lie in it: left, top, right, bottom.
_SIZE = (480, 330)
_AXES = (52, 12, 466, 282)

#: A sparkline's units: it is stretched to whatever width there is.
SPARK = (300, 24)

#: Places of a point's name, in order: offset of the text, and which end of it is there.
_PLACES = ((9, 4, "start"), (-9, 4, "end"), (0, -10, "middle"), (0, 18, "middle"))

_LETTER = 6.4  # about a letter's width at the size of a point's name


def chart_svg(chart: Chart) -> str:
    """A chart of lines or of points, (480, 330) units; its names stand in a legend elsewhere.

    Raises:
        ValueError: a chart of another kind.
    """
    if chart.kind == "lines":
        drawn = "".join(_line(chart, series) for series in reversed(chart.series))
    elif chart.kind == "points":
        drawn = _points(chart)
    else:
        raise ValueError(
            f"a chart of kind {chart.kind!r} cannot be drawn here; lines or points can"
        )
    return (
        f'<svg class="chart" viewBox="0 0 {_SIZE[0]} {_SIZE[1]}" role="img" '
        f'aria-label="{escape(description(chart))}">{_frame(chart)}{drawn}</svg>'
    )


def description(chart: Chart) -> str:
    """A chart in words, for those who do not see it."""
    labels = "; ".join(series.label for series in chart.series)
    what = f" ({chart.legend})" if chart.legend else ""
    return f"{chart.title}. {chart.y_label} against {chart.x_label}{what}: {labels}"


def swatch(look: Look, kind: str = "lines") -> str:
    """A tracker's mark in a legend: a piece of its line, or its point."""
    inside = _shape(look, 14, 7, 4.5)
    if kind == "lines":
        inside = f'<path d="M1 7H27" {_stroke(look, 2.5)}/>'
    return f'<svg class="swatch" viewBox="0 0 28 14" aria-hidden="true">{inside}</svg>'


def sparkline(values: np.ndarray, look: Look, *, marks: Sequence[int], label: str) -> str:
    """Overlaps over a video, 0 at the bottom and 1 at the top, with ticks at frames of note.

    Args:
        values: (n,) overlaps, NaN where there is none; long videos are averaged over stretches.
        look: the tracker's.
        marks: numbers of frames at which the object was lost.
        label: the line in words.
    """
    width, height = SPARK
    n = len(values)
    scale = width / max(n - 1, 1)
    pieces, piece = [], list[str]()
    for x, y in _thinned(values, width):
        if math.isfinite(y):
            piece.append(f"{_short(x * scale)} {_short((1 - y) * height)}")
        elif piece:
            pieces.append(piece)
            piece = []
    pieces += [piece] if piece else []
    # A piece of one point is a dot: a line of no length with round ends.
    path = "".join(f"M{'L'.join(p if len(p) > 1 else p * 2)}" for p in pieces)
    places = dict.fromkeys(_short(k * scale) for k in marks)  # each once, however many frames
    lost = "".join(f"M{place} {height}v-9" for place in places)
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label)}"><path class="half" d="M0 {height / 2:g}H{width}"/>'
        f'<path class="run" d="{path}" stroke="{look.colour}"/>'
        + (f'<path class="lost" d="{lost}"/>' if lost else "")
        + "</svg>"
    )


def _thinned(values: np.ndarray, most: int) -> list[tuple[float, float]]:
    """Numbers of frames and values: all of them, or the means of ``most`` stretches."""
    n = len(values)
    if n <= most:
        return list(enumerate(values.tolist()))
    edges = np.linspace(0, n, most + 1).astype(int)
    points = []
    for low, high in pairwise(edges.tolist()):
        part = values[low:high]
        part = part[np.isfinite(part)]
        points.append(((low + high - 1) / 2, float(part.mean()) if part.size else math.nan))
    return points


def _frame(chart: Chart) -> str:
    """Grid, numbers and names of the axes."""
    left, top, right, bottom = _AXES
    parts = []
    for value in _x_ticks(chart):
        x = _short(_x(chart, value))
        parts.append(
            f'<path class="grid" d="M{x} {top}V{bottom}"/>'
            f'<text x="{x}" y="{bottom + 17}" text-anchor="middle">{tick_text(value)}</text>'
        )
    for value in ticks(*chart.y_range):
        y = _y(chart, value)
        parts.append(
            f'<path class="grid" d="M{left} {_short(y)}H{right}"/>'
            f'<text x="{left - 7}" y="{_short(y + 4)}" text-anchor="end">{tick_text(value)}</text>'
        )
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    parts.append(
        f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>'
        f'<text class="name" x="{middle_x}" y="{_SIZE[1] - 8}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>"
        f'<text class="name" transform="translate(13 {middle_y}) rotate(-90)" '
        f'text-anchor="middle">{escape(chart.y_label)}</text>'
    )
    return "".join(parts)


def _line(chart: Chart, series: Series) -> str:
    points = [f"{_short(_x(chart, x))} {_short(_y(chart, y))}" for x, y in finite_points(series)]
    if not points:
        return ""
    return (
        f'<path class="line" d="M{"L".join(points)}" {_stroke(series.look, 2.2)}>'
        f"<title>{escape(series.label)}</title></path>"
    )


def _points(chart: Chart) -> str:
    """Shapes, and names beside them where these hide nothing; all names are in the legend too."""
    places = [
        (_x(chart, x), _y(chart, y), series)
        for series in chart.series
        for x, y in finite_points(series)
    ]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in places]
    parts = []
    for x, y, series in places:
        shape = _shape(series.look, x, y, 5.5)
        parts.append(f"<g>{shape}<title>{escape(series.label)}</title></g>")
        for across, down, anchor in _PLACES:
            width = _LETTER * len(series.name)
            start = x + across - {"start": 0, "middle": width / 2, "end": width}[anchor]
            area = (start, y + down - 10, start + width, y + down + 3)
            if not _inside(area) or any(_touch(area, other) for other in taken):
                continue
            taken.append(area)
            parts.append(
                f'<text class="point" x="{_short(x + across)}" y="{_short(y + down)}" '
                f'text-anchor="{anchor}">{escape(series.name)}</text>'
            )
            break
    return "".join(parts)


Area = tuple[float, float, float, float]


def _inside(area: Area) -> bool:
    left, top, right, bottom = _AXES
    return area[0] >= left and area[2] <= right + 10 and area[1] >= top and area[3] <= bottom


def _touch(a: Area, b: Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _shape(look: Look, x: float, y: float, r: float) -> str:
    """A tracker's point: its shape's letters are matplotlib's."""
    corners = {
        "s": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "^": ((0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        "v": ((0, 1.2), (1.1, -0.8), (-1.1, -0.8)),
        "D": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        "P": tuple(
            (sign * a, turn * b)
            for sign, turn, pair in (
                (1, -1, ((0.4, 1.2), (0.4, 0.4), (1.2, 0.4))),
                (1, 1, ((1.2, 0.4), (0.4, 0.4), (0.4, 1.2))),
                (-1, 1, ((0.4, 1.2), (0.4, 0.4), (1.2, 0.4))),
                (-1, -1, ((1.2, 0.4), (0.4, 0.4), (0.4, 1.2))),
            )
            for a, b in pair
        ),
    }.get(look.marker)
    if corners is None:
        return f'<circle cx="{_short(x)}" cy="{_short(y)}" r="{r}" fill="{look.colour}"/>'
    path = "L".join(f"{_short(x + a * r)} {_short(y + b * r)}" for a, b in corners)
    return f'<path d="M{path}Z" fill="{look.colour}"/>'


def _stroke(look: Look, width: float) -> str:
    dashes = " ".join(f"{dash * width:g}" for dash in look.dashes)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'fill="none" stroke="{look.colour}" stroke-width="{width:g}"{dashed}'


def _x_ticks(chart: Chart) -> list[float]:
    return decades(*chart.x_range) if chart.log_x else ticks(*chart.x_range)


def _x(chart: Chart, value: float) -> float:
    low, high = chart.x_range
    if chart.log_x:
        low, high, value = math.log10(low), math.log10(high), math.log10(value)
    return _AXES[0] + (value - low) / (high - low) * (_AXES[2] - _AXES[0])


def _y(chart: Chart, value: float) -> float:
    low, high = chart.y_range
    return _AXES[3] - (value - low) / (high - low) * (_AXES[3] - _AXES[1])


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
