"""linear on the GPU beyond the contract of ops, which test_ops.py checks: weights of every type in
batches, reduced products, dropout and the gate in the same launch, the fused solver step.

On the emulation, whose arrays are NumPy's, and on a GPU where there is one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cuda_device import Device, load_device, need_products
from goturn.ops import compressed
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()
EPS = float(np.finfo(np.float32).eps)
COUNTERS = 4096

#: Types of weights, and the products there are of them.
PRODUCTS = {
    "float32": ("scalar", "tf32", "tf32x3"),
    "float16": ("scalar", "half"),
    "bfloat16": ("scalar", "half"),
    "int8": ("scalar", "half"),
}
TYPES = [(kind, products) for kind, all_of_it in PRODUCTS.items() for products in all_of_it]

#: (inputs, outputs, columns that the rows of x and of the weight have besides).
SHAPES = [
    (4096, 4, 0, 0),  # fc8
    (256, 70, 0, 256),  # a column slice
    (2128, 5, 4, 16),  # a few products after the last whole tile
    (64, 600, 0, 0),
    (8192, 3, 0, 0),  # several blocks a row
    (37, 19, 0, 0),
    (129, 33, 3, 5),  # rows that are not aligned
    (32, 8, 1, 0),
    (1, 1, 0, 0),
    (0, 3, 0, 0),
]
BATCHES = [1, 2, 3, 5, 8, 9, 33, 50, 70]


@pytest.fixture(params=["_cuda_emulated", "_cuda"])
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng((seed, *shape))
    values: np.ndarray = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    return values


def to_tf32(values: np.ndarray) -> np.ndarray:
    """The nearest number with 10 bits of fraction, ties away from zero."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded: np.ndarray = ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return rounded


