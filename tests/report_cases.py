"""Evaluations to report on, made of numbers: no tracker runs, no file is read."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.results import (
    FAILED,
    STARTED,
    TRACKED,
    Curve,
    Evaluation,
    Interval,
    Speed,
    TrackerResult,
    Trajectory,
)

SIZE = (160, 120)

#: Of names: HTML, a path, what moves a cursor, matplotlib's marks, wide letters, half a character.
HOSTILE = (
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a\"b' onmouseover=x &amp;",
    "\x1b[31mred\nline",
    "$\\frac{1}$ _x",
    "_under",
    "追踪器",
    "half \udc80",
)


def video(name, frames=12, **others):
    """The object moves right by 2 pixels a frame."""
    files = tuple(Path(f"/nowhere/{name}/{k:05d}.jpg") for k in range(frames))
    boxes = {k: Box(20 + 2.0 * k, 30, 40, 30) for k in range(frames)}
    return Video(name, files, boxes, **others)


def trajectory(video, shift=3.0, *, lost=None, failed=(), seconds=0.01):
    """Boxes ``shift`` pixels beside the truth, from frame ``lost`` on far away."""
    n = len(video.frames)
    boxes = np.full((n, 4), np.nan)
    for k, (x, y, w, h) in video.boxes.items():
        away = 500 if lost is not None and k >= lost else shift
        boxes[k] = (x + away, y, w, h)
    first = next(iter(video.boxes), 0)
    codes = np.full(n, TRACKED, np.uint8)
    codes[:first], codes[first : first + 1] = 0, STARTED
    codes[list(failed)] = FAILED
    if video.boxes:
        boxes[first] = video.boxes[first]
    return Trajectory(boxes, codes, np.full(n, seconds), *SIZE)


def tracker(name, videos, value, *, protocol="otb", attributes=(), runs=None):
    """A result whose first score is ``value``; others follow from it."""
    if protocol == "vot2014":
        failures = round(10 * (1 - value))
        scores = {
            "overall error": Interval(1 - value, 0.9 - 0.9 * value, 1.0 - 0.9 * value),
            "accuracy": Interval(value, value - 0.1, value + 0.1),
            "failures": Interval(failures, failures, failures + 2.0),
            "robustness": Interval(value, value - 0.1, value),
            "rank": Interval(1.5, 1.5, 1.5),
        }
        figures = {"accuracy": value, "failures": float(failures), "robustness": value}
        curves = {}
    else:
        first = "AUC" if protocol == "otb" else "AO"
        scores = {
            first: Interval(value, value - 0.05, value + 0.04),
            "SR@0.5": Interval(value / 2, 0.1, 0.5),
        }
        figures = {first: value, "centre error": 100 * (1 - value), "frames": 11.0}
        x = tuple(k / 20 for k in range(21))
        curves = {"success": Curve(x, tuple(value * (1 - t) for t in x))}
        if protocol == "otb":
            curves["precision"] = Curve(tuple(map(float, range(51))), (value,) * 51)
    return TrackerResult(
        name,
        scores,
        {v.name: dict(figures) for v in videos},
        curves,
        {a: {"accuracy": value, "failures": 2.0, "robustness": value / 2} for a in attributes},
        Speed(100 * value, 90 * value),
        runs or {v.name: [trajectory(v)] for v in videos},
    )


def evaluation(protocol="otb", names=("ours", "theirs"), videos=None, **others):
    """Trackers of falling scores on two videos, or those given."""
    videos = (video("one"), video("two")) if videos is None else videos
    attributes = others.pop("attributes", ())
    results = [
        tracker(name, videos, 0.8 - 0.05 * k, protocol=protocol, attributes=attributes)
        for k, name in enumerate(names)
    ]
    vot = protocol == "vot2014"
    return Evaluation(
        protocol,
        "baseline" if vot else "one-pass",
        "raster" if vot else "exact",
        others.pop("dataset", "folder:val"),
        videos,
        results,
        frozenset({"overall error", "failures", "rank"}) if vot else frozenset(),
        **others,
    )


def nothing(name="blind", videos=()):
    """A tracker that gave no box and has no number."""
    nan = Interval(math.nan, math.nan, math.nan)
    runs = {}
    for v in videos:
        run = trajectory(v)
        run.boxes[:] = np.nan
        run.seconds[:] = np.nan
        runs[v.name] = [run]
    return TrackerResult(
        name,
        {"AUC": nan},
        {v.name: {"AUC": math.nan} for v in videos},
        {"success": Curve((0.0, 1.0), (math.nan, math.nan))},
        {},
        Speed(math.nan, math.nan),
        runs,
    )


def read(path):
    """A frame that depends on its number."""
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    frame[:, : 10 * int(path.stem) % SIZE[0]] = (30, 90, 200)
    return frame


def gone(path):
    raise FileNotFoundError(f"{path} does not exist")
