"""Streams, events and graphs on a GPU: the same bits, however late anything is done.

On the emulation with streams that tests/deferred.py describes.  Each test runs with a caller's stream
that does its work as late as it may, and with one that does it at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import goturn
from deferred import DeferredMemory, Foreign, deferred_ops, seized
from emulated import emulated_ops
from goturn.network import Network
from goturn.ops.cuda import CudaOps
from goturn.ops.cuda_pipeline import PLANS, ROOM
from goturn.training.step import training_step
from networks import tiny
from test_network import lively
from test_tracker import FRAMES, START, attentive
from test_training_step import KEY, batch, fresh, rates, values

OTHER = (20.0, 30.0, 40.0, 20.0)
LARGE = np.kron(FRAMES[1], np.ones((3, 2, 1), np.uint8))


@pytest.fixture(params=["late", "prompt"])
def ops(request) -> Iterator[CudaOps]:
    ops = deferred_ops()
    ops.memory.current.prompt = request.param == "prompt"
    yield ops
    ops.memory.forget()


@pytest.fixture
def memory(ops) -> DeferredMemory:
    return ops.memory


def plain(frames: list[np.ndarray], start: Any = START, precision: str = "fp32") -> list[Any]:
    """The boxes where everything is done at once."""
    tracker = goturn.Tracker(Network(attentive(), emulated_ops(), precision=precision))
    tracker.init(frames[0], start)
    return [tracker.update(frame) for frame in frames[1:]]


# -- frames in host memory -----------------------------------------------------------------------


def test_the_callers_buffer_is_reused_at_once(ops):
    tracker, buffer = goturn.Tracker(Network(attentive(), ops)), FRAMES[0].copy()
    tracker.init(buffer, START)
    found = []
    for frame in FRAMES[1:]:
        buffer[...] = frame
        found.append(tracker.update(buffer))
        buffer[...] = 77
    assert found == plain(FRAMES)


def test_frames_of_changing_size(ops, memory):
    frames = [FRAMES[0], FRAMES[1][::2, ::2], FRAMES[2], LARGE, FRAMES[3], LARGE[:200], FRAMES[4]]
    tracker = goturn.Tracker(Network(attentive(), ops))
    tracker.init(frames[0], START)
    found, taken = [], []
    for frame in frames[1:]:
        found.append(tracker.update(frame))
        taken.append(memory.seize())
    assert found == plain(frames)
    memory.finish()
    assert all(seized(arrays) for arrays in taken)


def test_targets_are_added_one_after_the_other(ops, memory):
    """With nothing between that waits, each frame larger than the one before."""
    found, want = (goturn.MultiTracker(Network(attentive(), x)) for x in (ops, emulated_ops()))
    frames = [FRAMES[1][:60, :80], FRAMES[0], FRAMES[2], LARGE]
    taken = []
    for frame in frames:
        for start in ((5, 6, 30, 20), (30, 20, 20, 30), (10, 10, 40, 40)):
            found.add(frame, start)
            taken.append(memory.seize())
            want.add(frame, start)
    assert len(found) > ROOM
    assert found.update(FRAMES[3]) == want.update(FRAMES[3])
    memory.finish()
    assert all(seized(arrays) for arrays in taken)


def test_init_anew(ops):
    network = Network(attentive(), ops)
    tracker = goturn.Tracker(network)
    for start in (START, OTHER, (80.0, 60.0, 30.0, 30.0)):
        tracker.init(FRAMES[2], OTHER)
        tracker.init(FRAMES[0], start)
        assert [tracker.update(frame) for frame in FRAMES[1:]] == plain(FRAMES, start)


def test_objects_come_and_go(ops, memory):
    found, want = (goturn.MultiTracker(Network(attentive(), x)) for x in (ops, emulated_ops()))
    rng, keys, counts = np.random.default_rng(1), [], set()
    for step in range(10):
        frame = FRAMES[step % len(FRAMES)]
        assert found.update(frame) == want.update(frame)
        taken = memory.seize()
        for _ in range(rng.integers(1, 4)):
            start = (*rng.uniform(5, 60, 2), *rng.uniform(10, 50, 2))
            keys.append(found.add(frame, start))
            assert want.add(frame, start) == keys[-1]
        taken += memory.seize()
        for _ in range(rng.integers(0, 3)):
            key = keys.pop(rng.integers(len(keys)))
            found.remove(key)
            want.remove(key)
        counts.add(len(found))
        assert seized(taken)
    assert len(counts) > PLANS


def test_a_tracker_is_dropped_while_it_works(ops, memory):
    """What it had is given to others then, who must find it unused."""
    network = Network(attentive(), ops)
    tracker = goturn.Tracker(network)
    tracker.init(FRAMES[0], START)
    tracker.update(FRAMES[1])
    del tracker
    taken = memory.seize()
    assert len(taken) > 10
    assert memory.is_idle()  # else it reads and writes there
    memory.finish()
    assert seized(taken)


# -- frames on the device ------------------------------------------------------------------------


def test_a_frame_that_is_made_late_and_overwritten_at_once(ops, memory):
    tracker = goturn.Tracker(Network(attentive(), ops))
    frame = memory.frame(FRAMES[0])
    tracker.init(frame, START)
    found = []
    for pixels in FRAMES[1:]:
        memory.write(frame, pixels)
        found.append(tracker.update(frame))
        memory.write(frame, 77)
        memory.current.run()
    assert found == plain(FRAMES)


def test_a_new_frame_each_time_on_streams_that_change(ops, memory):
    """Each frame is dropped, and its memory written to, when update returns."""
    tracker = goturn.Tracker(Network(attentive(), ops))
    streams = [memory.current, memory.new_stream(), memory.new_stream()]
    found, frame = [], None
    for index, pixels in enumerate(FRAMES):
        stream = streams[index % 3]
        with memory.on(stream):
            frame = memory.frame(pixels)
            if index == 0:
                tracker.init(frame, START)
            else:
                found.append(tracker.update(frame))
            frame = memory.frame(np.full_like(pixels, 77))
            stream.run()
    assert found == plain(FRAMES)


def test_a_frame_of_another_stream_is_dropped_at_once(ops, memory):
    """Its memory goes back to the stream that it was made on, which follows nobody."""
    tracker = goturn.Tracker(Network(attentive(), ops))
    camera, found = memory.new_stream(), []
    for index, pixels in enumerate(FRAMES):
        with memory.on(camera):
            frame = memory.frame(pixels)
            camera.run()
        if index == 0:
            tracker.init(frame, START)
        else:
            found.append(tracker.update(frame))
        del frame
        with memory.on(camera):
            memory.frame(np.full_like(pixels, 77))
            camera.run()
    assert found == plain(FRAMES)


def test_targets_of_such_frames_one_after_the_other(ops, memory):
    found, want = (goturn.MultiTracker(Network(attentive(), x)) for x in (ops, emulated_ops()))
    camera = memory.new_stream()
    for pixels in FRAMES[:4]:
        with memory.on(camera):
            frame = memory.frame(pixels)
            camera.run()
        found.add(frame, START)
        del frame
        with memory.on(camera):
            memory.frame(np.full_like(pixels, 77))
            camera.run()
        want.add(pixels, START)
    assert found.update(FRAMES[4]) == want.update(FRAMES[4])


def test_a_frame_that_another_library_overwrites_at_once(ops, memory):
    tracker, library = goturn.Tracker(Network(attentive(), ops)), memory.new_stream()
    with memory.on(library):
        frame, found = memory.frame(FRAMES[0]), []
        library.run()
    tracker.init(Foreign(frame), START)
    for pixels in FRAMES[1:]:
        frame[...] = pixels
        found.append(tracker.update(Foreign(frame)))
        frame[...] = 77
    assert found == plain(FRAMES)


# -- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_trackers_share_a_network_that_another_stream_built(ops, memory, precision):
    with memory.on(memory.new_stream()):
        network = Network(attentive(), ops, precision=precision)
    trackers = [goturn.Tracker(network) for _ in range(2)]
    streams = [memory.current, memory.new_stream()]
    found: list[list[Any]] = [[], []]
    for tracker, stream, start in zip(trackers, streams, (START, OTHER), strict=True):
        with memory.on(stream):
            tracker.init(FRAMES[0], start)
    for frame in FRAMES[1:]:
        for tracker, stream, boxes in zip(trackers, streams, found, strict=True):
            with memory.on(stream):
                boxes.append(tracker.update(frame))
    assert found == [plain(FRAMES, start, precision) for start in (START, OTHER)]


def test_a_tracker_that_another_stream_made(ops, memory):
    network = Network(attentive(), ops)
    with memory.on(memory.new_stream()):
        tracker = goturn.Tracker(network)
        tracker.init(FRAMES[0], START)
    assert [tracker.update(frame) for frame in FRAMES[1:]] == plain(FRAMES)


# -- training ------------------------------------------------------------------------------------

BATCHES = [
    batch(),
    batch(),
    batch(4, 2),
    batch(4, 2),
]  # each size first as it is, then by its graph


def trained(ops: CudaOps, *, towers: bool, on_device: bool = False) -> tuple[Any, ...]:
    """Losses, parameters and velocities after ``BATCHES``, whose arrays are written over at once."""
    network = Network(fresh(lively(tiny())), ops)
    step, losses = training_step(network, learn="all" if towers else "fc"), []
    for turn, given in enumerate(BATCHES):
        mine = replace(
            given,
            **{name: getattr(given, name).copy() for name in ("targets", "searches", "labels")},
            owners=given.owners.copy(),
        )
        if on_device:
            mine = replace(
                mine,
                targets=ops.memory.frame(given.targets),
                searches=ops.memory.frame(given.searches),
            )
        key = None if turn > 1 else KEY + turn
        losses.append(step.run(mine, rates(network, towers=towers), dropout_key=key))
        if on_device:
            ops.memory.write(mine.targets, 77)
            ops.memory.write(mine.searches, 77)
            ops.memory.current.run()
        else:
            mine.targets[...] = mine.searches[...] = 77
        mine.owners[...] = mine.labels[...] = 0
    return losses, values(network), step.velocities()


def assert_same(found: tuple[Any, ...], want: tuple[Any, ...]) -> None:
    assert found[0] == want[0]
    for some, others in zip(found[1:], want[1:], strict=True):
        assert some.keys() == others.keys()
        for name, value in some.items():
            assert np.array_equal(value, others[name]), name


@pytest.mark.parametrize("towers", [False, True])
@pytest.mark.parametrize("on_device", [False, True])
def test_training(ops, towers, on_device):
    want = trained(emulated_ops(), towers=towers)
    assert_same(trained(ops, towers=towers, on_device=on_device), want)


def test_velocities_of_a_step_that_another_stream_made(ops, memory):
    """And parameters that a third one made."""
    with memory.on(memory.new_stream()):
        network = Network(fresh(lively(tiny())), ops)
    with memory.on(memory.new_stream()):
        step = training_step(network)
    assert all((value == 0).all() for value in step.velocities().values())
    other = Network(fresh(lively(tiny())), emulated_ops())
    plain_step = training_step(other)
    for turn, given in enumerate(BATCHES):
        with memory.on(memory.new_stream()):
            found = step.run(given, rates(network, towers=False), dropout_key=KEY + turn)
        want = plain_step.run(given, rates(other, towers=False), dropout_key=KEY + turn)
        assert found == want
        for each in (step, plain_step):
            each.set_velocities({name: 2 * v for name, v in each.velocities().items()})
    memory.finish()
    assert_same(
        ([], values(network), step.velocities()), ([], values(other), plain_step.velocities())
    )


@pytest.mark.parametrize("first", ["run", "set_velocities"])
def test_a_step_is_used_on_another_stream_than_it_was_made_on(ops, memory, first):
    network = Network(fresh(lively(tiny())), ops)
    other = Network(fresh(lively(tiny())), emulated_ops())
    with memory.on(memory.new_stream()):
        step = training_step(network)
    plain_step = training_step(other)
    start = {name: v + 1e-4 for name, v in plain_step.velocities().items()}
    for each, net in ((step, network), (plain_step, other)):
        if first == "set_velocities":
            each.set_velocities(start)
        each.run(BATCHES[0], rates(net, towers=False), dropout_key=KEY)
    memory.finish()
    assert_same(
        ([], values(network), step.velocities()), ([], values(other), plain_step.velocities())
    )


def test_a_tracker_and_training_of_its_network(ops, memory):
    """On streams of their own: the tracker sees what was learnt before, and not half of it."""
    boxes = []
    for each in (ops, emulated_ops()):
        network = Network(fresh(attentive()), each)
        tracker, step = goturn.Tracker(network), training_step(network)
        tracker.init(FRAMES[0], START)
        found = []
        for frame, given in zip(FRAMES[1:], BATCHES, strict=False):
            found.append(tracker.update(frame))
            step.run(given, rates(network, towers=False), dropout_key=KEY)
        boxes.append(found)
    assert boxes[0] == boxes[1]


def test_a_step_is_dropped_that_failed_in_the_midst(ops, memory):
    network = Network(fresh(lively(tiny())), ops)
    step = training_step(network)

    def fails(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("in the midst")

    ops.kernels.linear_sgd_update = fails
    with pytest.raises(RuntimeError, match="in the midst"):
        step.run(BATCHES[0], rates(network, towers=False), dropout_key=KEY)
    assert not memory.is_idle()
    del step
    taken = memory.seize()
    assert len(taken) > 10
    assert memory.is_idle()  # else it reads and writes there
    memory.finish()
    assert seized(taken)
