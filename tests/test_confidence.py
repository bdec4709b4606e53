"""Confidence: what it is made of, that it costs nothing, and that boxes stay what they are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import goturn
from goturn.box import search_window
from goturn.confidence import DEFAULT, Calibration, likeness
from goturn.network import Network
from test_ahead import Watched
from test_tracker import FRAMES, START, attentive

anything = st.floats(allow_nan=True, allow_infinity=True)


@pytest.fixture(params=["reference", "cpu"])
def network(request) -> Network:
    return Network(attentive(), request.param)


class TestCurve:
    def test_known_values(self):
        curve = Calibration(middle=0.8, width=0.05)
        assert curve.confidence(0.8) == 0.5
        assert curve.confidence(0.85) == pytest.approx(math.e / (1 + math.e))
        assert curve.confidence(1.0) == pytest.approx(1 / (1 + math.exp(-4)))

    @given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1), st.floats(1e-12, 1e3))
    def test_a_probability_that_grows_with_likeness(self, low, high, middle, width):
        low, high = sorted((low, high))
        curve = Calibration(middle, width)
        assert 0 <= curve.confidence(low) <= curve.confidence(high) <= 1


class TestLikeness:
    def test_known_values(self):
        a = np.array([3.0, 4.0], np.float32)
        assert likeness(a, a) == pytest.approx(1)
        assert likeness(a, 7 * a) == pytest.approx(1)
        assert likeness(a, -a) == pytest.approx(-1)
        assert likeness(a, np.array([4.0, -3.0], np.float32)) == pytest.approx(0)
        assert likeness(a, np.array([1.0, 0.0], np.float32)) == pytest.approx(0.6)

    @given(st.lists(anything, min_size=3, max_size=3), st.lists(anything, min_size=3, max_size=3))
    def test_of_whatever_vectors_it_is_in_its_range(self, a, b):
        with np.errstate(all="ignore"):
            value = likeness(np.array(a, np.float32), np.array(b, np.float32))
        assert -1 <= value <= 1

    def test_nothing_is_like_nothing(self):
        zero = np.zeros(3, np.float32)
        assert likeness(zero, zero) == 0


def stated(network: Network, frame: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """The target's half of fc6 for a box, step by step."""
    p = network.architecture.preprocessing
    window = search_window(goturn.Box(*box), frame.shape[1], frame.shape[0], p.context_factor)
    crop = network.ops.crop_resize(
        frame, [window], size=p.input_size, mean=p.mean, colour_order=p.colour_order
    )
    return network.ops.to_numpy(network.project_target(network.encode_target(crop)))[0].copy()


def test_it_is_the_likeness_to_the_start(network):
    tracker = goturn.Tracker(network)
    assert tracker.confidence is None
    tracker.init(FRAMES[0], START)
    assert tracker.confidence == pytest.approx(DEFAULT.confidence(1.0))
    start = stated(network, FRAMES[0], START)
    seen = []
    for frame in FRAMES[1:]:
        box = tracker.update(frame)
        want = DEFAULT.confidence(likeness(stated(network, frame, box), start))
        assert tracker.confidence == pytest.approx(want, abs=1e-6)
        seen.append(tracker.confidence)
    assert max(seen) < DEFAULT.confidence(1.0)


@pytest.mark.parametrize("first_asked", [0, 3])
def test_asked_for_late_it_is_the_same(network, first_asked):
    """Also where nobody has asked before: the start is kept in any case."""
    always, late = goturn.Tracker(network), goturn.Tracker(network)
    for tracker in (always, late):
        tracker.init(FRAMES[0], START)
    for number, frame in enumerate(FRAMES[1:]):
        always.update(frame)
        late.update(frame)
        expected = always.confidence
        if number >= first_asked:
            assert late.confidence == expected


@pytest.mark.parametrize("ahead", [False, True])
def test_boxes_stay_and_nothing_is_computed_twice(network, ahead, monkeypatch):
    plain = goturn.Tracker(network)
    plain.init(FRAMES[0], START)
    want = [plain.update(frame) for frame in FRAMES[1:]]

    watched = Watched(network, monkeypatch)
    tracker = goturn.Tracker(network, ahead=ahead)
    tracker.init(FRAMES[0], START)
    for frame, box in zip(FRAMES[1:], want, strict=True):
        assert tracker.update(frame) == box
        assert tracker.confidence == tracker.confidence
    frames = len(FRAMES)
    assert (
        watched.calls.count("encode_target") == frames
    )  # one for each frame's target, and no more
    assert watched.calls.count("project_target") == frames
    assert watched.calls.count("encode_search") == frames - 1


def test_each_object_has_a_start_of_its_own(network):
    many = goturn.MultiTracker(network)
    assert many.confidences == {}
    first = many.add(FRAMES[0], START)
    many.update(FRAMES[1])
    second = many.add(FRAMES[1], (20, 10, 40, 50))
    at_start = many.confidences
    assert at_start[second] == pytest.approx(DEFAULT.confidence(1.0))
    assert at_start[first] < at_start[second]
    many.update(FRAMES[2])

    alone = goturn.Tracker(network)
    alone.init(FRAMES[0], START)
    alone.update(FRAMES[1])
    alone.update(FRAMES[2])
    assert many.confidences[first] == pytest.approx(alone.confidence, abs=1e-5)
    many.remove(first)
    assert list(many.confidences) == [second]


def test_a_new_start_is_the_measure(network):
    tracker = goturn.Tracker(network)
    tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:4]:
        tracker.update(frame)
    tracker.init(FRAMES[4], START)
    assert tracker.confidence == pytest.approx(DEFAULT.confidence(1.0))


def test_weights_can_bring_their_own_curve(network):
    curve = Calibration(middle=0.2, width=0.4)
    other = Network(replace(attentive(), calibration=curve), network.ops)
    tracker = goturn.Tracker(other)
    tracker.init(FRAMES[0], START)
    assert tracker.confidence == pytest.approx(curve.confidence(1.0))
