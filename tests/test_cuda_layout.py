"""Planes to pixels and back on the GPU: exact, but for rounding to the type that is stored."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_device import (
    MODULES,
    TYPES,
    Device,
    empty,
    load_device,
    normal,
    numbers,
    stored,
    to_nchw,
    to_nhwc,
)
from emulated import emulated_ops

#: x (N, C, H, W), and the channels that pixels are padded to.
SHAPES = [
    ((2, 3, 7, 5), 3),
    ((2, 3, 7, 5), 8),
    ((1, 33, 4, 8), 64),  # a tile and one channel, and a tile of padding
    ((1, 32, 1, 32), 32),
    ((3, 70, 13, 11), 70),
    ((1, 1, 1, 1), 1),
    ((2, 0, 3, 3), 4),
    ((0, 4, 3, 3), 4),
    ((2, 4, 0, 3), 4),
    ((65537, 1, 1, 2), 2),  # more images than a grid is deep
]


@pytest.fixture(params=MODULES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("shape", "padded"), SHAPES)
def test_to_pixels(
    device: Device, shape: tuple[int, int, int, int], padded: int, kind: str
) -> None:
    batch, channels, height, width = shape
    x = normal(*shape, scale=100.0)
    y = device.put(empty((batch, height, width, padded), kind))
    device.kernels.nchw_to_nhwc(device.put(x), y, stream=device.stream)
    got = device.get(y)
    np.testing.assert_array_equal(got[..., :channels], stored(to_nhwc(x), kind))
    assert not numbers(got[..., channels:]).any()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [shape for shape, _ in SHAPES])
def test_to_planes(device: Device, shape: tuple[int, int, int, int], kind: str) -> None:
    pixels = stored(to_nhwc(normal(*shape, scale=100.0)), kind)
    y = device.put(empty(shape))
    device.kernels.nhwc_to_nchw(device.put(pixels), y, stream=device.stream)
    np.testing.assert_array_equal(device.get(y), to_nchw(numbers(pixels)))


def test_more_rows_than_a_grid_is_high():
    ops = emulated_ops()
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    index = np.random.default_rng(0).integers(0, 4, 70_000)
    taken = ops.take_rows(ops.from_numpy(rows), index)
    assert np.array_equal(taken, rows[index])
    sums = ops.sum_rows(ops.from_numpy(np.ones((1, 2), np.float32)), np.array([69_999]), 70_000)
    assert np.array_equal(np.flatnonzero(sums[:, 0]), [69_999])
