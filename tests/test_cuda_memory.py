"""CuPy as goturn uses it: against a CuPy that is not there, made of NumPy, which keeps a record."""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

import numpy as np
import pytest

from emulated import NumpyMemory
from goturn.ops.cuda_memory import CupyMemory, DeviceMemoryError, Memory


class Stream:
    """A stream that does things at once, unless it captures: then it keeps them."""

    def __init__(self, non_blocking: bool = False, ptr: int = 0) -> None:
        self.non_blocking, self.ptr, self.log = non_blocking, ptr, []
        self.captured: list[Any] | None = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def wait_event(self, event: Event) -> None:
        self.log.append(("wait", event.stream))

    def begin_capture(self) -> None:
        self.captured = []

    def end_capture(self) -> Any:
        captured, self.captured = self.captured, None
        return types.SimpleNamespace(launch=lambda stream: stream.log.append(captured))


class Event:
    stream: Stream | None = None

    def __init__(self, disable_timing: bool = False) -> None:
        assert disable_timing

    def record(self, stream: Stream) -> None:
        self.stream = stream

    def synchronize(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()


class Pointer:
    """Device memory: ``ptr`` is an address in the host's."""

    def __init__(self, ptr: int) -> None:
        self.ptr = ptr

    def __add__(self, offset: int) -> Pointer:
        return Pointer(self.ptr + offset)

    def copy_from_host_async(self, source: int, size: int, stream: Stream) -> None:
        assert isinstance(stream, Stream)
        ctypes.memmove(self.ptr, source, size)

    def copy_to_host_async(self, target: int, size: int, stream: Stream) -> None:
        assert isinstance(stream, Stream)
        ctypes.memmove(target, self.ptr, size)

    def memset_async(self, value: int, size: int, stream: Stream) -> None:
        assert isinstance(stream, Stream)
        ctypes.memset(self.ptr, value, size)


class Array(np.ndarray):
    """An array in device memory."""

    @property
    def data(self) -> Pointer:
        return Pointer(self.ctypes.data)

    @property
    def device(self) -> Any:
        return types.SimpleNamespace(id=getattr(self, "index", 1))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.__array_interface__

    def get(self) -> np.ndarray:
        assert self.flags.c_contiguous, "CuPy would compile a kernel"
        return np.array(self)


class FakeCupy(types.SimpleNamespace):
    """The parts of CuPy that CupyMemory takes; the pool holds ``room`` bytes, and may be emptied."""

    def __init__(self) -> None:
        class OutOfMemoryError(MemoryError):
            pass

        class CUDARuntimeError(RuntimeError):
            pass

        self.room, self.kept, self.devices = 1 << 30, 0, []
        self.current = Stream(ptr=7)
        cuda = types.SimpleNamespace(
            Device=self._device,
            Stream=Stream,
            Event=Event,
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError),
            get_current_stream=lambda: self.current,
            alloc_pinned_memory=self._pinned,
        )
        super().__init__(cuda=cuda, ndarray=Array)

    def _device(self, index: int) -> Any:
        self.devices.append(index)
        return Stream()  # any context manager

    def _pinned(self, size: int) -> Any:
        if size > self.room:
            raise self.cuda.runtime.CUDARuntimeError("out of memory")
        return bytearray(size)

    def empty(self, shape: Any, dtype: Any) -> Array:
        array = np.empty(shape, dtype).view(Array)
        if array.nbytes > self.room - self.kept:
            raise self.cuda.memory.OutOfMemoryError
        return array

    def asarray(self, given: Any) -> Array:
        return given.array.view(Array)

    def byte_bounds(self, array: Array) -> tuple[int, int]:
        first = last = array.ctypes.data
        for size, stride in zip(array.shape, array.strides, strict=True):
            first, last = first + min(0, (size - 1) * stride), last + max(0, (size - 1) * stride)
        return first, last + array.itemsize

    def get_default_memory_pool(self) -> Any:
        def free_all_blocks() -> None:
            self.kept = 0

        return types.SimpleNamespace(free_all_blocks=free_all_blocks)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


@pytest.fixture
def memory(cupy: FakeCupy) -> CupyMemory:
    return CupyMemory(1)


def test_both_memories_have_everything() -> None:
    for name in vars(Memory):
        if not name.startswith("_"):
            assert hasattr(CupyMemory, name)
            assert hasattr(NumpyMemory, name)


