"""The network as data: the known networks' sizes, and descriptions that must be refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from goturn.architecture import (
    Architecture,
    Conv,
    Linear,
    MaxPool,
    Preprocessing,
    fc_head,
    goturn,
    opencv_goturn,
)
from networks import tiny


def test_the_papers_network():
    network = goturn()
    shapes = network.tower_shapes()
    assert shapes == {
        "conv1": (96, 55, 55),
        "pool1": (96, 27, 27),
        "norm1": (96, 27, 27),
        "conv2": (256, 27, 27),
        "pool2": (256, 13, 13),
        "norm2": (256, 13, 13),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 13, 13),
        "pool5": (256, 6, 6),
    }
    assert network.features == 9216
    assert network.parameter_count == 111_414_660
    assert network.with_separate_towers().parameter_count == 113_748_740
    parameters = network.parameter_shapes()
    assert parameters["conv2/weight"] == (256, 48, 5, 5)
    assert parameters["fc6/weight"] == (4096, 18432)
    assert parameters["fc8/weight"] == (4, 4096)
    assert list(parameters)[-2:] == ["fc8/weight", "fc8/bias"]
    assert network.preprocessing == Preprocessing(227, (104, 117, 123), "BGR", 2.0, 10.0)


def test_opencvs_network():
    network = opencv_goturn()
    assert network.parameter_count == 96_967_428
    assert [layer.name for layer in network.head] == ["fc6", "fc7", "fc8"]
    assert "conv1_p/weight" in network.parameter_shapes()


def test_order_of_pool_and_lrn():
    assert goturn().pool_lrn_order == "pool_lrn"
    assert goturn(pool_first=False).pool_lrn_order == "lrn_pool"
    assert goturn(pool_first=False).parameter_shapes() == goturn().parameter_shapes()


def test_a_pool_drops_a_window_that_would_start_outside():
    """Stride beyond the kernel: of 0, 3 and 6 the last lies outside five pixels."""
    network = Architecture(
        tower=(Conv("conv1", 2, kernel=1), MaxPool("pool1", kernel=1, stride=3)),
        head=(Linear("fc8", 4, relu=False),),
        preprocessing=Preprocessing(input_size=5),
    )
    assert network.tower_shapes()["pool1"] == (2, 2, 2)


def test_narrow_head():
    network = goturn((1024, 512, 256))
    assert network.parameter_shapes()["fc7/weight"] == (512, 1024)
    assert network.parameter_shapes()["fc8/weight"] == (4, 256)


@pytest.mark.parametrize(
    "architecture", [goturn(), goturn((64,), pool_first=False), opencv_goturn(), tiny()]
)
def test_json_round_trip(architecture):
    assert Architecture.from_json(architecture.to_json()) == architecture


def _edited(edit):
    data = json.loads(tiny().to_json())
    edit(data)
    return json.dumps(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        _edited(lambda data: data.update(extra=1)),
        _edited(lambda data: data["tower"][0].update(kind="deconv")),
        _edited(lambda data: data["tower"][0].pop("kind")),
        _edited(lambda data: data["tower"][0].update(channels="6")),
        _edited(lambda data: data["tower"][0].update(channels=True)),
        _edited(lambda data: data["tower"][0].update(channels=10**9)),
        _edited(lambda data: data["tower"][0].update(stride=0)),
        _edited(lambda data: data["tower"][0].update(kernel=99)),
        _edited(lambda data: data["tower"][0].update(kernel=300, pad=200)),
        _edited(lambda data: data["tower"][0].update(pad=5)),
        _edited(lambda data: data["tower"][0].update(name="../x")),
        _edited(lambda data: data["tower"][0].update(surprise=1)),
        _edited(lambda data: data["tower"][2].update(alpha=float("nan"))),
        _edited(lambda data: data["tower"][2].update(size=4)),
        _edited(lambda data: data["tower"][3].update(groups=5)),
        _edited(lambda data: data["head"][0].update(dropout=1.0)),
        _edited(lambda data: data["head"][0].update(name="fc8")),
        _edited(lambda data: data["head"].pop()),
        _edited(lambda data: data["preprocessing"].update(mean=[1, 2])),
        _edited(lambda data: data["preprocessing"].update(mean=None)),
        _edited(lambda data: data["preprocessing"].update(colour_order="GBR")),
        _edited(lambda data: data["preprocessing"].update(output_scale=0)),
        _edited(lambda data: data["preprocessing"].update(input_size=60000)),
        _edited(lambda data: data.update(shared_towers="yes")),
    ],
)
def test_bad_descriptions_are_refused(text):
    with pytest.raises(ValueError, match="not a description of a network"):
        Architecture.from_json(text)


def test_limits():
    with pytest.raises(ValueError, match="parameters exceed the limit"):
        goturn((65536,))
    with pytest.raises(ValueError, match="4 numbers without ReLU"):
        replace(tiny(), head=(Linear("fc6", 4),))
    with pytest.raises(ValueError, match="beyond any use"):
        Architecture(
            tower=(Conv("conv1", 60000, kernel=1), MaxPool("pool5", 200, 200)),
            head=(Linear("fc8", 4, relu=False),),
        )


@pytest.mark.parametrize(
    "tower",
    [
        # Two small-looking layers of a million parameters that ask for gigabytes of columns ...
        (Conv("conv1", 1024, kernel=1), Conv("conv2", 1, kernel=31, pad=15)),
        # ... and layers of few columns that ask for 10^12 products.
        tuple(Conv(f"conv{i}", 700, kernel=3, pad=1) for i in range(1, 50)),
    ],
)
def test_work_out_of_proportion_is_refused(tower):
    with pytest.raises(ValueError, match="beyond any use"):
        Architecture(tower, fc_head([4]), Preprocessing(input_size=100))


def test_nothing_else_knows_a_layers_size():
    """227, 9216, 18432 and 4096 occur in architecture.py alone (prose aside)."""
    import ast
    from pathlib import Path

    import goturn as package

    found = []
    for path in Path(package.__file__).parent.rglob("*.py"):
        if path.name == "architecture.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in (227, 9216, 18432):
                found.append(f"{path.name}:{node.lineno}")
    assert not found
