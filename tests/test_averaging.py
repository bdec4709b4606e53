"""Averaged weights: exponentially less of older ones, all together 1, whatever the number so far."""

from __future__ import annotations

import numpy as np
import pytest

from goturn.training.averaging import EVERY, Averages


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999])
def test_is_the_weighted_mean(decay):
    random = np.random.default_rng(0)
    rows = random.normal(size=(25, 3, 4)).astype(np.float32)
    averages = Averages(decay)
    for number, row in enumerate(rows, 1):
        averages.add(number * EVERY, {"fc6/weight": row})
        age = np.arange(number)[::-1] * EVERY
        counts = float(decay) ** age
        expected = np.tensordot(counts / counts.sum(), rows[:number].astype(np.float64), 1)
        np.testing.assert_allclose(averages.values["fc6/weight"], expected, atol=2e-6)


def test_weights_are_copied_and_constants_stay():
    value = np.full(300_000, 0.1, np.float32)  # more than a block
    averages = Averages(0.99)
    for count in range(1, 30):
        averages.add(count * EVERY, {"w": value})
    np.testing.assert_array_equal(averages.values["w"], value)
    value[:] = 7
    assert averages.values["w"].max() < 1


def test_goes_on_from_saved_ones():
    random = np.random.default_rng(1)
    rows = random.normal(size=(10, 5)).astype(np.float32)
    whole, first = Averages(0.95), Averages(0.95)
    for number, row in enumerate(rows, 1):
        whole.add(number * EVERY, {"w": row})
        if number <= 4:
            first.add(number * EVERY, {"w": row})
    rest = Averages(0.95, first.values)
    for number, row in enumerate(rows[4:], 5):
        rest.add(number * EVERY, {"w": row})
    np.testing.assert_array_equal(rest.values["w"], whole.values["w"])


def test_when_it_is_due():
    assert [n for n in range(1, 31) if Averages.due(n)] == [EVERY, 2 * EVERY, 3 * EVERY]
