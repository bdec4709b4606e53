"""Cropping and resizing search windows, stated in NumPy: the meaning of every ``crop_resize``.

The resize is OpenCV's ``INTER_LINEAR`` on 8-bit images, which the network was trained with, bit for
bit: separable, in fixed point.  Along an axis, output d samples the source at (d + 0.5) * scale -
0.5, held as a float32; its fraction gives two weights in units of 1/2048.  Columns come first,
exactly, in int32; then rows, with 4 bits dropped before and 16 after each product, and the sum
rounded.  OpenCV treats equal sizes and halvings apart (a copy, the mean of 2 x 2 pixels); these
formulas give the same values.

The canvas of a window may be a thousand million pixels wide.  It is never made: each output pixel
takes its four taps from the frame, or black where they fall outside the visible part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from goturn.box import SearchWindow

#: Largest side of a crop, pixels.
MAX_CROP_SIZE = 1 << 13

#: Largest side of a window's canvas, pixels: up to here its coordinates are exact doubles.
MAX_CANVAS_SIZE = 1 << 53

#: Largest mean, of either sign.
MAX_MEAN = 1e6

_WEIGHT_ONE = 2048
_COLOUR_ORDERS = ("BGR", "RGB")


def crop_resize(
    frame: np.ndarray,
    windows: Sequence[SearchWindow],
    *,
    size: int,
    mean: tuple[float, float, float],
    colour_order: str = "BGR",
) -> np.ndarray:
    """The search windows of ``frame``, resized to size x size, less the mean.

    Takes memory for a few crops, whatever the size of the windows.

    Args:
        frame: (H, W, C) uint8 with C of 1 (grey), 3 (BGR) or 4 (BGRA, alpha dropped), any strides.
        windows: N windows of this frame.
        size: side of the crops, pixels.
        mean: per channel, in the order of ``colour_order``.
        colour_order: order of the output's planes, "BGR" or "RGB".

    Returns:
        (N, 3, size, size) float32.

    Raises:
        TypeError: the frame is not a uint8 array, or a window's sizes are not whole numbers.
        ValueError: a shape, size, mean or colour order other than above, or a window that does not
            fit the frame.
    """
    _check_arguments(frame, size, mean, colour_order)
    table = window_table(windows)
    _check_windows(table, frame.shape[0], frame.shape[1])

    crops = np.empty((len(table), 3, size, size), np.float32)
    offset = np.asarray(mean, np.float32).reshape(3, 1, 1)
    for index, window in enumerate(table):
        planes = _resize(frame[:, :, :3], window, size).transpose(2, 0, 1)
        crops[index] = planes if colour_order == "BGR" else planes[::-1]
    crops -= offset
    return crops


def window_table(windows: Sequence[SearchWindow]) -> np.ndarray:
    """The pixels of ``windows`` as (N, 8) int64, C-contiguous, which is how native code takes them.

    Columns: width, height, paste_x, paste_y, left, top, columns, rows, as in
    :class:`goturn.box.SearchWindow`.

    Raises:
        TypeError: not windows, or sizes and positions that are not whole numbers of 64 bits.
        ValueError: an edge spacing that is not finite.
    """
    try:
        rows = [
            (w.width, w.height, w.paste_x, w.paste_y, w.left, w.top, w.columns, w.rows)
            for w in windows
        ]
    except (AttributeError, TypeError) as error:
        raise TypeError("crop_resize: windows must be a sequence of SearchWindow") from error
    except (ValueError, OverflowError) as error:
        raise ValueError("crop_resize: a window's edge spacing must be finite") from error
    if not rows:
        return np.empty((0, 8), np.int64)
    table = np.array(rows)
    if table.dtype != np.int64:
        raise TypeError(
            "crop_resize: a window's sizes and positions must be whole numbers of 64 bits"
        )
    return table


def _resize(frame: np.ndarray, window: np.ndarray, size: int) -> np.ndarray:
    """One window, resized: (size, size, C) int32, 0..255."""
    width, height, paste_x, paste_y, left, top, columns, rows = (int(value) for value in window)
    visible = frame[top : top + rows, left : left + columns]

    x_low, fraction = _sample_points(width, size)
    # Columns beyond the first and last sample have no neighbour: they are taken as they are.
    fraction = np.where((x_low < 0) | (x_low >= width - 1), np.float32(0), fraction)
    x_taps = [np.clip(x, 0, width - 1) - paste_x for x in (x_low, x_low + 1)]
    x_weights = [weight[:, np.newaxis] for weight in _weights(fraction)]

    y_low, fraction = _sample_points(height, size)
    # Rows beyond the first and last are repeated instead, and both of their products truncated.
    y_taps = [np.clip(y, 0, height - 1) - paste_y for y in (y_low, y_low + 1)]
    y_weights = [weight[:, np.newaxis, np.newaxis] for weight in _weights(fraction)]

    total: np.ndarray = np.zeros((size, size, frame.shape[2]), np.int32)
    for y, y_weight in zip(y_taps, y_weights, strict=True):
        across = sum(
            _gather(visible, y, x) * x_weight for x, x_weight in zip(x_taps, x_weights, strict=True)
        )
        total += ((across >> 4) * y_weight) >> 16
    return (total + 2) >> 2


def _sample_points(extent: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where ``size`` outputs sample an axis of ``extent``: pixel below (int64), fraction (float32)."""
    scale = 1.0 / (size / extent)  # as OpenCV has it; extent / size can differ in the last bit
    position = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
    low = np.floor(position)
    return low.astype(np.int64), position - low


