"""A training iteration: the same on every device, whatever the device does in one kernel."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from checks import load_backend
from goturn.network import Network
from goturn.ops.cuda_training import CudaTrainingStep
from goturn.training.step import Batch, PlainStep, Rates, TrainingStep, training_step
from goturn.weights import Weights
from networks import tiny
from test_network import lively

BACKENDS = ("cpu", "cuda", "cuda-emulated")
RNG = np.random.default_rng(5)
KEY = 12345


def batch(count: int = 7, targets: int = 3, side: int = 35) -> Batch:
    owners = np.sort(
        np.concatenate([np.arange(targets), RNG.integers(0, targets, count - targets)])
    )
    crops = RNG.standard_normal((targets + count, 3, side, side), dtype=np.float32) * 50
    labels = RNG.uniform(0, 10, (count, 4)).astype(np.float32)
    return Batch(crops[:targets], crops[targets:], owners.astype(np.int32), labels)


def rates(network: Network, *, towers: bool, loss: str = "l1") -> dict[str, Rates]:
    """Caffe's: biases learn at twice the rate, without decay; convolutions more slowly.

    Small enough that errors do not grow from one iteration to the next.
    """
    base = 1e-5 if loss == "l1" else 1e-7
    found = {}
    for name in network.parameters:
        conv = name.startswith("conv")
        if conv and not towers:
            continue
        rate = 0.2 * base if conv else base
        found[name] = Rates(rate, 0.9, 5e-4) if name.endswith("weight") else Rates(2 * rate)
    return found


def values(network: Network) -> dict[str, np.ndarray]:
    return {name: np.array(network.ops.to_numpy(x)) for name, x in network.parameters.items()}


def fresh(weights: Weights) -> Weights:
    return Weights(weights.architecture, {k: v.copy() for k, v in weights.parameters.items()})


def on(network: Network, batch: Batch) -> Batch:
    """``batch`` where ``network`` is."""
    return replace(
        batch,
        targets=network.ops.from_numpy(batch.targets.astype(network.dtype)),
        searches=network.ops.from_numpy(batch.searches.astype(network.dtype)),
    )


# -- what it must be -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["l1", "l2"])
@pytest.mark.parametrize("towers", [False, True])
def test_the_plain_step_is_gradients_and_then_updates(loss, towers):
    """With every target repeated for each of its search windows, and all gradients formed first."""
    weights = lively(tiny())
    network = Network(fresh(weights), "reference", dtype=np.float64)
    step = PlainStep(network, loss=loss, learn="all" if towers else "fc")
    by_hand = Network(fresh(weights), "reference", dtype=np.float64)
    ops, velocities = by_hand.ops, {}
    for turn in range(3):
        given = on(network, batch())
        found = step.run(given, rates(network, towers=towers, loss=loss), dropout_key=KEY + turn)
        targets = given.targets[given.owners]
        forward = by_hand.forward(targets, given.searches, dropout_key=KEY + turn)
        label = given.labels.astype(np.float64)
        want, d_units = getattr(ops, f"{loss}_loss")(forward.units, label)
        assert found == pytest.approx(want, rel=1e-12)
        gradients = by_hand.backward(forward, d_units, towers=towers)
        for name, how in rates(by_hand, towers=towers, loss=loss).items():
            velocity = velocities.setdefault(name, np.zeros_like(by_hand.parameters[name]))
            velocity *= how.momentum
            velocity += how.rate * (gradients[name] + how.decay * by_hand.parameters[name])
            by_hand.parameters[name] -= velocity
    for name, value in values(by_hand).items():
        assert np.allclose(network.parameters[name], value, rtol=1e-10, atol=1e-14), name
        changed = not np.array_equal(value, weights.parameters[name].astype(np.float64))
        assert changed == (towers or not name.startswith("conv"))
    for name, velocity in step.velocities().items():
        assert np.allclose(velocity, velocities[name], rtol=1e-9, atol=1e-14)


CASES = {
    "the papers": ({}, "l1", False),
    "L2": ({}, "l2", False),
    "convolutions learn": ({}, "l1", True),
    "a tower each": ({"shared_towers": False}, "l1", False),
    "a tower each, learning": ({"shared_towers": False}, "l1", True),
    "LRN before pool, learning": ({"pool_first": False}, "l1", True),
    "pixels out": ({"output_scale": 22.7}, "l1", True),
    "three fc layers": ({"hidden": 3}, "l2", False),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_device_learns_the_same(backend, name):
    options, loss, towers = CASES[name]
    weights = lively(tiny(**options))
    oracle = Network(fresh(weights), "reference", dtype=np.float64)
    network = Network(fresh(weights), load_backend(backend))
    want_step = training_step(oracle, loss=loss, learn="all" if towers else "fc")
    step: TrainingStep = training_step(network, loss=loss, learn="all" if towers else "fc")
    assert isinstance(step, CudaTrainingStep) == backend.startswith("cuda")
    for turn in range(3):
        given = batch()
        key = None if turn == 1 else KEY + turn
        want = want_step.run(
            on(oracle, given), rates(oracle, towers=towers, loss=loss), dropout_key=key
        )
        found = step.run(
            on(network, given), rates(network, towers=towers, loss=loss), dropout_key=key
        )
        assert found == pytest.approx(want, rel=1e-5)
    start, got = weights.parameters, values(network)
    for parameter, value in values(oracle).items():
        moved = np.abs(value - start[parameter]).max()
        apart = np.abs(got[parameter] - value).max()
        # Rounding of what was there, and a thousandth of the way it went.
        assert apart <= 1e-3 * moved + 1e-7 * np.abs(value).max(), parameter
        if not towers and parameter.startswith("conv"):
            assert np.array_equal(got[parameter], start[parameter])
        else:
            assert moved > 0, parameter


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_going_on_from_velocities_gives_the_same_bits(backend):
    """What a checkpoint must hold: the parameters and the velocities, and nothing else."""
    weights, batches = lively(tiny()), [batch() for _ in range(4)]

    def run(step: TrainingStep, network: Network, some: range) -> None:
        for turn in some:
            given = on(network, batches[turn])
            step.run(given, rates(network, towers=True), dropout_key=turn)

    straight = Network(fresh(weights), load_backend(backend))
    step = training_step(straight, learn="all")
    run(step, straight, range(4))
    first = Network(fresh(weights), load_backend(backend))
    before = training_step(first, learn="all")
    run(before, first, range(2))
    second = Network(Weights(weights.architecture, values(first)), load_backend(backend))
    after = training_step(second, learn="all")
    after.set_velocities(before.velocities())
    run(after, second, range(2, 4))
    for name, value in values(straight).items():
        assert np.array_equal(values(second)[name], value), name
    kept = step.velocities()
    for name, velocity in after.velocities().items():
        assert np.array_equal(velocity, kept[name]), name


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_what_has_no_rate_stays(backend):
    weights = lively(tiny())
    network = Network(fresh(weights), load_backend(backend))
    step = training_step(network)
    given = on(network, batch())
    step.run(given, {"fc7/weight": Rates(1e-3)}, dropout_key=None)
    for name, value in values(network).items():
        same = np.array_equal(value, weights.parameters[name])
        assert same == (name != "fc7/weight"), name


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_batches_of_other_sizes_and_from_the_host(backend):
    weights = lively(tiny())
    oracle = Network(fresh(weights), "reference")
    network = Network(fresh(weights), load_backend(backend))
    steps = [training_step(each) for each in (oracle, network)]
    for count, targets in ((7, 3), (1, 1), (20, 2), (7, 3)):
        given = batch(count, targets)
        want, found = (
            step.run(given, rates(oracle, towers=False), dropout_key=KEY) for step in steps
        )
        assert found == pytest.approx(want, rel=1e-4)


# -- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_batches_that_do_not_fit_themselves(backend):
    network = Network(lively(tiny()), load_backend(backend))
    step, good = training_step(network), batch()
    for change, match in (
        ({"owners": good.owners + 1}, "owners must name targets, 0 to 2"),
        ({"owners": good.owners[:-1]}, "owners must be 7 whole numbers"),
        ({"owners": good.owners.astype(float)}, "owners must be 7 whole numbers"),
        ({"labels": good.labels[:, :3]}, r"labels must be \(7, 4\)"),
        ({"labels": good.labels * np.nan}, "finite numbers"),
    ):
        with pytest.raises(ValueError, match=match):
            step.run(replace(good, **change), {}, dropout_key=None)


def test_a_loss_that_there_is_not():
    with pytest.raises(ValueError, match="loss must be one of l1, l2; got 'l3'"):
        training_step(Network(lively(tiny()), "reference"), loss="l3")


def test_fewer_bits_cannot_be_trained():
    with pytest.raises(ValueError, match="cannot be trained"):
        training_step(Network(lively(tiny()), "cpu", precision="int8"))


@pytest.mark.parametrize("backend", ["cuda", "cuda-emulated"])
def test_memory_goes_with_the_step(backend):
    network = Network(lively(tiny()), load_backend(backend))
    gc.collect()
    gc.disable()
    try:
        step = training_step(network)
        step.run(batch(), rates(network, towers=False), dropout_key=KEY)
        held = weakref.ref(step)
        del step
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("shape", [(7, 1, 35, 35), (7, 3, 35, 34), (7, 3, 30, 30), (7, 35, 35)])
def test_crops_of_another_shape(backend, shape):
    network = Network(lively(tiny()), load_backend(backend))
    step, good = training_step(network), batch()
    with pytest.raises(ValueError, match=r"searches must be|crops must be"):
        step.run(replace(good, searches=np.zeros(shape, np.float32)), {}, dropout_key=None)
