"""Every backend's operations against the float64 reference, on the table of cases."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cases import CASES, Case, bounded
from checks import BACKENDS, check, load_backend
from goturn.ops.reference import SGD_CHUNK, ReferenceOps

REFERENCE = ReferenceOps()


def table() -> Iterator[Any]:
    """Every case on every backend; on the emulated one the largest are slow, and cut down besides."""
    for backend in BACKENDS:
        for case in CASES:
            small = bounded(case) if backend == "cuda-emulated" else case
            marks = [pytest.mark.slow] if small is not case else []
            yield pytest.param(backend, case, marks=marks, id=f"{backend}-{case}")
            if small is not case:
                yield pytest.param(backend, small, id=f"{backend}-{small}")


@pytest.mark.parametrize(("backend", "case"), list(table()))
def test_agrees_with_the_reference_in_float64(backend: str, case: Case) -> None:
    check(load_backend(backend), case)


# -- the checker itself --------------------------------------------------------------------------


class Coarse(ReferenceOps):
    """Does products in reduced precision: 10 bits of mantissa, as TF32 and half precision have."""

    def linear(self, x: np.ndarray, weight: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        return super().linear(self._rounded(x), self._rounded(weight), *rest, **options)

    def conv2d(self, x: np.ndarray, weight: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        return super().conv2d(self._rounded(x), self._rounded(weight), *rest, **options)

    def lrn(self, x: np.ndarray, **options: Any) -> np.ndarray:
        return super().lrn(self._rounded(x), **options)

    def match(self, targets: np.ndarray, searches: np.ndarray, **options: Any) -> np.ndarray:
        return super().match(self._rounded(targets), self._rounded(searches), **options)

    @staticmethod
    def _rounded(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float16).astype(np.float32)


#: But for the cases of a single product, which may happen to be exact, and matches of one channel, which
#: are 0, and of two, which are signs.
COARSE_CASES = [
    case
    for case in CASES
    if case.op in ("conv2d", "linear", "lrn", "match")
    and case.label != "one of everything"
    and case.parameters.get("channels", 3) > 2
]


@pytest.mark.parametrize("case", COARSE_CASES, ids=str)
def test_the_checker_notices_reduced_precision(case: Case) -> None:
    with pytest.raises(AssertionError, match="values are wrong"):
        check(Coarse(), case)


class Faulty(ReferenceOps):
    """Writes into its argument, forgets its answer, or answers NaN."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.calls = 0

    def relu(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        y = super().relu(x)
        if self.fault == "wrote into an argument":
            x[...] = y
        elif self.fault == "gave other bits":
            y.flat[0] += self.calls
        elif self.fault == "values are wrong; at .* got nan":
            y.flat[0] = np.nan
        elif self.fault == "returned float64":
            y = y.astype(np.float64)
        else:
            y = y[:1]
        return y


@pytest.mark.parametrize(
    "fault",
    [
        "wrote into an argument",
        "gave other bits",
        "values are wrong; at .* got nan",
        "returned float64",
        "has shape",
    ],
)
def test_the_checker_notices_bad_manners(fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check(Faulty(fault), Case("relu", "fc", {"x": (50, 4096)}))


# -- what the reference promises beyond the table ------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_input_is_the_type_of_the_output(dtype: type) -> None:
    x, filters = np.ones((2, 4, 5, 5), dtype), np.ones((6, 2, 3, 3), dtype)
    rows, matrix = np.ones((2, 4), dtype), np.ones((3, 4), dtype)
    mask = REFERENCE.dropout_mask((2, 4), ratio=0.5, key=0)
    norm: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75}
    y = REFERENCE.conv2d(x, filters, np.ones(6, dtype), groups=2, relu=True)
    pooled = REFERENCE.max_pool(x, kernel=3, stride=2)
    outputs = [
        y,
        *REFERENCE.conv2d_backward(y, x, filters, groups=2),
        pooled,
        REFERENCE.max_pool_backward(pooled, x, kernel=3, stride=2),
        REFERENCE.lrn(x, **norm),
        REFERENCE.lrn(x, **{**norm, "beta": 0.6}),
        REFERENCE.lrn_backward(x, x, **norm),
        REFERENCE.linear(rows, matrix, np.ones(3, dtype), relu=True),
        *REFERENCE.linear_backward(np.ones((2, 3), dtype), rows, matrix),
        REFERENCE.relu(x),
        REFERENCE.relu_backward(x, x),
        REFERENCE.dropout(rows, mask, ratio=0.3),
        REFERENCE.l1_loss(rows, rows)[1],
        REFERENCE.l2_loss(rows, rows)[1],
    ]
    assert {output.dtype for output in outputs if output is not None} == {np.dtype(dtype)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_gives_each_item_what_it_gets_alone(backend: str) -> None:
    ops, rng = load_backend(backend), np.random.default_rng(0)
    x = rng.standard_normal((5, 6, 13, 11), dtype=np.float32)
    filters = rng.standard_normal((8, 3, 3, 3), dtype=np.float32)
    bias = rng.standard_normal(8, dtype=np.float32)
    rows, matrix = x.reshape(5, -1), rng.standard_normal((40, 6 * 13 * 11), dtype=np.float32)

    def alone_and_together(run: Any, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        together = ops.to_numpy(run(ops.from_numpy(batch)))
        alone = [ops.to_numpy(run(ops.from_numpy(batch[i : i + 1]))) for i in range(len(batch))]
        return np.concatenate(alone), together

    weights = ops.from_numpy(filters), ops.from_numpy(bias)
    alone, together = alone_and_together(lambda x: ops.conv2d(x, *weights, pad=1, groups=2), x)
    np.testing.assert_array_equal(alone, together)
    alone, together = alone_and_together(lambda x: ops.max_pool(x, kernel=3, stride=2), x)
    np.testing.assert_array_equal(alone, together)
    alone, together = alone_and_together(lambda x: ops.lrn(x, size=5, alpha=0.1, beta=0.75), x)
    np.testing.assert_array_equal(alone, together)
    device_matrix = ops.from_numpy(matrix)
    alone, together = alone_and_together(lambda x: ops.linear(x, device_matrix, None), rows)
    size = np.abs(rows) @ np.abs(matrix).T  # twice the checker's bound: each may err by one
    assert (np.abs(alone - together) <= 2 * 2**-23 * np.sqrt(rows.shape[1]) * size).all()


def test_a_long_update_is_done_in_chunks_that_meet() -> None:
    """An update longer than a chunk, not a multiple of it, moves every element by the same rule."""
    size = 2 * SGD_CHUNK + 17
    weight, velocity = np.ones(size), np.full(size, 3.0)
    REFERENCE.sgd_update(weight, np.full(size, 2.0), velocity, rate=0.5, momentum=0.5, decay=0.25)
    assert np.all(velocity == 0.5 * 3 + 0.5 * (2 + 0.25))
    assert np.all(weight == 1 - 2.625)


def test_adam_by_hand() -> None:
    """The first step is the rate, whatever the gradient's size; the second is Adam's algorithm 1."""
    size = 2 * SGD_CHUNK + 17
    weight, velocity, square = np.ones(size), np.zeros(size), np.zeros(size)
    gradient = np.where(np.arange(size) % 2, 300.0, -0.25)
    how = {"rate": 0.5, "momentum": 0.75, "squares": 0.5}
    REFERENCE.adam_update(weight, gradient, velocity, square, **how, decay=0.25, iteration=1)
    np.testing.assert_allclose(weight, 1 - 0.5 * np.sign(gradient) - 0.125, rtol=1e-6)
    before = weight.copy()
    REFERENCE.adam_update(weight, 2 * gradient, velocity, square, **how, decay=0.0, iteration=2)
    # v = 0.75 * 0.25 g + 0.25 * 2 g, over 1 - 0.75^2; s = 0.5 * 0.5 g^2 + 0.5 * 4 g^2, over 1 - 0.5^2.
    step = (0.6875 / 0.4375) / np.sqrt(2.25 / 0.75)
    np.testing.assert_allclose(weight, before - 0.5 * step * np.sign(gradient), rtol=1e-6)


def test_a_column_slice_is_not_copied() -> None:
    """BLAS must read half of fc6 where it lies: a copy would be another 150 MB each call."""
    matrix = np.zeros((256, 18432), np.float32)
    x = np.zeros((1, 9216), np.float32)
    tracemalloc.start()
    try:
        REFERENCE.linear(x, matrix[:, 9216:], None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < matrix.nbytes / 8


def test_a_batch_of_convolutions_takes_the_memory_of_one() -> None:
    x, filters = np.zeros((40, 8, 24, 24), np.float32), np.zeros((4, 8, 5, 5), np.float32)
    column_matrix = 8 * 25 * 20 * 20 * 4
    tracemalloc.start()
    try:
        REFERENCE.conv2d(x, filters, np.zeros(4, np.float32))
        REFERENCE.conv2d_backward(np.zeros((40, 4, 20, 20), np.float32), x, filters)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * column_matrix + 3 * x.nbytes


# -- the dropout mask ----------------------------------------------------------------------------


def kept(index: int, ratio: float, key: int) -> int:
    """The interface's formula for one value, in whole numbers of any size."""
    bits = 2**64 - 1
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & bits
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & bits
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & bits
    z ^= z >> 31
    return int(z >> 32 >= int(ratio * 2**32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", [0, 1, 20160916, 2**63, 2**64 - 1])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.999])
def test_mask_is_the_formula(backend: str, key: int, ratio: float) -> None:
    ops = load_backend(backend)
    mask = ops.to_numpy(ops.dropout_mask((5, 41), ratio=ratio, key=key))
    assert mask.dtype == np.uint8
    assert mask.reshape(-1).tolist() == [kept(i, ratio, key) for i in range(5 * 41)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_mask_keeps_a_value_at_the_threshold(backend: str) -> None:
    """The first upper half of key 0 is 0xE220A839: kept at exactly that ratio, dropped one beyond."""
    ops, first = load_backend(backend), 0xE220A839
    for ratio, expected in ((first / 2**32, 1), ((first + 1) / 2**32, 0)):
        assert ops.to_numpy(ops.dropout_mask((1,), ratio=ratio, key=0)).tolist() == [expected]


def test_mask_begins_with_the_published_numbers_of_splitmix64() -> None:
    """SplitMix64 seeded with 1234567 begins 6457827717110365317, 3203168211198807973, ..."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    published += [4593380528125082431, 16408922859458223821]
    for ratio in (0.2, 0.3, 0.4, 0.5, 0.6):
        expected = [int(value / 2**64 >= ratio) for value in published]
        assert REFERENCE.dropout_mask((5,), ratio=ratio, key=1234567).tolist() == expected


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_mask_keeps_its_share_independently_of_place_and_key(ratio: float) -> None:
    count = 200_000
    masks = [REFERENCE.dropout_mask((count,), ratio=ratio, key=k).astype(float) for k in (7, 8)]
    spread = np.sqrt(ratio * (1 - ratio) / count)
    for mask in masks:
        assert abs(mask.mean() - (1 - ratio)) < 5 * spread
        neighbours = np.corrcoef(mask[1:], mask[:-1])[0, 1]
        assert abs(neighbours) < 5 / np.sqrt(count)
    assert abs(np.corrcoef(*masks)[0, 1]) < 5 / np.sqrt(count)
