"""Our HDF5 files: round trips, self-description, and whether a changed bit is noticed."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import h5py
import numpy as np
import pytest

from goturn.architecture import Architecture, fc_head, goturn
from goturn.cli import main
from goturn.confidence import Calibration
from goturn.weights import Weights, WeightsError, load, random_weights, save, save_caffemodel
from hdf5_files import compact
from networks import tiny


@pytest.fixture
def weights() -> Weights:
    made = random_weights(tiny(), 7)
    for name, array in made.parameters.items():
        if name.endswith("bias"):  # no two alike, so that a test can find each one's bytes
            array[:] = array.size + np.linspace(0, 1, array.size)
            array[0] = len(name) + ord(name[2])
    return Weights(made.architecture, made.parameters, origin="trained on Künstliche Daten")


@pytest.fixture
def path(tmp_path, weights):
    save(weights, tmp_path / "w.h5")
    return tmp_path / "w.h5"


def rewrite_text(owner, name: str, text: str) -> None:
    value = text.encode()
    del owner.attrs[name]
    owner.attrs.create(name, np.array(value, h5py.string_dtype("utf-8", max(1, len(value)))))


@pytest.mark.parametrize("shared", [True, False])
def test_round_trip_is_exact(tmp_path, shared):
    weights = random_weights(tiny(shared_towers=shared, pool_first=False, mean=(1.5, 2, 3)), 1)
    save(weights, tmp_path / "any name")
    loaded = load(tmp_path / "any name")
    assert loaded.architecture == weights.architecture
    assert loaded.digest == weights.digest
    assert loaded.origin == "random, seed 1"
    for array in loaded.parameters.values():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.owndata


def test_origin_is_kept(path, weights):
    assert load(path).origin == weights.origin


@pytest.mark.parametrize("compress", [False, True])
def test_half_precision_rounds_once(tmp_path, compress):
    weights = random_weights(tiny(hidden=3), 2)
    # Large enough that it is compressed, in chunks of rows that do not divide its height.
    wide = Architecture(weights.architecture.tower, fc_head([1003, 5]), tiny().preprocessing)
    weights = random_weights(wide, 2)
    save(weights, tmp_path / "w.h5", precision="fp16", compress=compress)
    loaded = load(tmp_path / "w.h5")
    for name, array in weights.parameters.items():
        assert np.array_equal(loaded.parameters[name], array.astype(np.float16).astype(np.float32))
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["fc6/weight"].dtype == np.float16
        assert (file["fc6/weight"].compression == "gzip") is compress


def test_compressed_single_precision(tmp_path):
    wide = Architecture(tiny().tower, fc_head([1003, 5]), tiny().preprocessing)
    weights = random_weights(wide, 2)
    save(weights, tmp_path / "w.h5", compress=True)
    assert load(tmp_path / "w.h5").digest == weights.digest
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["fc6/weight"].compression == "gzip"
        assert file["conv1/weight"].compression is None


def test_constant_tensors_are_not_taken_for_bombs(tmp_path):
    architecture = Architecture(tiny().tower, fc_head([4000]), tiny().preprocessing)
    weights = random_weights(architecture, 2)
    assert weights.parameters["fc6/weight"].nbytes > 1 << 20
    weights.parameters["fc6/weight"][:] = 0
    save(weights, tmp_path / "w.h5", compress=True)
    assert load(tmp_path / "w.h5").digest == weights.digest


def test_what_half_precision_cannot_hold_is_refused(tmp_path, weights):
    weights.parameters["fc7/weight"][0, 0] = 70000
    save(weights, tmp_path / "w.h5")
    with pytest.raises(WeightsError, match=r"fc7/weight has values that are too large for fp16"):
        save(weights, tmp_path / "half.h5", precision="fp16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.h5"]


def test_values_gone_bad_after_construction_are_not_saved(tmp_path, weights):
    weights.parameters["fc7/weight"][0, 0] = np.inf
    with pytest.raises(WeightsError, match="fc7/weight has values that are not finite"):
        save(weights, tmp_path / "w.h5")


def test_an_origin_of_many_pages(tmp_path, weights):
    long = Weights(weights.architecture, weights.parameters, origin="x" * 60_001)
    with pytest.raises(
        WeightsError, match="origin has 60001 bytes; a weights file has room for 60000"
    ):
        save(long, tmp_path / "w.h5")
    assert not list(tmp_path.iterdir())


def test_unknown_precision(tmp_path, weights):
    with pytest.raises(WeightsError, match="precision must be one of fp32, fp16, int8; got 'int4'"):
        save(weights, tmp_path / "w.h5", precision="int4")


def test_the_same_weights_give_the_same_file(tmp_path, path, weights):
    save(weights, tmp_path / "again.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_attributes_can_be_read_by_people(path, weights):
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
    assert attributes["format"] == b"goturn" or attributes["format"] == "goturn"
    assert attributes["format_version"] == 1
    assert attributes["mean"].tolist() == [104, 117, 123]
    assert attributes["input_size"] == 35
    assert attributes["context_factor"] == 2
    assert attributes["output_scale"] == 10
    assert bytes(attributes["colour_order"]) == b"BGR"
    assert bytes(attributes["pool_lrn_order"]) == b"pool_lrn"
    assert bytes(attributes["digest"]).decode() == weights.digest


def test_every_altered_byte_of_a_tensor_is_noticed(path, weights):
    original = path.read_bytes()
    rng = np.random.default_rng(0)
    for name, array in weights.parameters.items():
        at = original.index(array.tobytes()) + int(rng.integers(array.nbytes))
        altered = bytearray(original)
        altered[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(altered)
        with pytest.raises(WeightsError, match=rf"{name} does not match its SHA-256"):
            load(path)


def test_all_altered_tensors_are_named(path, weights):
    data = bytearray(path.read_bytes())
    for name in ("conv1/weight", "fc7/bias"):
        data[data.index(weights.parameters[name].tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert "conv1/weight does not match" in str(caught.value)
    assert "fc7/bias does not match" in str(caught.value)
    assert "fc6/weight" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", [104.0, 117.0, 124.0]),
        ("input_size", 36),
        ("context_factor", 2.5),
        ("output_scale", 22.7),
        ("colour_order", "RGB"),
        ("pool_lrn_order", "lrn_pool"),
    ],
)
def test_readable_attributes_must_agree(path, name, value):
    with h5py.File(path, "r+") as file:
        if isinstance(value, str):
            rewrite_text(file, name, value)
        else:
            file.attrs[name] = value
    with pytest.raises(WeightsError, match=f"attribute {name} is .* and the architecture says"):
        load(path)


def test_a_consistent_change_of_preprocessing_is_noticed(path):
    changed = tiny(mean=(104.0, 117.0, 124.0))
    with h5py.File(path, "r+") as file:
        rewrite_text(file, "architecture", changed.to_json())
        file.attrs["mean"] = changed.preprocessing.mean
    with pytest.raises(WeightsError, match="does not match the file's digest"):
        load(path)


def test_a_tensor_replaced_with_its_digest_is_noticed(path, weights, tmp_path):
    other = random_weights(tiny(), 8)
    save(other, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "other.h5") as source:
        del file["fc6/bias"], file["fc6/weight"]
        file.copy(source["fc6/weight"], file["fc6"], "weight")
        file.copy(source["fc6/bias"], file["fc6"], "bias")
    with pytest.raises(WeightsError, match="does not match the file's digest"):
        load(path)


@pytest.mark.parametrize(
    "name", ["sha256", "digest", "file_digest", "architecture", "mean", "origin"]
)
def test_a_file_that_lacks_an_attribute_is_refused(path, name):
    with h5py.File(path, "r+") as file:
        del (file["fc6/weight"] if name == "sha256" else file).attrs[name]
    with pytest.raises(WeightsError, match=f"attribute {name} of .* is missing"):
        load(path)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("compress", [False, True])
def test_the_digest_is_one_number_wherever_it_is_read(tmp_path, capsys, precision, compress):
    wide = Architecture(tiny().tower, fc_head([1003, 5]), tiny().preprocessing)
    weights = random_weights(wide, 2)
    path = tmp_path / "w.h5"
    save(weights, path, precision=precision, compress=compress)
    loaded = load(path)
    with h5py.File(path) as file:
        stored = bytes(file.attrs["digest"]).decode()
        for name, array in loaded.parameters.items():
            content = f"<f4{array.shape}".encode() + array.tobytes()
            assert bytes(file[name].attrs["sha256"]).decode() == sha256(content).hexdigest()
    assert loaded.digest == stored
    assert (stored == weights.digest) is (precision == "fp32")
    assert main(["info", "--weights", str(path)]) == 0
    assert stored in capsys.readouterr().out
    # As plain float32 again, or through Caffe's format, these are still the same weights.
    save(loaded, tmp_path / "single.h5")
    save_caffemodel(loaded, tmp_path / "w.caffemodel")
    for name in ("single.h5", "w.caffemodel"):
        assert load(tmp_path / name).digest == stored


def test_an_altered_half_precision_tensor_is_noticed(tmp_path, weights):
    save(weights, tmp_path / "w.h5", precision="fp16")
    original = (tmp_path / "w.h5").read_bytes()
    for name, array in weights.parameters.items():
        altered = bytearray(original)
        altered[original.index(array.astype(np.float16).tobytes())] ^= 1
        (tmp_path / "w.h5").write_bytes(altered)
        with pytest.raises(WeightsError, match=rf"{name} does not match its SHA-256"):
            load(tmp_path / "w.h5")


@pytest.mark.parametrize("name", ["origin", "digest", "file_digest"])
def test_an_altered_origin_or_digest_is_noticed(path, weights, name):
    data = path.read_bytes()
    with h5py.File(path) as file:
        value = bytes(file.attrs[name])
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, bytes([value[0] ^ 1]) + value[1:]))
    with pytest.raises(WeightsError, match=r"does not match the file.*altered or damaged"):
        load(path)


def test_the_preprocessing_may_be_spelt_in_any_numbers(tmp_path):
    spelt = tiny(mean=[104, 117, 123], context_factor=2, output_scale=10)
    save(random_weights(spelt, 0), tmp_path / "a.h5")
    save(random_weights(tiny(), 0), tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert load(tmp_path / "a.h5", spelt).architecture == tiny()


def test_another_version_is_refused(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(
        WeightsError, match="version 3 is not known; expected 'goturn' version 1 or 2"
    ):
        load(path)


def test_every_mismatch_is_named_at_once(path):
    with h5py.File(path, "r+") as file:
        del file["conv3/bias"]
        file["fc9/weight"] = np.zeros(3, np.float32)
        del file["fc7/weight"]
        file["fc7/weight"] = np.zeros((16, 17), np.float32)
        values = file["fc8/bias"][()].astype(np.float64)
        del file["fc8/bias"]
        file["fc8/bias"] = values
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: conv3/bias (10,) is missing; fc9/weight is superfluous; fc7/weight has shape "
        "(16, 17), expected (16, 16); fc8/bias is float64, expected 16 or 32-bit floats"
    )


def test_what_cannot_be_read_is_named_with_all_the_rest(path):
    """Dtypes, layouts, shapes, digests, attributes: one reading tells everything."""
    with h5py.File(path, "r+") as file:
        for name in ("conv1/weight", "fc6/weight"):
            values = file[name][()].astype("<i4")
            del file[name]
            file[name] = values
        biases = {name: file[name][()] for name in ("conv1/bias", "conv2/bias")}
        del file["conv1/bias"], file["conv2/bias"], file["conv3/bias"], file["fc6/bias"]
        compact(file["conv1"].id, b"bias", biases["conv1/bias"])
        file["conv2/bias"] = biases["conv2/bias"].astype(">f4")
        file.create_group("fc6/bias")
        file["notes"] = np.zeros(3, np.float32)
        del file["fc7/bias"].attrs["sha256"], file["fc8/bias"].attrs["sha256"]
        del file.attrs["origin"], file.attrs["mean"]
    with pytest.raises(WeightsError) as caught:
        load(path)
    floats = (
        'expected 16, 32 or 64-bit little-endian floats: save it again as such, with dtype "<f4"'
    )
    assert str(caught.value).removeprefix(f"{path}: ").split("; ") == [
        "attribute mean of / is missing",
        "notes is not a group",
        "conv3/bias (10,) is missing",
        f"conv1/weight holds integers, {floats}",
        "conv1/bias has a compact layout, expected a contiguous or chunked one: save it again as such, "
        "as h5py does unless told otherwise",
        f"conv2/bias holds big-endian 32-bit floats, {floats}",
        f"fc6/weight holds integers, {floats}",
        "fc6/bias is not a dataset",
        "attribute sha256 of fc7/bias is missing",
        "attribute sha256 of fc8/bias is missing",
        "attribute origin of / is missing",
    ]


def test_a_value_that_is_not_finite_is_refused(tmp_path, weights, monkeypatch):
    weights.parameters["fc8/weight"][0, 0] = np.nan
    monkeypatch.setattr("goturn.weights.store.is_finite", lambda array: True)
    save(weights, tmp_path / "w.h5")
    with pytest.raises(WeightsError, match=r"w\.h5: NaN or infinity in fc8/weight \(damage"):
        load(tmp_path / "w.h5")


def test_an_architecture_given_must_be_the_files(path):
    assert load(path, tiny()).architecture == tiny()
    with pytest.raises(WeightsError, match="its tower differ from the architecture given"):
        load(path, tiny(pool_first=False))
    with pytest.raises(WeightsError, match="its tower and head and preprocessing differ"):
        load(path, goturn())


class TestCalibration:
    """The curve of a tracker's confidence goes with the weights."""

    curve = Calibration(middle=0.8123456789, width=0.04)

    @pytest.fixture
    def file(self, tmp_path, weights):
        save(replace(weights, calibration=self.curve), tmp_path / "c.h5")
        return tmp_path / "c.h5"

    def test_it_is_kept(self, file, path, weights):
        assert load(file).calibration == self.curve
        assert load(file).digest == weights.digest  # the network is the same
        assert load(path).calibration is None

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ((0.8, 0.05), "calibration or target_policy does not match the file_digest"),
            (0.8, "attribute calibration is not two numbers"),
            ((1.0, 2.0, 3.0), "attribute calibration is not two numbers"),
            ("steep", "calibration of / is not a number or a short list"),
            ((np.nan, 0.1), "target_policy does not match"),
        ],
    )
    def test_another_one_is_noticed(self, file, value, says):
        with h5py.File(file, "r+") as opened:
            opened.attrs["calibration"] = value
        with pytest.raises(WeightsError, match=says):
            load(file)

    def test_its_absence_is_noticed(self, file):
        with h5py.File(file, "r+") as opened:
            del opened.attrs["calibration"]
        with pytest.raises(WeightsError, match="does not match the file_digest"):
            load(file)

    @pytest.mark.parametrize("curve", [(0.5, 0.0), (0.5, -1.0), (float("nan"), 1.0)])
    def test_a_curve_that_does_not_rise(self, weights, curve):
        with pytest.raises(WeightsError, match="not a finite rising curve"):
            replace(weights, calibration=Calibration(*curve))
