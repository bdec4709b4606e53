"""Confidence intervals: scores of data sets of as many videos, drawn from the same with repetition.

Frames of a video resemble each other, so videos are drawn, not frames.  A score over a data set must be a
function of sums over its videos; then a draw is a vector of how often each video is in it, and all draws
are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from goturn.evaluation.results import Interval

#: Data sets drawn.  The ends of an interval then vary by about 2 % of its width from seed to seed.
DRAWS = 4000

#: Part of the draws between the ends.
LEVEL = 0.95

#: Counts that are held at once.
CHUNK = 1 << 22

#: Scores by name from sums over videos, (..., k): arrays of shape (...), NaN where undefined.
Scorer = Callable[[np.ndarray], Mapping[str, np.ndarray]]


def intervals(
    statistics: np.ndarray, score: Scorer, *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Interval]:
    """Each score of a data set and its percentile interval.

    Args:
        statistics: (videos, k), what a video adds to the sums.
        score: makes scores of sums.
        draws: how many data sets to draw.
        seed: the same seed and statistics give the same intervals.

    Returns:
        By name.  A single video gives intervals without width: it says nothing about others.

    Raises:
        ValueError: no video, or no draw.
    """
    if statistics.ndim != 2 or not len(statistics):
        raise ValueError(f"statistics must be (videos, k) of at least one; got {statistics.shape}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}")
    videos = len(statistics)
    generator = np.random.default_rng(seed)
    sums = []
    for begin in range(0, draws, max(1, CHUNK // videos)):
        rows = min(max(1, CHUNK // videos), draws - begin)
        drawn = generator.integers(videos, size=(rows, videos))
        drawn += np.arange(rows)[:, None] * videos
        counts = np.bincount(drawn.ravel(), minlength=rows * videos).reshape(rows, videos)
        sums.append(counts.astype(np.float64) @ statistics)
    values = score(statistics.sum(axis=0))
    drawn_values = score(np.concatenate(sums))
    edges = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    result = {}
    for name, value in values.items():
        defined = np.asarray(drawn_values[name])
        defined = defined[~np.isnan(defined)]
        low, high = np.quantile(defined, edges) if len(defined) else (value, value)
        result[name] = Interval(float(value), float(low), float(high))
    return result


def quotient(above: np.ndarray, below: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """``above / below``, ``otherwise`` where ``below`` is 0."""
    zero = np.asarray(below) == 0
    return np.where(zero, otherwise, above / np.where(zero, 1.0, below))
