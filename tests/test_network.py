"""The network: its steps agree with each other, and backward agrees with finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from goturn.architecture import Architecture, goturn
from goturn.network import CHUNK, Network
from goturn.weights import Weights, random_weights
from networks import tiny


def lively(architecture: Architecture, seed: int = 0) -> Weights:
    """Weights under which every layer's values are of order one and about half the ReLUs are on."""
    rng = np.random.default_rng(seed)
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        if name.endswith("/weight"):
            spread = np.sqrt(2 / np.prod(shape[1:]))
            parameters[name] = rng.normal(0, spread, shape).astype(np.float32)
        else:
            parameters[name] = rng.normal(0, 0.1, shape).astype(np.float32)
    return Weights(architecture, parameters)


def crops(n: int, side: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, 3, side, side)).astype(dtype)


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("shared", [True, False])
def test_steps_equal_the_whole(device, shared):
    network = Network(lively(tiny(shared_towers=shared)), device)
    targets, searches = crops(3, 35, 1), crops(3, 35, 2)
    part = network.project_target(network.encode_target(targets))
    stepwise = network.regress(part, network.encode_search(searches))
    whole = network.forward(targets, searches).units
    assert stepwise.shape == (3, 4)
    np.testing.assert_allclose(stepwise, whole, rtol=2e-5, atol=2e-5)


def test_target_comes_first_and_uses_its_own_tower():
    """With the search half of fc6 zeroed, only the target matters, and only its own tower."""
    weights = lively(tiny(shared_towers=False))
    half = weights.architecture.features
    weights.parameters["fc6/weight"][:, half:] = 0
    network = Network(weights, "reference")
    a, b = crops(1, 35, 1), crops(1, 35, 2)
    assert np.array_equal(network.forward(a, a).units, network.forward(a, b).units)
    assert not np.array_equal(network.forward(a, a).units, network.forward(b, a).units)

    other = lively(tiny(shared_towers=False))
    other.parameters.update(weights.parameters)
    other.parameters["conv1_p/weight"] = -weights.parameters["conv1_p/weight"]
    assert np.array_equal(
        Network(other, "reference").forward(a, b).units, network.forward(a, b).units
    )


def test_a_batch_gives_what_single_crops_give():
    network = Network(lively(tiny()), "cpu")
    n = CHUNK + 3  # more than one chunk
    targets, searches = crops(n, 35, 1), crops(n, 35, 2)

    def run(chosen):
        part = network.project_target(network.encode_target(targets[chosen]))
        return network.regress(part, network.encode_search(searches[chosen]))

    together = run(slice(None))
    single = np.concatenate([run(slice(i, i + 1)) for i in range(n)])
    np.testing.assert_allclose(together, single, rtol=1e-5, atol=1e-5)
    assert np.array_equal(together, run(slice(None)))  # and twice gives the same bits


def test_output_scale_is_undone():
    weights = lively(tiny())
    scaled = Weights(tiny(output_scale=22.7), weights.parameters)
    plain = Network(weights, "reference").forward(crops(2, 35), crops(2, 35)).units
    pixels = Network(scaled, "reference").forward(crops(2, 35), crops(2, 35)).units
    np.testing.assert_allclose(pixels * 2.27, plain, rtol=1e-5)


def test_order_of_pool_and_lrn_matters():
    a = Network(lively(tiny()), "reference")
    b = Network(lively(tiny(pool_first=False)), "reference")
    assert not np.allclose(a.encode_target(crops(1, 35)), b.encode_target(crops(1, 35)), rtol=1e-6)


@pytest.mark.parametrize(
    ("shared", "pool_first", "dropout", "scale"),
    [(True, True, None, 10.0), (False, False, 7, 10.0), (True, True, 3, 22.7)],
)
def test_gradients_of_every_parameter(shared, pool_first, dropout, scale):
    """Central differences in float64 along random directions, one for each tensor."""
    architecture = tiny(shared_towers=shared, pool_first=pool_first, output_scale=scale)
    network = Network(lively(architecture), "reference", dtype=np.float64)
    targets, searches = crops(2, 35, 1, np.float64), crops(2, 35, 2, np.float64)
    label = np.array([[2.5, 2.5, 7.5, 7.5], [1.0, 2.0, 6.0, 9.0]])

    def loss():
        forward = network.forward(targets, searches, dropout_key=dropout)
        return network.ops.l2_loss(forward.units, label)[0]

    forward = network.forward(targets, searches, dropout_key=dropout)
    _, d_units = network.ops.l2_loss(forward.units, label)
    gradients = network.backward(forward, d_units)
    assert sorted(gradients) == sorted(architecture.parameter_shapes())

    rng = np.random.default_rng(5)
    for name, gradient in gradients.items():
        parameter = network.parameters[name]
        assert gradient.shape == parameter.shape
        # The step is small against the distance to the nearest kink (ReLU, max) on nearly every path.
        direction = rng.normal(size=parameter.shape)
        step = 1e-7
        before = parameter.copy()
        parameter += step * direction
        above = loss()
        parameter[...] = before - step * direction
        below = loss()
        parameter[...] = before
        expected = (above - below) / (2 * step)
        assert np.vdot(gradient, direction) == pytest.approx(expected, rel=2e-5, abs=1e-5), name


def test_frozen_towers_leave_their_gradients_out():
    network = Network(lively(tiny()), "reference")
    forward = network.forward(crops(2, 35, 1), crops(2, 35, 2))
    everything = network.backward(forward, np.ones((2, 4), np.float32))
    head = network.backward(forward, np.ones((2, 4), np.float32), towers=False)
    assert {name.split("/")[0] for name in head} == {"fc6", "fc7", "fc8"}
    for name, gradient in head.items():
        assert np.array_equal(gradient, everything[name])


