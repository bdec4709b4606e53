"""Tracking by graphs on a GPU: what the plain pipeline gives, whatever a tracker can meet."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import goturn
from checks import load_backend
from emulated import NumpyMemory
from goturn.architecture import LRN, Conv
from goturn.box import Box, search_window
from goturn.network import Network
from goturn.ops import Ops
from goturn.ops.cuda_memory import DeviceMemoryError
from goturn.ops.cuda_pipeline import PLANS, ROOM, CudaPipeline
from goturn.ops.cuda_tower import CHUNK, Arithmetic, Tower
from goturn.pipeline import PlainPipeline, pipeline_of
from goturn.target_policy import PAPER, TargetPolicy
from goturn.weights import Weights
from networks import tiny
from test_network import lively
from test_tracker import FRAMES, START, attentive

BACKENDS = ("cuda", "cuda-emulated")


@pytest.fixture(params=BACKENDS)
def ops(request) -> Ops:
    return load_backend(request.param)


def with_answers_in_the_window(weights: Weights) -> Weights:
    """As test_tracker.attentive makes them: answers near the middle, that depend on the crops."""
    scale = weights.architecture.preprocessing.output_scale / 10
    last = weights.architecture.head[-1].name
    weights.parameters[f"{last}/weight"][:] *= 5e-4 * scale
    weights.parameters[f"{last}/bias"][:] = np.array([2.5, 2.5, 7.5, 7.5]) * scale
    return weights


def track(network: Network, frames: Any = FRAMES, start: Any = START) -> np.ndarray:
    tracker = goturn.Tracker(network)
    tracker.init(frames[0], start)
    return np.array([tracker.update(frame) for frame in frames[1:]])


def test_it_is_the_devices_own(ops):
    tracker = goturn.Tracker(Network(attentive(), ops))
    assert isinstance(tracker._tracker._pipeline, CudaPipeline)


NETWORKS = {
    "the papers": {},
    "LRN before pool": {"pool_first": False},
    "a tower each": {"shared_towers": False},
    "three fc layers": {"hidden": 3},
    "one fc layer": {"hidden": 1},
    "pixels out": {"output_scale": 22.7},
    "RGB, other means": {"colour_order": "RGB", "mean": (10.0, 120.0, 200.0)},
    "less context": {"context_factor": 1.5},
    "an even side": {"input_size": 36},  # the first convolution leaves a column over
}


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_are_the_references(ops, name):
    architecture = tiny(**NETWORKS[name])
    weights = with_answers_in_the_window(lively(architecture))
    want = track(Network(weights, "reference"))
    assert np.ptp(want, axis=0).max() > 0.5  # they depend on what is seen
    assert np.abs(track(Network(weights, ops)) - want).max() < 2e-3


@pytest.mark.parametrize("precision", ["tf32", "fp16", "bf16", "int8"])
def test_boxes_in_fewer_bits(ops, precision):
    """At most twice as far off as fc weights in as few bits alone are, on the reference; not its very
    boxes either: the precision is really used.  TF32 has as many bits as half precision.
    """
    if precision not in ops.precisions:
        pytest.skip(f"no {precision} on GPUs before 8.0")
    plain = "fp16" if precision == "tf32" else precision
    want = track(Network(attentive(), "reference"))
    allowed = 2 * np.abs(track(Network(attentive(), "reference", precision=plain)) - want).max()
    network = Network(attentive(), ops, precision=precision)
    assert 1e-4 < np.abs(track(network) - want).max() < allowed


def test_confidence_is_the_references(ops):
    trackers = [goturn.MultiTracker(Network(attentive(), each)) for each in (ops, "reference")]
    for number, frame in enumerate(FRAMES):
        for tracker in trackers:
            if number:
                tracker.update(frame)
            if number < 2:  # objects at their start and others at once
                tracker.add(frame, START)
        here, there = (list(tracker.confidences.values()) for tracker in trackers)
        assert here == pytest.approx(there, abs=1e-3)
    assert max(here) < here_at_start(ops) - 0.005  # it says something


def here_at_start(ops: Ops) -> float:
    tracker = goturn.Tracker(Network(attentive(), ops))
    tracker.init(FRAMES[0], START)
    confidence = tracker.confidence
    assert confidence is not None
    return confidence


def test_a_tower_that_does_not_end_in_a_pool(ops):
    paper = tiny()
    weights = with_answers_in_the_window(lively(replace(paper, tower=paper.tower[:-1])))
    want = track(Network(weights, "reference"))
    assert np.abs(track(Network(weights, ops)) - want).max() < 2e-3


@pytest.mark.parametrize(
    "layers",
    [
        (LRN("norm0"), Conv("conv1", 8, kernel=3, stride=2)),
        (Conv("conv1", 6, kernel=3, stride=2, groups=3), Conv("conv2", 4, kernel=1)),
        (Conv("conv1", 5, kernel=4, stride=3, pad=2), Conv("conv2", 4, kernel=3)),
        (Conv("conv1", 8, kernel=4, stride=4), Conv("conv2", 4, kernel=3, pad=1)),
    ],
    ids=["LRN first", "groups first", "pad first", "kernel as stride"],
)
def test_towers_of_other_beginnings(ops, layers):
    architecture = replace(tiny(), tower=layers)
    weights = with_answers_in_the_window(lively(architecture))
    want = track(Network(weights, "reference"))
    assert np.abs(track(Network(weights, ops)) - want).max() < 2e-3


def test_space_to_depth_is_used_for_the_papers_first_convolution(ops):
    layers = goturn.architecture.goturn().tower[:1]
    parameters = {
        "conv1/weight": ops.from_numpy(np.zeros((96, 3, 11, 11), np.float32)),
        "conv1/bias": ops.from_numpy(np.zeros(96, np.float32)),
    }
    for dtype in ("float32", "float16", "uint16"):
        products = "tf32" if dtype == "float32" else "half"
        if ops.products == "scalar":
            products = "scalar"
        tower = Tower(ops._gpu, layers, 227, parameters, Arithmetic(dtype, products))
        assert (tower.entry.block, tower.entry.side, tower.entry.channels) == (4, 57, 48)


COMING_AND_GOING = {
    "the papers": ({}, PAPER, 14),
    "a mean, seldom": ({}, TargetPolicy(0.4, 3), 8),
    "a mean, seldom, with a match": ({"reduce": 4, "match": True}, TargetPolicy(0.4, 2), 8),
}


@pytest.mark.parametrize("name", COMING_AND_GOING)
def test_objects_come_and_go(ops, name):
    """Each has the box that a tracker of its own gives; more of them than there is room for at first."""
    options, policy, steps = COMING_AND_GOING[name]
    weights = with_answers_in_the_window(lively(tiny(**options)))
    tracker, other = (
        goturn.MultiTracker(Network(weights, each), target_policy=policy)
        for each in (ops, "reference")
    )
    rng = np.random.default_rng(1)
    keys: list[int] = []
    most = 0
    for step in range(steps):
        frame = FRAMES[step % len(FRAMES)]
        found, want = tracker.update(frame), other.update(frame)
        assert found.keys() == want.keys()
        for key, box in found.items():
            assert box == pytest.approx(want[key], abs=5e-3)
        if policy != PAPER and step >= 5:  # rows of the right objects
            alike = other.likenesses
            assert tracker.likenesses == pytest.approx(alike, abs=1e-3)
            assert np.ptp(list(alike.values())) > 0.01
        for _ in range(rng.integers(2, 5)):
            start = (*rng.uniform(5, 60, 2), *rng.uniform(10, 50, 2))
            keys.append(tracker.add(frame, start))
            assert other.add(frame, start) == keys[-1]
        for _ in range(rng.integers(0, 3)):
            key = keys.pop(rng.integers(len(keys)))
            for each in (tracker, other):
                each.remove(key)
        most = max(most, len(tracker))
    assert most > (max(ROOM, CHUNK) if policy == PAPER else ROOM)
    assert len(tracker._pipeline._searches) <= PLANS
    assert len(tracker._pipeline._retargets) <= PLANS


@pytest.mark.parametrize("match", [False, True])
@pytest.mark.parametrize("policy", [(0.5, 1), (0.25, 2), (1.0, 1), (0.0, 3)])
def test_boxes_under_a_policy_are_the_references(ops, policy, match):
    weights = with_answers_in_the_window(lively(tiny(reduce=4 * match, match=match)))
    own = replace(weights, target_policy=TargetPolicy(*policy))
    want, papers = (track(Network(each, "reference")) for each in (own, weights))
    assert np.abs(want - papers).max() > 0.05
    assert np.abs(track(Network(own, ops)) - want).max() < 2e-3


@pytest.mark.parametrize("which", [[2, 0, 1], [1, 0], [2], [0, 1, 2]])
def test_targets_go_where_they_belong(ops, which):
    """In whatever order they are given, all of them or some."""
    network = Network(attentive(), ops)
    pipelines = (pipeline_of(network), PlainPipeline(Network(attentive(), "reference")))
    boxes = [Box(*START), Box(20.0, 30.0, 40.0, 20.0), Box(80.0, 60.0, 30.0, 30.0)]
    windows = [search_window(box, 160, 120) for box in boxes]
    for pipeline in pipelines:
        for window in windows:
            pipeline.add(FRAMES[0], window)
        pipeline.retarget(FRAMES[1], [windows[index] for index in which], which)
    found, want = (pipeline.target_parts() for pipeline in pipelines)
    np.testing.assert_allclose(found, want, atol=1e-3)
    assert min(np.abs(want[i] - want[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.01


def test_init_anew(ops):
    tracker, other = (goturn.Tracker(Network(attentive(), which)) for which in (ops, "reference"))
    for start in (START, (20, 30, 40, 20), (80, 60, 30, 30)):
        for each in (tracker, other):
            each.init(FRAMES[0], start)
            each.init(FRAMES[1], start)
        for frame in FRAMES[2:]:
            assert tracker.update(frame) == pytest.approx(other.update(frame), abs=2e-3)


def test_frames_of_every_kind(ops):
    """Grey, with alpha, of other sizes, larger than all before, with strides of any sort."""
    tracker, other = (goturn.Tracker(Network(attentive(), which)) for which in (ops, "reference"))
    large = np.kron(FRAMES[1], np.ones((3, 2, 1), np.uint8))
    frames = [
        FRAMES[1],
        FRAMES[2][:, :, 0],
        np.dstack([FRAMES[3], FRAMES[3][:, :, :1]]),
        np.ascontiguousarray(FRAMES[4][::-1])[::-1],
        FRAMES[5][:, ::-1],
        FRAMES[1][::2, ::2],
        large,
        FRAMES[2],
        np.asfortranarray(FRAMES[3]),
    ]
    for each in (tracker, other):
        each.init(FRAMES[0], START)
    for frame in frames:
        assert tracker.update(frame) == pytest.approx(other.update(frame), abs=2e-3)


def test_boxes_at_the_borders_and_beyond_reason(ops):
    for start in ((-10, -5, 30, 20), (150, 110, 40, 40), (0, 0, 160, 120), (-500, -500, 1e3, 1e3)):
        want = track(Network(attentive(), "reference"), start=start)
        assert track(Network(attentive(), ops), start=start) == pytest.approx(want, abs=1e-2)


def test_callers_buffer_may_be_reused_at_once(ops):
    tracker, other = (goturn.Tracker(Network(attentive(), which)) for which in (ops, "reference"))
    buffer = FRAMES[0].copy()
    tracker.init(buffer, START)
    other.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        buffer[...] = frame
        found = tracker.update(buffer)
        buffer[...] = 77
        assert found == pytest.approx(other.update(frame), abs=2e-3)


def test_a_bad_frame_loses_nothing(ops):
    tracker, other = (goturn.Tracker(Network(attentive(), which)) for which in (ops, "reference"))
    for each in (tracker, other):
        each.init(FRAMES[0], START)
    for frame in FRAMES[1:]:
        with pytest.raises(ValueError, match="empty frame"):
            tracker.update(np.zeros((0, 0, 3), np.uint8))
        with pytest.raises(TypeError, match="NumPy array"):
            tracker.update([[1, 2], [3, 4]])
        assert tracker.update(frame) == pytest.approx(other.update(frame), abs=2e-3)


def test_damaged_weights_are_said_to_be(ops):
    weights = attentive()
    weights.parameters["fc7/bias"][3] = np.nan
    tracker = goturn.Tracker(Network(weights, ops))
    tracker.init(FRAMES[0], START)
    with pytest.raises(ValueError, match="not finite"):
        tracker.update(FRAMES[1])


def test_convolutions_that_half_precision_cannot_hold(ops):
    weights = attentive()
    weights.parameters["conv2/weight"][0, 0, 0, 0] = 1e5
    with pytest.raises(ValueError, match="do not fit into half precision"):
        Network(weights, ops, precision="fp16")


def test_two_trackers_share_a_network(ops):
    network = Network(attentive(), ops)
    starts = (START, (20.0, 30.0, 40.0, 20.0))
    want = [track(network, start=start) for start in starts]
    trackers = [goturn.Tracker(network) for _ in starts]
    for tracker, start in zip(trackers, starts, strict=True):
        tracker.init(FRAMES[0], start)
    for index, frame in enumerate(FRAMES[1:]):
        for tracker, boxes in zip(trackers, want, strict=True):
            assert tracker.update(frame) == tuple(boxes[index])


class OnDevice(np.ndarray):
    """A frame that counts as one in device memory."""


class MemoryWithFrames(NumpyMemory):
    """Host memory in which such frames are taken where they are; says when it waits for whom."""

    def view(self, given: Any) -> Any:
        return given if isinstance(given, OnDevice) else None


def test_a_frame_on_the_device_is_read_where_it_is(monkeypatch):
    ops = load_backend("cuda-emulated")
    ops = type(ops)(ops.kernels, MemoryWithFrames())
    network = Network(attentive(), ops)
    want = track(network)
    frames = [frame.copy().view(OnDevice) for frame in FRAMES]
    uploads = []
    upload = MemoryWithFrames.upload

    def watched(self, host, device, stream):
        uploads.append(host.nbytes)
        upload(self, host, device, stream)

    monkeypatch.setattr(MemoryWithFrames, "upload", watched)
    assert np.array_equal(track(network, frames), want)
    assert set(uploads) == {128}  # the frame's and the window's descriptions alone
    assert np.array_equal(track(network, [frame[:, ::-1][:, ::-1] for frame in frames]), want)


def test_only_the_pixels_that_are_seen_are_copied(monkeypatch):
    ops = load_backend("cuda-emulated")
    uploads = []
    upload = NumpyMemory.upload

    def watched(self, host, device, stream):
        uploads.append(host.nbytes)
        upload(self, host, device, stream)

    monkeypatch.setattr(NumpyMemory, "upload", watched)
    track(Network(attentive(), ops))
    assert max(uploads) < 128 + 3 * 70 * 60 < FRAMES[0].nbytes


def test_compiled_towers_give_what_layer_by_layer_gives(ops):
    network, other = Network(attentive(), ops), Network(attentive(), "reference")
    crops = np.random.default_rng(0).standard_normal((CHUNK + 3, 3, 35, 35), dtype=np.float32) * 50
    found = ops.to_numpy(network.encode_target(ops.from_numpy(crops)))
    want = other.encode_target(crops)
    assert np.abs(found - want).max() < 1e-5 * np.abs(want).max()


class LittleMemory(NumpyMemory):
    """Host memory with room for ``left`` bytes more."""

    left = 1 << 40

    def empty(self, shape, dtype):
        array = super().empty(shape, dtype)
        if array.nbytes > self.left:
            raise DeviceMemoryError(f"no memory left for {array.nbytes} bytes more")
        self.left -= array.nbytes
        return array


def test_without_memory_it_says_so_and_goes_on():
    ops = load_backend("cuda-emulated")
    memory = LittleMemory()
    ops = type(ops)(ops.kernels, memory)
    tracker, other = (
        goturn.MultiTracker(Network(attentive(), which)) for which in (ops, "reference")
    )
    for each in (tracker, other):
        each.add(FRAMES[0], START)
        each.update(FRAMES[1])
    memory.left = 0
    key = tracker.add(FRAMES[1], (20, 30, 40, 20))
    with pytest.raises(MemoryError, match=r"^2 objects are too many: no memory left for"):
        tracker.update(FRAMES[2])
    tracker.remove(key)
    assert tracker.update(FRAMES[2])[0] == pytest.approx(other.update(FRAMES[2])[0], abs=2e-3)
    memory.left = 1 << 40
    for each in (tracker, other):
        each.add(FRAMES[2], (20, 30, 40, 20))
    for box, want in zip(
        *(each.update(FRAMES[3]).values() for each in (tracker, other)), strict=True
    ):
        assert box == pytest.approx(want, abs=2e-3)


def test_memory_goes_with_the_tracker(ops):
    """Without waiting for Python's search for cycles, which does not see how much it is."""
    network = Network(attentive(), ops)
    gc.collect()
    gc.disable()
    try:
        tracker = goturn.Tracker(network)
        tracker.init(FRAMES[0], START)
        for frame in FRAMES[1:3]:
            tracker.update(frame)
        pipeline = tracker._tracker._pipeline
        held = [weakref.ref(each) for each in (pipeline, pipeline.search_tower, pipeline.head)]
        del tracker, pipeline, network
        assert [ref() for ref in held] == [None] * len(held)
    finally:
        gc.enable()
