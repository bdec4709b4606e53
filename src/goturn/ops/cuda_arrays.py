"""Arrays on a GPU: how they are made, moved, put together and laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from goturn.ops.cuda_memory import Memory
from goturn.ops.interface import Array


class CudaArrays:
    """What :class:`goturn.ops.interface.Ops` has for arrays, on a GPU, and what its operations share.

    Args:
        kernels: the module ``goturn._cuda``.
        memory: its device's.
    """

    on_host = False

    def __init__(self, kernels: Any, memory: Memory) -> None:
        self.kernels, self.memory = kernels, memory

    def from_numpy(self, array: np.ndarray) -> Array:
        return self.memory.from_numpy(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self.memory.to_numpy(array)

    def concatenate(self, arrays: Sequence[Array], *, axis: int = 0) -> Array:
        shape = list(arrays[0].shape)
        shape[axis] = sum(array.shape[axis] for array in arrays)
        joined = self._empty(tuple(shape))
        start = 0
        for array in arrays:
            stop = start + array.shape[axis]
            part = joined[start:stop] if axis == 0 else joined[:, start:stop]
            self._copy(array, part)
            start = stop
        return joined

    def stack(self, arrays: Sequence[Array]) -> Array:
        joined = self._empty((len(arrays), *arrays[0].shape))
        for index, array in enumerate(arrays):
            self._copy(array, joined[index])
        return joined

    def contiguous(self, matrix: Array) -> Array:
        if matrix.flags.c_contiguous:
            return matrix
        copy = self._empty(matrix.shape)
        self._copy(matrix, copy)
        return copy

    def scale(self, x: Array, factor: float) -> Array:
        y = self._empty(x.shape)
        self._copy(x, y, factor)
        return y

    def add_to(self, y: Array, x: Array) -> None:
        self._launch("add", x, y)

    def take_rows(self, x: Array, index: np.ndarray) -> Array:
        rows = self._empty((len(index), x.shape[1]))
        self._launch("gather_rows", self._index(index, len(x)), x, rows)
        return rows

    def sum_rows(self, x: Array, index: np.ndarray, count: int) -> Array:
        sums = self._empty((count, x.shape[1]))
        self._launch("sum_rows", self._index(index, count), x, sums)
        return sums

    def _index(self, index: np.ndarray, rows: int) -> Array:
        """Numbers of ``rows`` rows on the device, where nothing checks them."""
        numbers = np.asarray(index)
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < rows:
            raise IndexError(
                f"rows must be 0 to {rows - 1}; got {numbers.min()} to {numbers.max()}"
            )
        return self.memory.from_numpy(numbers.astype(np.int32))

    # -- for the operations ---------------------------------------------------------------------------

    def _empty(self, shape: tuple[int, ...]) -> Array:
        return self.memory.empty(shape, np.float32)

    def _launch(self, op: str, *arguments: Any, **parameters: Any) -> None:
        """Calls a kernel's function on the current stream."""
        with self.memory.device():
            stream = self.memory.current_stream()
            getattr(self.kernels, op)(*arguments, **parameters, stream=stream)

    def _nhwc(self, x: Array) -> Array:
        """(N, C, H, W) as (N, H, W, C), or (K, C, R, S) as (K, R, S, C)."""
        n, c, h, w = x.shape
        y = self._empty((n, h, w, c))
        self._launch("nchw_to_nhwc", x, y)
        return y

    def _nchw(self, x: Array) -> Array:
        n, h, w, c = x.shape
        y = self._empty((n, c, h, w))
        self._launch("nhwc_to_nchw", x, y)
        return y

    def _copy(self, x: Array, to: Array, factor: float = 1.0) -> None:
        """Copies float32 values: matrices whose rows may lie apart, or arrays that lie together."""
        if x.flags.c_contiguous and to.flags.c_contiguous:
            x, to = x.reshape(1, -1), to.reshape(1, -1)
        self._launch("copy_rows", x, to, factor=factor)
