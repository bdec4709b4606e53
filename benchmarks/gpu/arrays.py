"""Random arrays in a precision: as ours stores them, as PyTorch does, and as the numbers they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from goturn.ops import compressed
from gpu.device import Device


def random_values(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normal, float32."""
    values: np.ndarray = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    values *= np.float32(scale)
    return values


def stored(values: np.ndarray, precision: str) -> np.ndarray:
    """float32 values as the kernels take them: bf16 as the upper 16 bits."""
    if precision == "bf16":
        return compressed.to_bf16(values)
    return values.astype(np.float16 if precision == "fp16" else np.float32)


def numbers(array: np.ndarray) -> np.ndarray:
    """What such an array holds, float32."""
    if array.dtype == np.uint16:
        wide: np.ndarray = (array.astype(np.uint32) << 16).view(np.float32)
        return wide
    return array.astype(np.float32)


def rounded(values: np.ndarray, precision: str) -> np.ndarray:
    """float32 values after a way through ``precision``."""
    return numbers(stored(values, precision))


def nhwc(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as (N, H, W, C); weights (K, C, R, S) as (K, R, S, C)."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def nchw(images: np.ndarray) -> np.ndarray:
    """Back."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


class Scratch:
    """A workspace and counters for kernels that take them."""

    def __init__(self, device: Device, size: int) -> None:
        self.keywords: dict[str, Any] = {
            "workspace": device.memory.empty((max(1, size),), np.uint8),
            "counters": device.memory.zeros((device.kernels.COUNTERS,), np.int32),
            "stream": device.pointer,
        }
