"""Pooling and normalisation on the GPU beyond the contract of ops, which test_ops.py checks: numbers of
16 bits, the layouts that kernels hand to each other, both in one kernel.

On the emulation, whose arrays are NumPy's, and on a GPU where there is one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cuda_device import (
    EPS,
    MODULES,
    PRECISION,
    TYPES,
    Device,
    assert_within,
    empty,
    load_device,
    normal,
    numbers,
    stored,
    to_nchw,
    to_nhwc,
)
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()

NORM: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}


@pytest.fixture(params=MODULES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


# -- max_pool ------------------------------------------------------------------------------------

#: x (N, C, H, W), kernel, stride, pad.
POOLS = [
    ((1, 96, 55, 55), 3, 2, 0),
    ((2, 256, 13, 13), 3, 2, 0),
    ((2, 8, 6, 7), 3, 2, 1),
    ((2, 12, 6, 7), 3, 1, 0),  # vectors of floats, none of halves
    ((1, 40, 23, 20), 3, 2, 0),  # more pixels, and more channels, than a tile of planes has
    ((3, 1, 5, 4), 2, 2, 0),
    ((2, 7, 9, 8), 3, 4, 1),
    ((1, 16, 4, 5), 5, 3, 2),
    ((1, 33, 3, 3), 3, 3, 0),
    ((1, 264, 2, 2), 3, 1, 2),
    ((2, 16, 0, 3), 3, 1, 2),  # windows that see nothing
]


def pool_parameters(kernel: int, stride: int, pad: int) -> dict[str, int]:
    return {"kernel": kernel, "stride": stride, "pad": pad}


def image_with_specials(shape: tuple[int, ...]) -> np.ndarray:
    """Few values, so that most windows have ties, with infinities and now and then a NaN."""
    rng = np.random.default_rng(shape)
    image = rng.integers(-2, 3, shape).astype(np.float32)
    chance = rng.random(shape)
    image[chance < 0.02] = np.nan
    image[(chance > 0.02) & (chance < 0.2)] = -np.inf
    image[chance > 0.98] = np.inf
    return image


def max_pool(device: Device, x: np.ndarray, *, nchw: bool, **parameters: int) -> np.ndarray:
    """Of stored x (N, H, W, C), as the kernel leaves it."""
    n, p, q, c = device.kernels.max_pool_shape(x.shape, **parameters)
    y = np.full((n, c, p, q), -1.0, np.float32) if nchw else np.full((n, p, q, c), 1, x.dtype)
    out = device.put(y)
    op = device.kernels.max_pool_to_nchw if nchw else device.kernels.max_pool
    op(device.put(x), out, stream=device.stream, **parameters)
    return device.get(out)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool_is_exact(device: Device, pool: Any, kind: str) -> None:
    shape, *rest = pool
    parameters = pool_parameters(*rest)
    for image in (normal(*shape), normal(*shape) - 10, image_with_specials(shape)):
        x = stored(image, kind)
        want = REFERENCE.max_pool(numbers(x), **parameters)
        nhwc = max_pool(device, to_nhwc(x), nchw=False, **parameters)
        np.testing.assert_array_equal(numbers(to_nchw(nhwc)), want)
        nchw = max_pool(device, to_nhwc(x), nchw=True, **parameters)
        np.testing.assert_array_equal(nchw, want)


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool_backward_in_both_layouts(device: Device, pool: Any) -> None:
    shape, *rest = pool
    parameters = pool_parameters(*rest)
    for image in (normal(*shape), image_with_specials(shape)):
        output = REFERENCE.max_pool(image, **parameters).shape
        # Whole numbers: sums are exact in any order.
        dy = np.random.default_rng(1).integers(-9, 10, output).astype(np.float32)
        want = REFERENCE.max_pool_backward(dy, image, **parameters)
        for nchw in (False, True):
            dx = device.put(empty(to_nhwc(image).shape))
            device.kernels.max_pool_backward(
                device.put(dy if nchw else to_nhwc(dy)),
                device.put(to_nhwc(image)),
                dx,
                nchw=nchw,
                stream=device.stream,
                **parameters,
            )
            np.testing.assert_array_equal(to_nchw(device.get(dx)), want)


# -- lrn -----------------------------------------------------------------------------------------

#: Channels and size: the network's, others on its path, one value at a time for the rest.
NORMS = [(96, 5), (256, 5), (8, 5), (4, 5), (1024, 5), (1032, 5), (7, 5), (1, 5), (16, 3), (40, 1)]
NORMS += [(24, 63), (5, 9)]


def lrn(device: Device, x: np.ndarray, **parameters: Any) -> np.ndarray:
    y = device.put(np.full(x.shape, 1, x.dtype))
    device.kernels.lrn(device.put(x), y, stream=device.stream, **parameters)
    return device.get(y)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("beta", [0.75, 0.5])
@pytest.mark.parametrize(("channels", "size"), NORMS)
def test_lrn_of_every_type(
    device: Device, channels: int, size: int, beta: float, kind: str
) -> None:
    parameters = {**NORM, "size": size, "beta": beta, "k": 2.0}
    x = stored(normal(2, 3, 5, channels, scale=100.0), kind)
    wide = to_nchw(numbers(x)).astype(np.float64)
    want = to_nhwc(REFERENCE.lrn(wide, **parameters))
    # As checks.py has it for floats, and then one rounding to what is stored.
    roundings = beta * (min(size, channels) + 3) + 8 + 1
    unit, step = PRECISION[kind]
    bound = roundings * EPS / 2 * np.abs(want)
    bound = bound + (0 if kind == "f32" else unit * (np.abs(want) + bound) + step / 2)
    assert_within(numbers(lrn(device, x, **parameters)), want, bound)


@pytest.mark.parametrize("kind", TYPES)
def test_lrn_of_a_pixel_is_its_own(device: Device, kind: str) -> None:
    # Neither the batch nor the place changes a bit, and nothing leaks from one pixel to the next.
    x = stored(normal(1, 7, 9, 96, scale=50.0), kind)
    x[0, 3, 4] = stored(np.full(96, np.nan), kind)
    together = lrn(device, x, **NORM)
    assert np.isnan(numbers(together[0, 3, 4])).all()
    assert np.isnan(numbers(together)).sum() == 96
    for row in range(7):
        alone = lrn(device, np.ascontiguousarray(x[:, row : row + 1]), **NORM)
        np.testing.assert_array_equal(numbers(alone[:, 0]), numbers(together[:, row]))


@pytest.mark.parametrize(("channels", "size"), [(6001, 5), (6000, 3), (30, 101), (3, 5)])
def test_lrn_backward_of_many_channels(device: Device, channels: int, size: int) -> None:
    parameters = {**NORM, "size": size, "k": 1.5}
    x, dy = normal(1, 1, 2, channels, scale=100.0), normal(1, 2, 1, channels).reshape(1, 1, 2, -1)
    dx = device.put(empty(x.shape))
    device.kernels.lrn_backward(
        device.put(dy), device.put(x), dx, stream=device.stream, **parameters
    )
    wide_dy, wide_x = (to_nchw(array).astype(np.float64) for array in (dy, x))
    want = REFERENCE.lrn_backward(wide_dy, wide_x, **parameters)
    of_absolutes = REFERENCE.lrn_backward(np.abs(wide_dy), np.abs(wide_x), **parameters)
    direct = np.abs(wide_dy * REFERENCE.lrn(wide_x, **parameters) / wide_x)
    terms = min(size, channels)
    roundings = 0.75 * (terms + 3) + 8 + (terms + 3) + terms + 6
    bound = roundings * EPS / 2 * (2 * direct - of_absolutes)
    assert_within(to_nchw(device.get(dx)), want, bound)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("pool", "size"),
    [(pool, 5) for pool in POOLS] + [(pool, 3) for pool in POOLS if math.prod(pool[0]) < 2000],
    ids=str,
)
def test_pooling_and_lrn_at_once_give_the_same_bits(
    device: Device, pool: Any, size: int, kind: str
) -> None:
    shape, *rest = pool
    parameters, norm = pool_parameters(*rest), {**NORM, "size": size, "alpha": 0.01}
    for image in (normal(*shape, scale=30.0), image_with_specials(shape)):
        x = to_nhwc(stored(image, kind))
        want = lrn(device, max_pool(device, x, nchw=False, **parameters), **norm)
        y = device.put(np.full(want.shape, 1, x.dtype))
        device.kernels.max_pool_lrn(device.put(x), y, stream=device.stream, **parameters, **norm)
        np.testing.assert_array_equal(numbers(device.get(y)), numbers(want))
