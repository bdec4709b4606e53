"""Memory, streams and graphs of a GPU, as the rest of :mod:`goturn.ops` asks for them.

:class:`CupyMemory` is CuPy: its pool, its streams, its graphs, and none of its expressions, which it
would have to compile at run time.  Tests have another :class:`Memory`, in host memory, for the emulation
of the kernels.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from goturn.ops.interface import Array

Shape = tuple[int, ...]

#: A stream or an event: the memory's own objects.
Stream = Any
Event = Any

#: What a dtype may be given as.
DType = Any


class DeviceMemoryError(RuntimeError, MemoryError):
    """The device has no room for an array."""


class Graph(Protocol):
    """What :meth:`Memory.capture` gives."""

    def launch(self) -> None:
        """Does again what was captured, on the stream of the capture."""


class Memory(Protocol):
    """The memory of one device.  Arrays are C-contiguous where not said."""

    name: str
    """Of the device: "cuda:0"."""

    def device(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, this thread's current device is this one."""

    # -- arrays ----------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: DType) -> Array:
        """A new array of any content, at an address that 256 divides.

        Raises:
            DeviceMemoryError: no room for it.
        """

    def zeros(self, shape: Shape, dtype: DType) -> Array:
        """A new array of zeros, written on the current stream."""

    def from_numpy(self, array: np.ndarray) -> Array:
        """A copy of ``array`` on the device, there when this returns."""

    def copy_from_numpy(self, array: np.ndarray, to: Array) -> None:
        """Copies ``array`` into ``to``, of its shape and dtype; done when this returns."""

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy of ``array``, at any strides, in host memory, after what the current stream does."""

    def pinned(self, shape: Shape, dtype: DType) -> np.ndarray:
        """A new array of any content in host memory that the device reads and writes by itself."""

    def upload(self, host: np.ndarray, device: Array, stream: Stream) -> None:
        """Enqueues a copy of ``host``, which is pinned, to ``device``."""

    def download(self, device: Array, host: np.ndarray, stream: Stream) -> None:
        """Enqueues a copy of ``device`` to ``host``, which is pinned."""

    def view(self, given: Any) -> Array | None:
        """``given`` as an array of this device, if it is an array in device memory; nothing is copied.

        Raises:
            ValueError: it is on another device.
        """

    # -- streams ---------------------------------------------------------------------------------

    def current_stream(self) -> int:
        """The caller's current stream, as kernels are given it."""

    def caller_stream(self) -> Stream:
        """The caller's current stream."""

    def new_stream(self) -> Stream:
        """A stream that waits for no other by itself."""

    def pointer_of(self, stream: Stream) -> int:
        """``stream`` as kernels are given it."""

    def synchronize(self, stream: Stream) -> None:
        """Waits until everything in ``stream`` is done."""

    def follow(self, stream: Stream, leader: Stream) -> None:
        """What is enqueued in ``stream`` from now on waits for what is in ``leader`` now."""

    def new_event(self) -> Event:
        """An event; waiting for one that was never recorded does not wait."""

    def record(self, event: Event, stream: Stream) -> None:
        """``event`` stands from now on for what is in ``stream`` now."""

    def wait(self, event: Event) -> None:
        """Waits until what ``event`` stands for is done."""

    def capture(self, function: Callable[[], None], stream: Stream) -> Graph:
        """What ``function`` enqueues in ``stream``, without doing it.

        The memory that it uses must stay where it is as long as the graph is launched.
        """


