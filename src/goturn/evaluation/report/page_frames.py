"""Frames of the page, each with the boxes over it and the overlaps under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from goturn.data.model import Video
from goturn.evaluation.report.looks import Look, number
from goturn.evaluation.report.shots import Picture, Shot
from goturn.evaluation.results import SKIPPED, STARTED, Evaluation, Trajectory

#: Said in place of an overlap.
_STATES = {SKIPPED: "not running", STARTED: "start"}

#: Width of a box's line, in pixels of the screen.
_LINE = 2.2


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of a video."""

    video: Video
    runs: Mapping[str, Trajectory]
    """By tracker."""
    overlaps: Mapping[str, np.ndarray]
    """By tracker, (n,), NaN where there is none."""
    looks: Mapping[str, Look]
    names: Mapping[str, str]
    """The trackers' marks, by :func:`mark_names`."""


def mark_names(look: Mapping[str, Look]) -> dict[str, str]:
    """A short name for each tracker's mark, for styles and references within the page."""
    return {name: f"t{index}" for index, name in enumerate(look)}


def mark_styles(look: Mapping[str, Look]) -> str:
    """The style of each tracker's boxes and mark."""
    rules = []
    for name, short in mark_names(look).items():
        dashes = " ".join(f"{_LINE * dash:g}" for dash in look[name].dashes)
        dashed = f"; stroke-dasharray: {dashes}" if dashes else ""
        rules.append(f".{short} {{ stroke: {look[name].colour}{dashed} }}")
    return "\n".join(rules)


def mark_symbols(look: Mapping[str, Look]) -> str:
    """Definitions of the trackers' marks, which :func:`mark` refers to."""
    drawn = "".join(
        f'<symbol id="{short}" viewBox="0 0 28 14">'
        f'<path d="M1 7H27" class="{short}" fill="none" stroke-width="3"/></symbol>'
        for short in mark_names(look).values()
    )
    return f'<svg width="0" height="0" style="position:absolute" aria-hidden="true">{drawn}</svg>\n'


def mark(short: str) -> str:
    """A tracker's mark, a piece of its line."""
    return f'<svg class=swatch aria-hidden="true"><use href="#{short}"/></svg>'


def marks_legend(evaluation: Evaluation, look: Mapping[str, Look]) -> str:
    """The trackers' marks and names."""
    short = mark_names(look)
    items = (f"<li>{mark(short[t.name])}{escape(t.name)}</li>" for t in evaluation.trackers)
    return f"<ul class=legend>{''.join(items)}</ul>"


def frame_figure(shown: Shown, shot: Shot, picture: Picture) -> str:
    """One frame: the picture, or grey where it could not be read; boxes; its number and the overlaps."""
    video, k = shown.video, shot.number
    alt = f"Frame {k} of {video.name} with the true box and those of {', '.join(shown.runs)}"
    image, gone = "", ""
    if picture.uri:
        image = f'<img src="{picture.uri}" alt="{escape(alt)}" loading=lazy decoding=async>'
    else:
        gone = "<p>This frame could not be read.</p>"
    why = "".join(f"<span class=why>{escape(reason)}</span>" for reason in shot.reasons)
    return (
        f"<figure><div class=shot>{image}{_boxes(shown, k, picture)}{gone}</div>"
        f"<figcaption><b>frame {k}</b> {_values(shown, k)}{why}</figcaption></figure>"
    )


def _values(shown: Shown, k: int) -> str:
    codes = {name: int(run.codes[k]) for name, run in shown.runs.items()}
    if codes and all(code == STARTED for code in codes.values()):
        return "<span class=of>start</span>"
    parts = []
    for name, code in codes.items():
        text = _STATES.get(code) or number(float(shown.overlaps[name][k]), 2)
        parts.append(
            f'<span class=of title="{escape(name)}">{mark(shown.names[name])}{text}</span> '
        )
    return "".join(parts)


def _boxes(shown: Shown, k: int, picture: Picture) -> str:
    """The true box, and over it those of the trackers that were running."""
    parts = []
    truth = _truth(shown.video, k, picture)
    if truth:
        parts += [truth.format("rim"), truth.format("truth")]
    for name, run in shown.runs.items():
        box = _rectangle(run.boxes[k], picture) if run.codes[k] != SKIPPED else ""
        if box:
            parts += [box.format("halo"), box.format(f"box {shown.names[name]}")]
    view = f"0 0 {picture.width} {picture.height}"
    return f'<svg viewBox="{view}" aria-hidden="true">{"".join(parts)}</svg>'


def _truth(video: Video, k: int, picture: Picture) -> str:
    """The truth of a frame with a place for its class, empty where there is none."""
    if k in video.corners:
        points = _near(np.array(video.corners[k], np.float64).reshape(-1, 2), picture)
        if points is None:
            return ""
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polygon class="{{}}" points="{text}"/>'
    return _rectangle(np.array(video.boxes[k], np.float64), picture) if k in video.boxes else ""


def _rectangle(box: np.ndarray, picture: Picture) -> str:
    """A box with a place for its class; empty where there is none, or nothing of it."""
    ends = _near(np.stack([box[:2], box[:2] + box[2:]]), picture)
    if ends is None:
        return ""
    (x1, y1), (x2, y2) = ends.tolist()
    if x2 < x1 or y2 < y1:
        return ""
    size = f'width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"'
    return f'<rect class="{{}}" x="{x1:.1f}" y="{y1:.1f}" {size}/>'


def _near(points: np.ndarray, picture: Picture) -> np.ndarray | None:
    """(n, 2) points, kept close to the frame; None where one is not a number."""
    if not np.isfinite(points).all():
        return None
    size = np.array([picture.width, picture.height], np.float64)
    return np.asarray(np.clip(points, -size, 2 * size))
