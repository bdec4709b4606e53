"""Calibration of confidence: known curves are found again, and what is observed is what was tracked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import goturn
from goturn.box import Box
from goturn.confidence import Calibration
from goturn.data.model import Video
from goturn.evaluation.calibration import Observations, brier, called_lost, fit, observe, roc_auc
from goturn.evaluation.session import Stopped
from goturn.network import Network
from test_tracker import FRAMES, START, attentive


def seen(likeness, held) -> Observations:
    return Observations(np.array(likeness, np.float64), np.array(held, bool))


@pytest.mark.parametrize("curve", [Calibration(0.8, 0.05), Calibration(0.1, 0.4)])
def test_a_known_curve_is_found_again(curve):
    rng = np.random.default_rng(0)
    likeness = rng.uniform(-0.2, 1, 40_000)
    held = rng.uniform(size=len(likeness)) < [curve.confidence(value) for value in likeness]
    found = fit(seen(likeness, held))
    assert found.middle == pytest.approx(curve.middle, abs=0.015)
    assert found.width == pytest.approx(curve.width, rel=0.05)
    # The most likely curve says, on the whole, what happened.
    said = [found.confidence(value) for value in likeness]
    assert np.mean(said) == pytest.approx(held.mean(), abs=1e-4)


def test_by_hand():
    """Two likenesses, held one time in four and three times in four: the curve passes through both."""
    curve = fit(seen([0.2] * 4 + [0.6] * 4, [1, 0, 0, 0, 1, 1, 1, 0]))
    assert curve.middle == pytest.approx(0.4, abs=1e-4)
    assert curve.confidence(0.6) == pytest.approx(0.75, abs=1e-3)
    assert curve.width == pytest.approx(0.2 / math.log(3), rel=1e-2)


def test_perfect_separation_gives_a_steep_but_finite_curve():
    curve = fit(seen([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]))
    assert 0.2 < curve.middle < 0.8
    assert 0 < curve.width < 0.1
    assert curve.confidence(0.9) > 0.95


@pytest.mark.parametrize("held", [[1, 1, 1], [0, 0, 0]])
def test_one_kind_of_frame_tells_nothing(held):
    with pytest.raises(ValueError, match="of these 3 it was held in"):
        fit(seen([0.1, 0.5, 0.9], held))


def test_likeness_the_wrong_way_round():
    with pytest.raises(ValueError, match="not held more often"):
        fit(seen([0.9, 0.8, 0.1, 0.2, 0.5, 0.5], [0, 0, 1, 1, 0, 1]))


class TestRocAuc:
    def test_known_values(self):
        assert roc_auc(seen([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1])) == 1
        assert roc_auc(seen([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0])) == 0
        assert roc_auc(seen([0.5, 0.5, 0.5], [0, 1, 1])) == 0.5
        assert roc_auc(seen([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])) == 0.75
        assert math.isnan(roc_auc(seen([0.1, 0.2], [1, 1])))

    @given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
    def test_it_is_the_share_of_pairs_in_order(self, frames):
        up = [value for value, held in frames if held]
        down = [value for value, held in frames if not held]
        if not up or not down:
            return
        pairs = [(a > b) + 0.5 * (a == b) for a in up for b in down]
        auc = roc_auc(seen(*zip(*frames, strict=True)))
        assert auc == pytest.approx(np.mean(pairs))


def test_brier():
    curve = Calibration(0.5, 1e-9)
    assert brier(seen([0.1, 0.9], [0, 1]), curve) == pytest.approx(0)
    assert brier(seen([0.1, 0.9], [1, 1]), curve) == pytest.approx(0.5)


def test_called_lost():
    curve = Calibration(0.5, 0.1)
    likeness, held = [0.1, 0.4, 0.9, 0.2, 0.6, 0.7, 0.8], [0, 0, 0, 1, 1, 1, 1]
    assert called_lost(seen(likeness, held), curve) == pytest.approx((2 / 3, 1 / 4))
    lost, wrongly = called_lost(seen([0.1], [0]), curve)
    assert lost == 1
    assert np.isnan(wrongly)


def test_what_is_observed_is_what_was_tracked(tmp_path):
    files = {tmp_path / f"{n}.jpg": frame for n, frame in enumerate(FRAMES)}
    truth = Box(*START)
    video = Video("v", tuple(files), {0: truth, 1: truth, 3: Box(0, 0, 1, 1), 5: truth})
    network = Network(attentive(), "cpu")
    found = observe(network, [video, video], files.__getitem__)

    tracker, likeness, held = goturn.Tracker(network), [], []
    tracker.init(FRAMES[0], START)
    for number, frame in enumerate(FRAMES[1:], 1):
        box = tracker.update(frame)
        if number in video.boxes:
            likeness.append(tracker.likeness)
            held.append(video.boxes[number].iou(box) >= 0.2)
    assert found.likeness.tolist() == likeness * 2
    assert found.held.tolist() == held * 2
    assert held == [True, False, True]


def test_it_can_be_stopped():
    video = Video("v", ("a", "b"), {0: Box(*START)})
    with pytest.raises(Stopped):
        observe(Network(attentive(), "cpu"), [video], lambda _: FRAMES[0], stop=lambda: True)
