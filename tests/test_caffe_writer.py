"""Writing Caffe's files: what comes back, what the text says, another mean folded into the bias."""

from __future__ import annotations

import re

import numpy as np
import pytest

from caffe_files import caffe_layers
from goturn.architecture import Architecture, Conv, MaxPool, fc_head, goturn, opencv_goturn
from goturn.network import Network
from goturn.weights import (
    Weights,
    WeightsError,
    convert,
    load,
    random_weights,
    save,
    save_caffemodel,
)
from goturn.weights.caffe_reader import open_caffemodel
from networks import tiny


def lively(architecture: Architecture, seed: int = 0) -> Weights:
    """Weights whose activations neither die nor explode, so that a difference shows."""
    weights = random_weights(architecture, seed)
    rng = np.random.default_rng(seed)
    for name, array in weights.parameters.items():
        spread = np.sqrt(2 / np.prod(array.shape[1:])) if name.endswith("weight") else 0.5
        array[...] = spread * rng.standard_normal(array.shape)
    return weights


@pytest.mark.parametrize("names", ["opencv", "authors"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_everything_comes_back(tmp_path, names, shared, hidden):
    """With what Caffe has no place for: AlexNet's order, the preprocessing, the layers' fillers."""
    architecture = tiny(
        shared_towers=shared, hidden=hidden, pool_first=False, mean=(1.0, 2.0, 3.5), output_scale=7
    )
    weights = lively(architecture)
    save_caffemodel(weights, tmp_path / "w.caffemodel", names=names)
    loaded = load(tmp_path / "w.caffemodel")
    assert loaded.architecture == architecture
    assert loaded.digest == weights.digest
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["w.caffemodel", "w.prototxt"]


@pytest.mark.parametrize("names", ["opencv", "authors"])
def test_layers_have_the_schemes_names_and_both_towers(tmp_path, names):
    weights = lively(tiny(hidden=3))
    save_caffemodel(weights, tmp_path / "w.caffemodel", names=names)
    with open_caffemodel(tmp_path / "w.caffemodel") as model:
        expected = caffe_layers(weights, names)
        assert set(model.layers) == set(expected)
        for name, blobs in model.layers.items():
            assert [blob.shape for blob in blobs] == [array.shape for array in expected[name]]


def test_an_architecture_given_overrides_the_description(tmp_path):
    save_caffemodel(lively(tiny()), tmp_path / "w.caffemodel")
    given = tiny(pool_first=False)
    assert load(tmp_path / "w.caffemodel", given).architecture == given


def test_a_damaged_description_is_refused(tmp_path):
    save_caffemodel(lively(tiny()), tmp_path / "w.caffemodel")
    data = (tmp_path / "w.caffemodel").read_bytes()
    (tmp_path / "w.caffemodel").write_bytes(data.replace(b'"kernel": 5', b'"kernel": 0'))
    with pytest.raises(WeightsError, match=r"conv1\.kernel has an impossible value: 0"):
        load(tmp_path / "w.caffemodel")


@pytest.mark.parametrize("shared", [True, False])
def test_a_folded_mean_gives_the_same_output(tmp_path, shared):
    weights = lively(tiny(shared_towers=shared, mean=(104.0, 117.0, 123.0)))
    save_caffemodel(weights, tmp_path / "w.caffemodel", fold_mean=128)
    folded = load(tmp_path / "w.caffemodel")
    assert folded.architecture == tiny(shared_towers=shared, mean=(128.0, 128.0, 128.0))
    for name, array in weights.parameters.items():
        same = np.array_equal(array, folded.parameters[name])
        assert same == (name not in ("conv1/bias", "conv1_p/bias")), name

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 3, 3, 35, 35)).astype(np.float32)
    outputs = []
    for candidate in (weights, folded):
        mean = np.array(candidate.architecture.preprocessing.mean, np.float32)[:, None, None]
        network = Network(candidate, "reference")
        outputs.append(network.activations(frames[0] - mean, frames[1] - mean))
    for name, output in outputs[0].items():
        rms = np.sqrt(np.mean(output.astype(np.float64) ** 2))
        assert np.abs(outputs[1][name] - output).max() < 1e-5 * rms, name


def test_a_mean_that_cannot_be_folded(tmp_path):
    padded = Architecture(
        (Conv("conv1", 4, kernel=3, pad=1), MaxPool("pool1")), fc_head([4]), tiny().preprocessing
    )
    with pytest.raises(WeightsError, match="conv1 pads its input by 1"):
        save_caffemodel(random_weights(padded, 0), tmp_path / "w.caffemodel", fold_mean=128)
    with pytest.raises(WeightsError, match=r"within the range of pixels, 0\.\.255; got nan"):
        save_caffemodel(random_weights(tiny(), 0), tmp_path / "w.caffemodel", fold_mean=np.nan)
    assert not list(tmp_path.iterdir())


