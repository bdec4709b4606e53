"""The reference's gradients against finite differences, and its solver against Caffe's rule by hand.

Gradients are compared in float64 with central differences of a weighted sum of the output.  Points are
kept away from kinks (ReLU's and L1's zero, ties in a pooling window), where no derivative exists; what
the ops define there is asserted separately and exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cases import SMALL_CONVOLUTIONS
from goturn.ops.reference import ReferenceOps

OPS = ReferenceOps()

#: Step of the differences, and the error they may have: step^2 from the third derivative, and
#: rounding (2e-16) over the step, both near 1e-10; values here are of order 1 to 100.
STEP = 1e-5
TOLERANCE = 1e-7


def numeric_gradient(function: Callable[[], float], x: np.ndarray) -> np.ndarray:
    """d function / d x by central differences; ``function`` reads ``x``, which is moved and restored."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + STEP
        above = function()
        x[index] = value - STEP
        below = function()
        x[index] = value
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_is_gradient(
    forward: Callable[[], np.ndarray],
    dy: np.ndarray,
    **analytic: tuple[np.ndarray, np.ndarray | None],
) -> None:
    """Each (variable, gradient) agrees with the differences of sum(dy * forward())."""
    for name, (variable, gradient) in analytic.items():
        expected = numeric_gradient(lambda: float((dy * forward()).sum()), variable)
        assert gradient is not None
        assert gradient.shape == variable.shape
        size = max(1.0, float(np.abs(expected).max()))
        worst = float(np.abs(gradient - expected).max())
        assert worst <= TOLERANCE * size, f"{name} differs from the difference by {worst:.3g}"


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of both signs that differ by far more than STEP from each other and from 0."""
    count = math.prod(shape)
    return (rng.permutation(count).reshape(shape) - count // 2 + 0.5) / 10


# -- convolution ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "weight", "parameters"), SMALL_CONVOLUTIONS)
def test_gradient_of_convolution(
    x: tuple[int, ...], weight: tuple[int, ...], parameters: dict[str, int]
) -> None:
    rng = np.random.default_rng(2)
    image, filters = rng.standard_normal(x), rng.standard_normal(weight)
    bias = rng.standard_normal(weight[0])
    dy = rng.standard_normal(OPS.conv2d(image, filters, bias, **parameters).shape)
    dx, dweight, dbias = OPS.conv2d_backward(dy, image, filters, **parameters)
    assert_is_gradient(
        lambda: OPS.conv2d(image, filters, bias, **parameters),
        dy,
        dx=(image, dx),
        dweight=(filters, dweight),
        dbias=(bias, dbias),
    )


# -- max pooling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((2, 3, 7, 6), {"kernel": 3, "stride": 2}),
        ((1, 2, 5, 5), {"kernel": 3, "stride": 1, "pad": 1}),
        ((1, 2, 8, 7), {"kernel": 2, "stride": 3}),
        ((1, 1, 3, 5), {"kernel": 2, "stride": 2, "pad": 1}),
    ],
)
def test_gradient_of_pool(shape: tuple[int, ...], parameters: dict[str, int]) -> None:
    rng = np.random.default_rng(3)
    x = distinct(rng, shape)
    dy = rng.standard_normal(OPS.max_pool(x, **parameters).shape)
    dx = OPS.max_pool_backward(dy, x, **parameters)
    assert_is_gradient(lambda: OPS.max_pool(x, **parameters), dy, dx=(x, dx))


def test_the_first_maximum_takes_the_whole_gradient() -> None:
    x = np.array([[0.0, 5.0, 5.0], [5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]).reshape(1, 1, 3, 3)
    dx = OPS.max_pool_backward(np.full((1, 1, 1, 1), 7.0), x, kernel=3, stride=1)
    assert dx[0, 0].tolist() == [[0, 7, 0], [0, 0, 0], [0, 0, 0]]
    dx = OPS.max_pool_backward(np.ones((1, 1, 2, 2)), np.zeros((1, 1, 3, 3)), kernel=2, stride=1)
    assert dx[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


# -- local response normalisation ----------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.75, 0.5, 1.3])
@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradient_of_lrn(size: int, channels: int, beta: float) -> None:
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((2, channels, 2, 3)), rng.standard_normal((2, channels, 2, 3))
    constants: dict[str, Any] = {"size": size, "alpha": 0.7, "beta": beta, "k": 1.5}
    dx = OPS.lrn_backward(dy, x, **constants)
    assert_is_gradient(lambda: OPS.lrn(x, **constants), dy, dx=(x, dx))


# -- linear, ReLU, dropout -----------------------------------------------------------------------


def test_gradient_of_linear() -> None:
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((3, 5)), rng.standard_normal((4, 9))[:, 2:7]
    bias, dy = rng.standard_normal(4), rng.standard_normal((3, 4))
    dx, dweight, dbias = OPS.linear_backward(dy, x, weight)
    assert_is_gradient(
        lambda: OPS.linear(x, weight, bias),
        dy,
        dx=(x, dx),
        dweight=(weight, dweight),
        dbias=(bias, dbias),
    )


@pytest.mark.parametrize(("channels", "cells"), [(4, 3), (2, 5), (7, 1)])
def test_gradient_of_match(channels: int, cells: int) -> None:
    rng = np.random.default_rng(15)
    # Far from where a column is nothing, the differences are as exact as elsewhere.
    targets, searches = distinct(rng, (2, channels * cells)), distinct(rng, (2, channels * cells))
    dy, how = rng.standard_normal((2, cells * cells)), {"cells": cells, "scale": 2.5}
    d_targets, d_searches = OPS.match_backward(dy, targets, searches, **how)
    assert_is_gradient(
        lambda: OPS.match(targets, searches, **how),
        dy,
        d_targets=(targets, d_targets),
        d_searches=(searches, d_searches),
    )


def test_match_is_the_correlation_coefficient() -> None:
    rng = np.random.default_rng(16)
    targets, searches = rng.standard_normal((1, 5 * 3)) * 100, rng.standard_normal((1, 5 * 3)) * 100
    found = OPS.match(targets, searches, cells=3, scale=10.0).reshape(3, 3)
    both = np.corrcoef(targets.reshape(5, 3), searches.reshape(5, 3), rowvar=False)
    np.testing.assert_allclose(found, 10 * both[:3, 3:], rtol=1e-9)


def test_a_cell_of_equal_channels_matches_nothing() -> None:
    targets = np.full((1, 6), 0.1, np.float32)
    searches = np.arange(6, dtype=np.float32).reshape(1, 6)
    assert not OPS.match(targets, searches, cells=2, scale=10.0).any()
    gradients = OPS.match_backward(
        np.ones((1, 4), np.float32), targets, searches, cells=2, scale=10.0
    )
    assert all(np.isfinite(each).all() for each in gradients)


def test_gradient_of_relu() -> None:
    rng = np.random.default_rng(6)
    x, dy = distinct(rng, (4, 5)), rng.standard_normal((4, 5))
    assert_is_gradient(lambda: OPS.relu(x), dy, dx=(x, OPS.relu_backward(dy, OPS.relu(x))))


def test_relu_at_its_kink_passes_nothing_back() -> None:
    y = np.array([-0.0, 0.0, 5e-324, 1.0])
    assert OPS.relu_backward(np.full(4, 3.0), y).tolist() == [0, 0, 3, 3]


def test_gradient_of_dropout_is_dropout_of_the_gradient() -> None:
    rng = np.random.default_rng(7)
    x, dy = rng.standard_normal((6, 7)), rng.standard_normal((6, 7))
    mask = OPS.dropout_mask(x.shape, ratio=0.3, key=11)
    assert 0 < mask.sum() < mask.size
    dx = OPS.dropout(dy, mask, ratio=0.3)
    assert_is_gradient(lambda: OPS.dropout(x, mask, ratio=0.3), dy, dx=(x, dx))


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l1_loss", "l2_loss"])
def test_gradient_of_the_losses(loss: str) -> None:
    rng = np.random.default_rng(8)
    prediction, label = distinct(rng, (5, 4)), np.zeros((5, 4))
    _, gradient = getattr(OPS, loss)(prediction, label)
    expected = numeric_gradient(lambda: getattr(OPS, loss)(prediction, label)[0], prediction)
    np.testing.assert_allclose(gradient, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_losses_are_sums_and_l1_is_flat_at_its_kink() -> None:
    prediction = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    label = np.array([[0.0, 2.0, 5.0, 4.5], [-1.0, 1.0, 0.0, -0.0]])
    value, gradient = OPS.l1_loss(prediction, label)
    assert value == 1 + 0 + 2 + 0.5 + 1 + 1
    assert gradient.tolist() == [[1, 0, -1, -1], [1, -1, 0, 0]]
    value, gradient = OPS.l2_loss(prediction, label)
    assert value == (1 + 0 + 4 + 0.25 + 1 + 1) / 2
    assert gradient.tolist() == [[1, 0, -2, -0.5], [1, -1, 0, 0]]


# -- solver --------------------------------------------------------------------------------------


def descend(
    rates: list[float], momentum: float, decay: float, rate_outside: bool = False
) -> list[float]:
    """A weight of 2 under the gradient 3 w - 1: Caffe's rule by hand, or PyTorch's order."""
    w, v, history = 2.0, 0.0, []
    for rate in rates:
        step = (3 * w - 1) + decay * w
        if rate_outside:
            v = momentum * v + step
            w = w - rate * v
        else:
            v = momentum * v + rate * step
            w = w - v
        history.append(w)
    return history


@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_momentum_keeps_the_rate_of_its_time(decay: float) -> None:
    """The rate is inside the velocity: after a change, old steps fade with the rate they were made at."""
    rates = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    expected = descend(rates, 0.9, decay)
    weight, velocity, history = np.array([2.0]), np.zeros(1), []
    for rate in rates:
        gradient = 3 * weight - 1
        OPS.sgd_update(weight, gradient, velocity, rate=rate, momentum=0.9, decay=decay)
        history.append(weight.item())
    np.testing.assert_allclose(history, expected, rtol=1e-13)

    other_order = descend(rates, 0.9, decay, rate_outside=True)
    np.testing.assert_allclose(expected[:3], other_order[:3], rtol=1e-13)
    assert abs(expected[3] - other_order[3]) > 0.1  # the two rules part where the rate changes


def test_decay_pulls_towards_zero_without_a_gradient() -> None:
    weight, velocity = np.array([[8.0, -8.0]]), np.zeros((1, 2))
    OPS.sgd_update(weight, np.zeros((1, 2)), velocity, rate=0.5, momentum=0.9, decay=0.25)
    assert weight.tolist() == [[7, -7]]
    assert velocity.tolist() == [[1, -1]]
