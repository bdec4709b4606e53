"""An evaluation for programs: ``report.json``, ``scores.csv`` and ``per-video.csv``.

``report.json``, version 1.  A name that is not listed here may be added without a new version; one that
is listed changes its meaning or goes only with one.  Numbers that do not exist are null.

=============================  ==================================================================
schema                         "goturn-evaluation"
version                        1
made_by                        "goturn" and its version
evaluations                    a list, of:
  protocol                     "otb", "got10k" or "vot2014"
  experiment                   "one-pass", "baseline" or "region_noise"
  overlap                      which definition of overlap
  dataset                      the data set's name
  better_low                   names of the scores of which less is better
  notes                        sentences: what was left out, what differs from the protocol
  videos                       a list of: name, frames, labelled (numbers of frames)
  trackers                     a list, in the order in which they were asked for, of:
    name
    scores                     by name: value, low, high (95 % interval, bootstrap over videos)
    videos                     by video: figures by name
    curves                     by name: x, y (lists of the same length)
    attributes                 by attribute: figures by name
    speed                      mean_of_rates, frames_over_time: frames per second
    repetitions                by video: how often it was run
=============================  ==================================================================

The two CSV files have a row for each number, and a line of heads: ``protocol, experiment, dataset,
tracker, score, value, low, high, better`` and ``protocol, experiment, dataset, video, tracker, figure,
value``.  A number that does not exist is empty.  They are UTF-8, quoted as spreadsheets do it.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import goturn
from goturn.evaluation.report.looks import less_is_better
from goturn.evaluation.results import Evaluation, TrackerResult
from goturn.weights.atomic import replacing

SCHEMA = "goturn-evaluation"
VERSION = 1


def document(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What ``report.json`` holds: dictionaries, lists, text and numbers, as this module describes it."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "made_by": f"goturn {goturn.__version__}",
        "evaluations": [_evaluation(each) for each in evaluations],
    }


def write_json(path: Path, evaluations: Sequence[Evaluation]) -> Path:
    """Writes ``report.json``.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(document(evaluations), indent=1, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="ascii")
    return path


def write_csv(folder: Path, evaluations: Sequence[Evaluation]) -> list[Path]:
    """Writes ``scores.csv`` and ``per-video.csv``.

    Raises:
        OSError: one cannot be written.
    """
    scores: list[tuple[object, ...]] = [
        (
            *_whose(each),
            tracker.name,
            name,
            *map(_cell, (s.value, s.low, s.high)),
            _better(each, name),
        )
        for each in evaluations
        for tracker in each.trackers
        for name, s in tracker.scores.items()
    ]
    videos: list[tuple[object, ...]] = [
        (*_whose(each), video.name, tracker.name, name, _cell(value))
        for each in evaluations
        for video in each.videos
        for tracker in each.trackers
        for name, value in tracker.videos.get(video.name, {}).items()
    ]
    whose = ("protocol", "experiment", "dataset")
    return [
        _write_rows(
            folder / "scores.csv",
            [(*whose, "tracker", "score", "value", "low", "high", "better"), *scores],
        ),
        _write_rows(
            folder / "per-video.csv", [(*whose, "video", "tracker", "figure", "value"), *videos]
        ),
    ]


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "protocol": evaluation.protocol,
        "experiment": evaluation.experiment,
        "overlap": evaluation.overlap,
        "dataset": evaluation.dataset,
        "better_low": sorted(evaluation.better_low),
        "notes": list(evaluation.notes),
        "videos": [
            {"name": video.name, "frames": len(video.frames), "labelled": len(video.boxes)}
            for video in evaluation.videos
        ],
        "trackers": [_tracker(tracker) for tracker in evaluation.trackers],
    }


def _tracker(tracker: TrackerResult) -> dict[str, Any]:
    return {
        "name": tracker.name,
        "scores": {
            name: {"value": _number(s.value), "low": _number(s.low), "high": _number(s.high)}
            for name, s in tracker.scores.items()
        },
        "videos": {name: _figures(figures) for name, figures in tracker.videos.items()},
        "curves": {
            name: {"x": [_number(v) for v in curve.x], "y": [_number(v) for v in curve.y]}
            for name, curve in tracker.curves.items()
        },
        "attributes": {name: _figures(figures) for name, figures in tracker.attributes.items()},
        "speed": {
            "mean_of_rates": _number(tracker.speed.mean_of_rates),
            "frames_over_time": _number(tracker.speed.frames_over_time),
        },
        "repetitions": {name: len(runs) for name, runs in tracker.trajectories.items()},
    }


def _figures(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in figures.items()}


def _number(value: float) -> float | None:
    """A Python float, whatever NumPy kind it comes in; JSON has no NaN and no infinity."""
    value = float(value)
    return value if math.isfinite(value) else None


def _cell(value: float) -> float | str:
    finite = _number(value)
    return "" if finite is None else finite


def _whose(evaluation: Evaluation) -> tuple[str, str, str]:
    return evaluation.protocol, evaluation.experiment, evaluation.dataset


def _better(evaluation: Evaluation, name: str) -> str:
    return "low" if less_is_better(evaluation, name) else "high"


def _write_rows(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        csv.writer(file).writerows(rows)
    return path