def test_the_text_for_opencv(tmp_path):
    save_caffemodel(random_weights(goturn((8, 6, 5)), 0), tmp_path / "w.caffemodel")
    text = (tmp_path / "w.prototxt").read_text()
    names = re.findall(r'name: "(\w+)"\n  type: "(\w+)"', text)
    tower = [
        ("conv{}1", "Convolution"), ("relu{}1", "ReLU"), ("pool{}1", "Pooling"), ("norm{}1", "LRN"),
        ("conv{}2", "Convolution"), ("relu{}2", "ReLU"), ("pool{}2", "Pooling"), ("norm{}2", "LRN"),
        ("conv{}3", "Convolution"), ("relu{}3", "ReLU"), ("conv{}4", "Convolution"),
        ("relu{}4", "ReLU"), ("conv{}5", "Convolution"), ("relu{}5", "ReLU"), ("pool{}5", "Pooling"),
    ]  # fmt: skip
    assert names == [
        ("data1", "Input"),
        ("data2", "Input"),
        *((name.format(1), kind) for name, kind in tower),
        *((name.format(2), kind) for name, kind in tower),
        ("concat", "Concat"),
        *(("fc6", "InnerProduct"), ("relu6", "ReLU")),
        *(("fc7", "InnerProduct"), ("relu7", "ReLU")),
        *(("fc7b", "InnerProduct"), ("relu7b", "ReLU")),
        ("fc8", "InnerProduct"),
        ("scale", "Power"),
    ]
    assert 'bottom: "pool15"\n  bottom: "pool25"' in text
    assert "power_param { scale: 22.7 }" in text
    assert "minus (104, 117, 123)" in text
    assert "cv2.TrackerGOTURN always feeds 227 x 227 pixels in BGR minus 128" in text


def test_pixels_of_opencvs_own_model(tmp_path):
    save_caffemodel(random_weights(opencv_goturn((8, 6)), 0), tmp_path / "w.caffemodel")
    factor = re.search(r"power_param { scale: (\S+) }", (tmp_path / "w.prototxt").read_text())
    assert float(factor[1]) == pytest.approx(10, rel=1e-12)


def test_the_text_for_caffe(tmp_path):
    save_caffemodel(
        random_weights(goturn((8, 6, 5), pool_first=False), 0),
        tmp_path / "w.caffemodel",
        names="authors",
    )
    text = (tmp_path / "w.prototxt").read_text()
    assert text.index('name: "norm1"') < text.index('name: "pool1"')
    assert 'name: "conv1_p"\n  type: "Convolution"\n  bottom: "image"' in text
    assert 'bottom: "pool5"\n  bottom: "pool5_p"' in text
    assert 'name: "fc8-shapes"\n  type: "InnerProduct"\n  bottom: "fc7b"\n  top: "fc8"' in text
    assert "Power" not in text


def test_layers_that_have_no_caffe_name(tmp_path):
    odd = Architecture(
        (Conv("stem", 4, kernel=3), MaxPool("pool1")), fc_head([4]), tiny().preprocessing
    )
    with pytest.raises(WeightsError, match="layers stem, fc6, fc8 have no names in Caffe's GOTURN"):
        save_caffemodel(random_weights(odd, 0), tmp_path / "w.caffemodel")
    with pytest.raises(WeightsError, match='names must be "opencv" or "authors"; got \'caffe\''):
        save_caffemodel(random_weights(tiny(), 0), tmp_path / "w.caffemodel", names="caffe")
    with pytest.raises(WeightsError, match=r"give a path that ends in \.caffemodel"):
        save_caffemodel(random_weights(tiny(), 0), tmp_path / "w.bin")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("route", [["a.caffemodel", "b.h5"], ["a.h5", "b.caffemodel"]])
def test_convert_there_and_back(tmp_path, route):
    weights = lively(tiny(shared_towers=False))
    save(weights, tmp_path / "start")
    source = tmp_path / "start"
    for name in route:
        assert convert(source, tmp_path / name).digest == weights.digest
        source = tmp_path / name
    assert load(source).digest == weights.digest


def test_convert_passes_its_options_on(tmp_path):
    save(lively(tiny()), tmp_path / "w.h5")
    convert(tmp_path / "w.h5", tmp_path / "w.caffemodel", names="authors", fold_mean=128)
    assert "minus (128, 128, 128)" in (tmp_path / "w.prototxt").read_text()
    assert 'name: "conv1_p"' in (tmp_path / "w.prototxt").read_text()


@pytest.mark.parametrize("name", ["w.pth", "w"])
def test_convert_to_something_else(tmp_path, name):
    with pytest.raises(WeightsError, match=r"must end in \.h5 or \.caffemodel"):
        convert(tmp_path / "not even there.h5", tmp_path / name)
