"""Weights files whose fc weights are int8: what they mean, and whether a change is noticed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from goturn.architecture import Architecture, fc_head
from goturn.cli import main
from goturn.network import Network
from goturn.ops.compressed import compress
from goturn.weights import Weights, WeightsError, load, random_weights, save
from networks import tiny


@pytest.fixture
def weights() -> Weights:
    """fc6 is large enough to be compressed, in chunks of rows that do not divide its height."""
    wide = Architecture(tiny().tower, fc_head([1003, 16]), tiny().preprocessing)
    made = random_weights(wide, 2)
    made.parameters["fc6/weight"][5] = 0
    return Weights(made.architecture, made.parameters, origin="made up")


@pytest.fixture
def path(tmp_path, weights):
    save(weights, tmp_path / "w.h5", precision="int8", compress=True)
    return tmp_path / "w.h5"


@pytest.mark.parametrize("gzip", [False, True])
def test_values_are_those_of_the_int8_precision(tmp_path, weights, gzip):
    """Integers times a scale for each row, stated here anew."""
    save(weights, tmp_path / "w.h5", precision="int8", compress=gzip)
    loaded = load(tmp_path / "w.h5")
    for name in ("fc6/weight", "fc7/weight"):
        value = weights.parameters[name]
        scale = np.abs(value).max(axis=1) / np.float32(127)
        steps = np.rint(value / np.where(scale > 0, scale, np.float32(1))[:, None])
        expected = np.clip(steps, -127, 127).astype(np.float32) * scale[:, None]
        np.testing.assert_array_equal(loaded.parameters[name], expected)
        assert np.abs(loaded.parameters[name] - value).max() <= 0.5001 * scale.max()
    for name, value in weights.parameters.items():
        if name not in ("fc6/weight", "fc7/weight"):  # small here, so they stay
            np.testing.assert_array_equal(loaded.parameters[name], value)
    with h5py.File(tmp_path / "w.h5") as file:
        assert file.attrs["format_version"] == 2
        assert file["fc6/weight"].dtype == np.int8
        assert (file["fc6/weight"].compression == "gzip") is gzip
        assert file["fc8/weight"].dtype == np.float32


def test_the_int8_precision_does_not_round_them_again(path):
    for name in ("fc6/weight", "fc7/weight"):
        value = load(path).parameters[name]
        with h5py.File(path) as file:
            stored = file[name][()]
        np.testing.assert_array_equal(compress(value, "int8").values, stored)


def test_saved_again_they_are_the_same(path, tmp_path):
    loaded = load(path)
    save(loaded, tmp_path / "again.h5", precision="int8", compress=True)
    assert load(tmp_path / "again.h5").digest == loaded.digest
    save(loaded, tmp_path / "single.h5")
    assert load(tmp_path / "single.h5").digest == loaded.digest


def test_other_large_tensors_are_half_precision(tmp_path):
    """Convolutions of a size that counts."""
    tower = tiny().tower
    widened = tuple(
        type(layer)(layer.name, 200, kernel=3, pad=1) if layer.name == "conv3" else layer
        for layer in tower
    )
    weights = random_weights(Architecture(widened, fc_head([8, 8]), tiny().preprocessing), 1)
    weights.parameters["conv3/weight"] *= 3
    save(weights, tmp_path / "small.h5", precision="int8")
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["conv3/weight"].dtype == np.float32  # 200 x 8 x 9 values: 58 kB
    widened = tuple(
        type(layer)(layer.name, 300, kernel=3, pad=1) if layer.name == "conv3" else layer
        for layer in tower
    )
    weights = random_weights(Architecture(widened, fc_head([8, 8]), tiny().preprocessing), 1)
    save(weights, tmp_path / "large.h5", precision="int8")
    half = weights.parameters["conv3/weight"].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(load(tmp_path / "large.h5").parameters["conv3/weight"], half)


def test_runs_in_every_precision(path):
    loaded = load(path)
    crops = np.random.default_rng(0).normal(0, 50, (2, 3, 35, 35)).astype(np.float32)
    units = []
    for precision in ("fp32", "int8"):
        network = Network(loaded, "cpu", precision=precision)
        part = network.project_target(network.encode_target(crops))
        units.append(network.regress(part, network.encode_search(crops)))
    np.testing.assert_allclose(*units, atol=2e-3)


@pytest.mark.parametrize("what", ["fc6/weight", "fc7/weight", "fc6/weight_scale"])
def test_an_altered_value_is_noticed(path, what):
    with h5py.File(path, "r+") as file:
        values = file[what][()]
        values.flat[7] = 3 if values.flat[7] != 3 else 4
        file[what][...] = values
    name = what.removesuffix("_scale")
    with pytest.raises(WeightsError, match=f"{name} does not match its SHA-256"):
        load(path)


def replace(path, name, value, attributes=()):
    with h5py.File(path, "r+") as file:
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        if value is not None:
            dataset = file.create_dataset(name, data=value)
            for key, text in kept.items():
                dataset.attrs[key] = text


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("fc6/weight_scale", None, "fc6/weight_scale is missing"),
        ("fc6/weight_scale", np.ones(1002, "f4"), r"has shape \(1002,\), expected \(1003,\)"),
        ("fc6/weight_scale", np.ones((1003, 1), "f4"), r"has shape \(1003, 1\), expected"),
        ("fc6/weight_scale", np.ones(1003, "i1"), "fc6/weight_scale holds integers"),
        ("fc6/weight_scale", np.full(1003, np.inf, "f4"), "does not match its SHA-256"),
        ("fc6/weight", np.zeros((1003, 180), "i2"), "fc6/weight holds integers"),
        ("fc6/weight", np.zeros((1003, 180), "u1"), "fc6/weight holds integers"),
        ("fc6/bias", np.zeros(1003, "i1"), "fc6/bias holds integers"),
        ("fc6/bias_scale", np.zeros(1003, "f4"), "fc6/bias_scale is superfluous"),
        ("fc8/weight_scale", np.zeros(4, "f4"), "fc8/weight_scale is superfluous"),
        ("conv1/weight", np.zeros((6, 3, 5, 5), "i1"), "conv1/weight holds integers"),
    ],
)
def test_what_does_not_belong_together_is_refused(path, name, value, sentence):
    replace(path, name, value)
    with pytest.raises(WeightsError, match=sentence):
        load(path)


def test_version_1_has_no_integers(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(WeightsError, match="fc6/weight holds integers") as caught:
        load(path)
    assert "fc6/weight_scale is superfluous" in str(caught.value)


def test_sizes_out_of_proportion(path, weights):
    """Zeros compress a thousandfold, and become four times as large when they are read."""
    shape = weights.parameters["fc6/weight"].shape
    with h5py.File(path, "r+") as file:
        del file["fc6/weight"]
        big = np.zeros((1003, 300 * shape[1]), np.int8)
        file.create_dataset("fc6/weight", data=big, compression="gzip", chunks=(1003, shape[1]))
    with pytest.raises(WeightsError, match=r"declares [0-9]+ bytes and stores [0-9]+: out of"):
        load(path)


def test_command(tmp_path, weights):
    save(weights, tmp_path / "single.h5")
    out = tmp_path / "out.h5"
    assert main(["convert", str(tmp_path / "single.h5"), str(out), "--precision", "int8"]) == 0
    assert out.stat().st_size < 0.35 * (tmp_path / "single.h5").stat().st_size
    assert load(out).architecture == weights.architecture
