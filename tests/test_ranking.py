"""Tests of significance, and VOT2014's ranking by them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn.evaluation.ranking import (
    accuracies_differ,
    adapted_ranks,
    failures_differ,
    rank,
)
from goturn.evaluation.significance import mid_ranks, rank_sum, signed_rank
from goturn.evaluation.vot2014 import VideoScore

GOLDEN = json.loads((Path(__file__).parent / "golden" / "evaluation.json").read_text())


def test_signed_rank_as_scipy_has_it():
    """More than 15 differences: the normal approximation; ties and zeros among them."""
    for differences, p in GOLDEN["signed rank"]:
        assert signed_rank(np.array(differences)) == pytest.approx(p, rel=1e-12)
    for differences, p in GOLDEN["signed rank, exact"]:
        assert signed_rank(np.array(differences)) == pytest.approx(p, rel=1e-12)


def test_rank_sum_as_scipy_has_it():
    for first, second, p in GOLDEN["rank sum"]:
        assert rank_sum(np.array(first), np.array(second)) == pytest.approx(p, rel=1e-12)


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=10))
@settings(max_examples=50, deadline=None)
def test_signed_rank_of_few_is_exact(differences):
    """All signs tried, with ties: how often the smaller sum of ranks is as small or smaller."""
    values = np.array([d for d in differences if d], float)
    if not len(values):
        assert signed_rank(np.array(differences)) == 1
        return
    ranks = [
        np.mean([abs(o) < abs(d) for o in values]) * len(values)
        + (sum(abs(o) == abs(d) for o in values) + 1) / 2
        for d in values
    ]
    signs = np.array(list(itertools.product((0, 1), repeat=len(values))))
    sums = signs @ ranks
    seen = float(np.dot(values > 0, ranks))
    smaller = min(seen, sum(ranks) - seen)
    assert signed_rank(np.array(differences)) == pytest.approx(
        min(1.0, 2 * np.mean(sums <= smaller + 1e-9)), rel=1e-12
    )


@pytest.mark.filterwarnings("ignore")
@given(st.integers(0, 2**32 - 1), st.integers(16, 80), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_tests_against_scipy_itself(seed, n, m):
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    rng = np.random.default_rng(seed)
    differences = np.round(rng.normal(0.2, 1, n), int(rng.integers(0, 4)))
    if np.count_nonzero(differences) > 15:
        expected = stats.wilcoxon(differences, method="asymptotic", correction=False).pvalue
        assert signed_rank(differences) == pytest.approx(expected, rel=1e-12)
    a, b = rng.poisson(1, n), rng.poisson(1.5, m)
    expected = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    assert rank_sum(a, b) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.lists(st.integers(0, 5), min_size=1))
@settings(max_examples=40, deadline=None)
def test_tests_go_both_ways(a, b):
    first, second = np.array(a, float), np.array(b, float)
    assert rank_sum(first, second) == pytest.approx(rank_sum(second, first), rel=1e-12)
    assert 0 <= rank_sum(first, second) <= 1
    assert signed_rank(first) == signed_rank(-first)
    assert rank_sum(first, first) == 1


def test_mid_ranks():
    ranks, ties = mid_ranks(np.array([3.0, 1, 3, 2, 3]))
    assert (ranks.tolist(), ties) == ([4, 1, 4, 2, 4], 24)


def test_tests_refuse_what_is_no_number():
    with pytest.raises(ValueError, match="finite"):
        signed_rank(np.array([1, np.nan]))
    with pytest.raises(ValueError, match="finite"):
        rank_sum(np.array([1, np.inf]), np.ones(3))
    with pytest.raises(ValueError, match="two samples; got 0 and 3"):
        rank_sum(np.array([]), np.ones(3))


def test_equals_share_the_mean_of_their_ranks():
    """Best and middle do not differ, nor do middle and worst; best and worst do."""
    differ = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], bool)
    assert adapted_ranks(np.array([1.0, 2, 3]), differ) == [1.5, 2, 2.5]
    assert adapted_ranks(np.array([3.0, 1, 2]), np.zeros((3, 3), bool)) == [2, 2, 2]
    assert adapted_ranks(np.array([3.0, 1, 2]), ~np.eye(3, dtype=bool)) == [3, 1, 2]
    assert adapted_ranks(np.array([1.0, 1, 2]), ~np.eye(3, dtype=bool)) == [1.5, 1.5, 3]


def test_accuracies_of_few_frames_count_as_different():
    same = np.full(24, 0.5)
    assert accuracies_differ(same, same)
    assert not accuracies_differ(np.full(25, 0.5), np.full(25, 0.5))
    holes = np.full(30, 0.5)
    holes[:6] = np.nan
    assert accuracies_differ(holes, np.full(30, 0.5))  # 24 frames are valid for both
    assert accuracies_differ(np.full(30, 0.5), holes)


def test_accuracies_differ_by_the_signed_rank_test():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.8, 60)
    noise = rng.normal(0, 0.1, 60)
    assert not accuracies_differ(base, base + noise - noise.mean())
    assert accuracies_differ(base, base + noise + 0.1)
    slight = noise - noise.mean() + 0.015
    p = signed_rank(slight)
    assert 0.05 < p < 0.5
    assert not accuracies_differ(slight, np.zeros(60))
    assert accuracies_differ(slight, np.zeros(60), alpha=p)
    assert not accuracies_differ(slight, np.zeros(60), alpha=p * 0.999)


def test_differences_that_do_not_matter():
    """The mean of difference over practical difference decides, below 1."""
    base, better = np.full(40, 0.5), np.full(40, 0.6)
    assert accuracies_differ(base, better)
    assert not accuracies_differ(base, better, practical=np.full(40, 0.11))
    assert accuracies_differ(base, better, practical=np.full(40, 0.09))
    mixed = np.concatenate([np.full(20, 0.06), np.full(20, 1.0)])  # (1.67 + 0.1) / 2
    assert not accuracies_differ(base, better, practical=mixed)
    mixed[:20] = 0.05  # (2 + 0.1) / 2
    assert accuracies_differ(base, better, practical=mixed)


def video_score(name, overlaps, failures, attributes=None):
    """``failures``: how many in each repetition, in the first frames."""
    failed = np.arange(len(overlaps)) < np.array(failures)[:, None]
    has = {tag: np.array(where, bool) for tag, where in (attributes or {}).items()}
    return VideoScore(name, np.arange(len(overlaps)), np.array(overlaps, float), failed, has)


def test_failures_of_few_repetitions_stand_for_all():
    """One repetition of each of two videos, as deterministic trackers have: filled up to 15."""
    some = {"a": [video_score("v", [0.5] * 30, [0])], "b": [video_score("v", [0.5] * 30, [1])]}
    assert rank(some).robustness["all"] == {"a": 1, "b": 2}
    assert failures_differ(np.zeros((1, 15)), np.ones((1, 15)))
    assert not failures_differ(np.zeros((1, 1)), np.ones((1, 1)))
    three = {**some, "c": [video_score("v", [0.5] * 30, [0, 1] * 8)]}
    # 16 counts of 0 and 1 in turn differ from 15 or 16 zeros, and from as many ones.
    assert rank(three).robustness["all"] == {"a": 1, "c": 2, "b": 3}


def test_ranking_by_attribute():
    rng = np.random.default_rng(2)
    base = rng.uniform(0.4, 0.6, 80)
    tags = {"occlusion": np.arange(80) < 40, "empty": np.arange(80) >= 40}

    def tracker(first, second, failures):
        overlaps = base + np.where(tags["occlusion"], first, second) + rng.normal(0, 0.01, 80)
        return [video_score("v", overlaps, failures, tags)]

    found = rank(
        {
            "good": tracker(0.2, 0, [0] * 15),
            "alike": tracker(0.2, 0, [0] * 15),
            "bad": tracker(0, 0, [5] * 15),
        }
    )
    assert list(found.accuracy) == ["occlusion", "empty"]
    assert found.accuracy["occlusion"] == {"good": 1.5, "alike": 1.5, "bad": 3}
    assert found.accuracy["empty"] == {"good": 2, "alike": 2, "bad": 2}
    assert found.robustness["occlusion"] == {"good": 1.5, "alike": 1.5, "bad": 3}
    assert found.robustness["empty"] == {"good": 2, "alike": 2, "bad": 2}
    # Plain means over attributes, then of both.
    assert found.mean("good") == (1.75, 1.75, 1.75)
    assert found.mean("bad") == (2.5, 2.5, 2.5)


def test_frames_of_videos_are_stacked_and_failures_are_by_fragment():
    """Two videos of 20 frames make 40, enough for the test; a failure in one fragment of two."""
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (2, 20))

    def tracker(shift, failures):
        return [
            video_score(name, 0.5 + shift + noise[i], failures[i]) for i, name in enumerate("vw")
        ]

    found = rank({"a": tracker(0.1, ([1], [0])), "b": tracker(0, ([0], [1]))})
    assert found.accuracy["all"] == {"a": 1, "b": 2}
    assert found.robustness["all"] == {"a": 1.5, "b": 1.5}


def test_order_of_trackers_changes_nothing():
    rng = np.random.default_rng(5)
    trackers = {
        name: [video_score("v", rng.uniform(0.3, 0.7, 50) + i * 0.05, [i, i, 0])]
        for i, name in enumerate("abcd")
    }
    forth, back = rank(trackers), rank(dict(reversed(trackers.items())))
    assert forth.accuracy == back.accuracy
    assert forth.robustness == back.robustness


def test_practical_differences_by_video():
    base = np.linspace(0.3, 0.6, 60)
    trackers = {"a": [video_score("v", base, [0])], "b": [video_score("v", base + 0.05, [0])]}
    assert rank(trackers).accuracy["all"] == {"a": 2, "b": 1}
    for limit in (0.06, np.full(60, 0.06)):
        assert rank(trackers, practical={"v": limit}).accuracy["all"] == {"a": 1.5, "b": 1.5}
    with pytest.raises(ValueError, match="no practical difference for v"):
        rank(trackers, practical={})
    with pytest.raises(ValueError, match="above 0"):
        rank(trackers, practical={"v": 0.0})
    with pytest.raises(ValueError, match=r"one for each frame; got shape \(59,\)"):
        rank(trackers, practical={"v": np.full(59, 0.1)})


def test_refuses_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="nothing to rank"):
        rank({})
    with pytest.raises(ValueError, match="b was scored on other videos than a"):
        rank({"a": [video_score("v", [0.5], [0])], "b": [video_score("w", [0.5], [0])]})
