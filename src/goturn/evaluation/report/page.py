"""One page with everything: no other file and no network is needed to read it, nor a script.

Charts are SVG, made here, with and without matplotlib.  A script, a few lines, sorts tables by a click.
All names and notes come from outside and are escaped; should one slip through, the page's own policy lets
no other script run, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

import goturn
from goturn.data.loader import Progress, silent
from goturn.data.reading import count
from goturn.evaluation.report.charts import Chart, charts_of
from goturn.evaluation.report.glossary import meanings
from goturn.evaluation.report.looks import Look, keys_of, looks, title_of
from goturn.evaluation.report.page_frames import mark_styles, mark_symbols, marks_legend
from goturn.evaluation.report.page_tables import (
    attribute_tables,
    bars,
    legend,
    score_table,
    video_tables,
)
from goturn.evaluation.report.page_videos import (
    EXPLANATION,
    OPEN,
    Read,
    allowance,
    video_part,
)
from goturn.evaluation.report.svg import chart_svg
from goturn.evaluation.results import Evaluation, Trajectory
from goturn.weights.atomic import replacing


def write_page(
    path: Path, evaluations: Sequence[Evaluation], *, read: Read, progress: Progress = silent
) -> Path:
    """Writes ``report.html``.

    Args:
        path: of the page.
        evaluations: at least one.
        read: decodes a frame; where it raises ValueError or OSError the page says so.
        progress: wraps the videos.

    Raises:
        OSError: it cannot be written.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        file.writelines(_page(evaluations, read, progress))
    return path


def _page(evaluations: Sequence[Evaluation], read: Read, progress: Progress) -> Iterator[str]:
    look, keys = looks(evaluations), keys_of(evaluations)
    shown = _different_runs(evaluations)
    yield _head(evaluations, look)
    yield mark_symbols(look)
    yield f"<header><h1>{escape(_title(evaluations))}</h1>"
    yield f"<p class=facts>{escape(_facts(evaluations))}</p>"
    yield _contents(evaluations, keys, shown)
    yield "</header>\n<main>\n"
    for evaluation, key in zip(evaluations, keys, strict=True):
        yield _evaluation(evaluation, key, look)
    parts = sum(len(evaluations[index].videos) for index in shown)
    room = allowance([evaluations[index] for index in shown])
    for index in shown:
        evaluation = evaluations[index]
        yield f'<section class=videos id="{keys[index]}-videos">'
        yield f"<h2>Videos: {escape(_run_title(evaluation))}</h2>"
        yield f"<p>{EXPLANATION}</p>\n{marks_legend(evaluation, look)}\n"
        for video in progress(evaluation.videos, "pictures"):
            yield video_part(video, evaluation, look, read, room=room, is_open=parts <= OPEN)
        yield "</section>\n"
    yield "</main>\n"
    yield f"<footer>Made by goturn {escape(goturn.__version__)}. The same numbers are in report.json, "
    yield "scores.csv and per-video.csv beside this page.</footer>\n"
    yield f"<script>{_script()}</script>\n</body></html>\n"


def _head(evaluations: Sequence[Evaluation], look: dict[str, Look]) -> str:
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_title(evaluations))}</title>\n"
        f"<style>\n{_resource('page.css')}{mark_styles(look)}\n</style></head>\n<body>\n"
    )


def _title(evaluations: Sequence[Evaluation]) -> str:
    datasets = list(dict.fromkeys(each.dataset for each in evaluations))
    return f"Tracking evaluation: {', '.join(datasets)}"


def _facts(evaluations: Sequence[Evaluation]) -> str:
    names = list(dict.fromkeys(t.name for each in evaluations for t in each.trackers))
    trackers = f"{len(names)} tracker{'s' if len(names) != 1 else ''}"
    return f"{trackers}: {', '.join(names)}"


def _contents(evaluations: Sequence[Evaluation], keys: Sequence[str], shown: Sequence[int]) -> str:
    items = [
        f'<li><a href="#{key}">{escape(title_of(evaluation))}</a></li>'
        for evaluation, key in zip(evaluations, keys, strict=True)
    ]
    items += [
        f'<li><a href="#{keys[index]}-videos">Videos: {escape(_run_title(evaluations[index]))}</a></li>'
        for index in shown
    ]
    return f'<nav aria-label="Contents"><ul>{"".join(items)}</ul></nav>'


def _evaluation(evaluation: Evaluation, key: str, look: dict[str, Look]) -> str:
    charts = charts_of(evaluation, look)
    drawn = "".join(_chart(chart) for chart in charts if chart.kind != "bars")
    groups = "".join(_bars(chart) for chart in charts if chart.kind == "bars")
    frames = sum(len(video.boxes) for video in evaluation.videos)
    facts = (
        f"{evaluation.dataset}: {count(len(evaluation.videos), 'video')}, "
        f"{count(frames, 'labelled frame')}; "
        f"overlap: {evaluation.overlap}. Below each score its 95 % interval, by bootstrap over videos. "
        "A star marks the best."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in evaluation.notes)
    return (
        f'<section id="{key}"><h2>{escape(title_of(evaluation))}</h2>'
        f"<p class=facts>{escape(facts)}</p>"
        + (f"<ul class=notes>{notes}</ul>" if notes else "")
        + score_table(evaluation, look)
        + _glossary(evaluation)
        + f"<div class=charts>{drawn}</div>"
        + groups
        + attribute_tables(evaluation, look)
        + "<h3>By video</h3><p class=small>The darker a cell the better; a star marks the best of a "
        f"video.</p>{video_tables(evaluation, look)}</section>\n"
    )


def _glossary(evaluation: Evaluation) -> str:
    found = meanings(evaluation)
    if not found:
        return ""
    items = "".join(f"<li><b>{escape(n)}</b>: {escape(m)}</li>" for n, m in found.items())
    return f"<details class=small><summary>What the scores are</summary><ul>{items}</ul></details>"


def _chart(chart: Chart) -> str:
    return f"<figure><h3>{escape(chart.title)}</h3>{chart_svg(chart)}{legend(chart)}</figure>"


def _bars(chart: Chart) -> str:
    return f"<h3>By attribute: {escape(chart.y_label)}</h3>{bars(chart)}"


def _run_title(evaluation: Evaluation) -> str:
    return f"{evaluation.experiment.replace('_', ' ')}, {evaluation.dataset}"


def _different_runs(evaluations: Sequence[Evaluation]) -> list[int]:
    """Numbers of evaluations whose trajectories none before has: OTB's and GOT-10k's are the same."""
    shown: list[int] = []
    for index, evaluation in enumerate(evaluations):
        if not any(_same_runs(evaluation, evaluations[other]) for other in shown):
            shown.append(index)
    return shown


def _same_runs(a: Evaluation, b: Evaluation) -> bool:
    if (a.experiment, a.dataset) != (b.experiment, b.dataset):
        return False
    if [video.name for video in a.videos] != [video.name for video in b.videos]:
        return False
    if [tracker.name for tracker in a.trackers] != [tracker.name for tracker in b.trackers]:
        return False
    return all(
        _same_run(one.trajectories.get(video.name, ()), other.trajectories.get(video.name, ()))
        for one, other in zip(a.trackers, b.trackers, strict=True)
        for video in a.videos
    )


def _same_run(a: Sequence[Trajectory], b: Sequence[Trajectory]) -> bool:
    """Whether the first repetitions, which are shown, are the same."""
    if not a or not b:
        return not a and not b
    return a[0] is b[0] or np.array_equal(a[0].boxes, b[0].boxes, equal_nan=True)


def _script() -> str:
    return _resource("page.js")


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
