"""Convolutions on the GPU in reduced precision: at most the error of plain products of that precision.

Operands are rounded as the precision has it (TF32: 10 bits of fraction, when they are multiplied; half
precision and bfloat16: as they are stored); products are then exact, and sums are in float32.  What is
allowed beyond the error of rounding the operands is that of the sums, as checks.py derives it, and of the
result's own rounding where it is stored in 16 bits.  linear has the same in test_cuda_linear.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from checks import EPS
from cuda_device import Device, load_device
from goturn.ops import compressed
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()

#: (dtype, products): every way to multiply but those of float32, which test_ops.py checks.
WAYS = [
    ("float32", "tf32"),
    ("float16", "scalar"),
    ("float16", "half"),
    ("uint16", "scalar"),
    ("uint16", "half"),
]

#: Relative error of a result that is stored.
STORED = {"float32": 0.0, "float16": 2.0**-11, "uint16": 2.0**-8}

#: x (N, C, H, W), weight (K, C / groups, R, S), parameters.
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]] = {
    "conv1": ((2, 3, 35, 35), (24, 3, 11, 11), {"stride": 4}),
    "conv1 in blocks": ((1, 48, 15, 15), (96, 48, 3, 3), {}),
    "conv2": ((1, 96, 7, 7), (128, 48, 5, 5), {"pad": 2, "groups": 2}),
    "conv3": ((1, 256, 5, 6), (64, 256, 3, 3), {"pad": 1}),
    "1x1 kernel, strided": ((2, 5, 9, 8), (4, 5, 1, 1), {"stride": 3}),
    "odd channels": ((3, 13, 6, 7), (11, 13, 3, 2), {"pad": 1}),
    "one channel per group": ((2, 6, 8, 8), (6, 1, 3, 3), {"pad": 1, "groups": 6}),
    "one of everything": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
}


@pytest.fixture(params=["_cuda_emulated", "_cuda"])
def device(request: pytest.FixtureRequest) -> Device:
    found = load_device(request.param)
    if found.kernels.compute_capability() < (8, 0):
        pytest.skip("tensor cores need compute capability 8.0")
    return found


def normal(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
    values = np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)
    return values * np.float32(scale)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "uint16":
        return compressed.to_bf16(values)
    return np.ascontiguousarray(values, dtype)


def numbers(array: np.ndarray) -> np.ndarray:
    """What a stored array stands for, in float64."""
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def multiplied(values: np.ndarray, products: str) -> np.ndarray:
    """Numbers as they enter the products: TF32 is the nearest of 10 bits, ties away from zero."""
    if products != "tf32":
        return values
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def nhwc(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def nchw(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def run(
    device: Device, op: str, arrays: list[np.ndarray], like: list[np.ndarray], **parameters: Any
) -> list[np.ndarray]:
    """What a convolution's kernel gives, twice the same: results as ``like``, NaN before.

    ``shapes`` are those of x and weight.
    """
    kernels, (x, weight) = device.kernels, parameters.pop("shapes")
    asked = {name: value for name, value in parameters.items() if name != "relu"}
    size = getattr(kernels, f"{op}_workspace")(x, weight, dtype=str(arrays[0].dtype), **asked)
    memory = device.put(np.full(size + 256, 0xFF, np.uint8))
    start = -memory.ctypes.data % 256 if isinstance(memory, np.ndarray) else 0
    counters = device.put(np.zeros(kernels.COUNTERS, np.int32))
    given, runs = [device.put(array) for array in arrays], []
    for _ in range(2):
        results = [device.put(array) for array in like]
        getattr(kernels, op)(
            *given,
            *results,
            **parameters,
            workspace=memory[start : start + size],
            counters=counters,
            stream=device.stream,
        )
        assert not device.get(counters).any()
        runs.append([device.get(array) for array in results])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
    return runs[0]


def empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return stored(np.full(shape, np.nan, np.float32), dtype)


def assert_within(
    got: np.ndarray, exact: np.ndarray, rough: np.ndarray, size: np.ndarray, terms: int
) -> None:
    """``got`` is as near to ``exact`` as ``rough`` is, but for its sums and how it is stored."""
    allowed = np.abs(rough - exact) + EPS * math.sqrt(terms) * size
    allowed += STORED[str(got.dtype)] * (np.abs(exact) + allowed) + 2.0**-24
    excess = np.abs(numbers(got) - exact) - allowed
    assert got.shape == exact.shape
    assert (excess <= 0).all(), f"{(~(excess <= 0)).sum()} beyond the bound by {excess.max()}"


class Convolution:
    """One row of the table in one dtype, and what the reference makes of it in float64."""

    def __init__(self, label: str, dtype: str, products: str) -> None:
        x, weight, sizes = CONVOLUTIONS[label]
        self.products = products
        self.sizes = {"stride": 1, "pad": 0, "groups": 1, **sizes}
        self.x = stored(normal(1, x), dtype)
        self.weight = stored(normal(2, weight, 1 / math.sqrt(math.prod(weight[1:]))), dtype)
        self.bias = normal(3, weight[:1])
        self.shapes = (nhwc(self.x).shape, nhwc(self.weight).shape)
        self.y = REFERENCE.conv2d(
            numbers(self.x), numbers(self.weight), self.bias.astype(np.float64), **self.sizes
        )
        self.dy = stored(normal(4, self.y.shape), dtype)

    def three(self, op: str, *arrays: np.ndarray, bias: bool = False) -> Any:
        """The reference's results exactly, of rounded operands, and of absolute values."""
        wide = [numbers(array) for array in arrays]
        offset = [self.bias.astype(np.float64)] if bias else []
        results = []
        for change in (lambda a: a, lambda a: multiplied(a, self.products), np.abs):
            last = [np.abs(b) if change is np.abs else b for b in offset]
            results.append(getattr(REFERENCE, op)(*map(change, wide), *last, **self.sizes))
        return results


