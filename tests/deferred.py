"""The emulation of the CUDA kernels with streams: work is done as late as a GPU may do it.

What is enqueued in a stream waits there until somebody waits for it: the host (``synchronize``,
``wait``, copies that return numbers) or a stream that follows.  Then that runs which must, and nothing
else.  A stream that is ``prompt`` does its work when it is enqueued instead, which a GPU may as well.

Memory is handed out as by CuPy's pool: what is freed is soon somebody else's, whatever streams still do
with it.  What is enqueued, and what a graph holds, keeps no array alive.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emulated import NumpyMemory, emulated_kernels
from goturn.ops.cuda import CudaOps
from goturn.ops.cuda_memory import DType, Graph, Shape

#: Blocks are multiples of this, so that nearly every array may get any freed block.
_BLOCK = 1 << 18

_ALIGNMENT = 256


class OnDevice(np.ndarray):
    """An array that counts as one in device memory."""


class Foreign:
    """An array on the device that another library works on, in streams that nobody here knows."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


class Stream:
    """A queue of work."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.prompt = False
        self.waiting: deque[Callable[[], None]] = deque()
        self.done = 0

    @property
    def end(self) -> int:
        """The position behind what is enqueued."""
        return self.done + len(self.waiting)

    def run(self, position: int | None = None) -> None:
        """Does what comes before ``position``; by default, all."""
        position = self.end if position is None else position
        while self.done < position:
            self.done += 1
            self.waiting.popleft()()


class Event:
    """A position in a stream."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.position = 0


