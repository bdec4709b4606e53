"""Adam: its steps by hand, and training with it, which goes on as if it had never stopped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from checks import BACKENDS, load_backend
from goturn.network import Network
from goturn.ops import Ops
from goturn.training.step import PlainStep, Rates, training_step
from networks import tiny
from test_network import lively
from test_training_step import batch, fresh, on, values

RNG = np.random.default_rng(2)


def stepped(ops: Ops, given: list[np.ndarray], **how: Any) -> list[np.ndarray]:
    """weight, velocity and square after one update of copies of ``given``, gradient second."""
    arrays = [ops.from_numpy(each.copy()) for each in given]
    ops.adam_update(*arrays, **how)
    return [np.array(ops.to_numpy(arrays[index])) for index in (0, 2, 3)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_step_goes_by_the_rate(backend):
    """Whatever the gradient's size: towards its minus, and not at all where it is zero."""
    gradient = np.array([3.0, -2e-3, 1e4, 0.0], np.float32)
    weight, none = np.array([1.0, 2.0, -1.0, 5.0], np.float32), np.zeros(4, np.float32)
    how = {"rate": 0.25, "momentum": 0.9, "squares": 0.999, "decay": 0.0, "iteration": 1}
    w, v, s = stepped(load_backend(backend), [weight, gradient, none, none], **how)
    np.testing.assert_allclose(w, [0.75, 2.25, -1.25, 5.0], rtol=1e-5)
    np.testing.assert_allclose(v, 0.1 * gradient, rtol=1e-6)
    np.testing.assert_allclose(s, 0.001 * gradient**2, rtol=1e-6)
    # Decay is of the weight as it was, times the rate, and stays out of the means.
    decayed = stepped(load_backend(backend), [weight, gradient, none, none], **how | {"decay": 0.5})
    np.testing.assert_allclose(decayed[0], [0.625, 2.0, -1.125, 4.375], rtol=1e-5)
    assert np.array_equal(decayed[1:], [v, s])


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_steps_by_hand(backend):
    """Means of what came before, of which the first ones are made up for."""
    ops = load_backend(backend)
    gradients = RNG.normal(0, 1, (3, 5)).astype(np.float32)
    state = [
        RNG.normal(0, 1, 5).astype(np.float32),
        np.zeros(5, np.float32),
        np.zeros(5, np.float32),
    ]
    want = state[0].astype(np.float64)
    how = {"rate": 0.1, "momentum": 0.8, "squares": 0.9, "decay": 0.3}
    for t in (1, 2, 3):
        w, v, s = state
        state = stepped(ops, [w, gradients[t - 1], v, s], **how, iteration=t)
        ages = np.arange(t)[::-1]
        weights = [[share**age for age in ages] for share in (0.8, 0.9)]
        seen = gradients[:t].astype(np.float64)
        mean = np.average(seen, axis=0, weights=weights[0])
        square = np.average(seen**2, axis=0, weights=weights[1])
        want -= 0.1 * (mean / (np.sqrt(square) + 1e-8) + 0.3 * want)
    np.testing.assert_allclose(state[0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda-emulated"])
def test_parts_of_arrays(backend):
    """From an odd place on: the same numbers, and nothing beside them changes."""
    ops = load_backend(backend)
    given = [RNG.normal(0, 1, 1003).astype(np.float32) for _ in range(4)]
    given[3] = np.abs(given[3])
    how = {"rate": 0.1, "momentum": 0.9, "squares": 0.99, "decay": 0.1, "iteration": 5}
    want = stepped(ops, [each[1:-1] for each in given], **how)
    arrays = [ops.from_numpy(each.copy()) for each in given]
    ops.adam_update(*(each[1:-1] for each in arrays), **how)
    for index, expected in zip((0, 2, 3), want, strict=True):
        found = ops.to_numpy(arrays[index])
        np.testing.assert_allclose(found[1:-1], expected, rtol=1e-6, atol=1e-7)
        assert np.array_equal(found[[0, -1]], given[index][[0, -1]])


def adams(network: Network, iteration: int) -> dict[str, Rates]:
    """Rates of the last convolution and the fc layers; biases do not decay."""
    return {
        name: Rates(1e-3, 0.9, 0.01 if name.endswith("weight") else 0.0, 0.99, iteration)
        for name in network.parameters
        if name[:5] not in ("conv1", "conv2")
    }


@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda-emulated"])
def test_going_on_from_velocities_and_squares_gives_the_same_bits(backend):
    weights, batches = lively(tiny()), [batch() for _ in range(4)]

    def run(step: Any, network: Network, some: range) -> None:
        for turn in some:
            step.run(on(network, batches[turn]), adams(network, turn + 1), dropout_key=turn)

    def started(parameters: Any) -> tuple[Network, Any]:
        network = Network(parameters, load_backend(backend))
        return network, training_step(network, learn="conv3", adam=True)

    straight, step = started(fresh(weights))
    assert step.squares() == {}
    run(step, straight, range(4))
    first, before = started(fresh(weights))
    run(before, first, range(2))
    second, after = started(type(weights)(weights.architecture, values(first)))
    after.set_velocities(before.velocities())
    after.set_squares(before.squares())
    run(after, second, range(2, 4))
    for found, want in (
        (values(second), values(straight)),
        (after.velocities(), step.velocities()),
        (after.squares(), step.squares()),
    ):
        assert found.keys() == want.keys()
        for name, value in want.items():
            assert np.array_equal(found[name], value), name
    assert step.squares().keys() == adams(straight, 1).keys()
    for name, value in step.squares().items():
        assert value.min() >= 0, name
        assert value.max() > 0, name
    for name, value in values(straight).items():  # frozen layers stay
        assert np.array_equal(value, weights.parameters[name]) == (name not in step.squares()), name


def test_what_comes_out_are_copies():
    network = Network(lively(tiny()), "cpu")
    step = training_step(network, adam=True)
    step.run(batch(), adams(network, 1), dropout_key=None)
    for taken in (step.squares(), step.velocities()):
        taken["fc6/weight"][:] = math.nan
    assert np.isfinite(step.squares()["fc6/weight"]).all()
    assert np.isfinite(step.velocities()["fc6/weight"]).all()


@pytest.mark.parametrize("backend", ["cpu", "cuda-emulated"])
def test_devices_learn_what_the_reference_does(backend):
    """Before the first step's rounding is drawn out: one step, of gradients that are clear of zero."""
    weights = lively(tiny())
    oracle = Network(fresh(weights), "reference", dtype=np.float64)
    network = Network(fresh(weights), load_backend(backend))
    given = batch()
    for each in (oracle, network):
        step = training_step(each, learn="conv3", adam=True)
        assert isinstance(step, PlainStep)
        step.run(on(each, given), adams(each, 1), dropout_key=3)
    found = values(network)
    for name, value in values(oracle).items():
        before = weights.parameters[name]
        if name not in adams(oracle, 1):
            assert np.array_equal(found[name], before), name
            continue
        way = np.abs(value - before)
        clear = way > 0.9e-3  # a rate of a thousandth; elsewhere the gradient is zero, or nearly
        assert clear.mean() > 0.2, name
        assert way.max() < 1.1e-3 + 1e-5 * np.abs(before).max(), name
        np.testing.assert_allclose(found[name][clear], value[clear], rtol=1e-5, atol=1e-6)
