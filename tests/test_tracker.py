"""Trackers: what they give, what they refuse, and that nothing about a frame can break them."""

from __future__ import annotations

import itertools
import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import goturn
from goturn.box import Box, search_window, unscale
from goturn.network import Network
from goturn.ops import get_ops
from goturn.weights import Weights, default, save
from networks import tiny
from test_network import lively
from thorough import many

RNG = np.random.default_rng(3)
FRAMES = [RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(6)]
START = (60.0, 40.0, 30.0, 24.0)


def steady(shift: float = 0.0) -> Weights:
    """Weights whose answer is always "in the middle", or ``shift`` units right and below it."""
    weights = lively(tiny())
    weights.parameters["fc8/weight"][:] = 0
    weights.parameters["fc8/bias"][:] = np.array([2.5, 2.5, 7.5, 7.5]) + shift
    return weights


@pytest.fixture(params=["reference", "cpu"])
def device(request):
    return request.param


def test_no_motion_keeps_the_box(device):
    tracker = goturn.Tracker(steady(), device=device)
    tracker.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        assert tracker.update(frame) == pytest.approx(START, abs=1e-4)


def test_known_motion_moves_the_box(device):
    """0.625 units of a window of 64 x 32 pixels are 4 and 2 pixels."""
    tracker = goturn.Tracker(steady(0.625), device=device)
    tracker.init(FRAMES[0], (60, 40, 32, 16))
    assert tracker.update(FRAMES[1]) == pytest.approx((64, 42, 32, 16), abs=1e-4)
    assert tracker.box == pytest.approx((64, 42, 32, 16), abs=1e-4)
    assert tracker.update(FRAMES[2]) == pytest.approx((68, 44, 32, 16), abs=1e-4)


def attentive() -> Weights:
    """Weights whose answer is near the middle, by how far depending on what the crops show."""
    weights = steady()
    weights.parameters["fc8/weight"][:] = lively(tiny()).parameters["fc8/weight"] * 5e-4
    return weights


@pytest.mark.parametrize(
    "preprocessing",
    [
        {},
        {"colour_order": "RGB", "mean": (10.0, 120.0, 200.0)},
        {"context_factor": 1.5},
        {"output_scale": 22.7},
    ],
)
def test_the_procedure_is_the_papers(device, preprocessing):
    """Target from the previous frame at the previous box, search from the current one there too.

    With the crops made here as the weights' preprocessing says, on another device.
    """
    weights = attentive()
    scale = preprocessing.get("output_scale", 10.0) / 10
    weights.parameters["fc8/weight"][:] *= scale
    weights.parameters["fc8/bias"][:] = np.array([2.5, 2.5, 7.5, 7.5]) * scale
    network = Network(Weights(tiny(**preprocessing), weights.parameters), device)
    other = get_ops("cpu" if device == "reference" else "reference")
    tracker = goturn.Tracker(network)
    tracker.init(FRAMES[0], START)
    box = Box(*START)
    moved = 0.0
    for previous, current in itertools.pairwise(FRAMES):
        window = search_window(box, 160, 120, preprocessing.get("context_factor", 2.0))
        assert window.edge_x == window.edge_y == 0  # the object stays clear of the borders
        targets, searches = (
            other.crop_resize(
                frame,
                [window],
                size=35,
                mean=preprocessing.get("mean", (104.0, 117.0, 123.0)),
                colour_order=preprocessing.get("colour_order", "BGR"),
            )
            for frame in (previous, current)
        )
        expected = unscale(network.forward(targets, searches).units[0], window)
        found = tracker.update(current)
        assert found == pytest.approx(
            (expected.x + window.x, expected.y + window.y, expected.w, expected.h), abs=1e-3
        )
        moved += abs(found.x - box.x)
        box = found
    assert moved > 1  # so that the frames did matter


def test_reference_and_cpu_agree():
    boxes = []
    for name in ("reference", "cpu"):
        tracker = goturn.Tracker(lively(tiny()), device=name)
        tracker.init(FRAMES[0], START)
        boxes.append([tracker.update(frame) for frame in FRAMES[1:]])
    np.testing.assert_allclose(boxes[0], boxes[1], atol=1e-3)


