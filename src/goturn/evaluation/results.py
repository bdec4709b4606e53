"""What an evaluation is made of, from a tracker's boxes to a data set's scores.

A :class:`Trajectory` is what a tracker did on one video; scorers (``otb``, ``got10k``, ``vot2014``) make
numbers of trajectories and truth; an :class:`Evaluation` holds those of all trackers by one protocol, and
is all that reports need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from goturn.data.model import Video

#: Codes of a trajectory's frames; all but TRACKED are VOT's own numbers.
SKIPPED, STARTED, FAILED, TRACKED = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What a tracker did on one video, once: a row per frame of the video."""

    boxes: np.ndarray
    """(n, 4) float64: x, y, w, h in pixels, 0-based; NaN where the tracker gave none.  At a start it is
    the box that it was given, at a failure the box that failed."""
    codes: np.ndarray
    """(n,) uint8: SKIPPED, STARTED, FAILED or TRACKED."""
    seconds: np.ndarray
    """(n,) float64: how long ``init`` or ``update`` took, without reading the frame; NaN where neither
    was called."""
    width: int
    height: int
    """Of the frames, pixels: that of the first one tracked."""


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval: 95 %, by bootstrap over videos."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A plot's line: success over overlap thresholds, precision over distances."""

    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Speed:
    """Frames per second, by both definitions in use; of ``update`` alone, starts left out."""

    mean_of_rates: float
    """Mean of 1/t over frames, what got10k reports: flattered by a few quick frames."""
    frames_over_time: float
    """Frames divided by the time they took together."""


@dataclass(frozen=True, eq=False)
class TrackerResult:
    """One tracker by one protocol."""

    name: str
    scores: Mapping[str, Interval]
    """Headline figures of the data set, by name, the one that orders trackers first."""
    videos: Mapping[str, Mapping[str, float]]
    """Per video, by its name: figures by theirs."""
    curves: Mapping[str, Curve]
    """By name: "success", "precision", "normalised precision"; none in VOT2014."""
    attributes: Mapping[str, Mapping[str, float]]
    """VOT2014: per attribute, figures by name; empty where there are no attributes."""
    speed: Speed
    trajectories: Mapping[str, Sequence[Trajectory]]
    """By video, one for each repetition."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Trackers on one data set by one protocol."""

    protocol: str
    """"otb", "got10k" or "vot2014"."""
    experiment: str
    """Which runs it is of: "one-pass", "baseline" or "region_noise"."""
    overlap: str
    """Which definition of overlap: see :mod:`goturn.evaluation.overlap`."""
    dataset: str
    videos: Sequence[Video]
    trackers: Sequence[TrackerResult]
    """In the order in which they were asked for."""
    better_low: frozenset[str] = field(default=frozenset())
    """Names of the scores of which less is better: failures, errors, ranks."""
    notes: tuple[str, ...] = ()
    """What a reader must know: videos that were left out and why, settings that differ from the
    protocol's."""
