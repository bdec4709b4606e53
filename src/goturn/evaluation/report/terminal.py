"""An evaluation as text for a terminal."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from goturn.data.reading import count
from goturn.evaluation.report.looks import (
    best,
    decimals,
    interval_text,
    less_is_better,
    number,
    ordered,
    printable,
    rate,
    score,
    score_names,
    title_of,
)
from goturn.evaluation.results import Evaluation, TrackerResult

#: Columns of a terminal that lines keep within.
WIDTH = 100

#: A tracker's longest name; what is longer loses its middle.
_NAME_WIDTH = 28

_GAP = "  "


@dataclass(frozen=True)
class _Column:
    """Two lines of text for each tracker: the value, and its interval or nothing."""

    heads: tuple[str, str]
    cells: Sequence[tuple[str, str]]

    @property
    def width(self) -> int:
        texts = [*self.heads, *(text for cell in self.cells for text in cell)]
        return max(_width(text) for text in texts)


def table(evaluation: Evaluation, *, by: str | None = None) -> str:
    """Trackers as rows, the best first, scores as columns, at most 100 characters wide.

    Each score's 95 % interval stands below it, and the best of each has a star.  Where the scores do not
    fit beside one another they go on below, in rows of the same order.

    Args:
        evaluation: what is shown.
        by: the score that orders the rows; None for the first.

    Returns:
        Lines without a newline at the end.  Only names may have characters beyond ASCII.

    Raises:
        ValueError: no tracker has the score ``by``.
    """
    trackers = ordered(evaluation, by)
    head = f"{title_of(evaluation)} on {evaluation.dataset}"
    frames = sum(len(video.boxes) for video in evaluation.videos)
    counts = (
        f"{count(len(evaluation.videos), 'video')}, {count(frames, 'labelled frame')}, "
        f"overlap: {evaluation.overlap}"
    )
    lines = [*_wrapped(printable(head)), *_wrapped(printable(counts)), ""]
    names = _Column(("tracker", ""), [(_shortened(printable(t.name)), "") for t in trackers])
    columns = [_score_column(evaluation, trackers, name) for name in score_names(evaluation)]
    columns.append(_speed_column(trackers))
    for block in _blocks(names, columns):
        lines += [*_rows([names, *block], len(trackers)), ""]
    lines += _wrapped(_key(evaluation, trackers))
    for note in evaluation.notes:
        lines += _wrapped(f"Note: {printable(note)}")
    return "\n".join(lines)


def _key(evaluation: Evaluation, trackers: Sequence[TrackerResult]) -> str:
    parts = [
        "Below each score: its 95 % interval, by bootstrap over videos. Frames per second (fps): the "
        "mean of 1/t, and below it frames / time."
    ]
    if len(trackers) > 1:
        parts.append("* the best.")
    low = [name for name in score_names(evaluation) if less_is_better(evaluation, name)]
    if low:
        parts.append(f"Less is better: {', '.join(low)}.")
    return printable(" ".join(parts))


def _score_column(evaluation: Evaluation, trackers: Sequence[TrackerResult], name: str) -> _Column:
    values = {tracker.name: score(tracker, name) for tracker in trackers}
    top = best(values, low=less_is_better(evaluation, name))
    places = decimals(values.values())
    cells = []
    for tracker in trackers:
        mark = "*" if tracker.name in top else " "
        value = number(values[tracker.name], places)
        cells.append(
            (f"{value}{mark}", f"{interval_text(tracker.scores.get(name), min(places, 2), '-')} ")
        )
    first, _, second = printable(name).partition(" ")
    return _Column((f"{first} ", f"{second} "), cells)


def _speed_column(trackers: Sequence[TrackerResult]) -> _Column:
    speeds = [tracker.speed for tracker in trackers]
    cells = [(rate(speed.mean_of_rates), rate(speed.frames_over_time)) for speed in speeds]
    return _Column(("fps mean 1/t", "frames/time"), cells)


def _blocks(names: _Column, columns: Sequence[_Column]) -> list[list[_Column]]:
    """The columns in groups, each of which fits beside the names."""
    blocks: list[list[_Column]] = [[]]
    room = WIDTH - names.width
    left = room
    for column in columns:
        needed = column.width + len(_GAP)
        if needed > left and blocks[-1]:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= needed
    return blocks


def _rows(columns: Sequence[_Column], count: int) -> list[str]:
    """The lines of one block: heads, a rule, then two lines a tracker, or one where none has a second."""
    widths = [column.width for column in columns]
    rule = "-" * min(WIDTH, sum(widths) + len(_GAP) * (len(widths) - 1))
    lines = [_line([column.heads[i] for column in columns], widths) for i in (0, 1)]
    lines = [*(line for line in lines if line), rule]
    for row in range(count):
        for part in (0, 1):
            line = _line([column.cells[row][part] for column in columns], widths)
            lines += [line] if line else []
    return lines


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    """The first text to the left, the others to the right of their columns."""
    padded = []
    for index, (text, width) in enumerate(zip(texts, widths, strict=True)):
        space = " " * (width - _width(text))
        padded.append(f"{space}{text}" if index else f"{text}{space}")
    return _GAP.join(padded).rstrip()


def _width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    none = sum(unicodedata.combining(c) != 0 for c in text)
    return len(text) + wide - none


def _shortened(name: str) -> str:
    """``name``, without its middle where it is long: beginnings and ends tell trackers apart."""
    if _width(name) <= _NAME_WIDTH:
        return name
    head, tail = name, ""
    half = (_NAME_WIDTH - 2) // 2
    while _width(head) > half:
        head = head[:-1]
    tail = name[len(head) :]
    while _width(tail) > half:
        tail = tail[1:]
    return f"{head}..{tail}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ") or [""]