def to_bf16_and_back(values: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = (compressed.to_bf16(values).astype(np.uint32) << 16).view(np.float32)
    return numbers


def weight_of(kind: str, outputs: int, inputs: int) -> tuple[np.ndarray, Any, np.ndarray]:
    """A weight as it is stored, its scale or None, and the numbers that it stands for."""
    values = normal(outputs, inputs, seed=1, scale=1 / math.sqrt(max(inputs, 1)))
    if kind == "float16":
        half = values.astype(np.float16)
        return half, None, half.astype(np.float64)
    if kind == "bfloat16":
        return compressed.to_bf16(values), None, to_bf16_and_back(values).astype(np.float64)
    if kind == "int8":
        whole, scale = compressed.to_int8(values)
        return whole, scale, whole.astype(np.float64) * scale.astype(np.float64)[:, np.newaxis]
    return values, None, values.astype(np.float64)


def as_multiplied(
    x: np.ndarray, numbers: np.ndarray, kind: str, products: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both operands as plain products of that precision round them."""
    if products == "tf32":
        return to_tf32(x).astype(np.float64), to_tf32(numbers.astype(np.float32)).astype(float)
    if products == "half" and kind == "float16":
        return x.astype(np.float16).astype(np.float64), numbers
    if products == "half" and kind == "bfloat16":
        return to_bf16_and_back(x).astype(np.float64), numbers
    return x.astype(np.float64), numbers


def widened(array: np.ndarray, more: int) -> np.ndarray:
    """Rows with `more` values besides that nothing may use: NaN, where there are any."""
    nothing = {np.dtype(np.uint16): 0x7FC0, np.dtype(np.int8): 127}.get(array.dtype, np.nan)
    return np.concatenate([array, np.full((len(array), more), nothing, array.dtype)], axis=1)


def workspace_of(device: Device, size: int) -> Any:
    """Memory with NaN in it and an aligned address."""
    memory = device.put(np.full(size + 255, 0xFF, np.uint8))
    if isinstance(memory, np.ndarray):
        start = -memory.ctypes.data % 256
        return memory[start : start + size]
    return memory[:size]


def run(device: Device, op: str, size: int, *arrays: Any, **parameters: Any) -> None:
    """Calls a kernel with a workspace of `size` bytes; its counters must be zero again."""
    counters = device.put(np.zeros(COUNTERS, np.int32))
    getattr(device.kernels, op)(
        *arrays,
        workspace=workspace_of(device, size),
        counters=counters,
        stream=device.stream,
        **parameters,
    )
    assert not device.get(counters).any(), f"{op} left its counters"


def linear(
    device: Device,
    x: Any,
    weight: Any,
    scale: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    products: str,
    relu: bool = False,
    **dropout: Any,
) -> np.ndarray:
    """y of device arrays x and weight, the same bits in two runs."""
    dtype = str(weight.dtype)
    need_products(device, products)
    size = device.kernels.linear_workspace(x.shape, weight.shape, dtype=dtype, products=products)
    results = []
    for _ in range(2):
        y = device.put(np.full((x.shape[0], weight.shape[0]), np.nan, np.float32))
        given = [None if array is None else device.put(array) for array in (scale, bias)]
        parameters = {"relu": relu, "products": products, **dropout}
        run(device, "linear", size, x, weight, *given, y, **parameters)
        results.append(device.get(y))
    np.testing.assert_array_equal(results[0].view(np.uint32), results[1].view(np.uint32))
    return results[0]


def assert_within(got: np.ndarray, want: np.ndarray, bound: np.ndarray) -> None:
    excess = np.abs(got.astype(np.float64) - want) - bound
    assert (excess <= 0).all(), f"{(~(excess <= 0)).sum()} beyond the bound by {excess.max()}"


# -- forward -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "products"), TYPES)
def test_linear_of_every_type(
    device: Device, kind: str, products: str, shape: tuple[int, int, int, int]
) -> None:
    inputs, outputs, more_x, more_weight = shape
    stored, scale, numbers = weight_of(kind, outputs, inputs)
    weight = device.put(widened(stored, more_weight))[:, :inputs]
    for batch in BATCHES if inputs < 4096 else (1, 6, 50):
        x = normal(batch, inputs)
        bias = normal(batch, outputs, seed=2) if batch % 2 else normal(outputs, seed=2)
        given = device.put(widened(x, more_x))[:, :inputs]
        got = linear(device, given, weight, scale, bias, products=products, relu=batch % 3 == 0)
        exact = x @ numbers.T + bias
        rounded_x, rounded = as_multiplied(x, numbers, kind, products)
        plain = rounded_x @ rounded.T + bias
        size = np.abs(x) @ np.abs(numbers).T + np.abs(bias)
        # Not farther than plain products of this precision, but for the rounding of sums: see
        # checks.py.  int8 passes one rounding more, by its scale.
        terms = inputs + 1 + (scale is not None)
        bound = np.abs(plain - exact) + EPS * math.sqrt(terms) * size
        assert_within(got, np.maximum(exact, 0) if batch % 3 == 0 else exact, bound)


@pytest.mark.parametrize(("kind", "products"), [("float32", "tf32x3"), ("int8", "half")])
@pytest.mark.parametrize("batch", [8, 16, 50])
def test_split_products_are_those_of_floats(
    device: Device, kind: str, products: str, batch: int
) -> None:
    # Sums of a few products among many zeros, whose bound no product of 10 bits is within.
    inputs, outputs = 4096, 40
    stored, scale, numbers = weight_of(kind, outputs, inputs)
    x = normal(batch, inputs)
    x[np.random.default_rng(1).random(x.shape) > 16 / inputs] = 0
    got = linear(device, device.put(x), device.put(stored), scale, products=products)
    terms = np.count_nonzero(x, axis=1)[:, np.newaxis] + (scale is not None)
    size = np.abs(x) @ np.abs(numbers).T
    assert_within(got, x @ numbers.T, EPS * np.sqrt(terms) * size)


@pytest.mark.parametrize("batch", [1, 4, 12, 50])
@pytest.mark.parametrize("products", PRODUCTS["float32"])
def test_bias_and_relu_alone(device: Device, products: str, batch: int) -> None:
    inputs, outputs = 64, 21
    x, weight = np.zeros((batch, inputs), np.float32), normal(outputs, inputs)
    bias = normal(batch, outputs)
    bias[0, 0] = np.nan
    got = linear(
        device, device.put(x), device.put(weight), None, bias, products=products, relu=True
    )
    np.testing.assert_array_equal(got, np.maximum(bias, 0))


@pytest.mark.parametrize("batch", [1, 3, 8, 50])
@pytest.mark.parametrize(("kind", "products"), TYPES)
def test_dropout_in_the_same_launch(device: Device, kind: str, products: str, batch: int) -> None:
    inputs, outputs, ratio = 256, 37, 0.3
    stored, scale, _ = weight_of(kind, outputs, inputs)
    x, weight, bias = device.put(normal(batch, inputs)), device.put(stored), normal(outputs)
    plain = linear(device, x, weight, scale, bias, products=products, relu=True)
    key = device.put(np.zeros(1, np.uint64))
    for value in (0, 2**64 - 1, 12345):
        key[:] = device.put(np.array([value], np.uint64))  # read when the kernel runs
        got = linear(
            device, x, weight, scale, bias, products=products, relu=True, key=key, ratio=ratio
        )
        mask = REFERENCE.dropout_mask(plain.shape, ratio=ratio, key=value)
        np.testing.assert_array_equal(got, REFERENCE.dropout(plain, mask, ratio=ratio))


def test_no_items_and_no_outputs(device: Device) -> None:
    for batch, outputs in ((0, 3), (3, 0), (0, 0)):
        x, weight = device.put(normal(batch, 8)), device.put(normal(outputs, 8))
        assert linear(device, x, weight, products="scalar").shape == (batch, outputs)


# -- backward ------------------------------------------------------------------------------------


@pytest.mark.parametrize("products", PRODUCTS["float32"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "more"),
    [(260, 64, 4), (132, 1000, 0), (600, 4, 0), (7, 33, 3), (64, 64, 1), (1, 1, 0), (5, 0, 0)],
)
def test_gradient_of_the_input(
    device: Device, products: str, inputs: int, outputs: int, more: int
) -> None:
    need_products(device, products)
    weight = normal(outputs, inputs, seed=1)
    matrix = device.put(widened(weight, more))[:, :inputs]
    for batch in (1, 8, 9, 50, 65):
        dy = normal(batch, outputs)
        gate = np.maximum(normal(batch, inputs, seed=2), 0)
        results = []
        for given in (None, gate):
            dx = device.put(np.full((batch, inputs), np.nan, np.float32))
            size = device.kernels.linear_backward_data_workspace(
                (batch, inputs), (outputs, inputs), products=products
            )
            run(
                device,
                "linear_backward_data",
                size,
                device.put(dy),
                matrix,
                None if given is None else device.put(given),
                dx,
                gate_factor=2.0,
                products=products,
            )
            results.append(device.get(dx))
        exact = dy.astype(np.float64) @ weight
        rounded_dy, rounded = as_multiplied(dy, weight.astype(np.float64), "float32", products)
        size = np.abs(dy).astype(np.float64) @ np.abs(weight)
        bound = np.abs(rounded_dy @ rounded - exact) + EPS * math.sqrt(outputs) * size
        assert_within(results[0], exact, bound)
        np.testing.assert_array_equal(results[1], np.where(gate > 0, results[0] * 2, 0))


#: (batch, inputs, outputs), one with more items than are in shared memory at a time.
UPDATES = [
    (50, 256, 70),
    (50, 4096, 4),
    (130, 132, 65),
    (64, 7, 5),
    (1, 1, 1),
    (0, 8, 3),
    (5, 0, 3),
]


@pytest.mark.parametrize(("batch", "inputs", "outputs"), UPDATES)
def test_update_of_weight_and_bias(device: Device, batch: int, inputs: int, outputs: int) -> None:
    rates = {"rate": 0.01, "momentum": 0.9, "decay": 0.0005}
    bias_rates = {"rate": 0.02, "momentum": 0.5, "decay": 0.0}
    rates_array = device.put(np.zeros(3, np.float32))
    bias_rates_array = device.put(np.zeros(3, np.float32))
    for array, values in ((rates_array, rates), (bias_rates_array, bias_rates)):
        array[:] = device.put(np.array(list(values.values()), np.float32))
    dy, x = normal(batch, outputs), normal(batch, inputs, seed=1)
    start = [normal(outputs, inputs, seed=2), normal(outputs, inputs, seed=3)]
    start += [normal(outputs, seed=4), normal(outputs, seed=5)]
    for with_bias in (True, False):
        weight, velocity, bias, bias_velocity = (device.put(array) for array in start)
        others = (bias, bias_velocity, bias_rates_array) if with_bias else (None, None, None)
        device.kernels.linear_sgd_update(
            device.put(dy),
            device.put(x),
            weight,
            velocity,
            rates_array,
            *others,
            stream=device.stream,
        )
        wide_dy, wide_x = dy.astype(np.float64), x.astype(np.float64)
        gradient = (wide_dy.T @ wide_x, np.abs(wide_dy).T @ np.abs(wide_x))
        assert_updated(device, (weight, velocity), start[:2], gradient, batch, **rates)
        if with_bias:
            gradient = (wide_dy.sum(axis=0), np.abs(wide_dy).sum(axis=0))
            assert_updated(device, (bias, bias_velocity), start[2:], gradient, batch, **bias_rates)
        else:
            np.testing.assert_array_equal(device.get(bias), start[2])


def assert_updated(
    device: Device,
    got: tuple[Any, Any],
    start: list[np.ndarray],
    gradient: tuple[np.ndarray, np.ndarray],
    batch: int,
    **rates: float,
) -> None:
    """That weight and velocity are as sgd_update makes them; bounds as in checks.py.

    The gradient is given with the sum of its terms' absolute values.
    """
    weight, velocity = (array.astype(np.float64) for array in start)
    REFERENCE.sgd_update(weight, gradient[0], velocity, **rates)
    w, v = (np.abs(array.astype(np.float64)) for array in start)
    magnitude = rates["momentum"] * v + rates["rate"] * (gradient[1] + rates["decay"] * w)
    bound = 6 * EPS / 2 * magnitude + rates["rate"] * EPS * math.sqrt(batch) * gradient[1]
    assert_within(device.get(got[1]), velocity, bound)
    assert_within(device.get(got[0]), weight, bound + EPS / 2 * (w + magnitude))


# -- weights in fewer bits -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 4, 7, 1027])
def test_conversion_is_to_the_nearest(device: Device, count: int) -> None:
    bits = np.random.default_rng(count).integers(0, 2**32, count + 1, np.uint32)
    x = bits.view(np.float32)  # of all sizes, infinities and NaN among them
    for offset in (0, 1):
        part = x[offset : offset + count]
        with np.errstate(over="ignore"):
            wants = (part.astype(np.float16), compressed.to_bf16(part))
        for want in wants:
            y = device.put(np.zeros(count, want.dtype))
            device.kernels.convert(device.put(x)[offset : offset + count], y, stream=device.stream)
            got = device.get(y)
            number = ~np.isnan(part)
            np.testing.assert_array_equal(got.view(np.uint16)[number], want.view(np.uint16)[number])
            if want.dtype == np.uint16:
                got = (got.astype(np.uint32) << 16).view(np.float32)
            assert np.isnan(got[~number]).all()


@pytest.mark.parametrize("inputs", [1, 5, 300, 1024])
def test_int8_as_the_reference_has_it(device: Device, inputs: int) -> None:
    weight = normal(9, inputs)
    weight[2] = 0
    weight[3] *= np.float32(1e-44)
    weight[4] *= np.float32(1e37)
    # Ties, which a product with the scale's reciprocal would miss: 41 times halves up to 127.
    weight[6] = 41 * ((np.arange(inputs) % 252) - 125.5)
    weight[6, 0] = 41 * 127
    matrix = device.put(widened(weight, 3))
    values = device.put(np.zeros(weight.shape, np.int8))
    scale = device.put(np.zeros(len(weight), np.float32))
    device.kernels.to_int8(matrix[:, :inputs], values, scale, stream=device.stream)
    want, want_scale = compressed.to_int8(weight)
    np.testing.assert_array_equal(device.get(values), want)
    np.testing.assert_array_equal(device.get(scale), want_scale)

    for damage in (np.nan, np.inf, -np.inf):
        matrix[5, inputs - 1] = damage
        device.kernels.to_int8(matrix[:, :inputs], values, scale, stream=device.stream)
        np.testing.assert_array_equal(np.isnan(device.get(scale)), np.arange(9) == 5)
