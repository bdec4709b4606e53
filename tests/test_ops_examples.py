"""The reference itself: against definitions written as loops, and examples worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import SMALL_CONVOLUTIONS
from goturn.ops.reference import ReferenceOps

OPS = ReferenceOps()

# -- convolution -----------------------------------------------------------------------------------


def naive_conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    stride: int = 1,
    pad: int = 0,
    groups: int = 1,
) -> np.ndarray:
    """The definition, one product at a time."""
    n, _, h, w = x.shape
    k, per_group, r, s = weight.shape
    p, q = (h + 2 * pad - r) // stride + 1, (w + 2 * pad - s) // stride + 1
    y = np.zeros((n, k, p, q))
    for item, out, row, column in np.ndindex(y.shape):
        total = bias[out]
        group = out // (k // groups)
        for channel, i, j in np.ndindex(per_group, r, s):
            above, left = row * stride - pad + i, column * stride - pad + j
            if 0 <= above < h and 0 <= left < w:
                pixel = x[item, group * per_group + channel, above, left]
                total += weight[out, channel, i, j] * pixel
        y[item, out, row, column] = total
    return y


@pytest.mark.parametrize(("x", "weight", "parameters"), SMALL_CONVOLUTIONS)
def test_convolution_is_its_definition(
    x: tuple[int, ...], weight: tuple[int, ...], parameters: dict[str, int]
) -> None:
    rng = np.random.default_rng(1)
    image, filters = rng.standard_normal(x), rng.standard_normal(weight)
    bias = rng.standard_normal(weight[0])
    expected = naive_conv2d(image, filters, bias, **parameters)
    y = OPS.conv2d(image, filters, bias, **parameters)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    rectified = OPS.conv2d(image, filters, bias, relu=True, **parameters)
    np.testing.assert_array_equal(rectified, np.maximum(y, 0))


def test_convolution_does_not_flip_the_kernel() -> None:
    x = np.zeros((1, 1, 3, 3))
    x[0, 0, 0, 1] = 1
    kernel = np.arange(9.0).reshape(1, 1, 3, 3)
    assert OPS.conv2d(x, kernel, np.zeros(1)).item() == kernel[0, 0, 0, 1] == 1


# -- max pooling -----------------------------------------------------------------------------------


def test_pool_by_hand() -> None:
    """5 x 4, kernel 3, stride 2: two windows a side, the right ones clipped to two columns."""
    x = np.array(
        [
            [1.0, 2.0, 3.0, 9.0],
            [4.0, 5.0, 6.0, -1.0],
            [7.0, 8.0, 0.0, -2.0],
            [-3.0, -4.0, -5.0, -6.0],
            [-7.0, -8.0, -9.0, 10.0],
        ]
    ).reshape(1, 1, 5, 4)
    y = OPS.max_pool(x, kernel=3, stride=2)
    assert y[0, 0].tolist() == [[8, 9], [8, 10]]
    dx = OPS.max_pool_backward(
        np.array([[1.0, 2.0], [4.0, 8.0]]).reshape(1, 1, 2, 2), x, kernel=3, stride=2
    )
    expected = np.zeros((5, 4))
    expected[2, 1], expected[0, 3], expected[4, 3] = 1 + 4, 2, 8
    np.testing.assert_array_equal(dx[0, 0], expected)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [
        (55, 3, 2, 0, 27),
        (27, 3, 2, 0, 13),
        (13, 3, 2, 0, 6),
        (54, 3, 2, 0, 27),  # floor would give 26
        (3, 2, 2, 1, 2),  # ceil gives 3; the last would start at 4, beyond 3 + 1
        (4, 2, 2, 1, 3),  # the last starts at 4, on the last pixel
        (5, 1, 3, 0, 2),  # ceil gives 3; the last would start at 6, beyond 5
        (3, 3, 2, 0, 1),
    ],
)
def test_pool_sizes(size: int, kernel: int, stride: int, pad: int, expected: int) -> None:
    x = np.arange(float(size * size)).reshape(1, 1, size, size)
    y = OPS.max_pool(x, kernel=kernel, stride=stride, pad=pad)
    assert y.shape == (1, 1, expected, expected)
    assert np.isfinite(y).all()  # no window is empty
    last = min(size, (expected - 1) * stride - pad + kernel) - 1
    assert y[0, 0, -1, -1] == x[0, 0, last, last]


def test_a_window_with_a_nan_gives_nan_and_passes_nothing_back() -> None:
    x = np.array([[1.0, np.nan, 2.0, 3.0]]).reshape(1, 1, 1, 4).repeat(2, axis=2)
    assert np.array_equal(
        OPS.max_pool(x, kernel=2, stride=2)[0, 0], [[np.nan, 3.0]], equal_nan=True
    )
    dx = OPS.max_pool_backward(np.ones((1, 1, 1, 2)), x, kernel=2, stride=2)
    assert dx[0, 0].tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


# -- LRN, linear, dropout --------------------------------------------------------------------------


def test_lrn_by_hand() -> None:
    """Three channels 1, 2, 3, size 3, alpha 3, k 1: scales 1+1+4, 1+1+4+9, 1+4+9; beta 1/2."""
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    y = OPS.lrn(x, size=3, alpha=3.0, beta=0.5)
    np.testing.assert_allclose(
        y.ravel(), [1 / math.sqrt(6), 2 / math.sqrt(15), 3 / math.sqrt(14)], rtol=1e-15
    )
    y = OPS.lrn(x, size=5, alpha=5.0, beta=0.75, k=2.0)  # every window holds all three
    np.testing.assert_allclose(y.ravel(), np.array([1.0, 2.0, 3.0]) / 16**0.75, rtol=1e-15)


def test_linear_by_hand() -> None:
    x, weight = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, -6.0], [0.0, 1.0]])
    assert OPS.linear(x, weight, np.array([0.5, 1.0, -9.0])).tolist() == [[11.5, -6, -7]]
    assert OPS.linear(x, weight, None, relu=True).tolist() == [[11, 0, 2]]


def test_dropout_scales_what_it_keeps() -> None:
    x, mask = np.array([1.0, -2.0, 3.0]), np.array([1, 0, 1], np.uint8)
    assert OPS.dropout(x, mask, ratio=0.75).tolist() == [4, 0, 12]


# -- any shape -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_convolution_and_its_gradients_are_one_bilinear_form(data: st.DataObject) -> None:
    """<dy, conv(x, w)> = <dx, x> = <dweight, w> whatever the shape: the backward is the transpose."""
    groups = data.draw(st.integers(1, 3))
    per_group, out_per_group, n = (data.draw(st.integers(1, 3)) for _ in range(3))
    r, s = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    stride, pad = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 3))
    h = data.draw(st.integers(max(1, r - 2 * pad), 9))
    w = data.draw(st.integers(max(1, s - 2 * pad), 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((n, groups * per_group, h, w))
    weight = rng.standard_normal((groups * out_per_group, per_group, r, s))
    parameters = {"stride": stride, "pad": pad, "groups": groups}

    y = OPS.conv2d(x, weight, np.zeros(len(weight)), **parameters)
    expected = naive_conv2d(x, weight, np.zeros(len(weight)), **parameters)
    np.testing.assert_allclose(y, expected, atol=1e-11)
    dy = rng.standard_normal(y.shape)
    dx, dweight, dbias = OPS.conv2d_backward(dy, x, weight, **parameters)
    assert dx is not None
    size = 1e-13 * float((np.abs(dx) * np.abs(x)).sum() + (np.abs(dweight * weight)).sum() + 1)
    assert abs((dy * y).sum() - (dx * x).sum()) <= 10 * size
    assert abs((dy * y).sum() - (dweight * weight).sum()) <= 10 * size
    np.testing.assert_allclose(dbias, dy.sum(axis=(0, 2, 3)), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pool_takes_each_window_and_keeps_the_sum_of_gradients(data: st.DataObject) -> None:
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    pad = data.draw(st.integers(0, kernel - 1))
    h, w = (data.draw(st.integers(max(1, kernel - 2 * pad), 10)) for _ in range(2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-2, 3, (1, 2, h, w)).astype(float)  # ties
    y = OPS.max_pool(x, kernel=kernel, stride=stride, pad=pad)
    dy = rng.integers(1, 9, y.shape).astype(float)
    expected_dx = np.zeros_like(x)
    for item, channel, p, q in np.ndindex(y.shape):
        top, left = p * stride - pad, q * stride - pad
        rows = range(max(0, top), min(h, top + kernel))
        columns = range(max(0, left), min(w, left + kernel))
        best = (rows[0], columns[0])
        for i in rows:
            for j in columns:
                if x[item, channel, i, j] > x[item, channel][best]:
                    best = (i, j)
        assert y[item, channel, p, q] == x[item, channel][best]
        expected_dx[item, channel][best] += dy[item, channel, p, q]
    dx = OPS.max_pool_backward(dy, x, kernel=kernel, stride=stride, pad=pad)
    np.testing.assert_array_equal(dx, expected_dx)
