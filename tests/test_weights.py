"""Weights in memory: what they must be, where they start, their digest."""

from __future__ import annotations

import ast
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import goturn.weights
from goturn.architecture import LRN, Architecture, MaxPool, Preprocessing
from goturn.architecture import goturn as paper_network
from goturn.weights import Weights, WeightsError, random_weights, with_conv_layers
from networks import tiny


def test_every_problem_is_named_at_once():
    parameters = dict(random_weights(tiny(), 0).parameters)
    del parameters["conv2/bias"]
    parameters["fc9/weight"] = np.zeros(3, np.float32)
    parameters["conv1/bias"] = np.zeros(7, np.float32)
    parameters["fc6/bias"] = parameters["fc6/bias"].astype(np.float64)
    parameters["fc7/weight"] = np.asfortranarray(parameters["fc7/weight"])
    parameters["fc8/weight"] = parameters["fc8/weight"].copy()
    parameters["fc8/weight"][2, 3] = np.nan
    with pytest.raises(WeightsError) as caught:
        Weights(tiny(), parameters)
    assert str(caught.value) == (
        "weights do not fit the architecture: conv2/bias is missing; fc9/weight is superfluous; "
        "conv1/bias has shape (7,), expected (6,); fc6/bias is float64, expected a float32 array; "
        "fc7/weight is not C-contiguous; NaN or infinity in fc8/weight (damage, or a training that "
        "diverged): go back to a good copy"
    )
    assert issubclass(WeightsError, ValueError)


def test_parameters_come_in_the_order_of_the_network():
    given = random_weights(tiny(), 0).parameters
    backwards = Weights(tiny(), dict(reversed(given.items())))
    assert list(backwards.parameters) == list(tiny().parameter_shapes())


def test_random_weights_have_the_authors_fillers():
    architecture = paper_network(widths=(300, 200, 100))
    parameters = random_weights(architecture, 3).parameters
    for name, std in {"conv3": 0.01, "fc6": 0.005, "fc7b": 0.005, "fc8": 0.01}.items():
        weight = parameters[f"{name}/weight"]
        assert abs(weight.std() / std - 1) < 4 / np.sqrt(weight.size)
        assert abs(weight.mean()) < 5 * std / np.sqrt(weight.size)
    biases = {name: parameters[f"{name}/bias"] for name in ("conv1", "conv2", "fc6", "fc8")}
    assert {name: set(bias.tolist()) for name, bias in biases.items()} == {
        "conv1": {0.0},
        "conv2": {1.0},
        "fc6": {1.0},
        "fc8": {0.0},
    }


def test_the_seed_decides_every_bit():
    assert random_weights(tiny(), 5).digest == random_weights(tiny(), 5).digest
    assert random_weights(tiny(), 5).digest != random_weights(tiny(), 6).digest


def test_random_towers_of_their_own_differ():
    parameters = random_weights(tiny(shared_towers=False), 0).parameters
    assert not np.array_equal(parameters["conv2/weight"], parameters["conv2_p/weight"])
    assert parameters["conv2_p/bias"].tolist() == [1.0] * 8


def test_digest_covers_values_and_architecture():
    weights = random_weights(tiny(), 0)
    other = Weights(tiny(mean=(104.0, 117.0, 124.0)), weights.parameters)
    assert weights.digest != other.digest
    before = weights.digest
    weights.parameters["fc8/bias"][3] += 1
    assert weights.digest != before


def test_the_digest_is_part_of_the_format():
    """Fails where the description's text or the digest's recipe changes: that needs a new format
    version, for all digests in files and in reports change with it.
    """
    architecture = tiny()
    shapes = architecture.parameter_shapes()
    weights = Weights(architecture, {name: np.ones(shapes[name], np.float32) for name in shapes})
    recipe = architecture.to_json()
    for name, shape in shapes.items():
        content = f"<f4{shape}".encode() + weights.parameters[name].tobytes()
        recipe += f"\n{name} {hashlib.sha256(content).hexdigest()}"
    assert weights.digest == hashlib.sha256(recipe.encode()).hexdigest()
    assert weights.digest == "9533053b18b932c67bebe709d8c5240e30786ce3f46cd5cd08f8d1e519e55a0c"


def test_equal_architectures_have_one_description():
    tower = (replace(tiny().tower[0], init_bias=-0.0), MaxPool("pool1"), LRN("norm1", k=1))
    rest = tiny().tower[3:]
    spelt = Architecture(
        (*tower, *rest),
        (*(replace(layer, init_bias=1) for layer in tiny().head[:-1]), tiny().head[-1]),
        Preprocessing(35, [104, np.float32(117), 123], "BGR", 2, np.int64(10)),
    )
    assert spelt == tiny()
    assert hash(spelt) == hash(tiny())
    assert spelt.to_json() == tiny().to_json()
    assert spelt.preprocessing.mean == (104.0, 117.0, 123.0)
    assert {type(value) for value in spelt.preprocessing.mean} == {float}
    parameters = random_weights(tiny(), 0).parameters
    assert Weights(spelt, parameters).digest == Weights(tiny(), parameters).digest


@pytest.mark.parametrize("value", ["104", True, 10**400, None, [1.0]])
def test_what_is_not_a_number_stays_refused(value):
    with pytest.raises(ValueError, match="mean has an impossible value"):
        tiny(mean=[value, 117, 123])
    with pytest.raises(ValueError, match="context_factor has an impossible value"):
        tiny(context_factor=value)
    data = json.loads(tiny().to_json())
    data["preprocessing"]["mean"][0] = value
    with pytest.raises(ValueError, match="not a description of a network: mean has"):
        Architecture.from_json(json.dumps(data))


@pytest.mark.parametrize("shared", [True, False])
def test_with_conv_layers_serves_both_towers(shared):
    weights = random_weights(tiny(shared_towers=shared), 0)
    source = random_weights(tiny(), 1).parameters
    conv = {name: value for name, value in source.items() if name.startswith("conv")}
    result = with_conv_layers(weights, conv)
    for suffix in ("",) if shared else ("", "_p"):
        for layer in ("conv1", "conv2", "conv3"):
            for part in ("weight", "bias"):
                found = result.parameters[f"{layer}{suffix}/{part}"]
                assert np.array_equal(found, conv[f"{layer}/{part}"])
                assert not np.shares_memory(found, conv[f"{layer}/{part}"])
    assert result.parameters["fc6/weight"] is weights.parameters["fc6/weight"]
    assert not np.array_equal(weights.parameters["conv1/weight"], conv["conv1/weight"])


def test_with_conv_layers_names_what_does_not_fit():
    conv = dict(random_weights(tiny(), 1).parameters)
    del conv["conv2/weight"]
    with pytest.raises(WeightsError, match=r"conv2/weight is missing; fc6/weight is superfluous"):
        with_conv_layers(random_weights(tiny(), 0), conv)
    conv = {
        name: value
        for name, value in random_weights(tiny(), 1).parameters.items()
        if "conv" in name
    }
    conv["conv3/bias"] = np.zeros(11, np.float32)
    with pytest.raises(WeightsError, match=r"conv3/bias has shape \(11,\), expected \(10,\)"):
        with_conv_layers(random_weights(tiny(), 0), conv)


def test_the_package_cannot_unpickle():
    modules = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    sources = sorted(Path(goturn.weights.__file__).parent.parent.rglob("*.py"))
    assert len(sources) > 10
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text, source
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imported = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {(node.module or "").partition(".")[0]}
            else:
                continue
            assert not imported & modules, source
