"""The adapter: code written for cv2's trackers runs unchanged, and gets what it expects."""

from __future__ import annotations

import inspect
from pathlib import Path

import cv2
import numpy as np
import pytest

import goturn
from goturn.adapters.cv2 import (
    TrackerGOTURN,
    TrackerGOTURN_create,
    TrackerGOTURN_Params,
    _rounded,
)
from goturn.box import Box
from goturn.weights import default, save
from networks import tiny
from test_network import lively

RNG = np.random.default_rng(5)
FRAMES = [RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(12)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function: a weights file whose network always answers ``units`` (x1, y1, x2, y2)."""

    def write(*units: float) -> str:
        weights = lively(tiny())
        weights.parameters["fc8/weight"][:] = 0
        weights.parameters["fc8/bias"][:] = units
        path = tmp_path_factory.mktemp("weights") / "goturn.h5"
        save(weights, path)
        return str(path)

    return write


@pytest.fixture(scope="module")
def still(model):
    """Weights that find the target where it was."""
    return model(2.5, 2.5, 7.5, 7.5)


def tracker_of(path: str) -> TrackerGOTURN:
    parameters = TrackerGOTURN.Params()
    parameters.modelBin = path
    return TrackerGOTURN.create(parameters)


def run_as_opencv_users_do(create):
    """A loop as in OpenCV's tutorials, with what it relies upon asserted."""
    tracker = create()
    assert tracker.init(FRAMES[0], (60, 40, 30, 24)) is None
    answers = []
    for frame in FRAMES[1:4]:
        success, box = tracker.update(frame)
        assert type(success) is bool
        assert type(box) is tuple
        assert [type(value) for value in box] == [int] * 4
        x, y, w, h = box
        cv2.rectangle(frame.copy(), (x, y), (x + w, y + h), (255, 0, 0), 2, 1)
        answers.append(box)
    return answers


def test_the_same_loop_runs_on_opencv_and_here(still):
    assert len(run_as_opencv_users_do(cv2.TrackerMIL.create)) == 3
    assert run_as_opencv_users_do(lambda: tracker_of(still)) == [(60, 40, 30, 24)] * 3


@pytest.mark.parametrize("start", [(60, 40, 30, 24), [60, 40, 30, 24], np.array([60, 40, 30, 24])])
def test_names_of_arguments_are_opencvs(still, start):
    for tracker in (cv2.TrackerMIL_create(), tracker_of(still)):
        tracker.init(image=FRAMES[0], boundingBox=start)
        found, box = tracker.update(image=FRAMES[1])
        assert found
        assert len(box) == 4


def test_every_public_method_of_opencvs_tracker_is_there():
    ours = {name for name in dir(TrackerGOTURN) if not name.startswith("_")}
    theirs = getattr(cv2, "TrackerGOTURN", None)
    assert {"Params", "create", "init", "update"} <= ours
    if theirs is not None:
        assert {name for name in dir(theirs) if not name.startswith("_")} <= ours


def test_parameters_are_opencvs():
    parameters = TrackerGOTURN.Params()
    assert (parameters.modelBin, parameters.modelTxt) == ("goturn.caffemodel", "goturn.prototxt")
    assert TrackerGOTURN_Params is TrackerGOTURN.Params
    theirs = getattr(cv2, "TrackerGOTURN_Params", None)
    if theirs is not None:
        assert (theirs().modelBin, theirs().modelTxt) == (parameters.modelBin, parameters.modelTxt)


def test_opencvs_own_parameters_are_taken(still):
    if not hasattr(cv2, "TrackerGOTURN_Params"):
        pytest.skip("this OpenCV has no TrackerGOTURN")
    parameters = cv2.TrackerGOTURN_Params()
    parameters.modelBin = still
    tracker = TrackerGOTURN_create(parameters)
    tracker.init(FRAMES[0], (60, 40, 30, 24))
    assert tracker.update(FRAMES[1]) == (True, (60, 40, 30, 24))


def test_the_default_weights_are_in_the_working_directory(still, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(default, "_PACKAGE", tmp_path / "lib" / "site" / "goturn")
    with pytest.raises(FileNotFoundError, match="lacks the weights that come with it"):
        TrackerGOTURN.create()
    monkeypatch.setattr(default, "_PACKAGE", Path(still).parent)
    own = TrackerGOTURN.create()
    own.init(FRAMES[0], (60, 40, 30, 24))
    assert own.update(FRAMES[1]) == (True, (60, 40, 30, 24))
    (tmp_path / "goturn.caffemodel").write_bytes(Path(still).read_bytes())
    tracker = TrackerGOTURN_create()
    tracker.init(FRAMES[0], (60, 40, 30, 24))
    assert tracker.box == (60, 40, 30, 24)


def test_what_is_not_parameters_is_refused():
    with pytest.raises(TypeError, match=r"parameters must be TrackerGOTURN\.Params; got str"):
        TrackerGOTURN.create("goturn.h5")


def test_device_and_precision_are_passed_on(still):
    parameters = TrackerGOTURN.Params()
    parameters.modelBin = still
    with pytest.raises(ValueError, match="device must be one of"):
        TrackerGOTURN.create(parameters, device="tpu")
    with pytest.raises(ValueError, match="precision must be auto or one of"):
        TrackerGOTURN.create(parameters, precision="int3")


def test_floats_are_taken_and_the_state_is_not_rounded(model):
    """0.1 units of a 60-pixel window are 0.6 pixels: twelve frames move by 7, not by 12 or 0."""
    path = model(2.6, 2.5, 7.6, 7.5)
    tracker = tracker_of(path)
    reference = goturn.Tracker(path)
    tracker.init(FRAMES[0], (60.25, 40.5, 30.0, 24.0))
    reference.init(FRAMES[0], (60.25, 40.5, 30.0, 24.0))
    for frame in FRAMES[1:]:
        exact = reference.update(frame)
        found, box = tracker.update(frame)
        assert found
        assert tracker.box == exact
        assert box == tuple(round(value) for value in exact)
    assert tracker.box.x == pytest.approx(60.25 + 0.6 * 11, abs=0.3)


def test_a_target_that_leaves_is_not_found(model):
    """Two units right and none down, each frame: the box reaches the right edge and collapses."""
    tracker = tracker_of(model(4.5, 2.5, 9.5, 7.5))
    tracker.init(FRAMES[0], (100, 40, 30, 24))
    assert tracker.box is not None
    answers = [tracker.update(frame) for frame in FRAMES[1:]]
    assert answers[0][0]
    assert not answers[-1][0]
    assert tracker.box.w == 1
    for _, (x, y, w, h) in answers:
        assert 0 <= x <= x + w <= 160
        assert 0 <= y <= y + h <= 120


def test_a_collapsed_box_is_not_found(model):
    tracker = tracker_of(model(5, 5, 5, 5))
    tracker.init(FRAMES[0], (60, 40, 30, 24))
    assert tracker.update(FRAMES[1]) == (False, (74, 52, 1, 1))


def test_misuse_is_an_exception_and_not_a_crash(still):
    tracker = tracker_of(still)
    assert tracker.box is None
    with pytest.raises(RuntimeError, match="update before init: call init"):
        tracker.update(FRAMES[0])
    with pytest.raises(ValueError, match="width and height must be > 0"):
        tracker.init(FRAMES[0], (0, 0, 0, 0))  # what a cancelled selectROI gives
    with pytest.raises(TypeError, match="frame must be a NumPy array"):
        tracker.init(None, (1, 2, 3, 4))
    tracker.init(FRAMES[0], (60, 40, 30, 24))
    with pytest.raises(ValueError, match="empty frame"):
        tracker.update(np.zeros((0, 0, 3), np.uint8))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(1.5, 2.5, 3.5, 4.5), (2, 2, 4, 4)),  # halves to even, as cvRound
        (Box(-0.6, -3.2, 5.0, 5.0), (0, 0, 4, 2)),
        (Box(98.7, 10.0, 1.3, 2.0), (99, 10, 1, 2)),
        (Box(90.0, 70.0, 30.0, 30.0), (90, 70, 10, 10)),
        (Box(99.6, 10.0, 1.0, 2.0), (0, 0, 0, 0)),
        (Box(10.0, 10.0, -4.0, 2.0), (0, 0, 0, 0)),
    ],
)
def test_rounding_and_clipping(box, expected):
    assert _rounded(box, 100, 80) == expected


def test_the_signatures_are_documented():
    assert list(inspect.signature(TrackerGOTURN.init).parameters) == [
        "self",
        "image",
        "boundingBox",
    ]
    assert list(inspect.signature(TrackerGOTURN.update).parameters) == ["self", "image"]
    assert next(iter(inspect.signature(TrackerGOTURN.create).parameters)) == "parameters"
