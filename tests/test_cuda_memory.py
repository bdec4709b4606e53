"""Memory, streams and graphs of a real GPU: what the emulation cannot show.

No expressions of CuPy's are used, which it would compile at run time: arrays are copied and set alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import goturn
from checks import load_backend
from goturn.network import Network
from goturn.ops.cuda import CudaOps
from goturn.ops.cuda_memory import CupyMemory, DeviceMemoryError
from goturn.training.step import training_step
from networks import tiny
from test_network import lively
from test_tracker import FRAMES, START, attentive
from test_training_step import KEY, batch, fresh, rates, values

OTHER = (20.0, 30.0, 40.0, 20.0)


@pytest.fixture
def ops() -> CudaOps:
    return load_backend("cuda")


@pytest.fixture
def memory(ops) -> CupyMemory:
    return ops.memory


@pytest.fixture
def cupy(ops) -> Any:
    return pytest.importorskip("cupy")


def track(network: Network, frames: Any = FRAMES, start: Any = START) -> list[Any]:
    tracker = goturn.Tracker(network)
    tracker.init(frames[0], start)
    return [tracker.update(frame) for frame in frames[1:]]


def put(cupy: Any, frame: np.ndarray, stream: Any) -> Any:
    """A new array with ``frame``, once ``stream`` gets to it."""
    array = cupy.empty(frame.shape, frame.dtype)
    array.set(frame, stream=stream)
    return array


def overwrite(array: Any, stream: Any) -> None:
    """Enqueues that every byte is 77."""
    array.data.memset_async(77, array.nbytes, stream)


# -- frames on the device ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["default", "blocking", "non-blocking"])
def test_frames_of_cupys_current_stream(ops, cupy, kind):
    """Overwritten in that stream as soon as update returns."""
    network = Network(attentive(), ops)
    want = track(network)
    stream = (
        cupy.cuda.Stream.null
        if kind == "default"
        else cupy.cuda.Stream(non_blocking=kind == "non-blocking")
    )
    tracker, found = goturn.Tracker(network), []
    with stream:
        frame = put(cupy, FRAMES[0], stream)
        tracker.init(frame, START)
        overwrite(frame, stream)
        for pixels in FRAMES[1:]:
            frame.set(pixels, stream=stream)
            found.append(tracker.update(frame))
            overwrite(frame, stream)
    assert found == want


def test_frames_that_are_dropped_at_once(ops, cupy):
    """Their memory is the next array's of the stream that they were made on."""
    network = Network(attentive(), ops)
    want = track(network)
    tracker, found = goturn.Tracker(network), []
    camera = cupy.cuda.Stream(non_blocking=True)
    for index, pixels in enumerate(FRAMES):
        with camera:
            frame = put(cupy, pixels, camera)
        camera.synchronize()
        if index == 0:
            tracker.init(frame, START)
        else:
            found.append(tracker.update(frame))
        del frame
        with camera:
            overwrite(cupy.empty(pixels.shape, pixels.dtype), camera)
    assert found == want


def test_frames_with_strides(ops, cupy):
    network = Network(attentive(), ops)
    want = track(network, [frame[:, ::-1] for frame in FRAMES])
    frames = [put(cupy, frame, cupy.cuda.get_current_stream()) for frame in FRAMES]
    assert track(network, [frame[:, ::-1] for frame in frames]) == want


