"""The kernels' modules, to be called by themselves: ``goturn._cuda_emulated``, whose device memory is
the host's, and ``goturn._cuda`` on a GPU; and numbers as they are stored there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

#: Of the numbers that kernels store: the largest error of rounding, relative, and the smallest step.
PRECISION = {
    "f32": (2.0**-24, 2.0**-149),
    "f16": (2.0**-11, 2.0**-24),
    "bf16": (2.0**-8, 2.0**-133),
}
TYPES = list(PRECISION)

#: Where kernels are tested.
MODULES = ("_cuda_emulated", "_cuda")

EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Device:
    """A module of kernels, and how arrays get to its device and back."""

    kernels: Any
    put: Callable[[np.ndarray], Any]
    """A copy in device memory, its strides kept."""
    get: Callable[[Any], np.ndarray]
    """A copy in host memory, when all is done."""
    stream: int


def load_device(name: str) -> Device:
    """The device of ``goturn.<name>``, or the test is skipped where there is none."""
    try:
        kernels = importlib.import_module(f"goturn.{name}")
    except ImportError as error:
        pytest.skip(f"no module goturn.{name}: {error}")
    if name == "_cuda_emulated":
        return Device(kernels, _copy, _copy, 0)
    cupy = pytest.importorskip("cupy")
    try:
        kernels.compute_capability()
    except RuntimeError as error:
        pytest.skip(f"no GPU: {error}")
    return Device(kernels, lambda array: _put(cupy, array), cupy.asnumpy, cupy.cuda.Stream.null.ptr)


def need_products(device: Device, products: str) -> None:
    """Skips the test where the GPU does not form such products."""
    if products != "scalar" and device.kernels.compute_capability() < (8, 0):
        pytest.skip(f"{products} needs tensor cores, compute capability 8.0")


def _copy(array: np.ndarray) -> np.ndarray:
    """As ``array`` lies, so that its strides are tried."""
    copied: np.ndarray = array.copy(order="K")
    return copied


def _put(cupy: Any, array: np.ndarray) -> Any:
    """As _copy."""
    order = np.argsort([-abs(stride) for stride in array.strides], kind="stable")
    copied = cupy.asarray(np.ascontiguousarray(array.transpose(order)))
    return copied.transpose(np.argsort(order))


# -- numbers ----------------------------------------------------------------------------------------


def stored(values: np.ndarray, kind: str) -> np.ndarray:
    """``values`` rounded to the nearest numbers of ``kind``, as kernels take them."""
    values = np.ascontiguousarray(values, np.float32)
    if kind == "f32":
        return values
    if kind == "f16":
        return values.astype(np.float16)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    quiet = (bits >> 16 | 0x40).astype(np.uint16)
    return np.where(np.isnan(values), quiet, rounded)


def numbers(array: np.ndarray) -> np.ndarray:
    """What stored numbers stand for."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def empty(shape: tuple[int, ...], kind: str = "f32") -> np.ndarray:
    """An output, of a value that no test expects."""
    return stored(np.full(shape, -12345.0), kind)


def to_nhwc(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def to_nchw(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng(shape).standard_normal(shape, dtype=np.float32)
    scaled: np.ndarray = values * np.float32(scale)
    return scaled


def assert_within(got: np.ndarray, want: np.ndarray, bound: np.ndarray) -> None:
    excess = np.abs(got.astype(np.float64) - want) - bound
    assert (excess <= 0).all(), f"{(~(excess <= 0)).sum()} beyond the bound by {excess.max()}"