class DeferredMemory(NumpyMemory):
    """:class:`goturn.ops.cuda_memory.Memory` in host memory, with streams."""

    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._capturing: tuple[Stream, list[Callable[[], None]]] | None = None
        self._raw: dict[int, bytearray] = {}  # every block there is, by its address
        self._free: defaultdict[tuple[str, int], list[bytearray]] = defaultdict(list)
        self.current = self.new_stream()

    # -- for tests -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """Within it, ``stream`` is the caller's current one."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        """``pixels`` on the device, once the current stream gets to it."""
        frame = self.empty(pixels.shape, pixels.dtype)
        self.write(frame, pixels)
        return frame.view(OnDevice)

    def write(self, to: np.ndarray, values: Any) -> None:
        """Enqueues it in the current stream, as an expression of CuPy does."""
        target, kept = self._alias(to), np.array(values)
        self.enqueue(self.current, lambda: np.copyto(target, kept, casting="unsafe"))

    def seize(self) -> list[np.ndarray]:
        """Takes all memory that is free and writes it full at once, as another part of the program may.

        :func:`seized` says whether it is still so.
        """
        gc.collect()
        arrays = []
        for (where, _), blocks in self._free.items():
            while blocks:
                raw = blocks.pop()
                array = self._array(raw, where, len(raw) - _ALIGNMENT)
                array[...] = 0x7F
                arrays.append(array)
        return arrays

    def is_idle(self) -> bool:
        """Whether only the caller's stream has something to do."""
        return not any(s.waiting for s in self._streams if s is not self.current)

    def finish(self) -> None:
        """Does everything."""
        for stream in self._streams:
            stream.run()

    def forget(self) -> None:
        """Drops what is not done: after a test that failed, it may be on memory that is not there."""
        for stream in self._streams:
            stream.done += len(stream.waiting)
            stream.waiting.clear()

    # -- queues ----------------------------------------------------------------------------------

    def stream_of(self, pointer: int) -> Stream:
        return next(stream for stream in self._streams if stream.number == pointer)

    def enqueue(self, stream: Stream, work: Callable[[], None]) -> None:
        if self._capturing is not None and self._capturing[0] is stream:
            self._capturing[1].append(work)
            return
        stream.waiting.append(work)
        if stream.prompt:
            stream.run()

    def enqueue_call(self, stream: Stream, function: Any, /, *arguments: Any, **named: Any) -> None:
        """Enqueues a call with arrays, which it does not keep alive."""
        given = [self._alias(x) for x in arguments]
        kept = {name: self._alias(x) for name, x in named.items()}
        self.enqueue(stream, lambda: function(*given, **kept))

    # -- arrays ----------------------------------------------------------------------------------

    def empty(self, shape: Shape, dtype: DType) -> np.ndarray:
        array = self._allocate(shape, dtype, f"of stream {self.current.number}")
        # The stream may still do something with the memory that its last owner enqueued there.
        self.enqueue_call(self.current, _spoil, array)
        return array

    def zeros(self, shape: Shape, dtype: DType) -> np.ndarray:
        array = self.empty(shape, dtype)
        self.enqueue_call(self.current, np.copyto, array, 0)
        return array

    def from_numpy(self, array: np.ndarray) -> np.ndarray:
        copy = self.empty(array.shape, array.dtype)
        self.copy_from_numpy(array, copy)
        return copy

    def copy_from_numpy(self, array: np.ndarray, to: np.ndarray) -> None:
        self.current.run()
        super().copy_from_numpy(array, to)

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        self.current.run()
        return np.array(array)

    def pinned(self, shape: Shape, dtype: DType) -> np.ndarray:
        array = self._allocate(shape, dtype, "pinned")
        _spoil(array)
        return array

    def upload(self, host: np.ndarray, device: np.ndarray, stream: Stream) -> None:
        self.enqueue_call(stream, super().copy_from_numpy, host, device)

    def download(self, device: np.ndarray, host: np.ndarray, stream: Stream) -> None:
        self.enqueue_call(stream, super().copy_from_numpy, device, host)

    def view(self, given: Any) -> np.ndarray | None:
        if isinstance(given, Foreign):
            return given.array
        return given if isinstance(given, OnDevice) else None

    # -- streams ---------------------------------------------------------------------------------

    def current_stream(self) -> int:
        return self.current.number

    def caller_stream(self) -> Stream:
        return self.current

    def new_stream(self) -> Stream:
        stream = Stream(1000 + len(self._streams))
        self._streams.append(stream)
        return stream

    def pointer_of(self, stream: Stream) -> int:
        return stream.number

    def synchronize(self, stream: Stream) -> None:
        assert self._capturing is None
        stream.run()

    def follow(self, stream: Stream, leader: Stream) -> None:
        assert self._capturing is None
        position = leader.end
        self.enqueue(stream, lambda: leader.run(position))

    def new_event(self) -> Event:
        return Event()

    def record(self, event: Event, stream: Stream) -> None:
        assert self._capturing is None
        event.stream, event.position = stream, stream.end

    def wait(self, event: Event) -> None:
        assert self._capturing is None
        if event.stream is not None:
            event.stream.run(event.position)

    def capture(self, function: Callable[[], None], stream: Stream) -> Graph:
        assert self._capturing is None
        calls: list[Callable[[], None]] = []
        self._capturing = stream, calls
        try:
            function()
        finally:
            self._capturing = None
        return _Calls(self, calls, stream)

    # -- the pool --------------------------------------------------------------------------------

    def _allocate(self, shape: Shape, dtype: DType, where: str) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        room = max(1, -(-size // _BLOCK)) * _BLOCK
        free = self._free[where, room]
        raw = free.pop() if free else bytearray(b"\xff") * (room + _ALIGNMENT)
        return self._array(raw, where, size).view(dtype).reshape(shape)

    def _array(self, raw: bytearray, where: str, size: int) -> np.ndarray:
        """The first ``size`` aligned bytes; the block is free again when no view of them is left."""
        whole = np.frombuffer(raw, np.uint8)
        address = whole.ctypes.data
        self._raw[address] = raw
        key = (where, len(raw) - _ALIGNMENT)
        weakref.finalize(whole, self._free[key].append, raw).atexit = False
        start = -address % _ALIGNMENT
        return whole[start : start + size]

    def _alias(self, given: Any) -> Any:
        """An array of this memory as one that does not keep the memory from being freed."""
        if not isinstance(given, np.ndarray):
            return given
        owner = given
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        raw = self._raw.get(owner.ctypes.data)
        if raw is None:
            return given
        offset = given.ctypes.data - owner.ctypes.data
        return np.ndarray(given.shape, given.dtype, raw, offset, given.strides)


def seized(arrays: list[np.ndarray]) -> bool:
    """Whether what :meth:`DeferredMemory.seize` gave is as it was."""
    return all((array == 0x7F).all() for array in arrays)


def deferred_ops() -> CudaOps:
    """The CUDA backend on the emulation with streams, or the test is skipped where it is not built."""
    memory = DeferredMemory()
    return CudaOps(_DeferredKernels(emulated_kernels(), memory), memory)


class _DeferredKernels:
    """The emulated module; what takes a stream is enqueued there."""

    def __init__(self, kernels: Any, memory: DeferredMemory) -> None:
        self._kernels, self._memory = kernels, memory

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._kernels, name)
        if not callable(function):
            return function

        def call(*arguments: Any, **named: Any) -> Any:
            if "stream" not in named:
                return function(*arguments, **named)
            stream = self._memory.stream_of(named["stream"])
            self._memory.enqueue_call(stream, function, *arguments, **{**named, "stream": 0})
            return None

        return call


class _Calls:
    """A captured graph."""

    def __init__(
        self, memory: DeferredMemory, calls: list[Callable[[], None]], stream: Stream
    ) -> None:
        self._memory, self._calls, self._stream = memory, calls, stream

    def launch(self) -> None:
        for call in self._calls:
            self._memory.enqueue(self._stream, call)


def _spoil(array: np.ndarray) -> None:
    """NaN as a float: what reads it before it is written shows."""
    array.reshape(-1).view(np.uint8)[...] = 0xFF