def test_weights_from_a_file(tmp_path):
    save(lively(tiny()), tmp_path / "w.h5")
    from_file = goturn.Tracker(tmp_path / "w.h5", device="cpu")
    from_memory = goturn.Tracker(lively(tiny()), device="cpu")
    for tracker in (from_file, from_memory):
        tracker.init(FRAMES[0], START)
    assert from_file.update(FRAMES[1]) == from_memory.update(FRAMES[1])


def test_callers_frame_buffer_may_be_reused():
    buffer = FRAMES[0].copy()
    a, b = (goturn.Tracker(lively(tiny()), device="cpu") for _ in range(2))
    a.init(buffer, START)
    b.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        buffer[...] = frame
        assert a.update(buffer) == b.update(frame)
        buffer[...] = 77


@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 1), (120, 160, 4)])
def test_grey_and_four_channels(shape):
    """Grey equals the same grey in three channels; the fourth channel is ignored."""
    rng = np.random.default_rng(1)
    frames = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]
    if len(shape) == 3 and shape[2] == 4:
        same = [frame[:, :, :3] for frame in frames]
    else:
        same = [np.repeat(frame.reshape(120, 160, 1), 3, axis=2) for frame in frames]
    a, b = (goturn.Tracker(lively(tiny()), device="cpu") for _ in range(2))
    a.init(frames[0], START)
    b.init(np.ascontiguousarray(same[0]), START)
    for frame, twin in zip(frames[1:], same[1:], strict=True):
        assert a.update(frame) == b.update(np.ascontiguousarray(twin))


@pytest.mark.parametrize("view", [lambda f: f[::-1, ::-1], lambda f: f[:, ::2], np.asfortranarray])
def test_strided_views_give_the_same_bits(view):
    a, b = (goturn.Tracker(lively(tiny()), device="cpu") for _ in range(2))
    a.init(view(FRAMES[0]), (20, 20, 30, 30))
    b.init(np.ascontiguousarray(view(FRAMES[0])), (20, 20, 30, 30))
    for frame in FRAMES[1:]:
        assert a.update(view(frame)) == b.update(np.ascontiguousarray(view(frame)))


@pytest.mark.parametrize(
    ("frame", "error", "text"),
    [
        (None, TypeError, "must be a NumPy array"),
        ("frame.png", TypeError, "must be a NumPy array"),
        ([[1, 2], [3, 4]], TypeError, "must be a NumPy array"),
        (np.zeros((0, 0, 3), np.uint8), ValueError, "empty frame"),
        (np.zeros((5, 0), np.uint8), ValueError, "empty frame"),
        (np.zeros((9, 9, 3), np.uint16), ValueError, "must be uint8"),
        (np.zeros((9, 9, 3), np.float32), ValueError, "must be uint8"),
        (np.zeros((9, 9, 2), np.uint8), ValueError, "1, 3 or 4 channels"),
        (np.zeros(9, np.uint8), ValueError, "1, 3 or 4 channels"),
        (np.zeros((1, 9, 9, 3), np.uint8), ValueError, "1, 3 or 4 channels"),
    ],
)
def test_bad_frames(frame, error, text):
    tracker = goturn.Tracker(lively(tiny()), device="cpu")
    with pytest.raises(error, match=text):
        tracker.init(frame, START)
    tracker.init(FRAMES[0], START)
    with pytest.raises(error, match=text):
        tracker.update(frame)
    twin = goturn.Tracker(tracker.network)
    twin.init(FRAMES[0], START)
    assert tracker.update(FRAMES[1]) == twin.update(FRAMES[1])  # nothing was lost


@pytest.mark.parametrize(
    ("box", "error", "text"),
    [
        ((math.nan, 0, 5, 5), ValueError, "finite"),
        ((0, 0, math.inf, 5), ValueError, "finite"),
        ((0, 0, -5, 5), ValueError, "width and height must be > 0"),
        ((0, 0, 0, 5), ValueError, "width and height must be > 0"),
        ((500, 0, 5, 5), ValueError, "outside the 160x120 frame"),
        ((0, 0, 5), ValueError, "four numbers"),
        (None, TypeError, "four numbers"),
        ("abcd", TypeError, "four numbers"),
    ],
)
def test_bad_boxes(box, error, text):
    tracker = goturn.Tracker(lively(tiny()), device="cpu")
    with pytest.raises(error, match=text):
        tracker.init(FRAMES[0], box)
    with pytest.raises(RuntimeError, match="update before init"):
        tracker.update(FRAMES[0])
    tracker.init(FRAMES[0], START)
    with pytest.raises(error, match=text):
        tracker.init(FRAMES[0], box)
    assert tracker.box == START  # the earlier track goes on