def _weights(fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (int32, in 1/2048) of the pixel below and the pixel above."""
    unit = np.float32(_WEIGHT_ONE)
    below = np.rint((np.float32(1) - fraction) * unit).astype(np.int32)
    return below, np.rint(fraction * unit).astype(np.int32)


def _gather(visible: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Pixels (len(y), len(x), C) int32 at rows ``y``, columns ``x`` of ``visible``; 0 outside."""
    rows, columns = visible.shape[:2]
    y_inside, x_inside = (y >= 0) & (y < rows), (x >= 0) & (x < columns)
    pixels = visible[np.where(y_inside, y, 0)[:, np.newaxis], np.where(x_inside, x, 0)]
    inside = y_inside[:, np.newaxis, np.newaxis] & x_inside[:, np.newaxis]
    return np.where(inside, pixels.astype(np.int32), 0)


def _check_arguments(
    frame: np.ndarray, size: int, mean: tuple[float, float, float], colour_order: str
) -> None:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8:
        kind = getattr(frame, "dtype", type(frame).__name__)
        raise TypeError(f"crop_resize: frame must be an array of uint8; got {kind}")
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4) or frame.size == 0:
        raise ValueError(
            "crop_resize: frame must be (H, W, C) with at least one pixel and C of 1, 3 or 4; "
            f"got {frame.shape}"
        )
    if not 1 <= size <= MAX_CROP_SIZE:
        raise ValueError(f"crop_resize: size must be 1 to {MAX_CROP_SIZE} pixels; got {size}")
    if len(mean) != 3 or not all(abs(value) <= MAX_MEAN for value in mean):  # false for NaN too
        raise ValueError("crop_resize: mean must be three numbers between -1e6 and 1e6")
    if colour_order not in _COLOUR_ORDERS:
        raise ValueError(f"crop_resize: colour_order must be BGR or RGB; got {colour_order}")


def _check_windows(table: np.ndarray, frame_height: int, frame_width: int) -> None:
    """Raises ValueError where a window's visible part is not inside the frame and the canvas."""
    for index, window in enumerate(table.tolist()):
        width, height, paste_x, paste_y, left, top, columns, rows = window
        label = f"crop_resize: window {index}"
        for axis, canvas, paste, first, count, extent in (
            ("x", width, paste_x, left, columns, frame_width),
            ("y", height, paste_y, top, rows, frame_height),
        ):
            if not 1 <= canvas <= MAX_CANVAS_SIZE:
                raise ValueError(
                    f"{label}: canvas must be 1 to {MAX_CANVAS_SIZE} pixels in {axis}; got {canvas}"
                )
            if first < 0 or count < 1 or first > extent - count:
                raise ValueError(
                    f"{label}: visible part, {count} pixels from {first} in {axis}, is not inside "
                    f"the frame of {extent}"
                )
            if paste < 0 or paste > canvas - count:
                raise ValueError(
                    f"{label}: visible part, {count} pixels at {paste} in {axis}, is not inside "
                    f"the canvas of {canvas}"
                )
