"""The charts as PNG files, for those who have matplotlib."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from goturn.evaluation.report.charts import Chart, charts_of, decades, finite_points, tick_text
from goturn.evaluation.report.looks import Look, keys_of, printable, spaced
from goturn.evaluation.results import Evaluation
from goturn.weights.atomic import replacing

#: What is said where there is no matplotlib.
MISSING = (
    "matplotlib is not installed, so no PNG plots were written; the page has the same charts. "
    "pip install matplotlib brings it"
)

#: Inches, and pixels an inch: 1200 pixels wide, and readable at half of that.
_WIDTH, _HEIGHT, _DPI = 8.0, 5.2, 150

#: A legend of more entries has a place of its own below, of so many inches a row.
_INSIDE, _ROW = 6, 0.27

_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo")

_STYLE = {
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.framealpha": 0.9,
    "legend.edgecolor": "none",
    "legend.fontsize": 12,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


def write_plots(
    folder: Path, evaluations: Sequence[Evaluation], look: Mapping[str, Look]
) -> list[Path] | None:
    """Draws every chart of every evaluation to ``folder``: ``otb-success.png`` and so on.

    Returns:
        The files; None where matplotlib is not installed, and nothing was written.

    Raises:
        OSError: one cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return None
    written = []
    # Whatever style the caller draws in; a backend that was set would stay set.
    style: dict[Any, Any] = {
        name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"
    }
    with mpl.rc_context(style | _STYLE):
        for evaluation, key in zip(evaluations, keys_of(evaluations), strict=True):
            for chart in charts_of(evaluation, look):
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{key}-{chart.key}.png"
                with replacing(path) as temporary, warnings.catch_warnings():
                    # A letter that the font lacks is drawn as a box; nothing can be done about it.
                    warnings.filterwarnings("ignore", message="Glyph .* missing from")
                    _draw(chart).savefig(temporary, format="png")
                written.append(path)
    return written


def _draw(chart: Chart) -> Any:
    """A figure of its own canvas, so that nobody's window or backend is touched."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Points lie anywhere, so their legend hides none only where it is outside.
    outside = chart.kind == "points" or len(chart.series) > _INSIDE
    extra = _ROW * math.ceil(len(chart.series) / 2) if outside else 0.0
    figure: Any = Figure(figsize=(_WIDTH, _HEIGHT + extra), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    axes.set_title(chart.title)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.set_xlim(chart.x_range)
    axes.set_ylim(chart.y_range)
    drawn = {"lines": _lines, "points": _points, "bars": _bars}[chart.kind](axes, chart)
    # matplotlib leaves entries out whose text begins with an underscore.
    labels = [printable(s.label) for s in chart.series]
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    title = chart.legend or None
    if outside:
        figure.legend(drawn, labels, loc="outside lower center", ncols=2, title=title)
    else:
        axes.legend(drawn, labels, loc="best", title=title)
    return figure


def _lines(axes: Any, chart: Chart) -> list[Any]:
    drawn = []
    for place, series in enumerate(chart.series):
        points = finite_points(series)
        drawn += axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=series.look.colour,
            linestyle=(0, series.look.dashes) if series.look.dashes else "-",
            linewidth=2.4,
            zorder=3 - place / len(chart.series),  # the best on top
        )
    return drawn


def _points(axes: Any, chart: Chart) -> list[Any]:
    if chart.log_x:
        axes.set_xscale("log")
        values = decades(*chart.x_range)
        axes.set_xticks(values, labels=[tick_text(value) for value in values])
        axes.minorticks_off()
    drawn = []
    for series in chart.series:
        x, y = finite_points(series)[0]
        marker = {"marker": series.look.marker, "markersize": 11, "linestyle": "none"}
        drawn += axes.plot([x], [y], color=series.look.colour, clip_on=False, zorder=3, **marker)
    return drawn


def _bars(axes: Any, chart: Chart) -> list[Any]:
    count = len(chart.series)
    width = 0.8 / count
    drawn = []
    for index, series in enumerate(chart.series):
        offset = 0.5 + (index - (count - 1) / 2) * width
        places = [group + offset for group in range(len(chart.groups))]
        heights = [y if math.isfinite(y) else 0.0 for y in series.y]
        style = {"color": series.look.colour, "edgecolor": "white"}
        hatch = _HATCHES[index % len(_HATCHES)]
        drawn.append(axes.bar(places, heights, width * 0.94, hatch=hatch, **style))
    names = [printable(spaced(name)).replace(" ", "\n", 1) for name in chart.groups]
    axes.set_xticks([group + 0.5 for group in range(len(names))], labels=names)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    return drawn