def test_arrays_to_the_device_and_back(memory: CupyMemory, cupy: FakeCupy) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    for given in (values, values.T, values[:, 1:3], values[::-1], values[:0]):
        device = memory.from_numpy(given)
        assert type(device) is Array
        assert device.flags.c_contiguous
        if given.size:  # the caller may change his array from here on
            assert cupy.current.log.pop() == "synchronize"
        np.testing.assert_array_equal(memory.to_numpy(device), given)
    assert set(cupy.devices) == {1}
    zeros = memory.zeros((2, 3), np.int32)
    assert zeros.dtype == np.int32
    assert not zeros.any()
    with pytest.raises(
        ValueError, match=r"cannot copy float32 of shape \(3, 4\) to float32 of shape"
    ):
        memory.copy_from_numpy(values, memory.empty((4, 3), np.float32))


def test_views_come_back_without_a_kernel_to_gather_them(memory: CupyMemory) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    device = memory.from_numpy(values)
    for view in (np.s_[:, 2:5], np.s_[1:3, ::2], np.s_[::-1], np.s_[:, ::-2], np.s_[3:, 1:2]):
        np.testing.assert_array_equal(memory.to_numpy(device[view]), values[view])


def test_memory_that_the_pool_keeps_is_given_back(memory: CupyMemory, cupy: FakeCupy) -> None:
    cupy.kept = cupy.room
    assert memory.empty((10,), np.float32).shape == (10,)
    assert cupy.kept == 0


def test_no_memory_left_is_one_sentence(memory: CupyMemory, cupy: FakeCupy) -> None:
    cupy.room = 100
    for kind in (RuntimeError, MemoryError):
        with pytest.raises(
            kind, match=r"^cuda:1 has no memory left for 3\.0 MiB more; use a smaller"
        ):
            memory.zeros((3, 1 << 18), np.float32)
    with pytest.raises(DeviceMemoryError, match=r"no page-locked memory left for 1\.0 MiB more"):
        memory.pinned((1 << 20,), np.uint8)


def test_pinned_memory(memory: CupyMemory) -> None:
    host = memory.pinned((3, 4), np.float32)
    assert (host.shape, host.dtype, host.flags.writeable) == ((3, 4), np.float32, True)
    assert memory.pinned((0,), np.float32).shape == (0,)
    host[:] = 5
    stream, device = memory.new_stream(), memory.empty((3, 4), np.float32)
    memory.upload(host, device, stream)
    back = memory.pinned((3, 4), np.float32)
    memory.download(device, back, stream)
    assert (back == 5).all()
    with pytest.raises(ValueError, match="cannot copy"):
        memory.upload(host[:2], device, stream)


def test_arrays_of_others(memory: CupyMemory) -> None:
    device = memory.from_numpy(np.zeros((2, 2), np.uint8))
    assert memory.view(device) is device
    for host in (np.zeros(3), [1], None):
        assert memory.view(host) is None
    foreign = types.SimpleNamespace(__cuda_array_interface__={}, array=np.arange(3))
    assert memory.view(foreign).tolist() == [0, 1, 2]
    elsewhere = memory.from_numpy(np.zeros(3))
    elsewhere.index = 0
    with pytest.raises(ValueError, match="the array is on cuda:0, and this works on cuda:1"):
        memory.view(elsewhere)


def test_streams_follow_each_other(memory: CupyMemory, cupy: FakeCupy) -> None:
    stream = memory.new_stream()
    assert stream.non_blocking
    assert memory.current_stream() == memory.pointer_of(cupy.current) == 7
    memory.follow(stream, memory.caller_stream())
    assert stream.log == [("wait", cupy.current)]
    event = memory.new_event()
    memory.wait(event)  # never recorded
    memory.record(event, stream)
    memory.wait(event)
    assert stream.log[1:] == ["synchronize"]


def test_what_is_captured_is_done_when_it_is_launched(memory: CupyMemory) -> None:
    stream = memory.new_stream()
    graph = memory.capture(lambda: stream.captured.append("kernel"), stream)
    assert stream.log == []
    graph.launch()
    graph.launch()
    assert stream.log == [["kernel"], ["kernel"]]


def test_a_capture_that_fails_is_ended(memory: CupyMemory) -> None:
    stream = memory.new_stream()

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memory.capture(fails, stream)
    assert stream.captured is None
