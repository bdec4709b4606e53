"""Values one by one on the GPU, the losses and the solver, beyond the contract of ops: any address, any
count, and what a graph's replay may change: it is read when the kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cuda_device import (
    EPS,
    MODULES,
    Device,
    assert_within,
    empty,
    load_device,
    normal,
)
from goturn.ops.reference import ReferenceOps

REFERENCE = ReferenceOps()


@pytest.fixture(params=MODULES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


# -- elementwise and the solver ------------------------------------------------------------------

COUNTS = [0, 1, 3, 4, 5, 255, 256, 257, 1023, 4099]


def elementwise_calls(device: Device, count: int) -> dict[str, Callable[..., None]]:
    """Name to a function of (arrays of `count` floats, the last of which is written)."""
    kernels, stream = device.kernels, device.stream
    mask = device.put((np.arange(count) % 3 > 0).astype(np.uint8))
    return {
        "relu": lambda x, _, y: kernels.relu(x, y, stream=stream),
        "relu_backward": lambda x, z, y: kernels.relu_backward(x, z, y, stream=stream),
        "dropout": lambda x, _, y: kernels.dropout(x, mask, y, ratio=0.5, stream=stream),
        "add": lambda x, _, y: kernels.add(x, y, stream=stream),
    }


@pytest.mark.parametrize("op", ["relu", "relu_backward", "dropout", "add"])
@pytest.mark.parametrize("count", COUNTS)
def test_elementwise_at_any_address(device: Device, op: str, count: int) -> None:
    x, z, y = normal(count + 1), normal(count + 2)[: count + 1], normal(count + 3)[: count + 1]
    wants = {
        "relu": np.maximum(x, 0),
        "relu_backward": np.where(z > 0, x, 0),
        "add": x + y,
    }
    for offset in (0, 1):
        arrays = [device.put(array) for array in (x, z, y)]
        views = [array[offset : offset + count] for array in arrays]
        elementwise_calls(device, count)[op](*views)
        got = device.get(arrays[2])
        here = slice(offset, offset + count)
        if op == "dropout":
            want = x[here] * (np.arange(count) % 3 > 0) / np.float32(0.5)
        else:
            want = wants[op][here]
        np.testing.assert_array_equal(got[here], want)
        untouched = np.ones(count + 1, bool)
        untouched[here] = False
        np.testing.assert_array_equal(got[untouched], y[untouched])


def test_relu_keeps_nan_and_gives_no_negative_zero(device: Device) -> None:
    x = np.array([np.nan, -np.inf, -0.0, 0.0, np.inf, -1e-45], np.float32)
    y = device.put(empty(x.shape))
    device.kernels.relu(device.put(x), y, stream=device.stream)
    got = device.get(y)
    np.testing.assert_array_equal(got, np.array([np.nan, 0, 0, 0, np.inf, 0], np.float32))
    assert not np.signbit(got[1:]).any()


def test_the_key_of_dropout_is_read_when_it_runs(device: Device) -> None:
    key = device.put(np.zeros(1, np.uint64))
    for value in (0, 7, 2**64 - 1):
        key[:] = device.put(np.array([value], np.uint64))
        for count in (1, 6, 1000):
            mask = device.put(np.full(count + 1, 9, np.uint8))
            device.kernels.dropout_mask(mask[1:], key, ratio=0.3, stream=device.stream)
            want = REFERENCE.dropout_mask((count,), ratio=0.3, key=value)
            np.testing.assert_array_equal(device.get(mask), np.concatenate([[9], want]))


@pytest.mark.parametrize(
    ("rows", "columns", "extra"), [(1, 1, 0), (3, 8, 4), (5, 7, 2), (4, 600, 0), (66000, 1, 3)]
)
def test_copy_rows(device: Device, rows: int, columns: int, extra: int) -> None:
    x = device.put(normal(rows, columns + extra))
    for left in (0, min(extra, 1)):  # an odd address, where there is room
        y = device.put(empty((rows, columns + 2 * extra)))
        target = y[:, left : left + columns]
        device.kernels.copy_rows(
            x[:, left : left + columns], target, factor=0.25, stream=device.stream
        )
        want = empty((rows, columns + 2 * extra))
        want[:, left : left + columns] = device.get(x)[:, left : left + columns] * 0.25
        np.testing.assert_array_equal(device.get(y), want)


@pytest.mark.parametrize("count", [1, 4, 6, 1030])
def test_rates_are_read_when_the_update_runs(device: Device, count: int) -> None:
    rates = device.put(np.zeros(3, np.float32))
    gradient, start, moving = normal(count + 1), normal(1, count + 1)[0], normal(2, count + 1)[0]
    for values in ((0.1, 0.9, 0.01), (0.0, 0.0, 0.0), (2.0, 0.5, 0.25)):
        rates[:] = device.put(np.array(values, np.float32))
        rate, momentum, decay = (float(np.float32(value)) for value in values)
        results = []
        for offset in (0, 1):
            w, v = device.put(np.roll(start, offset)), device.put(np.roll(moving, offset))
            g = device.put(np.roll(gradient, offset))
            here = slice(offset, offset + count)
            device.kernels.sgd_update(w[here], g[here], v[here], rates, stream=device.stream)
            results.append((device.get(w)[here], device.get(v)[here]))
        np.testing.assert_array_equal(results[0], results[1])  # vectors or not
        wide = [array[:count].astype(np.float64) for array in (start, gradient, moving)]
        REFERENCE.sgd_update(*wide, rate=rate, momentum=momentum, decay=decay)
        sizes = [np.abs(array[:count]).astype(np.float64) for array in (start, gradient, moving)]
        magnitude = momentum * sizes[2] + rate * (sizes[1] + decay * sizes[0])
        assert_within(results[0][1], wide[2], 6 * EPS / 2 * magnitude)
        bound = 6 * EPS / 2 * magnitude + EPS / 2 * (sizes[0] + magnitude)
        assert_within(results[0][0], wide[0], bound)


# -- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["l1_loss", "l2_loss"])
@pytest.mark.parametrize("count", [0, 1, 4, 200, 255, 256, 257, 20011])
def test_losses_of_any_count(device: Device, op: str, count: int) -> None:
    prediction, label = normal(count), normal(1, count)[0]
    gradient, value = device.put(empty((count,))), device.put(np.full(1, 5.0))
    call = getattr(device.kernels, op)
    call(device.put(prediction), device.put(label), gradient, value, stream=device.stream)
    difference = prediction - label
    terms = np.abs(difference) if op == "l1_loss" else difference.astype(np.float64) ** 2 / 2
    # The terms are exact; sums of doubles err by less than this in any order.
    want = terms.sum(dtype=np.float64)
    assert abs(device.get(value)[0] - want) <= count * np.finfo(np.float64).eps * want
    expected = np.sign(difference) if op == "l1_loss" else difference
    np.testing.assert_array_equal(device.get(gradient), expected)


@pytest.mark.parametrize("op", ["l1_loss", "l2_loss"])
def test_a_nan_is_seen_in_the_loss(device: Device, op: str) -> None:
    prediction = np.array([1, np.nan, 3], np.float32)
    gradient, value = device.put(empty((3,))), device.put(np.zeros(1))
    call = getattr(device.kernels, op)
    label = device.put(np.zeros(3, np.float32))
    call(device.put(prediction), label, gradient, value, stream=device.stream)
    assert np.isnan(device.get(value)[0])
    np.testing.assert_array_equal(np.isnan(device.get(gradient)), [False, True, False])
