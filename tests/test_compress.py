"""Weights in fewer bits on every device that offers them, beyond test_precisions.py's CPU: half
precision, and the GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from checks import BACKENDS, EPS, int8_steps, load_backend
from goturn.ops import Ops, compressed
from goturn.ops.interface import CompressedWeight


@pytest.fixture(params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops:
    return load_backend(request.param)


@pytest.fixture(params=["bf16", "fp16", "int8"])
def precision(request: pytest.FixtureRequest, ops: Ops) -> str:
    name: str = request.param
    if name not in ops.precisions:
        pytest.skip(f"{ops.name} does not offer {name}")
    return name


def matrix(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


def fetched(ops: Ops, weight: CompressedWeight) -> CompressedWeight:
    scale = None if weight.scale is None else ops.to_numpy(weight.scale)
    return CompressedWeight(weight.precision, ops.to_numpy(weight.values), scale)


def same(one: CompressedWeight, other: CompressedWeight) -> bool:
    scales = one.scale is other.scale is None or np.array_equal(one.scale, other.scale)
    alike = one.precision == other.precision and one.values.dtype == other.values.dtype
    return alike and scales and np.array_equal(one.values, other.values)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 129), (4, 0), (0, 4)])
def test_every_device_equals_the_statement_bit_for_bit(
    ops: Ops, precision: str, shape: tuple[int, int]
) -> None:
    rows, columns = shape
    whole = matrix(rows, columns + 5) * np.float32(3)
    device = ops.from_numpy(whole)
    for start in (0, 2):
        want = compressed.compress(whole[:, start : start + columns], precision)
        got = ops.compress(device[:, start : start + columns], precision)
        assert same(fetched(ops, got), want)


def test_half_precision_is_numpys() -> None:
    weight = matrix(50, 300) * np.logspace(-12, 4, 50, dtype=np.float32)[:, np.newaxis]
    halves = compressed.compress(weight, "fp16")
    assert halves.values.dtype == np.float16
    assert halves.scale is None
    assert np.array_equal(halves.values, weight.astype(np.float16))
    assert np.array_equal(
        compressed.expand(halves, np.dtype(np.float32)), weight.astype(np.float16)
    )


def test_half_precision_has_a_range(ops: Ops) -> None:
    if "fp16" not in ops.precisions:
        pytest.skip(f"{ops.name} does not offer fp16")
    weight = matrix(7, 40)
    weight[3, 11], weight[5, 2] = 65519.996, -65504  # rounded to 65504, and that itself
    kept = fetched(ops, ops.compress(ops.from_numpy(weight), "fp16"))
    assert kept.values[3, 11] == 65504
    for bad in (65520.0, -1e6, np.inf, np.nan):
        damaged = weight.copy()
        damaged[4, 39] = bad
        with pytest.raises(ValueError, match="fp16 needs finite weights of at most 65504"):
            ops.compress(ops.from_numpy(damaged), "fp16")


def test_int8_of_damaged_weights(ops: Ops) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        weight = matrix(3, 40)
        weight[1, 20] = bad
        with pytest.raises(ValueError, match="int8 needs finite weights"):
            ops.compress(ops.from_numpy(weight), "int8")


def test_bad_arguments(ops: Ops) -> None:
    for name in ("fp32", "tf32", "int4"):
        with pytest.raises(ValueError, match=rf"^compress: precision must be .*got '{name}'"):
            ops.compress(ops.from_numpy(matrix(2, 2)), name)
    with pytest.raises(TypeError, match=r"must be float32; got float64"):
        ops.compress(ops.from_numpy(matrix(2, 2).astype(np.float64)), "int8")
    with pytest.raises(ValueError, match=r"must be \(out, in\); got shape \(4,\)"):
        ops.compress(ops.from_numpy(np.zeros(4, np.float32)), "int8")


@pytest.mark.parametrize("n", [1, 3, 17])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (64, 16), (1100, 17)])
def test_products_are_with_the_numbers_that_the_weights_stand_for(
    ops: Ops, precision: str, n: int, inputs: int, outputs: int
) -> None:
    x, bias = matrix(n, inputs, 1), matrix(1, outputs, 2)[0]
    reduced = ops.compress(ops.from_numpy(matrix(outputs, inputs + 9)), precision)
    given: tuple[Any, Any] = (ops.from_numpy(x), ops.from_numpy(bias))
    for weight in (reduced.columns(0, inputs), reduced.columns(9, inputs + 9)):
        host = fetched(ops, weight)
        numbers = compressed.expand(host, np.dtype(np.float64))
        if host.scale is not None:
            numbers *= host.scale[:, np.newaxis]
        want = x @ numbers.T + bias
        size = np.abs(x) @ np.abs(numbers).T + np.abs(bias)
        bound = EPS * (np.sqrt(inputs) + 3) * size + 1e-30  # of float32, far below the weights'
        if precision == "int8":
            bound += int8_steps(ops, x, numbers)
        got = ops.to_numpy(ops.linear(given[0], weight, given[1]))
        assert got.dtype == np.float32
        assert (np.abs(got - want) <= bound).all()
        rectified = ops.to_numpy(ops.linear(given[0], weight, given[1], relu=True))
        assert np.array_equal(rectified, np.maximum(got, 0))


def test_shapes_that_do_not_fit(ops: Ops, precision: str) -> None:
    weight = ops.compress(ops.from_numpy(matrix(3, 6)), precision)
    with pytest.raises(ValueError, match="must agree in their second dimension"):
        ops.linear(ops.from_numpy(matrix(2, 5)), weight, None)
    with pytest.raises(ValueError, match="bias has shape"):
        ops.linear(ops.from_numpy(matrix(2, 6)), weight, ops.from_numpy(np.zeros(2, np.float32)))
    with pytest.raises(TypeError, match="float32"):
        ops.linear(
            ops.from_numpy(matrix(2, 6).astype(np.float64)), weight, ops.from_numpy(matrix(1, 3)[0])
        )
