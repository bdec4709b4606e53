"""Tables of the page: scores, videos, attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from goturn.evaluation.report.charts import (
    Chart,
    attribute_names,
    finite_points,
)
from goturn.evaluation.report.looks import (
    Look,
    best,
    decimals,
    figure_names,
    interval_text,
    less_is_better,
    number,
    ordered,
    rate,
    score,
    score_names,
    spaced,
)
from goturn.evaluation.report.svg import swatch
from goturn.evaluation.results import Evaluation

Looks = Mapping[str, Look]

#: Steps of the colours of a table's cells.
_HEATS = 10


def name_of(name: str, look: Looks, kind: str = "lines") -> str:
    """A tracker's mark and name."""
    return f"{swatch(look[name], kind)}{escape(name)}"


def score_table(evaluation: Evaluation, look: Looks) -> str:
    """Trackers as rows, the best first; each score with its interval, and frames per second."""
    trackers, names = ordered(evaluation), score_names(evaluation)
    heads = ["<th scope=col>tracker</th>"]
    heads += [_head(name, less_is_better(evaluation, name)) for name in names]
    heads += [
        "<th scope=col data-kind=number>fps<br>mean of 1/t</th>",
        "<th scope=col data-kind=number>fps<br>frames / time</th>",
    ]
    columns = {name: {t.name: score(t, name) for t in trackers} for name in names}
    tops = {name: best(columns[name], low=less_is_better(evaluation, name)) for name in names}
    rows = []
    for tracker in trackers:
        cells = [f"<th scope=row>{name_of(tracker.name, look)}</th>"]
        for name in names:
            places = decimals(columns[name].values())
            text = number(columns[name][tracker.name], places)
            if tracker.name in tops[name]:
                text = f"<span class=best>{text}</span>"
            interval = interval_text(tracker.scores.get(name), places, " – ")
            text += f"<small>{interval}</small>" if interval else ""
            cells.append(_cell(columns[name][tracker.name], text))
        for fps in (tracker.speed.mean_of_rates, tracker.speed.frames_over_time):
            cells.append(_cell(fps, rate(fps)))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table(heads, rows)


def video_tables(evaluation: Evaluation, look: Looks) -> str:
    """A table for each figure that videos have: videos as rows, trackers as columns, the first open."""
    rows = {
        video.name: {
            tracker.name: tracker.videos.get(video.name, {}) for tracker in evaluation.trackers
        }
        for video in evaluation.videos
    }
    return _heat_tables("video", rows, evaluation, look, first_open=True)


def attribute_tables(evaluation: Evaluation, look: Looks) -> str:
    """Likewise for attributes, all closed; empty where there are none."""
    rows = {
        spaced(name): {
            tracker.name: tracker.attributes.get(name, {}) for tracker in evaluation.trackers
        }
        for name in attribute_names(evaluation)
    }
    return _heat_tables("attribute", rows, evaluation, look)


def _heat_tables(
    kind: str,
    rows: Mapping[str, Mapping[str, Mapping[str, float]]],
    evaluation: Evaluation,
    look: Looks,
    *,
    first_open: bool = False,
) -> str:
    """A table for each figure of ``rows``, which have figures by row and tracker."""
    names = figure_names(figures for row in rows.values() for figures in row.values())
    tables = []
    for index, name in enumerate(names):
        low = less_is_better(evaluation, name)
        values = {
            row: {tracker: figures.get(name, math.nan) for tracker, figures in trackers.items()}
            for row, trackers in rows.items()
        }
        tables.append(
            f"<details{' open' if first_open and index == 0 else ''}><summary>{escape(name)} by {kind}"
            f"{', less is better' if low else ''}</summary>"
            f"{_heat_table(kind, values, look, low=low)}</details>"
        )
    return "".join(tables)


def bars(chart: Chart) -> str:
    """A chart of bars: a block for each group, in it a named bar for each tracker."""
    top = chart.y_range[1]
    places = decimals(y for series in chart.series for y in series.y)
    blocks = []
    for index, group in enumerate(chart.groups):
        rows = []
        for series in chart.series:
            value = series.y[index]
            width = 0.0 if not math.isfinite(value) else min(100.0, max(0.0, 100 * value / top))
            rows.append(
                f'<div class=bar><span title="{escape(series.name)}">{escape(series.name)}</span>'
                '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
                f'<rect width="{width:.1f}" height="10" fill="{series.look.colour}"/></svg>'
                f"<span>{number(value, places)}</span></div>"
            )
        blocks.append(f"<div><h4>{escape(spaced(group))}</h4>{''.join(rows)}</div>")
    return f"<div class=bars>{''.join(blocks)}</div>"


def legend(chart: Chart) -> str:
    """The names of a chart's lines or points, in its order."""
    items = [
        f"<li>{swatch(series.look, chart.kind)}{escape(series.label)}</li>"
        for series in chart.series
        if finite_points(series)
    ]
    what = f"<span class=key>In the legend: {escape(chart.legend)}.</span>" if chart.legend else ""
    return f"<ul class=legend>{''.join(items)}</ul>{what}"


def _heat_table(
    kind: str, values: Mapping[str, Mapping[str, float]], look: Looks, *, low: bool
) -> str:
    """Rows of numbers, the darker the better; the best of each row has a star."""
    finite = [v for row in values.values() for v in row.values() if math.isfinite(v)]
    places, top = decimals(finite), max([1.0, *finite])
    trackers = list(next(iter(values.values()), {}))
    heads = [f"<th scope=col>{kind}</th>"]
    heads += [f"<th scope=col data-kind=number>{name_of(name, look)}</th>" for name in trackers]
    rows = []
    for name, row in values.items():
        tops = best(row, low=low)
        cells = [f"<th scope=row>{escape(name)}</th>"]
        for tracker, value in row.items():
            text = number(value, places)
            if tracker in tops and len(tops) < len(row):
                text = f"<span class=best>{text}</span>"
            cells.append(_cell(value, text, _heat(value / top, low=low)))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return _table(heads, rows, "compact ")


def _heat(part: float, *, low: bool) -> str:
    if not math.isfinite(part):
        return ""
    part = 1 - part if low else part
    return f"h{min(_HEATS - 1, max(0, int(part * _HEATS)))}"


def _head(name: str, low: bool) -> str:
    arrow = "<small>less is better</small>" if low else ""
    return f"<th scope=col data-kind=number>{escape(name)}{'<br>' if low else ''}{arrow}</th>"


def _cell(value: float, text: str, style: str = "") -> str:
    key = f"{value:.6g}" if math.isfinite(value) else ""
    return f'<td data-value="{key}"{f" class={style}" if style else ""}>{text}</td>'


def _table(heads: Sequence[str], rows: Sequence[str], style: str = "") -> str:
    return (
        f'<div class=scroll tabindex=0><table class="{style}sortable"><thead><tr>{"".join(heads)}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
