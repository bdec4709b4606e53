"""The CUDA backend without a GPU: its kernels, compiled as C++ (csrc/emulation), on NumPy arrays.

tools/emulate.sh builds the module ``goturn._cuda_emulated`` and runs the tests with it;
GOTURN_CUDA_EMULATED names the file of one that is built elsewhere.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from goturn.ops.cuda import CudaOps
from goturn.ops.cuda_memory import DType, Event, Graph, Shape, Stream

_MODULE = "goturn._cuda_emulated"


def emulated_kernels() -> Any:
    """The module, or the test is skipped where there is none."""
    path = os.environ.get("GOTURN_CUDA_EMULATED")
    if path and _MODULE not in sys.modules:
        spec = importlib.util.spec_from_file_location(_MODULE, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_MODULE] = module
    try:
        return importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        if error.name != _MODULE:
            raise
        pytest.skip("the emulation of the CUDA kernels is not built; tools/emulate.sh builds it")


def emulated_ops(products: str | None = None) -> CudaOps:
    """The CUDA backend on the emulation, or the test is skipped where it is not built."""
    return CudaOps(emulated_kernels(), NumpyMemory(), products)


class NumpyMemory:
    """:class:`goturn.ops.cuda_memory.Memory` in host memory, where everything is done at once."""

    name = "cuda:0"

    def device(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def empty(self, shape: Shape, dtype: DType) -> np.ndarray:
        array = _aligned(shape, dtype)
        # NaN as a float: what reads it before it is written shows.
        array.reshape(-1).view(np.uint8)[:] = 0xFF
        return array

    def zeros(self, shape: Shape, dtype: DType) -> np.ndarray:
        array = _aligned(shape, dtype)
        array[...] = 0
        return array

    def from_numpy(self, array: np.ndarray) -> np.ndarray:
        copy = _aligned(array.shape, array.dtype)
        copy[...] = array
        return copy

    def copy_from_numpy(self, array: np.ndarray, to: np.ndarray) -> None:
        assert (array.shape, array.dtype) == (to.shape, to.dtype)
        to[...] = array

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        copy: np.ndarray = array.copy()
        return copy

    def pinned(self, shape: Shape, dtype: DType) -> np.ndarray:
        return _aligned(shape, dtype)

    def upload(self, host: np.ndarray, device: np.ndarray, stream: Stream) -> None:
        self.copy_from_numpy(host, device)

    def download(self, device: np.ndarray, host: np.ndarray, stream: Stream) -> None:
        self.copy_from_numpy(device, host)

    def view(self, given: Any) -> np.ndarray | None:
        return None  # NumPy arrays count as the caller's, in host memory

    def current_stream(self) -> int:
        return 0

    def caller_stream(self) -> Stream:
        return 0

    def new_stream(self) -> Stream:
        return 0

    def pointer_of(self, stream: Stream) -> int:
        return 0

    def synchronize(self, stream: Stream) -> None:
        pass

    def follow(self, stream: Stream, leader: Stream) -> None:
        pass

    def new_event(self) -> Event:
        return None

    def record(self, event: Event, stream: Stream) -> None:
        pass

    def wait(self, event: Event) -> None:
        pass

    def capture(self, function: Callable[[], None], stream: Stream) -> Graph:
        return _Again(function)


class _Again:
    """A graph whose launch calls the function once more; as a graph does, it keeps no object alive."""

    def __init__(self, function: Callable[[], None]) -> None:
        method = hasattr(function, "__self__")
        self._function = weakref.WeakMethod(function) if method else lambda: function

    def launch(self) -> None:
        function = self._function()
        assert function is not None, "what the graph works on is gone"
        function()


def _aligned(shape: Shape, dtype: DType) -> np.ndarray:
    """An array that begins at an address that 256 divides, as those of a GPU do."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 255, np.uint8)
    start = -memory.ctypes.data % 256
    return memory[start : start + size].view(dtype).reshape(shape)