def test_update_before_init():
    with pytest.raises(RuntimeError, match="call init"):
        goturn.Tracker(lively(tiny()), device="cpu").update(FRAMES[0])


def test_without_weights_those_that_come_with_goturn_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(default, "_PACKAGE", tmp_path / "lib" / "site" / "goturn")
    with pytest.raises(FileNotFoundError, match="lacks the weights that come with it"):
        goturn.Tracker()
    own = steady(0.5)
    save(own, tmp_path / "goturn.h5")
    monkeypatch.setattr(default, "_PACKAGE", tmp_path)
    assert goturn.Tracker().network.architecture == own.architecture


def test_no_such_weights():
    with pytest.raises(FileNotFoundError):
        goturn.Tracker("no/such/file.h5")


@pytest.mark.parametrize("weights", [3, object(), b"goturn.h5"])
def test_weights_of_another_type(weights):
    with pytest.raises(TypeError, match="weights must be the path of a file, Weights or a Network"):
        goturn.Tracker(weights)


def test_repr_says_where_and_what():
    tracker = goturn.Tracker(steady(), device="reference")
    assert repr(tracker) == "<goturn.Tracker on reference, not started>"
    tracker.init(FRAMES[0], START)
    assert repr(tracker) == "<goturn.Tracker on reference, Box(x=60.0, y=40.0, w=30.0, h=24.0)>"
    assert repr(tracker._tracker) == "<goturn.MultiTracker of 1 objects on reference>"


def test_damaged_weights_do_not_give_nan_boxes():
    weights = lively(tiny())
    weights.parameters["fc8/weight"][:] = 3e38
    tracker = goturn.Tracker(weights, device="cpu")
    tracker.init(FRAMES[0], START)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="not finite"):
        tracker.update(FRAMES[1])