def test_dropout_depends_on_key_and_layer_alone():
    network = Network(lively(tiny()), "reference")
    a = network.forward(crops(2, 35), crops(2, 35), dropout_key=1)
    b = network.forward(crops(2, 35), crops(2, 35), dropout_key=1)
    c = network.forward(crops(2, 35), crops(2, 35), dropout_key=2)
    assert np.array_equal(a.units, b.units)
    assert not np.array_equal(a.masks["fc6"], c.masks["fc6"])
    assert not np.array_equal(a.masks["fc6"], a.masks["fc7"])


def test_activations_have_the_layers_names():
    network = Network(lively(tiny()), "reference")
    values = network.activations(crops(1, 35, 1), crops(1, 35, 2))
    assert set(values) == {
        *(name + suffix for name in tiny().tower_shapes() for suffix in ("", "_p")),
        "fc6",
        "fc7",
        "fc8",
    }
    assert values["pool5"].shape == (1, *tiny().feature_shape)


def test_weights_are_held_once():
    weights = random_weights(tiny(), 0)
    for device in ("reference", "cpu"):
        network = Network(weights, device)
        for name, value in weights.parameters.items():
            assert np.shares_memory(network.parameters[name], value)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"device": "gpu"}, ValueError, "device must be one of"),
        ({"device": "cuda:x"}, ValueError, "device must be one of"),
        ({"device": "cuda:"}, ValueError, "device must be one of"),
        ({"device": 0}, TypeError, "device must be one of"),
        (
            {"device": "cpu", "precision": "fp8"},
            ValueError,
            "precision must be auto or one of fp32",
        ),
        ({"device": "cpu", "dtype": np.float64}, ValueError, "not offered on cpu"),
    ],
)
def test_bad_arguments(kwargs, error, text):
    with pytest.raises(error, match=text):
        Network(random_weights(tiny(), 0), **kwargs)


def test_cuda_that_is_not_there_is_a_sentence():
    with pytest.raises(RuntimeError, match=r"(?i)cuda") as caught:
        Network(random_weights(tiny(), 0), "cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 3, 35, 35), (3, 35, 35), (1, 1, 35, 35), (1, 3, 36, 35)])
def test_crops_of_another_shape(shape):
    network = Network(random_weights(tiny(), 0), "reference")
    with pytest.raises(ValueError, match=r"crops must be \(n, 3, 35, 35\)"):
        network.encode_target(np.zeros(shape, np.float32))


def test_full_size_network_runs_at_narrow_width():
    network = Network(random_weights(goturn((64, 64, 64)), 0), "cpu")
    units = network.forward(crops(1, 227), crops(1, 227)).units
    assert units.shape == (1, 4)
    assert np.isfinite(units).all()


@pytest.mark.parametrize("device", ["reference", "cpu"])
@pytest.mark.parametrize("owners", [None, [0, 0, 1]])
def test_a_frozen_forward_is_the_same_but_for_its_memory(device, owners):
    network = Network(lively(tiny(shared_towers=False)), device)
    searches = crops(3, 35, 2)
    targets = crops(3 if owners is None else 2, 35, 1)
    rows = None if owners is None else np.array(owners)
    whole = network.forward(targets, searches, owners=rows, dropout_key=3)
    frozen = network.forward(targets, searches, owners=rows, dropout_key=3, learn="fc")
    assert frozen.towers == {}
    np.testing.assert_allclose(frozen.units, whole.units, rtol=2e-5, atol=2e-5)
    d_units = crops(1, 2, 5).ravel()[:12].reshape(3, 4)
    want = network.backward(whole, d_units, towers=False)
    got = network.backward(frozen, d_units, towers=False)
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        np.testing.assert_allclose(got[name], gradient, rtol=1e-4, atol=1e-4, err_msg=name)
    with pytest.raises(ValueError, match=r"kept nothing of its frozen towers; pass towers=False"):
        network.backward(frozen, d_units)


@pytest.mark.parametrize("device", ["reference", "cpu"])
def test_an_update_in_one_pass_equals_gradient_then_update(device):
    rates = {"rate": 0.01, "momentum": 0.9, "decay": 0.1}
    networks = [Network(lively(tiny()), device) for _ in range(2)]
    fcs = [f"{layer.name}/weight" for layer in networks[0].architecture.head]
    velocities = [{name: np.zeros_like(n.parameters[name]) for name in fcs} for n in networks]
    apart, fused = networks
    for step in range(3):  # with a velocity from the step before
        searches, targets = crops(3, 35, 2 * step), crops(3, 35, 2 * step + 1)
        d_units = np.ones((3, 4), np.float32)
        forward = apart.forward(targets, searches, learn="fc")
        gradients = apart.backward(forward, d_units, towers=False)
        for name in fcs:
            apart.ops.sgd_update(
                apart.parameters[name], gradients[name], velocities[0][name], **rates
            )

        def update(name, dy, x):
            fused.ops.linear_sgd_update(dy, x, fused.parameters[name], velocities[1][name], **rates)

        forward = fused.forward(targets, searches, learn="fc")
        left = fused.backward(forward, d_units, towers=False, update=update)
        assert left.keys() == {name for name in gradients if name.endswith("/bias")}
    for name in fcs:
        np.testing.assert_allclose(
            fused.parameters[name], apart.parameters[name], rtol=1e-4, atol=1e-5
        )