def test_frames_of_torch(ops):
    """In a stream of torch's, of which CuPy does not know."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    network = Network(attentive(), ops)
    want = track(network)
    tracker, found = goturn.Tracker(network), []
    stream = torch.cuda.Stream("cuda:0")
    with torch.cuda.stream(stream):
        frame = torch.empty(FRAMES[0].shape, dtype=torch.uint8, device="cuda:0")
        for index, pixels in enumerate(FRAMES):
            frame.copy_(torch.from_numpy(pixels))
            stream.synchronize()  # the array interface of torch's tensors names no stream
            if index == 0:
                tracker.init(frame, START)
            else:
                found.append(tracker.update(frame))
            frame.fill_(77)
    assert found == want


def test_arrays_of_another_device(ops, cupy, memory):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU alone")
    with cupy.cuda.Device(1):
        frame = cupy.asarray(FRAMES[0])
    with pytest.raises(ValueError, match="the array is on cuda:1, and this works on cuda:0"):
        memory.view(frame)
    tracker = goturn.Tracker(Network(attentive(), ops))
    with pytest.raises(ValueError, match="the array is on cuda:1"):
        tracker.init(frame, START)
    tracker.init(FRAMES[0], START)


def test_a_second_device_is_not_the_current_one(cupy):
    """Trackers work on theirs whatever the caller's current device is, and leave that as it is."""
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU alone")
    network = Network(attentive(), load_backend("cuda:1"))
    assert cupy.cuda.runtime.getDevice() == 0
    want = track(network)
    with cupy.cuda.Device(1):
        frames = [cupy.asarray(frame) for frame in FRAMES]
        cupy.cuda.get_current_stream().synchronize()
    assert track(network, frames) == want
    assert cupy.cuda.runtime.getDevice() == 0


def test_what_is_in_host_memory_is_no_view(memory):
    assert memory.view(FRAMES[0]) is None
    assert memory.view([1, 2]) is None


# -- threads and streams -------------------------------------------------------------------------


def in_threads(*functions: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("shared", [True, False])
def test_two_trackers_in_two_threads(ops, shared):
    """Graphs are captured in one thread while the other allocates, launches and waits."""
    network = Network(attentive(), ops)
    frames = [*FRAMES, *FRAMES[::-1]]
    starts = (START, OTHER)
    want = [track(network, frames, start) for start in starts]
    found: dict[Any, list[list[Any]]] = {start: [] for start in starts}

    def run(start: Any) -> None:
        mine = network if shared else Network(attentive(), ops)
        for _ in range(10):
            found[start].append(track(mine, frames, start))

    in_threads(*(lambda start=start: run(start) for start in starts))
    for start, boxes in zip(starts, want, strict=True):
        assert found[start] == [boxes] * 10


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_a_network_that_another_stream_built(ops, cupy, precision):
    want = track(Network(attentive(), ops, precision=precision))
    with cupy.cuda.Stream(non_blocking=True):
        network = Network(attentive(), ops, precision=precision)
    assert track(network) == want
    with cupy.cuda.Stream(non_blocking=True):
        assert track(network) == want


def test_training_on_a_stream_of_the_callers(ops, cupy):
    given, found = [batch() for _ in range(3)], []
    for stream in (cupy.cuda.Stream.null, cupy.cuda.Stream(non_blocking=True)):
        with stream:
            network = Network(fresh(lively(tiny())), ops)
            step = training_step(network, learn="all")
            how = rates(network, towers=True)
            losses = [step.run(each, how, dropout_key=KEY) for each in given]
            found.append((losses, values(network), step.velocities()))
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        for name, value in one.items():
            assert np.array_equal(value, other[name]), name


def test_a_stream_that_follows_waits(memory, cupy):
    size = 1 << 28
    first, second = memory.new_stream(), memory.new_stream()
    array, host = memory.empty((size,), np.uint8), memory.pinned((size,), np.uint8)
    memory.follow(first, memory.caller_stream())
    for value in range(50):
        array.data.memset_async(value, size, first)
    memory.follow(second, first)
    memory.download(array, host, second)
    event = memory.new_event()
    memory.wait(event)  # of nothing
    memory.record(event, second)
    memory.wait(event)
    assert (host == 49).all()
    memory.synchronize(first)
    assert memory.pointer_of(first) != memory.pointer_of(second)
    with first:
        assert memory.current_stream() == memory.pointer_of(first)


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[1:3],
        lambda x: x[:, 2:4],
        lambda x: x[::-1],
        lambda x: x[:, ::-2, 1:],
        lambda x: x.transpose(2, 0, 1),
        lambda x: x[2:2],
        lambda x: x[1, 2, 3],
    ],
    ids=["whole", "rows", "columns", "backwards", "every other", "transposed", "empty", "one"],
)
def test_arrays_come_back_whatever_their_strides(memory, view):
    array = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    found = memory.to_numpy(view(memory.from_numpy(array)))
    assert np.array_equal(found, view(array))
    assert found.dtype == np.float32


