"""Convolutions on the GPU beyond the contract of ops, which test_ops.py checks: every type and kind of
products, tiles of every size.

On the emulation, whose arrays are NumPy's, and on a GPU where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from cuda_device import (
    EPS,
    MODULES,
    PRECISION,
    Device,
    assert_within,
    empty,
    load_device,
    need_products,
    numbers,
    stored,
    to_nchw,
    to_nhwc,
)
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()
COUNTERS = 4096

#: Types, and the products there are of them.
KINDS = [
    ("f32", "scalar"),
    ("f32", "tf32"),
    ("f32", "tf32x3"),
    ("f16", "scalar"),
    ("f16", "half"),
    ("bf16", "scalar"),
    ("bf16", "half"),
]
DTYPES = {"f32": "float32", "f16": "float16", "bf16": "uint16"}

Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]

#: x (N, C, H, W), weight (K, C / groups, R, S), parameters.
CASES: dict[str, Case] = {
    "several parts of the sum": ((1, 96, 5, 6), (72, 96, 3, 3), {"pad": 1}),
    "groups and parts": ((2, 96, 7, 5), (200, 48, 5, 3), {"pad": 2, "groups": 2}),
    "several tiles": ((3, 16, 13, 13), (130, 16, 3, 3), {}),
    "channels that are no whole chunks": ((2, 15, 9, 7), (21, 5, 3, 3), {"pad": 1, "groups": 3}),
    "outputs that are no whole chunks": ((2, 16, 9, 7), (70, 16, 2, 4), {}),
    "plain images": ((1, 3, 23, 27), (24, 3, 11, 11), {"stride": 4}),
    "strided": ((2, 16, 11, 10), (40, 8, 3, 3), {"stride": 2, "pad": 1, "groups": 2}),
    "stride beyond the kernel": ((1, 8, 11, 13), (16, 8, 2, 2), {"stride": 3, "pad": 1}),
    "padding beyond the kernel": ((2, 8, 3, 4), (16, 8, 2, 3), {"pad": 4}),
    "hardly an image": ((1, 8, 1, 1), (16, 8, 3, 3), {"stride": 1 << 29, "pad": 1 << 28}),
    "one product": ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    "one pixel": ((1, 136, 1, 1), (24, 136, 1, 1), {}),
    "no channels": ((2, 0, 5, 5), (8, 0, 3, 3), {}),
    "no images": ((0, 8, 5, 5), (8, 8, 3, 3), {}),
}

#: Enough blocks of large tiles to fill a GPU: those are what large batches run on.  The second's
#: outputs fill tiles of 96, and the third's pixels a large weight gradient.
LARGE: dict[str, Case] = {
    "128 x 128": ((2, 8, 104, 108), (100, 8, 3, 3), {"pad": 1}),
    "128 x 96": ((2, 8, 104, 108), (90, 8, 3, 3), {"pad": 1}),
}
LARGE_WEIGHT: Case = ((1, 48, 70, 90), (136, 48, 3, 3), {"pad": 1})
#: Halves without tensor cores have small tiles alone.
LARGE_KINDS = [kind for kind in KINDS if kind[0] == "f32" or kind[1] == "half"]


@pytest.fixture(params=MODULES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


def to_tf32(values: np.ndarray) -> np.ndarray:
    """The nearest number with 10 bits of fraction, ties away from zero."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded: np.ndarray = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return rounded