@pytest.mark.parametrize("label", CONVOLUTIONS)
@pytest.mark.parametrize(("dtype", "products"), WAYS)
def test_convolution(device: Device, dtype: str, products: str, label: str) -> None:
    conv = Convolution(label, dtype, products)
    exact, rough, size = conv.three("conv2d", conv.x, conv.weight, bias=True)
    for relu in (False, True):
        (y,) = run(
            device, "conv2d", [nhwc(conv.x), nhwc(conv.weight), conv.bias],
            [empty(nhwc(exact).shape, dtype)],
            relu=relu, products=products, shapes=conv.shapes, **conv.sizes,
        )  # fmt: skip
        wanted = [np.maximum(values, 0) if relu else values for values in (exact, rough)]
        assert_within(nchw(y), *wanted, size, math.prod(conv.weight.shape[1:]) + 1)


@pytest.mark.parametrize("label", CONVOLUTIONS)
@pytest.mark.parametrize(("dtype", "products"), WAYS)
def test_gradients_of_convolution(device: Device, dtype: str, products: str, label: str) -> None:
    conv = Convolution(label, dtype, products)
    three = conv.three("conv2d_backward", conv.dy, conv.x, conv.weight)
    parameters = {"products": products, "shapes": conv.shapes, **conv.sizes}
    (dx,) = run(
        device, "conv2d_backward_data", [nhwc(conv.dy), nhwc(conv.weight)],
        [empty(conv.shapes[0], dtype)], **parameters,
    )  # fmt: skip
    k, _, r, s = conv.weight.shape
    terms = k // conv.sizes["groups"] * r * s
    assert_within(nchw(dx), *(results[0] for results in three), terms)

    dweight, dbias = run(
        device, "conv2d_backward_weight", [nhwc(conv.dy), nhwc(conv.x)],
        [empty(conv.shapes[1], "float32"), empty((k,), "float32")], **parameters,
    )  # fmt: skip
    terms = conv.dy.size // k
    assert_within(nchw(dweight), *(results[1] for results in three), terms)
    exact, _, size = (results[2] for results in three)
    assert_within(dbias, exact, exact, size, terms)  # no products: nothing is rounded


def test_other_pairs_of_numbers_and_products_are_refused(device: Device) -> None:
    shapes = {"x": (1, 4, 4, 8), "weight": (8, 3, 3, 8), "stride": 1, "pad": 0, "groups": 1}
    for dtype, products in (("float32", "half"), ("float16", "tf32"), ("uint16", "tf32x3")):
        with pytest.raises(ValueError, match=f"conv2d: products {products} are not of numbers of"):
            device.kernels.conv2d_workspace(**shapes, dtype=dtype, products=products)
    with pytest.raises(ValueError, match="products must be one of scalar, tf32, tf32x3, half"):
        device.kernels.conv2d_workspace(**shapes, dtype="float32", products="fp64")
    with pytest.raises(ValueError, match="dtype must be one of float32, float16, uint16, int8"):
        device.kernels.conv2d_workspace(**shapes, dtype="float64", products="scalar")