def test_arrays_go_there_whatever_their_strides(memory):
    array = np.arange(60, dtype=np.float64).reshape(5, 12)
    for given in (array, array[:, ::-1], array.T, array[:0]):
        assert np.array_equal(memory.to_numpy(memory.from_numpy(given)), given)
    with pytest.raises(ValueError, match="cannot copy float64"):
        memory.copy_from_numpy(array, memory.empty((5, 12), np.float32))


def test_new_arrays(memory):
    assert (memory.to_numpy(memory.zeros((3, 1000), np.float32)) == 0).all()
    assert memory.zeros((0, 4), np.float32).shape == (0, 4)
    for shape in ((1,), (3, 5), (0,), (1000, 7)):
        array = memory.empty(shape, np.float16)
        assert (array.shape, array.dtype) == (shape, np.float16)
        assert array.data.ptr % 256 == 0
        assert array.flags.c_contiguous
        pinned = memory.pinned(shape, np.uint64)
        assert (pinned.shape, pinned.dtype) == (shape, np.uint64)
        assert pinned.flags.writeable


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.fixture
def little(cupy) -> Iterator[int]:
    """Room on the device for as many bytes more."""
    pool, room = cupy.get_default_memory_pool(), 64 << 20
    before = pool.get_limit()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + room)
    try:
        yield room
    finally:
        pool.set_limit(size=before)


def test_without_room_for_an_array(memory, little):
    with pytest.raises(DeviceMemoryError, match=r"cuda:0 has no memory left for 128\.0 MiB more"):
        memory.empty((2 * little,), np.uint8)
    with pytest.raises(MemoryError):
        memory.from_numpy(np.zeros(2 * little, np.uint8))
    assert (memory.to_numpy(memory.zeros((little // 4,), np.uint8)) == 0).all()


def test_memory_in_pieces_is_put_together(memory, little):
    """Small arrays are freed, then their room is asked for in one piece."""
    pieces = [memory.empty((little // 16,), np.uint8) for _ in range(14)]
    pieces.clear()
    assert memory.empty((little // 4 * 3,), np.uint8).nbytes == little // 4 * 3


def test_a_tracker_without_memory_goes_on(ops, little):
    """A frame for whose pixels there is no room; those after it are as if it had not been."""
    network = Network(attentive(), ops)
    want = track(network)
    tracker = goturn.Tracker(network)
    tracker.init(FRAMES[0], START)
    for frame, box in zip(FRAMES[1:], want, strict=True):
        with pytest.raises(MemoryError, match="1 objects are too many: cuda:0 has no memory left"):
            tracker.update(np.zeros((6000, 6000, 3), np.uint8))
        assert tracker.update(frame) == box


def test_a_training_step_without_memory_goes_on(ops, little):
    given, losses = batch(), []
    for fails in (False, True):
        network = Network(fresh(lively(tiny())), ops)
        step, how = training_step(network, learn="all"), rates(network, learn="all")
        for turn in range(3):
            if fails:
                with pytest.raises(MemoryError, match="a batch of 4000 is too large"):
                    step.run(batch(4000, 1), how, dropout_key=KEY)
            losses.append(step.run(given, how, dropout_key=KEY + turn))
    assert losses[:3] == losses[3:]


def test_what_fails_within_a_capture_leaves_the_stream_usable(memory):
    stream = memory.new_stream()
    host, array = memory.pinned((1000,), np.float32), memory.empty((1000,), np.float32)
    back = memory.pinned((1000,), np.float32)
    memory.synchronize(memory.caller_stream())

    def copies() -> None:
        memory.upload(host, array, stream)
        memory.download(array, back, stream)

    def fails() -> None:
        copies()
        raise KeyError("in the midst")

    for error in (KeyError, KeyError):
        with pytest.raises(error, match="in the midst"):
            memory.capture(fails, stream)
        assert not stream.is_capturing()
    host[...], back[...] = 1, 0
    copies()
    memory.synchronize(stream)
    assert (back == 1).all()
    host[...], back[...] = 2, 0
    graph = memory.capture(copies, stream)
    memory.synchronize(stream)
    assert (back == 0).all()  # nothing is done by a capture
    for value in (3, 4):
        host[...] = value
        graph.launch()
        memory.synchronize(stream)
        assert (back == value).all()