class CupyMemory:
    """:class:`Memory` of GPU number ``index``, by CuPy."""

    def __init__(self, index: int) -> None:
        import cupy

        self._cupy = cupy
        self._index = index
        self.name = f"cuda:{index}"

    def device(self) -> contextlib.AbstractContextManager[Any]:
        device: contextlib.AbstractContextManager[Any] = self._cupy.cuda.Device(self._index)
        return device

    # -- arrays ----------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: DType) -> Array:
        cupy = self._cupy
        with self.device():
            try:
                return cupy.empty(shape, dtype)
            except cupy.cuda.memory.OutOfMemoryError:
                # What nothing refers to may still wait for Python to see it, and what the pool keeps may
                # lie in pieces.
                gc.collect()
                cupy.get_default_memory_pool().free_all_blocks()
            try:
                return cupy.empty(shape, dtype)
            except cupy.cuda.memory.OutOfMemoryError:
                pass
        size = int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
        raise DeviceMemoryError(
            f"{self.name} has no memory left for {size / 2**20:.1f} MiB more; use a smaller batch or "
            "fewer objects, or end other programs that use this GPU"
        )

    def zeros(self, shape: Shape, dtype: DType) -> Array:
        with self.device():
            array = self.empty(shape, dtype)
            array.data.memset_async(0, array.nbytes, self._cupy.cuda.get_current_stream())
            return array

    def from_numpy(self, array: np.ndarray) -> Array:
        copy = self.empty(array.shape, array.dtype)
        self.copy_from_numpy(array, copy)
        return copy

    def copy_from_numpy(self, array: np.ndarray, to: Array) -> None:
        _check_same(array, to)
        with self.device():
            stream = self._cupy.cuda.get_current_stream()
            host = np.ascontiguousarray(array)
            if host.nbytes:
                to.data.copy_from_host_async(host.ctypes.data, host.nbytes, stream)
                stream.synchronize()  # the caller may change the array after this

    def to_numpy(self, array: Array) -> np.ndarray:
        with self.device():
            if array.flags.c_contiguous:
                copy: np.ndarray = array.get()
                return copy
            # CuPy would compile a kernel to gather it: all the bytes it lies in come instead.
            first, last = self._cupy.byte_bounds(array)
            memory = np.empty(last - first, np.uint8)
            pointer = array.data + (first - array.data.ptr)
            stream = self._cupy.cuda.get_current_stream()
            pointer.copy_to_host_async(memory.ctypes.data, memory.nbytes, stream)
            stream.synchronize()
        offset = array.data.ptr - first
        copied: np.ndarray = np.ndarray(
            array.shape, array.dtype, memory, offset, array.strides
        ).copy()
        return copied

    def pinned(self, shape: Shape, dtype: DType) -> np.ndarray:
        count = int(np.prod(shape, dtype=np.int64))
        size = max(1, count * np.dtype(dtype).itemsize)
        try:
            memory = self._cupy.cuda.alloc_pinned_memory(size)
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceMemoryError(
                f"the host has no page-locked memory left for {size / 2**20:.1f} MiB more ({error})"
            ) from None
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def upload(self, host: np.ndarray, device: Array, stream: Stream) -> None:
        _check_same(host, device)
        device.data.copy_from_host_async(host.ctypes.data, host.nbytes, stream)

    def download(self, device: Array, host: np.ndarray, stream: Stream) -> None:
        _check_same(host, device)
        device.data.copy_to_host_async(host.ctypes.data, host.nbytes, stream)

    def view(self, given: Any) -> Array | None:
        if not hasattr(given, "__cuda_array_interface__"):
            return None
        array = given if isinstance(given, self._cupy.ndarray) else self._cupy.asarray(given)
        if array.device.id != self._index:
            raise ValueError(
                f"the array is on cuda:{array.device.id}, and this works on {self.name}; copy it there"
            )
        return array

    # -- streams ---------------------------------------------------------------------------------

    def current_stream(self) -> int:
        return self.pointer_of(self.caller_stream())

    def caller_stream(self) -> Stream:
        with self.device():
            return self._cupy.cuda.get_current_stream()

    def new_stream(self) -> Stream:
        with self.device():
            return self._cupy.cuda.Stream(non_blocking=True)

    def pointer_of(self, stream: Stream) -> int:
        pointer: int = stream.ptr
        return pointer

    def synchronize(self, stream: Stream) -> None:
        stream.synchronize()

    def follow(self, stream: Stream, leader: Stream) -> None:
        event = self.new_event()
        event.record(leader)
        stream.wait_event(event)

    def new_event(self) -> Event:
        with self.device():
            return self._cupy.cuda.Event(disable_timing=True)

    def record(self, event: Event, stream: Stream) -> None:
        event.record(stream)

    def wait(self, event: Event) -> None:
        event.synchronize()

    def capture(self, function: Callable[[], None], stream: Stream) -> Graph:
        with self.device(), stream:
            stream.begin_capture()
            try:
                function()
            except BaseException:
                with contextlib.suppress(Exception):
                    stream.end_capture()
                raise
            return _CupyGraph(stream.end_capture(), stream)


class _CupyGraph:
    """A captured graph, with the stream that it is launched on."""

    def __init__(self, graph: Any, stream: Stream) -> None:
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        self._graph.launch(self._stream)


def _check_same(one: Array, other: Array) -> None:
    """That a copy of ``one`` is ``other``."""
    if one.shape != other.shape or one.dtype != other.dtype:
        raise ValueError(
            f"cannot copy {one.dtype} of shape {one.shape} to {other.dtype} of shape {other.shape}"
        )
