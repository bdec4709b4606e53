"""fc weights in fewer bits, in NumPy: the plain statement of the formats and of products with them."""

from __future__ import annotations

import numpy as np

from goturn.ops.interface import CompressedWeight

#: What weights can be in; not every device offers each.
PRECISIONS = ("fp32", "bf16", "fp16", "int8")

_DTYPES = {"bf16": np.uint16, "fp16": np.float16, "int8": np.int8}

#: Rows that are expanded or converted at a time: no copy of a whole large matrix is made.
_ROWS = 256


def compress(weight: np.ndarray, precision: str) -> CompressedWeight:
    """``weight`` (out, in) float32 in ``precision``: see :meth:`goturn.ops.interface.Ops.compress`."""
    check_compress(weight, precision, PRECISIONS)
    values = np.empty(weight.shape, _DTYPES[precision])
    scale = np.empty(len(weight), np.float32) if precision == "int8" else None
    for start in range(0, len(weight), _ROWS):
        rows = slice(start, start + _ROWS)
        if scale is not None:
            values[rows], scale[rows] = to_int8(weight[rows])
        elif precision == "bf16":
            values[rows] = to_bf16(weight[rows])
        else:
            values[rows] = to_fp16(weight[rows])
    return CompressedWeight(precision, values, scale)


def check_compress(weight: np.ndarray, precision: str, offered: tuple[str, ...]) -> None:
    """That ``weight`` is a float32 matrix and ``precision`` fewer bits than it has, and ``offered``."""
    names = [name for name in offered if name in _DTYPES]
    if precision not in names:
        raise ValueError(
            f"compress: precision must be one of {', '.join(names)}; got {precision!r}"
        )
    if weight.dtype != np.float32:
        raise TypeError(
            f"compress: weight must be float32; got {weight.dtype}; convert with astype"
        )
    if weight.ndim != 2:
        raise ValueError(f"compress: weight must be (out, in); got shape {weight.shape}")


def to_bf16(weight: np.ndarray) -> np.ndarray:
    """The upper 16 bits of each float32, rounded to nearest, ties to even; a NaN stays a NaN."""
    bits = np.ascontiguousarray(weight).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (np.uint32(0x7FFF) + (upper & 1))) >> 16  # a NaN may wrap around here
    halves: np.ndarray = np.where(np.isnan(weight), upper | 0x40, rounded).astype(np.uint16)
    return halves


def to_fp16(weight: np.ndarray) -> np.ndarray:
    """The nearest half precision number of each float32, ties to even.

    Raises:
        ValueError: a weight beyond its range, or not finite.
    """
    with np.errstate(over="ignore"):
        halves: np.ndarray = weight.astype(np.float16)
    check_range(halves)
    return halves


def to_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values in -127..127 and a scale for each row, whose products are near ``weight``.

    Raises:
        ValueError: a weight that is not finite.
    """
    largest = np.abs(weight).max(axis=1, initial=0)
    check_finite(largest)
    scale = largest / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))[:, np.newaxis]
    # Among the smallest numbers of all the scale itself is rounded, and may be too small.
    return np.clip(np.rint(weight / divisor), -127, 127).astype(np.int8), scale


def is_int8(weight: np.ndarray) -> bool:
    """Whether a finite ``weight`` (out, in) is what its int8 stands for: nothing would be rounded to it.

    But for the last bits of single precision, which a row's scale may lose on the way to a file and back.
    """
    for start in range(0, len(weight), _ROWS):
        rows = weight[start : start + _ROWS]
        values, scale = to_int8(rows)
        if not np.allclose(values * scale[:, np.newaxis], rows, rtol=2.0**-21, atol=0):
            return False
    return True


def check_finite(scale: np.ndarray) -> None:
    """That no row of int8 weights had a value that is not finite."""
    if not np.isfinite(scale).all():
        raise ValueError("compress: int8 needs finite weights; are they damaged?")


def check_range(halves: np.ndarray) -> None:
    """That weights in half precision are within its range."""
    if not np.isfinite(halves).all():
        raise ValueError(
            "compress: fp16 needs finite weights of at most 65504; use another precision"
        )


def expand(weight: CompressedWeight, dtype: np.dtype) -> np.ndarray:
    """The numbers that ``weight`` stands for, less the scale of int8."""
    if weight.precision == "bf16":
        numbers: np.ndarray = (weight.values.astype(np.uint32) << 16).view(np.float32)
    else:
        numbers = weight.values
    return numbers.astype(dtype)


def products(x: np.ndarray, weight: CompressedWeight) -> np.ndarray:
    """x (N, in) times ``weight`` (out, in) transposed, in x's dtype."""
    y = np.empty((len(x), weight.shape[0]), x.dtype)
    for start in range(0, weight.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        part = CompressedWeight(weight.precision, weight.values[rows], None)
        y[:, rows] = x @ expand(part, x.dtype).T
    if weight.scale is not None:
        y *= weight.scale.astype(x.dtype)
    return y