class Problem:
    """A case in numbers of ``kind``, and what comes of it in float64."""

    def __init__(
        self, device: Device, case: Case, kind: str, products: str, *, positive: bool = False
    ) -> None:
        need_products(device, products)
        self.device, self.kind, self.products = device, kind, products
        x_shape, weight_shape, parameters = case
        self.parameters = {"stride": 1, "pad": 0, "groups": 1, **parameters}
        self.rng = np.random.default_rng(sum(x_shape) + sum(weight_shape))
        self.positive = positive
        self.terms = math.prod(weight_shape[1:])
        self.x = self._normal(x_shape)
        self.weight = self._normal(weight_shape, 1 / math.sqrt(max(self.terms, 1)))
        self.bias = self.rng.standard_normal(weight_shape[:1]).astype(np.float32)
        height, width = (
            (size + 2 * self.parameters["pad"] - kernel) // self.parameters["stride"] + 1
            for size, kernel in zip(x_shape[2:], weight_shape[2:], strict=True)
        )
        self.dy = self._normal((x_shape[0], weight_shape[0], height, width))

    def _normal(self, shape: tuple[int, ...], scale: float = 1.0) -> np.ndarray:
        """Numbers of the kind that add up to errors of the kind's own."""
        values = self.rng.standard_normal(shape) * scale
        return numbers(stored(np.abs(values) if self.positive else values, self.kind))

    def wide(self, values: np.ndarray, *, exactly: bool = False) -> np.ndarray:
        """What the products are of, in float64."""
        rounded = to_tf32(values) if self.products == "tf32" and not exactly else values
        return rounded.astype(np.float64)

    def run(self, op: str, *arrays: Any, out: tuple[Any, ...], **options: Any) -> list[np.ndarray]:
        """The outputs of an operation, the same in two runs; its counters are zero again."""
        kernels, device = self.device.kernels, self.device
        size = getattr(kernels, f"{op}_workspace")(
            to_nhwc(self.x).shape,
            to_nhwc(self.weight).shape,
            dtype=DTYPES[self.kind],
            products=self.products,
            **self.parameters,
        )
        runs = []
        for _ in range(2):
            counters = device.put(np.zeros(COUNTERS, np.int32))
            results = [device.put(array) for array in out]
            getattr(kernels, op)(
                *(device.put(array) for array in arrays),
                *results,
                products=self.products,
                workspace=_workspace(device, size),
                counters=counters,
                stream=device.stream,
                **self.parameters,
                **options,
            )
            assert not device.get(counters).any(), f"{op} left its counters"
            runs.append([device.get(result) for result in results])
        for first, second in zip(*runs, strict=True):
            np.testing.assert_array_equal(first, second)
        return runs[0]

    def stored(self, values: np.ndarray) -> np.ndarray:
        return stored(to_nhwc(values), self.kind)

    def check_forward(self) -> None:
        for relu in (False, True):
            got = self.run(
                "conv2d",
                self.stored(self.x),
                self.stored(self.weight),
                self.bias,
                out=(empty(to_nhwc(self.dy).shape, self.kind),),
                relu=relu,
            )[0]
            arrays = self.wide(self.x), self.wide(self.weight), self.bias.astype(np.float64)
            want = self._reference("conv2d", *arrays)
            size = self._reference("conv2d", *map(np.abs, arrays))
            bound = self.bound(self.terms + 1, size, want)
            assert_within(to_nchw(numbers(got)), np.maximum(want, 0) if relu else want, bound)

    def check_backward_data(self) -> None:
        got = self.run(
            "conv2d_backward_data",
            self.stored(self.dy),
            self.stored(self.weight),
            out=(empty(to_nhwc(self.x).shape, self.kind),),
        )[0]
        # With a stride, products are scalar whatever was asked for.
        exactly = self.parameters["stride"] > 1
        dy, weight = (self.wide(array, exactly=exactly) for array in (self.dy, self.weight))
        want = self._gradients(dy, self.x, weight)[0]
        size = self._gradients(np.abs(dy), self.x, np.abs(weight))[0]
        terms = self.weight.shape[0] // self.parameters["groups"] * math.prod(self.weight.shape[2:])
        assert_within(to_nchw(numbers(got)), want, self.bound(terms, size, want))

    def check_backward_weight(self) -> None:
        dweight, dbias = self.run(
            "conv2d_backward_weight",
            self.stored(self.dy),
            self.stored(self.x),
            out=(empty(to_nhwc(self.weight).shape), empty(self.bias.shape)),
        )
        terms = self.dy.size // max(len(self.bias), 1)
        dy, x = self.wide(self.dy), self.wide(self.x)
        want = self._gradients(dy, x, self.weight)[1]
        size = self._gradients(np.abs(dy), np.abs(x), self.weight)[1]
        assert_within(to_nchw(dweight), want, EPS * math.sqrt(terms) * size)
        exact = self.dy.astype(np.float64)
        size = np.abs(exact).sum(axis=(0, 2, 3))
        assert_within(dbias, exact.sum(axis=(0, 2, 3)), EPS * math.sqrt(terms) * size)

    def bound(self, terms: int, size: np.ndarray, want: np.ndarray) -> np.ndarray:
        """checks.py's of a sum of products, and of rounding it to the kind."""
        in_sum = EPS * math.sqrt(terms) * size
        if self.kind == "f32":
            return in_sum
        relative, step = PRECISION[self.kind]
        return in_sum + relative * (np.abs(want) + in_sum) + step / 2

    def _reference(self, op: str, *arrays: np.ndarray) -> np.ndarray:
        result: np.ndarray = getattr(REFERENCE, op)(*arrays, **self._bounded())
        return result

    def _gradients(self, dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> Any:
        arrays = (array.astype(np.float64) for array in (dy, x, weight))
        return REFERENCE.conv2d_backward(*arrays, **self._bounded())

    def _bounded(self) -> dict[str, int]:
        return self.parameters


def _workspace(device: Device, size: int) -> Any:
    """Memory with NaN in it and an aligned address."""
    memory = device.put(np.full(size + 255, 0xFF, np.uint8))
    if isinstance(memory, np.ndarray):
        start = -memory.ctypes.data % 256
        return memory[start : start + size]
    return memory[:size]


@contextmanager
def cutting_off(device: Device) -> Iterator[None]:
    """Emulated tensor cores add as real ones do."""
    emulated = hasattr(device.kernels, "set_emulation")
    if emulated:
        device.kernels.set_emulation(truncate=True)
    try:
        yield
    finally:
        if emulated:
            device.kernels.set_emulation(truncate=False)


@pytest.mark.parametrize(("kind", "products"), KINDS)
@pytest.mark.parametrize("name", CASES)
def test_forward(device: Device, name: str, kind: str, products: str) -> None:
    Problem(device, CASES[name], kind, products).check_forward()


@pytest.mark.parametrize(("kind", "products"), KINDS)
@pytest.mark.parametrize("name", CASES)
def test_backward_data(device: Device, name: str, kind: str, products: str) -> None:
    Problem(device, CASES[name], kind, products).check_backward_data()


@pytest.mark.parametrize(("kind", "products"), KINDS)
@pytest.mark.parametrize("name", CASES)
def test_backward_weight(device: Device, name: str, kind: str, products: str) -> None:
    Problem(device, CASES[name], kind, products).check_backward_weight()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "products"), LARGE_KINDS)
