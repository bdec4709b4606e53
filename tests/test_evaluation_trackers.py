"""Trackers by text."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from goturn.box import Box
from goturn.evaluation import opencv
from goturn.evaluation.trackers import build, parse_tracker, parse_trackers
from goturn.weights import random_weights, save
from networks import tiny

FRAME = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.h5"
    save(random_weights(tiny(), seed=0), path)
    return path


@pytest.mark.parametrize(
    ("text", "name", "kind", "target", "options"),
    [
        ("a/b.h5", "b", "goturn", "a/b.h5", {}),
        ("goturn:a/b.bin", "b", "goturn", "a/b.bin", {}),
        ("goturn", "goturn", "goturn", "", {}),
        ("goturn,device=cpu", "goturn", "goturn", "", {"device": "cpu"}),
        ("w.caffemodel", "w", "goturn", "w.caffemodel", {}),
        (
            "w.h5,device=cpu,precision=int8",
            "w-int8",
            "goturn",
            "w.h5",
            {"device": "cpu", "precision": "int8"},
        ),
        ("mine=w.h5,ahead=yes", "mine", "goturn", "w.h5", {"ahead": "yes"}),
        ("/runs/lr=3/w.h5", "w", "goturn", "/runs/lr=3/w.h5", {}),
        ("cv2:KCF", "KCF", "cv2", "KCF", {}),
        ("cv2:TrackerMIL", "MIL", "cv2", "MIL", {}),
        ("old MIL=cv2:legacy.MIL", "old MIL", "cv2", "legacy.MIL", {}),
        ("cv2:Nano,backbone=a/b.onnx", "Nano", "cv2", "Nano", {"backbone": "a/b.onnx"}),
        ("identity", "identity", "identity", "", {}),
        ("still=identity", "still", "identity", "", {}),
        ("a.b:C.d,x=1", "C.d", "module", "a.b:C.d", {"x": "1"}),
    ],
)
def test_texts(text, name, kind, target, options):
    spec = parse_tracker(text)
    assert (spec.name, spec.kind, spec.target, spec.options) == (name, kind, target, options)
    again = parse_tracker(f"{spec.name}={spec.text}")
    assert (again.name, again.kind, again.target, again.options) == (name, kind, target, options)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "kcf",
            r"no tracker 'kcf'.*; give goturn, a weights file, one of OpenCV's \(.*cv2:MIL.*\), iden",
        ),
        ("", "there is no tracker"),
        ("identiy", r"did you mean identity\?"),
        ("Goturn", r"did you mean goturn\?"),
        ("mil", r"did you mean cv2:MIL\?"),
        ("mine.py", "name a class in mine.py as module:Class, here mine:Class"),
        ("mine.py:Static", "here mine:Static; modules are looked for in the current folder"),
        ("cv2:", "names none of OpenCV's; it has .*cv2:MIL"),
        ("w.h5,device=cpu,device=cpu", "the option device is given twice"),
        ("identity,x=1", "identity takes no options"),
        ("..=w.h5", "cannot be a tracker's name"),
        (".hidden=w.h5", "cannot be a tracker's name"),
        ("a\nb=w.h5", "cannot be a tracker's name"),
    ],
)
def test_texts_that_name_no_tracker(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_tracker(text)


def test_names_are_their_own():
    assert [spec.name for spec in parse_trackers(["cv2:MIL", "other=cv2:MIL"])] == ["MIL", "other"]
    with pytest.raises(ValueError, match=r"two trackers are called 'b' .* NAME=goturn:c/b.h5"):
        parse_trackers(["a/b.h5", "c/b.h5"])
    with pytest.raises(ValueError, match="two trackers are called 'mil'"):
        parse_trackers(["cv2:MIL", "mil=identity"])  # as folders they may be the same


# -- ours


def test_what_decides_our_boxes(weights, tmp_path):
    def fingerprint(text: str) -> dict:
        return dict(build(parse_tracker(text)).fingerprint)

    first = fingerprint(f"{weights},device=cpu")
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "w.h5"
    copy.write_bytes(weights.read_bytes())
    assert fingerprint(f"name=goturn:{copy},device=cpu") == first
    assert first["opencv"] == cv2.__version__
    assert fingerprint(f"{weights},device=reference") != first
    assert fingerprint(f"{weights},device=cpu,precision=int8") != first
    save(random_weights(tiny(), seed=1), copy)
    assert fingerprint(f"{copy},device=cpu") != first


def test_ours_tracks(weights):
    tracker = build(parse_tracker(f"{weights},device=cpu,ahead=yes")).tracker
    tracker.init(FRAME, Box(10, 10, 20, 20))
    assert len(tracker.update(FRAME)) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            "size=3",
            "there is no option 'size'; there are device, precision, ahead, start and every",
        ),
        ("ahead=1", "ahead must be yes or no"),
        ("device=cpu,precision=int9", "precision must be auto or one of"),
        ("device=cpu,every=1.5", r"whole number of frames in 1..1000; got 0.0 and 1.5$"),
        ("device=cpu,start=half", r"a share of the start in 0..1 .*; got 'half' and 1$"),
        ("device=cpu,every=1e400", "got 0.0 and inf$"),
        ("device=tpu", "tpu"),
    ],
)
def test_options_that_ours_has_not(weights, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(parse_tracker(f"{weights},{options}"))


def test_weights_that_are_not_there():
    with pytest.raises(FileNotFoundError):
        build(parse_tracker("nowhere.h5"))


# -- OpenCV's


def test_all_that_opencv_has_is_found():
    known = opencv.trackers()
    made = {name for name in dir(cv2) if name.endswith("_create") and name.startswith("Tracker")}
    assert {f"Tracker{name}_create" for name, (module, _) in known.items() if module is cv2} == made
    assert "MIL" in known
    assert "Multi" not in known


def test_opencv_tracks_from_floats_and_again_from_elsewhere():
    built = build(parse_tracker("cv2:MIL,samplerInitInRadius=3"))
    assert built.fingerprint["spec"] == "cv2:MIL,samplerInitInRadius=3"
    for box in (Box(10.4, 10.6, 20.2, 15.7), Box(30, 12, 20, 20)):
        built.tracker.init(FRAME, box)
        found, (x, _, w, _) = built.tracker.update(FRAME)
        assert found is True
        assert abs(x - box.x) < 5
        assert w == round(box.w)


def test_a_frame_that_is_shared_can_be_read(tmp_path):
    """Frames are kept for the next tracker, and so locked."""
    frame = FRAME.copy()
    frame.flags.writeable = False
    tracker = build(parse_tracker("cv2:MIL")).tracker
    tracker.init(frame, Box(10, 10, 20, 20))
    assert tracker.update(frame)[0] is True


class _Old:
    """What cv2.legacy answers; it finds the object in its first update alone."""

    def __init__(self, well):
        self.well, self.found = well, True

    def init(self, frame, box):
        assert all(isinstance(value, int) for value in box)
        return self.well

    def update(self, frame):
        found, self.found = self.found, False
        return found, ((5.0, 6.0, 7.0, 8.0) if found else (0.0, 0.0, 0.0, 0.0))


def test_opencv_that_cannot_start_or_has_lost_its_object():
    with pytest.raises(ValueError, match="could not be started"):
        opencv.OpenCVTracker(lambda: _Old(False)).init(FRAME, Box(1, 2, 3, 4))
    for keep in (False, True):
        tracker = opencv.OpenCVTracker(lambda: _Old(True), keep=keep)
        tracker.init(FRAME, Box(1, 2, 3, 4))
        assert tracker.update(FRAME) == (True, (5, 6, 7, 8))
        found, box = tracker.update(FRAME)
        assert found is keep
        assert not keep or box == (5, 6, 7, 8)
        tracker.init(FRAME, Box(9, 9, 9, 9))
        assert tracker.update(FRAME) == (True, (5, 6, 7, 8))
    assert build(parse_tracker("cv2:MIL")).tracker._keep is True
    assert build(parse_tracker("cv2:MIL,lost=none")).tracker._keep is False
    assert build(parse_tracker("cv2:MIL")).fingerprint["lost"] == "keep"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cv2:Nonesuch", r"has no tracker 'Nonesuch'; it has .*cv2:MIL.*opencv-contrib-python"),
        (
            "cv2:MIL,speed=3",
            "cv2:MIL has no option 'speed'; there are: lost, .*samplerInitInRadius",
        ),
        ("cv2:MIL,lost=yes", "lost must be keep or none; got 'yes'"),
        ("cv2:MIL,samplerInitInRadius=far", "samplerInitInRadius cannot be 'far'"),
        ("cv2:MIL,featureSetNumFeatures=1.5", "featureSetNumFeatures cannot be '1.5'"),
    ],
)
def test_what_opencv_has_not(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(parse_tracker(text))


@pytest.mark.skipif("Nano" not in opencv.trackers(), reason="this OpenCV has no TrackerNano")
def test_opencv_trackers_that_need_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="needs model files: cv2:Nano,backbone=FILE,neckhead=FILE"):
        build(parse_tracker("cv2:Nano"))
    with pytest.raises(ValueError, match=r"backbone cannot be 'gone.onnx': no such file"):
        build(parse_tracker("cv2:Nano,backbone=gone.onnx"))


# -- anybody's


def test_classes_and_functions_by_name():
    moving = build(parse_tracker("scripted_trackers:Drift,sleep=0.0")).tracker
    moving.init(FRAME, Box(1, 2, 3, 4))
    assert moving.update(np.full((1, 1, 3), 50, np.uint8)).tolist() == [1.5, 2, 3, 4]
    fixed = build(parse_tracker("scripted_trackers:fixed,x=7")).tracker
    fixed.init(FRAME, Box(1, 2, 3, 4))
    assert [fixed.update(FRAME) for _ in range(2)] == [
        (False, (7, 2, 5, 6)),
        (True, (7, 2, 5, 6)),
    ]


def test_a_class_in_the_working_directory_and_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    source = (
        "class T:\n    def init(self, f, b): pass\n    def update(self, f): return 1, 1, 1, 1\n"
    )
    (tmp_path / "just_written.py").write_text(source)
    before = build(parse_tracker("just_written:T")).fingerprint
    assert str(tmp_path) == os.getcwd()
    (tmp_path / "just_written.py").write_text(source + "# changed\n")
    after = build(parse_tracker("just_written:T")).fingerprint
    assert before["source"] != after["source"]


def test_files_that_options_name_are_part_of_what_decides_boxes(tmp_path):
    file = tmp_path / "weights.bin"
    spec = parse_tracker(f"scripted_trackers:Drift,log={file}")
    prints = [build(spec).fingerprint]
    for content in (b"1", b"2"):
        file.write_bytes(content)
        prints.append(build(spec).fingerprint)
    assert len({str(one) for one in prints}) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no_such_module:T", "cannot be made: ModuleNotFoundError"),
        ("scripted_trackers:Gone", "cannot be made: AttributeError"),
        ("scripted_trackers:NoUpdate", "NoUpdate has no method 'update'"),
        ("scripted_trackers:broken", "cannot be made: RuntimeError: no such thing"),
        ("scripted_trackers:Drift,colour=red", "cannot be made: TypeError"),
    ],
)
def test_names_that_make_no_tracker(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(parse_tracker(text))
