"""The motion model against the distributions it stands for (facts 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from goturn.box import Box
from goturn.training.examples import uniforms
from goturn.training.motion import TRIES, MotionModel, laplace

#: A box in the middle of an image so large that its edges are never met.
BOX, SIDE = Box(499_900.0, 499_950.0, 200.0, 100.0), 1_000_000

#: Kolmogorov's statistic, times the root of the number of draws, passes this once in a thousand times.
KOLMOGOROV = 1.95


def draws(model: MotionModel, count: int, seed: int = 0) -> np.ndarray:
    """(count, 4): shift of the centre in x and y in box sizes, change of width and height."""
    uniform = uniforms(seed, 0)
    boxes = np.array([model.draw(BOX, SIDE, SIDE, uniform) for _ in range(count)])
    size, middle = np.array(BOX[2:]), np.array(BOX.center)
    shifts = (boxes[:, :2] + boxes[:, 2:] / 2 - middle) / size
    return np.concatenate([shifts, boxes[:, 2:] / size - 1], axis=1)


def distance(values: np.ndarray, cumulative: Callable[[np.ndarray], np.ndarray]) -> float:
    """Kolmogorov's statistic times the root of the number of values."""
    values = np.sort(values)
    expected = cumulative(values)
    count = len(values)
    above = np.arange(1, count + 1) / count - expected
    below = expected - np.arange(count) / count
    return max(above.max(), below.max()) * math.sqrt(count)


def laplace_cdf(rate: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(
        x < 0, np.exp(rate * np.minimum(x, 0)) / 2, 1 - np.exp(-rate * np.maximum(x, 0)) / 2
    )


def within(cdf: Callable[[np.ndarray], np.ndarray], limit: float) -> Callable:
    """The distribution of draws that are repeated until they lie in [-limit, limit]."""
    low, high = cdf(np.array(-limit)), cdf(np.array(limit))
    return lambda x: (cdf(x) - low) / (high - low)


def test_laplace_distribution():
    uniform = uniforms(3, 0)
    values = np.array([laplace(5.0, uniform) for _ in range(100_000)])
    assert distance(values, laplace_cdf(5.0)) < KOLMOGOROV
    assert distance(values, laplace_cdf(5.2)) > KOLMOGOROV  # and the statistic can tell


@pytest.mark.slow
def test_a_million_draws_of_the_authors_model():
    found = draws(MotionModel(), 500_000)
    shifts, changes = found[:, :2].ravel(), found[:, 2:].ravel()

    # A shift of more than one size is drawn again, nine times; all ten are too far once in e^50.
    assert np.abs(shifts).max() <= 1
    assert distance(shifts, within(laplace_cdf(5.0), 1.0)) < KOLMOGOROV

    # Changes of size are clamped: e^-6 of them lie on the limits, half on each.
    for limit in (-0.4, 0.4):
        count = np.count_nonzero(np.abs(changes - limit) < 1e-9)
        expected = len(changes) * math.exp(-6) / 2
        assert abs(count - expected) < 4 * math.sqrt(expected)
    inner = changes[np.abs(changes) < 0.4 - 1e-9]
    assert len(changes) - len(inner) == np.count_nonzero(np.abs(changes) > 0.4 - 1e-9)
    assert distance(inner, within(laplace_cdf(15.0), 0.4)) < KOLMOGOROV

    # The four are independent.
    assert np.abs(np.corrcoef(found.T) - np.eye(4)).max() < 5 / math.sqrt(len(found))


def test_uniform_model():
    found = draws(MotionModel("uniform"), 50_000)
    changes = found[:, 2:].ravel()
    assert distance(changes, lambda x: (x + 0.4) / 0.8) < KOLMOGOROV
    # A shift is uniform over the new size, and drawn again where it passes the old one.
    ratio = found[:, 0] / (1 + found[:, 2])
    small = ratio[found[:, 2] < 0]
    assert distance(small, lambda x: (x + 1) / 2) < KOLMOGOROV
    assert np.abs(found[:, :2]).max() <= 1


def test_strict_model_keeps_half_of_the_object():
    found = draws(MotionModel("strict"), 100_000)
    assert np.abs(found[:, 2:]).max() <= 0.4
    for axis in (0, 1):
        shift, half = found[:, axis], 1 + found[:, axis + 2]
        visible = np.minimum(0.5, shift + half) - np.maximum(-0.5, shift - half)
        assert visible.min() >= 0.5
    # The authors' model does not.
    assert np.abs(draws(MotionModel(), 20_000)[:, 2:]).max() == pytest.approx(0.4)


def test_boxes_stay_in_the_image():
    """The new box lies in the image, also where the object is at its edge, or partly beyond."""
    uniform = uniforms(1, 0)
    model = MotionModel()
    for box in (Box(0, 0, 30, 20), Box(70, 45, 40, 30), Box(-10, 10, 30, 60), Box(0, 0, 100, 60)):
        for _ in range(300):
            new = model.draw(box, 100, 60, uniform)
            x1, y1, x2, y2 = new.xyxy
            assert min(x1, y1) >= -1e-9
            assert max(x2 - 100, y2 - 60) <= 1e-9
            assert 1 <= new.w <= 99
            assert 1 <= new.h <= 59


def test_the_tenth_shift_is_taken_whatever_it_is():
    """Shifts of 1.6 sizes, always: nine are refused, and the tenth stands."""
    asked = []

    def uniform() -> float:
        asked.append(1)
        return 0.9997  # above a half, so the sign is -, and ln(1 - u) is -8.1

    box = MotionModel(scale_limit=0.0).draw(BOX, SIDE, SIDE, uniform)
    assert box.center[0] - BOX.center[0] == pytest.approx(-math.log(1 - 0.9997) / 5 * BOX.w)
    # Two numbers a draw: two sizes, and ten shifts for each of two axes.
    assert len(asked) == 2 * 2 + 2 * 2 * TRIES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gauss"}, "motion model must be one of laplace, strict, uniform; got 'gauss'"),
        ({"lambda_shift": 0.0}, "lambda_shift must be above 0; got 0.0"),
        ({"scale_limit": 1.0}, "scale_limit must be in [0, 1); got 1.0"),
    ],
)
def test_refuses(settings, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace(")", r"\)")):
        MotionModel(**settings)