@pytest.mark.parametrize("name", LARGE)
def test_large_tiles(device: Device, name: str, kind: str, products: str) -> None:
    Problem(device, LARGE[name], kind, products).check_forward()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "products"), LARGE_KINDS)
def test_large_tiles_of_weight_gradients(device: Device, kind: str, products: str) -> None:
    Problem(device, LARGE_WEIGHT, kind, products).check_backward_weight()


@pytest.mark.slow
@pytest.mark.parametrize("products", ["scalar", "tf32x3"])
def test_values_of_one_sign(device: Device, products: str) -> None:
    # Tensor cores cut off what they cannot hold, always towards zero: where all values are positive,
    # errors add up.  So many pixels that the sums are not split.
    case: Case = ((1, 1152, 92, 93), (16, 1152, 1, 1), {})
    with cutting_off(device):
        Problem(device, case, "f32", products, positive=True).check_forward()


@pytest.mark.parametrize(("kind", "products"), KINDS)
def test_not_a_number_stays_one(device: Device, kind: str, products: str) -> None:
    problem = Problem(device, CASES["several tiles"], kind, products)
    # The NaN of a GPU's arithmetic, and NumPy's.
    for bits in (0x7FFFFFFF, 0x7FC00000, 0xFFFFFFFF):
        problem.x[1, 3, 5, 5] = np.uint32(bits).view(np.float32)
        got = problem.run(
            "conv2d",
            problem.stored(problem.x),
            problem.stored(problem.weight),
            problem.bias,
            out=(empty(to_nhwc(problem.dy).shape, kind),),
            relu=True,
        )[0]
        missing = np.isnan(to_nchw(numbers(got)))
        assert missing[1, :, 3:6, 3:6].all()
        assert missing.sum() == missing[1, :, 3:6, 3:6].size


@pytest.mark.parametrize(
    ("kind", "products"), [("f32", "half"), ("f16", "tf32"), ("bf16", "tf32x3")]
)
def test_products_that_there_are_not(device: Device, kind: str, products: str) -> None:
    problem = Problem(device, CASES["one pixel"], kind, products)
    with pytest.raises(ValueError, match="products"):
        problem.run("conv2d", out=())


def test_image_beyond_what_a_kernel_counts(device: Device) -> None:
    problem = Problem(device, CASES["one pixel"], "f32", "scalar")
    problem.parameters = {"stride": 1 << 35, "pad": 1 << 34, "groups": 1}
    with pytest.raises(ValueError, match="larger than a GPU kernel counts"):
        problem.run("conv2d", out=())


def test_arrays_that_are_not_aligned(device: Device) -> None:
    problem = Problem(device, CASES["one pixel"], "f32", "scalar")
    x = device.put(np.zeros(problem.x.size + 1, np.float32))[1:].reshape(to_nhwc(problem.x).shape)
    problem.device = Device(
        device.kernels,
        lambda array: array if array is x else device.put(array),
        device.get,
        device.stream,
    )
    y = empty(to_nhwc(problem.dy).shape)
    with pytest.raises(ValueError, match="x is not aligned to 16 bytes"):
        problem.run("conv2d", x, problem.stored(problem.weight), problem.bias, out=(y,), relu=False)
