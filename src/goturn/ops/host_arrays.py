"""Arrays in host memory: how they are put together, the same for every device that works on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class HostArrays:
    """What :class:`goturn.ops.interface.Ops` has for arrays, with NumPy's."""

    on_host = True

    def from_numpy(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, order="C")

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        return array

    def take_rows(self, x: np.ndarray, index: np.ndarray) -> np.ndarray:
        rows: np.ndarray = x[index]
        return rows

    def sum_rows(self, x: np.ndarray, index: np.ndarray, count: int) -> np.ndarray:
        sums = np.zeros((count, x.shape[1]), x.dtype)
        np.add.at(sums, index, x)
        return sums

    def concatenate(self, arrays: Sequence[np.ndarray], *, axis: int = 0) -> np.ndarray:
        return np.concatenate(arrays, axis)

    def stack(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(arrays)

    def contiguous(self, matrix: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(matrix)

    def scale(self, x: np.ndarray, factor: float) -> np.ndarray:
        y: np.ndarray = x * x.dtype.type(factor)
        return y

    def add_to(self, y: np.ndarray, x: np.ndarray) -> None:
        y += x
