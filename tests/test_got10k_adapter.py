"""The adapter for the GOT-10k toolkit: RGB in, boxes as the data set's files have them.

Where the toolkit is not installed a stand-in of its base class takes its place; the toolkit itself runs
the adapter in tools/check_evaluation_tools.py.
"""

from __future__ import annotations

import importlib
import sys
import types

import cv2
import numpy as np
import pytest

import goturn
from goturn.weights import save
from networks import tiny
from test_network import lively

RNG = np.random.default_rng(7)
#: BGR, and in each pixel the three channels differ.
FRAMES = [RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(5)]
START = (30.25, 20.5, 40.0, 30.0)


class StandIn:
    """What the toolkit's Tracker is: names, and a loop over image files."""

    def __init__(self, name, is_deterministic=False):
        self.name = name
        self.is_deterministic = is_deterministic

    def track(self, img_files, box, visualize=False):
        from PIL import Image

        boxes = np.zeros((len(img_files), 4))
        boxes[0] = box
        for number, path in enumerate(img_files):
            image = Image.open(path)
            if number == 0:
                self.init(image, box)
            else:
                boxes[number] = self.update(image)
        return boxes, np.zeros(len(img_files))


@pytest.fixture
def adapter(monkeypatch):
    """The adapter's module, on the toolkit or on the stand-in."""
    try:
        import got10k.trackers  # noqa: F401
    except ImportError:
        package, module = types.ModuleType("got10k"), types.ModuleType("got10k.trackers")
        module.Tracker = StandIn
        monkeypatch.setitem(sys.modules, "got10k", package)
        monkeypatch.setitem(sys.modules, "got10k.trackers", module)
    monkeypatch.delitem(sys.modules, "goturn.adapters.got10k", raising=False)
    yield importlib.import_module("goturn.adapters.got10k")
    sys.modules.pop("goturn.adapters.got10k", None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A network whose answers depend on the picture, its colours and its place."""
    made = lively(tiny(), seed=3)
    made.parameters["fc8/weight"] *= np.float32(0.02)
    made.parameters["fc8/bias"][:] = (2.6, 2.4, 7.6, 7.3)
    path = tmp_path_factory.mktemp("weights") / "goturn.h5"
    save(made, path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    pytest.importorskip("PIL")
    paths = [tmp_path / f"{number:08d}.png" for number in range(len(FRAMES))]
    for path, frame in zip(paths, FRAMES, strict=True):
        assert cv2.imwrite(str(path), frame)
    return [str(path) for path in paths]


def expected(weights: str, start=START, frames=FRAMES) -> np.ndarray:
    tracker = goturn.Tracker(weights)
    tracker.init(frames[0], start)
    return np.array([start, *(tracker.update(frame) for frame in frames[1:])])


def test_the_toolkits_loop_gives_our_boxes(adapter, weights, files):
    tracker = adapter.TrackerGOTURN(weights)
    assert (tracker.name, tracker.is_deterministic) == ("GOTURN", True)
    start = np.array(START)
    boxes, times = tracker.track(files, start)
    assert boxes.shape == (5, 4)
    assert times.shape == (5,)
    assert np.array_equal(boxes, expected(weights))
    assert np.array_equal(start, START)  # the caller's array is left alone
    swapped = expected(weights, frames=[frame[..., ::-1] for frame in FRAMES])
    assert not np.allclose(boxes, swapped, atol=1e-3)  # colours matter to this network


def test_pixels_from_one_come_and_go_as_such(adapter, weights):
    tracker = adapter.TrackerGOTURN(weights, name="G", first_pixel=1)
    tracker.init(FRAMES[0][..., ::-1], np.array([31.25, 21.5, 40, 30]))
    boxes = [tracker.update(frame[..., ::-1]) for frame in FRAMES[1:]]
    assert tracker.name == "G"
    for box, truth in zip(boxes, expected(weights)[1:], strict=True):
        assert isinstance(box, np.ndarray)
        assert box == pytest.approx(truth + np.array([1, 1, 0, 0]), abs=1e-12)


def test_images_of_any_mode(adapter):
    image = pytest.importorskip("PIL.Image")
    colour = image.fromarray(FRAMES[0])
    assert np.array_equal(adapter.as_bgr(colour), FRAMES[0][..., ::-1])
    for mode in ("L", "RGBA", "P", "CMYK"):
        made = colour.convert(mode)
        assert np.array_equal(adapter.as_bgr(made), np.asarray(made.convert("RGB"))[..., ::-1])
    assert np.array_equal(adapter.as_bgr(FRAMES[0]), FRAMES[0][..., ::-1])
    grey = FRAMES[0][..., 0]
    assert adapter.as_bgr(grey) is grey


def test_misuse(adapter, weights):
    tracker = adapter.TrackerGOTURN(weights)
    with pytest.raises(RuntimeError, match="update before init"):
        tracker.update(FRAMES[0])
    with pytest.raises(TypeError, match="image must be a Pillow image or an RGB array; got str"):
        tracker.init("a.jpg", START)
    with pytest.raises(ValueError, match="box must be four numbers"):
        tracker.init(FRAMES[0], (1, 2, 3))
    with pytest.raises(ValueError, match="first_pixel must be 0 or 1; got 2"):
        adapter.TrackerGOTURN(weights, first_pixel=2)
    with pytest.raises(FileNotFoundError):
        adapter.TrackerGOTURN("none.h5")


def test_without_the_toolkit_it_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "got10k", None)
    monkeypatch.setitem(sys.modules, "got10k.trackers", None)
    monkeypatch.delitem(sys.modules, "goturn.adapters.got10k", raising=False)
    with pytest.raises(ImportError, match=r"needs the GOT-10k toolkit.*pip install got10k six"):
        importlib.import_module("goturn.adapters.got10k")
