"""Convolution and max pooling in NumPy: both read an image through a window that slides over it.

The one idea used throughout is the *tap*: position (r, s) of the window.  Over all windows a tap reads a
strided slice of the image, so a window operation is a few array operations per tap instead of a loop over
pixels.  Shape letters as in :mod:`goturn.ops.interface`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import EllipsisType

import numpy as np

#: Indexes the last two axes of an array: rows and columns.
Region = tuple[EllipsisType, slice, slice]


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    stride: int,
    pad: int,
    groups: int,
    relu: bool,
) -> np.ndarray:
    """See :meth:`goturn.ops.interface.Ops.conv2d`.  One item at a time: a batch costs one item's memory
    and gives each item the same bits as a batch of one.
    """
    rows, columns = conv_output_size(x, weight, stride, pad, groups)
    if bias.shape != weight.shape[:1]:
        raise ValueError(
            f"conv2d: bias has shape {bias.shape}, weight {weight.shape} needs ({weight.shape[0]},)"
        )
    y = np.empty((len(x), len(weight), rows * columns), x.dtype)
    unfolded = _Unfolded(x, weight, (rows, columns), stride=stride, pad=pad, groups=groups)
    filters = weight.reshape(groups, len(weight) // groups, -1)
    for index, item in enumerate(x):
        out = y[index]
        np.matmul(filters, unfolded.unfold(item), out=out.reshape(groups, -1, rows * columns))
        out += bias[:, None]
        if relu:
            np.maximum(out, 0, out=out)
    return y.reshape(len(x), len(weight), rows, columns)


def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    stride: int,
    pad: int,
    groups: int,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """See :meth:`goturn.ops.interface.Ops.conv2d_backward`."""
    rows, columns = conv_output_size(x, weight, stride, pad, groups)
    if dy.shape != (len(x), len(weight), rows, columns):
        raise ValueError(
            f"conv2d_backward: dy has shape {dy.shape}, the output of x {x.shape} and weight "
            f"{weight.shape} has {(len(x), len(weight), rows, columns)}"
        )
    unfolded = _Unfolded(x, weight, (rows, columns), stride=stride, pad=pad, groups=groups)
    filters = weight.reshape(groups, len(weight) // groups, -1)
    dx = np.zeros_like(x) if need_dx else None
    dweight = np.zeros_like(filters)
    for index, item in enumerate(x):
        d_out = dy[index].reshape(groups, -1, rows * columns)
        dweight += d_out @ unfolded.unfold(item).transpose(0, 2, 1)
        if dx is not None:
            unfolded.fold(filters.transpose(0, 2, 1) @ d_out, dx[index])
    return dx, dweight.reshape(weight.shape), dy.sum(axis=(0, 2, 3))


class _Unfolded:
    """The column matrix of one item (im2col), in a buffer that is used again for the next item.

    Shape (groups, C / groups * R * S, P * Q): a column is what one window sees, zero outside the image,
    so that a convolution is filters (groups, K / groups, C / groups * R * S) @ columns.
    """

    def __init__(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        output_size: tuple[int, int],
        *,
        stride: int,
        pad: int,
        groups: int,
    ) -> None:
        kernel = weight.shape[2:]
        self.groups = groups
        self.taps = list(window_taps(x.shape[2:], output_size, kernel, stride, pad))
        # Windows always leave the same taps outside the image, so zeros written once stay zero.
        self.buffer = np.zeros((x.shape[1], kernel[0] * kernel[1], *output_size), x.dtype)

    def unfold(self, item: np.ndarray) -> np.ndarray:
        """The column matrix of ``item`` (C, H, W), valid until the next call."""
        for tap, (window, image) in enumerate(self.taps):
            self.buffer[:, tap][window] = item[image]
        rows, columns = self.buffer.shape[2:]
        return self.buffer.reshape(self.groups, -1, rows * columns)

    def fold(self, columns: np.ndarray, item: np.ndarray) -> None:
        """The transpose of ``unfold``: adds each element of ``columns`` to the pixel it was read from."""
        shaped = columns.reshape(self.buffer.shape)
        for tap, (window, image) in enumerate(self.taps):
            item[image] += shaped[:, tap][window]


def max_pool(x: np.ndarray, *, kernel: int, stride: int, pad: int) -> np.ndarray:
    """See :meth:`goturn.ops.interface.Ops.max_pool`.  A window that holds a NaN gives NaN."""
    size = pool_output_size(x, kernel, stride, pad)
    y = np.full((*x.shape[:2], *size), -np.inf, x.dtype)
    for window, image in window_taps(x.shape[2:], size, (kernel, kernel), stride, pad):
        view = y[window]
        np.maximum(view, x[image], out=view)
    return y


def max_pool_backward(
    dy: np.ndarray, x: np.ndarray, *, kernel: int, stride: int, pad: int
) -> np.ndarray:
    """See :meth:`goturn.ops.interface.Ops.max_pool_backward`.  A window of NaN passes nothing back."""
    y = max_pool(x, kernel=kernel, stride=stride, pad=pad)
    if dy.shape != y.shape:
        raise ValueError(
            f"max_pool_backward: dy has shape {dy.shape}, the output of x {x.shape} has {y.shape}"
        )
    dx = np.zeros_like(x)
    waiting = np.ones(y.shape, bool)
    for window, image in window_taps(x.shape[2:], y.shape[2:], (kernel, kernel), stride, pad):
        first = waiting[window] & (x[image] == y[window])
        dx[image] += np.where(first, dy[window], 0)
        waiting[window] &= ~first
    return dx


# -- sizes and taps ------------------------------------------------------------------------------


def conv_output_size(
    x: np.ndarray, weight: np.ndarray, stride: int, pad: int, groups: int
) -> tuple[int, int]:
    """(P, Q) = floor((H + 2 pad - R) / stride) + 1 and likewise for the width.

    Raises:
        ValueError: x, weight and groups do not fit each other.
    """
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"conv2d: x (N, C, H, W) and weight (K, C / groups, R, S) have 4 dimensions each; "
            f"got shapes {x.shape} and {weight.shape}"
        )
    if stride < 1 or pad < 0 or groups < 1:
        raise ValueError(
            f"conv2d: stride and groups must be >= 1 and pad >= 0; got stride {stride}, "
            f"groups {groups}, pad {pad}"
        )
    channels, per_group = x.shape[1], weight.shape[1]
    if channels != per_group * groups:
        fits = per_group and channels % per_group == 0
        hint = f"; did you pass groups={channels // per_group}?" if fits else ""
        raise ValueError(
            f"conv2d: weight has {per_group} input channels per group, input has {channels} / "
            f"{groups} group{'s' if groups > 1 else ''} = {channels / groups:g}{hint}"
        )
    if len(weight) % groups:
        raise ValueError(
            f"conv2d: {len(weight)} output channels do not divide into {groups} groups"
        )
    rows, columns = (
        (extent + 2 * pad - kernel) // stride + 1
        for extent, kernel in zip(x.shape[2:], weight.shape[2:], strict=True)
    )
    if min(rows, columns) < 1:
        raise ValueError(
            f"conv2d: a kernel of {weight.shape[2]}x{weight.shape[3]} does not fit into an input of "
            f"{x.shape[2]}x{x.shape[3]} with pad {pad}"
        )
    return rows, columns


def pool_output_size(x: np.ndarray, kernel: int, stride: int, pad: int) -> tuple[int, int]:
    """(P, Q) of max_pool, by Caffe's ceil mode.

    Raises:
        ValueError: x has not 4 dimensions, or the window does not fit it.
    """
    if x.ndim != 4:
        raise ValueError(f"max_pool: x (N, C, H, W) has 4 dimensions; got shape {x.shape}")
    if kernel < 1 or stride < 1 or not 0 <= pad < kernel:
        raise ValueError(
            f"max_pool: kernel and stride must be >= 1 and 0 <= pad < kernel; got kernel {kernel}, "
            f"stride {stride}, pad {pad}"
        )
    if min(x.shape[2:]) + 2 * pad < kernel:
        raise ValueError(
            f"max_pool: a kernel of {kernel}x{kernel} does not fit into an input of "
            f"{x.shape[2]}x{x.shape[3]} with pad {pad}"
        )

    def extent(size: int) -> int:
        count = -(-(size + 2 * pad - kernel) // stride) + 1
        return count - 1 if (count - 1) * stride >= size + pad else count

    return extent(x.shape[2]), extent(x.shape[3])


def window_taps(
    image_size: tuple[int, ...],
    output_size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: int,
    pad: int,
) -> Iterator[tuple[Region, Region]]:
    """For each tap, row-major: the windows in which it lies inside the image, and the pixels it reads.

    Both are regions of one size, the first of the output (P, Q), the second of the image (H, W).
    """
    vertical, horizontal = (
        [_tap(tap, size, count, stride, pad) for tap in range(extent)]
        for size, count, extent in zip(image_size, output_size, kernel, strict=True)
    )
    for window_rows, image_rows in vertical:
        for window_columns, image_columns in horizontal:
            yield (..., window_rows, window_columns), (..., image_rows, image_columns)


def _tap(tap: int, size: int, count: int, stride: int, pad: int) -> tuple[slice, slice]:
    """Along one axis: the windows p with 0 <= p * stride - pad + tap < size, and those positions."""
    first = max(0, -(-(pad - tap) // stride))
    last = max(first, min(count, -(-(size + pad - tap) // stride)))
    start = first * stride - pad + tap
    return slice(first, last), slice(start, start + (last - first) * stride, stride)