def test_frames_of_any_size_in_one_video():
    rng = np.random.default_rng(0)
    tracker = goturn.Tracker(lively(tiny()), device="cpu")
    tracker.init(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8), (300, 200, 80, 60))
    for height, width in ((240, 320), (1, 1), (3000, 4000), (7, 1), (480, 640)):
        box = tracker.update(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        assert all(map(math.isfinite, box))
        assert box.w >= 1
        assert box.h >= 1
        assert 0 <= box.x <= width
        assert 0 <= box.y <= height


# Most overlap the 50 x 40 frame and are tracked; some lie anywhere up to the limit.
near = st.tuples(st.floats(-60, 49), st.floats(-60, 39), st.floats(0.01, 300), st.floats(0.01, 300))
huge = st.tuples(st.floats(-1e9, 0), st.floats(-1e9, 0), st.floats(0, 1e9), st.floats(0, 1e9))
finite = st.floats(-1e9, 1e9) | st.floats(0, 2)
anywhere = st.tuples(finite, finite, finite, finite)
answers = st.lists(
    st.floats(-(2.0**99), 2.0**99, width=32) | st.floats(-15, 15, width=32), min_size=4, max_size=4
)


@settings(max_examples=many(10_000, share=40), deadline=None)
@given(near | near | huge | anywhere, answers)
def test_any_box_and_any_answer(networks_with_answer, box, answer):
    """``update`` of any box gives four finite numbers with w, h >= 1; ``init`` may refuse it.

    Both devices agree.
    """
    frame = FRAMES[0][:40, :50]
    tracks = []
    for network in networks_with_answer:
        network.parameters["fc8/bias"][:] = answer
        tracker = goturn.Tracker(network)
        try:
            tracker.init(frame, box)
        except ValueError:
            tracks.append(None)
            continue
        tracks.append([tracker.update(frame) for _ in range(2)])
        for found in tracks[-1]:
            assert all(map(math.isfinite, found))
            assert found.w >= 1
            assert found.h >= 1
    assert tracks[0] == tracks[1]  # fc8 adds nothing but its bias here: the same to the bit


@pytest.fixture(scope="module")
def networks_with_answer():
    return [Network(steady(), "cpu"), Network(steady(), "reference")]


class TestMultiTracker:
    def test_each_object_gets_the_box_of_a_tracker_of_its_own(self, device):
        network = Network(lively(tiny()), device)
        many = goturn.MultiTracker(network)
        starts = [(10 + 3 * i, 5 + 2 * i, 20 + i, 18) for i in range(20)]
        keys = [many.add(FRAMES[0], start) for start in starts]
        singles = [goturn.Tracker(network) for _ in starts]
        for single, start in zip(singles, starts, strict=True):
            single.init(FRAMES[0], start)
        for frame in FRAMES[1:]:
            boxes = many.update(frame)
            assert list(boxes) == keys
            for key, single in zip(keys, singles, strict=True):
                assert boxes[key] == pytest.approx(single.update(frame), abs=1e-2)

    def test_objects_come_and_go(self):
        many = goturn.MultiTracker(steady(), device="cpu")
        assert many.update(FRAMES[0]) == {}
        first = many.add(FRAMES[0], START)
        assert many.update(FRAMES[1])[first] == pytest.approx(START, abs=1e-4)
        second = many.add(FRAMES[1], (5, 5, 20, 20))
        assert set(many.update(FRAMES[2])) == {first, second}
        many.remove(first)
        assert len(many) == 1
        assert set(many.update(FRAMES[3])) == set(many.boxes) == {second}
        assert many.add(FRAMES[3], START) not in (first, second)
        with pytest.raises(KeyError, match=f"no object has the number {first}"):
            many.remove(first)

    def test_a_bad_box_adds_nothing(self):
        many = goturn.MultiTracker(steady(), device="cpu")
        with pytest.raises(ValueError, match="> 0"):
            many.add(FRAMES[0], (0, 0, 0, 0))
        assert len(many) == 0


def test_trackers_in_threads_equal_trackers_in_turn():
    network = Network(lively(tiny()), "cpu")

    def run(start):
        tracker = goturn.Tracker(network)
        tracker.init(FRAMES[0], start)
        return [tracker.update(FRAMES[1 + i % 5]) for i in range(100)]

    starts = [(10 + 5 * i, 8 + 3 * i, 25, 20) for i in range(8)]
    expected = [run(start) for start in starts]
    results: list[object] = [None] * len(starts)

    def work(index):
        results[index] = run(starts[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(starts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected


class OneAtATime:
    """A network in which two updates at the same time are noticed."""

    def __init__(self, network):
        self.network, self.inside, self.met = network, 0, 0

    def __getattr__(self, name):
        return getattr(self.network, name)

    def encode_search(self, crops):
        self.inside += 1
        self.met = max(self.met, self.inside)
        time.sleep(0.002)
        self.inside -= 1
        return self.network.encode_search(crops)


@pytest.mark.parametrize("kind", [goturn.Tracker, goturn.MultiTracker])
def test_calls_from_several_threads_wait_for_each_other(kind):
    tracker = kind(steady(), device="cpu")
    many = tracker if kind is goturn.MultiTracker else tracker._tracker
    many._pipeline._network = watched = OneAtATime(many.network)
    start = tracker.init if kind is goturn.Tracker else tracker.add
    start(FRAMES[0], START)
    failures = []

    def work(index):
        try:
            for turn in range(15):
                tracker.update(FRAMES[turn % 6])
                if index == 0 and kind is goturn.Tracker:
                    tracker.init(FRAMES[0], START)
                    assert tracker.box is not None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert watched.met == 1


def test_a_network_brings_its_own_device():
    network = Network(steady(), "reference")
    assert goturn.Tracker(network).network is network
    assert goturn.Tracker(network, device="reference").network is network
    with pytest.raises(ValueError, match="runs with device 'reference', not 'cpu'"):
        goturn.Tracker(network, device="cpu")
    with pytest.raises(ValueError, match="runs with precision 'fp32', not 'fp16'"):
        goturn.Tracker(network, precision="fp16")
