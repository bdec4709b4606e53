"""Confidence intervals over videos, and frames per second."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_case import case, once
from goturn.evaluation import bootstrap, got10k, otb
from goturn.evaluation.bootstrap import intervals, quotient
from goturn.evaluation.results import FAILED, SKIPPED, STARTED, TRACKED, Interval, Trajectory
from goturn.evaluation.speed import speed_of


def mean(sums):
    return {"mean": sums[..., 0] / sums[..., 1]}


def table(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def test_width_of_a_mean():
    """Of many videos: 1.96 standard errors to either side."""
    values = np.random.default_rng(3).normal(5, 2, 400)
    found = intervals(table(values), mean)["mean"]
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_draws_are_of_videos_with_repetition():
    """Two videos, 0 and 1: means 0, 1/2 and 1 in a quarter, a half and a quarter of the draws."""
    seen = []

    def keep(sums):
        seen.append(mean(sums)["mean"])
        return mean(sums)

    assert intervals(table(np.array([0.0, 1.0])), keep)["mean"] == Interval(0.5, 0, 1)
    draws = seen[1]
    assert len(draws) == bootstrap.DRAWS
    for value, part in ((0, 0.25), (0.5, 0.5), (1, 0.25)):
        assert np.mean(draws == value) == pytest.approx(part, abs=0.03)


def test_scores_that_are_no_means_are_computed_anew():
    """A pooled ratio, against resampling it in the plain way."""
    rng = np.random.default_rng(1)
    statistics = np.stack([rng.uniform(0, 50, 30), rng.integers(50, 400, 30)], axis=1)
    found = intervals(statistics, mean)["mean"]
    ratios = []
    for _ in range(4000):
        drawn = statistics[rng.integers(30, size=30)]
        ratios.append(drawn[:, 0].sum() / drawn[:, 1].sum())
    assert found.value == pytest.approx(statistics[:, 0].sum() / statistics[:, 1].sum())
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(
        np.quantile(ratios, [0.025, 0.975]), abs=0.06 * width
    )


def test_same_seed_same_interval(monkeypatch):
    statistics = table(np.random.default_rng(0).normal(size=50))
    first = intervals(statistics, mean)
    assert intervals(statistics, mean) == first
    assert intervals(statistics, mean, seed=1) != first
    monkeypatch.setattr(bootstrap, "CHUNK", 1000)
    again = intervals(statistics, mean)["mean"]
    assert (again.low, again.high) == pytest.approx((first["mean"].low, first["mean"].high))


def test_videos_that_are_alike_have_no_width():
    assert intervals(table(np.full(9, 0.25)), mean)["mean"] == Interval(0.25, 0.25, 0.25)
    assert intervals(table(np.array([0.3])), mean)["mean"] == Interval(0.3, 0.3, 0.3)


def test_undefined_draws_are_left_out():
    """A video without scored frames may be drawn alone."""
    statistics = np.array([[3.0, 4.0], [0.0, 0.0]])
    found = intervals(statistics, lambda sums: {"r": quotient(sums[..., 0], sums[..., 1])})
    assert found["r"] == Interval(0.75, 0.75, 0.75)


def test_refuses_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one"):
        intervals(np.zeros((0, 2)), mean)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        intervals(np.ones((2, 2)), mean, draws=0)


def test_intervals_of_scores_hold_them():
    videos, passes, _ = case()
    for result in (otb.score("t", videos, passes), got10k.score("t", videos, passes)):
        per_video = result.videos.values()
        for name, found in result.scores.items():
            assert found.low < found.value < found.high
            assert found.low >= min(figures[name] for figures in per_video) - 1e-12
            assert found.high <= max(figures[name] for figures in per_video) + 1e-12


def test_speed_by_both_definitions():
    codes = np.array([STARTED, TRACKED, TRACKED, FAILED, SKIPPED, STARTED, TRACKED], np.uint8)
    seconds = np.array([9.0, 0.01, 0.02, 0.04, np.nan, 9.0, 0.0])
    found = speed_of([Trajectory(np.zeros((7, 4)), codes, seconds, 4, 4)])
    assert found.mean_of_rates == pytest.approx(58.333333333333)
    assert found.frames_over_time == pytest.approx(42.857142857143)
    assert np.isnan(speed_of([]).mean_of_rates)
    both = speed_of([once(np.zeros((3, 4)), 0.1), once(np.zeros((2, 4)), 0.2)])
    assert both.mean_of_rates == pytest.approx(25 / 3)
    assert both.frames_over_time == pytest.approx(7.5)
