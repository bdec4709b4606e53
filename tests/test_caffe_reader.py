"""Caffe's weights: every way of writing them, both naming schemes, one tower or two."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from caffe_files import blob, caffe_layers, field, layer, net, number, snapshot
from goturn.architecture import goturn, opencv_goturn
from goturn.weights import Weights, WeightsError, load, random_weights, read_conv_layers
from hdf5_files import compact
from networks import tiny


@pytest.fixture(scope="module")
def weights() -> Weights:
    made = random_weights(tiny(hidden=3), 3)
    for array in made.parameters.values():
        array[...] += np.linspace(0, 1, array.size).reshape(array.shape)
    return made


@pytest.fixture(scope="module")
def separate() -> Weights:
    return random_weights(tiny(shared_towers=False), 4)


def assert_same(loaded: Weights, expected: Weights) -> None:
    assert loaded.architecture == expected.architecture
    assert loaded.digest == expected.digest


@pytest.mark.parametrize("v1", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize("shape", ["packed", "unpacked", "legacy"])
@pytest.mark.parametrize("data", ["packed", "unpacked", "split", "double"])
def test_every_encoding(tmp_path, weights, v1, shape, data):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net(caffe_layers(weights), v1=v1, shape=shape, data=data))
    assert_same(load(path, weights.architecture), weights)


def test_doubles_come_before_floats(tmp_path, weights):
    """As in Caffe, where a blob has both."""
    out = b""
    for name, arrays in caffe_layers(weights).items():
        zeros = [field(5, bytes(4 * array.size)) for array in arrays]
        pairs = zip(arrays, zeros, strict=True)
        out += layer(name, [blob(array, data="double") + floats for array, floats in pairs])
    (tmp_path / "w").write_bytes(out)
    assert_same(load(tmp_path / "w", weights.architecture), weights)


@pytest.mark.parametrize("scheme", ["authors", "opencv"])
@pytest.mark.parametrize("towers", ["both", "target", "search"])
def test_schemes_and_equal_towers(tmp_path, weights, scheme, towers):
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net(caffe_layers(weights, scheme, towers)))
    loaded = load(path, weights.architecture)
    assert_same(loaded, weights)
    assert "w.caffemodel, a Caffe file with" in loaded.origin


@pytest.mark.parametrize("scheme", ["authors", "opencv"])
@pytest.mark.parametrize("given", [False, True])
def test_towers_that_differ_are_both_kept(tmp_path, separate, scheme, given):
    """Whether towers are shared is the file's to say, whatever the architecture given."""
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net(caffe_layers(separate, scheme)))
    assert_same(load(path, tiny(shared_towers=given)), separate)


def test_towers_that_differ_in_one_bias(tmp_path, weights):
    layers = caffe_layers(weights)
    weight, bias = layers["conv3_p"]
    layers["conv3_p"] = (weight, bias + np.float32(1e-6) * np.arange(10, dtype=np.float32))
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net(layers))
    loaded = load(path, weights.architecture)
    assert not loaded.architecture.shared_towers
    assert np.array_equal(loaded.parameters["conv3_p/bias"], layers["conv3_p"][1])
    assert np.array_equal(loaded.parameters["conv3/bias"], bias)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "gzip", "shuffle": True}, {"chunks": True}]
)
@pytest.mark.parametrize("scheme", ["authors", "opencv"])
def test_hdf5_snapshots(tmp_path, weights, dtype, options, scheme):
    path = tmp_path / "w.caffemodel.h5"
    snapshot(path, caffe_layers(weights, scheme), dtype, **options)
    loaded = load(path, weights.architecture)
    for name, array in weights.parameters.items():
        assert np.array_equal(loaded.parameters[name], array.astype(dtype).astype(np.float32))


def test_hdf5_snapshot_in_chunks_of_columns(tmp_path, weights):
    """Chunks that divide neither rows nor columns, in several bands."""
    layers = {name: pair for name, pair in caffe_layers(weights).items() if "conv" in name}
    snapshot(tmp_path / "w.h5", layers)
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        for name, (weight, bias) in caffe_layers(weights).items():
            if "conv" not in name:
                chunks = (min(3, len(weight)), 7)
                options = {"compression": "gzip", "shuffle": True}
                file.create_dataset(f"data/{name}/0", data=weight, chunks=chunks, **options)
                file.create_dataset(f"data/{name}/1", data=bias, chunks=(3,))
    assert_same(load(tmp_path / "w.h5", weights.architecture), weights)


# -- the architecture that a file implies --------------------------------------------------------


def full_size(widths: tuple[int, ...], shared: bool = True) -> Weights:
    architecture = goturn(widths)
    return random_weights(architecture if shared else architecture.with_separate_towers(), 5)


@pytest.mark.parametrize("widths", [(8,), (8, 6), (8, 6, 5)])
def test_depth_and_widths_come_from_the_file(tmp_path, widths):
    weights = full_size(widths)
    path = tmp_path / "w.caffemodel"
    path.write_bytes(net(caffe_layers(weights), shape="legacy"))
    loaded = load(path)
    assert loaded.architecture == goturn(widths)
    assert loaded.digest == weights.digest


@pytest.mark.parametrize("widths", [(8, 6), (8, 6, 5)])
def test_names_tell_whose_preprocessing(tmp_path, widths):
    weights = full_size(widths, shared=False)
    snapshot(tmp_path / "a.h5", caffe_layers(weights, "authors"))
    snapshot(tmp_path / "o.h5", caffe_layers(weights, "opencv"))
    authors, opencv = load(tmp_path / "a.h5"), load(tmp_path / "o.h5")
    assert authors.architecture == goturn(widths).with_separate_towers()
    assert opencv.architecture == opencv_goturn(widths)
    assert opencv.architecture.preprocessing.mean == (128.0, 128.0, 128.0)
    assert opencv.architecture.preprocessing.output_scale == 22.7
    assert "the authors' layer names" in authors.origin
    assert "OpenCV's layer names" in opencv.origin


def test_alexnets_order_must_be_given(tmp_path):
    weights = full_size((8, 6))
    snapshot(tmp_path / "w.h5", caffe_layers(weights))
    given = goturn((8, 6), pool_first=False)
    assert load(tmp_path / "w.h5").architecture.pool_lrn_order == "pool_lrn"
    assert load(tmp_path / "w.h5", given).architecture == given


# -- what does not fit ---------------------------------------------------------------------------


def refused(tmp_path, layers, architecture=None) -> str:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(layers if isinstance(layers, bytes) else net(layers))
    with pytest.raises(WeightsError) as caught:
        load(path, architecture)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_every_mismatch_is_named_by_the_files_own_names(tmp_path, separate):
    layers = caffe_layers(separate, "opencv")
    del layers["conv12"]
    layers["conv21"] = (layers["conv21"][0][:, :2], layers["conv21"][1])
    layers["fc7"] = layers["fc7"][:1]
    layers["fc8"] = (layers["fc8"][0], np.zeros(5, np.float32))
    assert refused(tmp_path, layers, tiny()) == (
        "layer conv2 is missing; conv21 weight has shape (6, 2, 5, 5), expected (6, 3, 5, 5); "
        "fc7 has 1 blobs, expected weight and bias; fc8 bias has shape (5,), expected (4,)"
    )


def test_unknown_layers(tmp_path, weights):
    layers = caffe_layers(weights)
    layers["bn1"] = layers["conv1"]
    assert refused(tmp_path, layers) == "layer 'bn1' is not one of GOTURN's"


def test_layers_that_the_architecture_lacks(tmp_path, weights):
    assert refused(tmp_path, caffe_layers(weights), tiny()).endswith(
        "layer fc7-newb is superfluous"
    )


def test_mixed_schemes(tmp_path, weights):
    layers = caffe_layers(weights, "authors", "target")
    layers["conv21"] = layers["conv1"]
    assert "named partly as the authors' and partly as OpenCV's" in refused(tmp_path, layers)


def test_one_layer_under_two_names(tmp_path, weights):
    layers = caffe_layers(weights)
    layers["fc6"] = layers["fc6-new"]
    assert refused(tmp_path, layers) == "layers fc6-new and fc6 are the same one"
    twice = net(layers) + net({"conv1": layers["conv1"]})
    assert "two layers with weights are named 'conv1'" in refused(tmp_path, twice)


@pytest.mark.parametrize("missing", [("fc8-shapes",), ("fc6-new",), ("fc7-new",)])
def test_an_incomplete_head(tmp_path, weights, missing):
    layers = {name: pair for name, pair in caffe_layers(weights).items() if name not in missing}
    message = refused(tmp_path, layers)
    assert "expected one of fc6 fc8, or fc6 fc7 fc8, or fc6 fc7 fc7b fc8" in message


def test_a_classifier_is_not_a_tracker(tmp_path):
    layers = caffe_layers(full_size((8, 6)), "authors", "target")
    layers = {name.removesuffix("-new"): pair for name, pair in layers.items()}
    layers["fc6"] = (np.zeros((8, 9216), np.float32), np.zeros(8, np.float32))
    layers["fc8"] = (np.zeros((1000, 6), np.float32), np.zeros(1000, np.float32))
    del layers["fc8-shapes"]
    message = refused(tmp_path, layers)
    assert "fc6 weight has shape (8, 9216), expected (8, 18432)" in message
    assert "fc8 weight has shape (1000, 6), expected (4, 6)" in message


def test_a_width_beyond_any_use(tmp_path, weights):
    layers = caffe_layers(weights)
    layers["fc6-new"] = (np.zeros((70000, 1), np.float32), np.zeros(1, np.float32))
    assert "fc6.features has an impossible value: 70000" in refused(tmp_path, layers)


def test_values_that_are_not_finite(tmp_path, weights):
    layers = caffe_layers(weights)
    layers["fc6-new"] = (layers["fc6-new"][0], np.full(16, 1e300))
    path = tmp_path / "w.h5"
    snapshot(path, layers, "<f8")
    with pytest.raises(WeightsError, match=r"w\.h5: NaN or infinity in fc6/bias \(damage"):
        load(path, weights.architecture)


def test_values_that_are_not_finite_in_a_caffemodel(tmp_path, weights, classifier):
    layers = caffe_layers(weights)
    layers["fc8-shapes"] = (layers["fc8-shapes"][0], np.full(4, np.nan, np.float32))
    layers["conv1"] = layers["conv1_p"] = (layers["conv1"][0] * np.float32(np.inf), np.zeros(6))
    assert refused(tmp_path, layers, weights.architecture) == (
        "NaN or infinity in conv1/weight, fc8/bias (damage, or a training that "
        "diverged): go back to a good copy"
    )
    conv5 = (classifier["conv5"][0], np.full(256, np.inf))
    (tmp_path / "w").write_bytes(net({**classifier, "conv5": conv5}))
    with pytest.raises(WeightsError, match=r"/w: NaN or infinity in conv5/bias \(damage"):
        read_conv_layers(tmp_path / "w")


@pytest.mark.parametrize("given", [False, True])
def test_what_a_snapshot_holds_that_cannot_be_read_is_named_with_all_the_rest(tmp_path, given):
    weights = full_size((8, 6))
    layers = caffe_layers(weights)
    path = tmp_path / "w.h5"
    snapshot(path, {name: pair for name, pair in layers.items() if name != "conv2_p"})
    with h5py.File(path, "r+") as file:
        for name in ("data/conv1/0", "data/fc6-new/0"):
            values = file[name][()].astype("<i4")
            del file[name]
            file[name] = values
        del file["data/conv3/1"], file["data/conv4/1"], file["data/conv5"]
        compact(file["data/conv3"].id, b"1", layers["conv3"][1])
        file["data/conv4/1"] = layers["conv4"][1].astype(">f8")
        file["data/conv5"] = np.zeros(3)
        file.move("data/fc7-new/0", "data/fc7-new/kernel")
        del file["data/fc8-shapes/1"]
        file["data/fc8-shapes/1"] = np.zeros(5, np.float32)
    with pytest.raises(WeightsError) as caught:
        load(path, weights.architecture if given else None)
    floats = (
        'expected 16, 32 or 64-bit little-endian floats: save it again as such, with dtype "<f4"'
    )
    unusable = [
        f"data/conv1/0 holds integers, {floats}",
        "data/conv3/1 has a compact layout, expected a contiguous or chunked one: save it again as "
        "such, as h5py does unless told otherwise",
        f"data/conv4/1 holds big-endian 64-bit floats, {floats}",
        "data/conv5 is not a group",
        f"data/fc6-new/0 holds integers, {floats}",
        "/data/fc7-new holds 1, kernel; expected 0 and 1",
    ]
    message = str(caught.value).removeprefix(f"{path}: ")
    for problem in unusable:
        assert message.count(problem) == 1
    if given:  # else the network's size is not known, and nothing more can be said
        assert "layer conv2_p is missing" in message
        assert "fc8-shapes bias has shape (5,), expected (4,)" in message
        assert message.count("; ") == len(unusable) + 2  # one of the sentences has its own
    else:
        assert message == "; ".join(unusable)


def test_layers_that_are_not_asked_for_may_be_odd(tmp_path, classifier):
    """A classifier's own layers, of any kind, do not keep its convolutions from being read."""
    snapshot(tmp_path / "w.h5", classifier)
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file["data/counter/0"] = np.int64(3)
    assert len(read_conv_layers(tmp_path / "w.h5")) == 10


def test_fewer_values_than_the_shape_says(tmp_path):
    short = field(7, field(1, bytes([4]))) + field(5, np.zeros(3, "<f4").tobytes())
    layers = caffe_layers(random_weights(tiny(), 0))
    bias = layers.pop("fc8-shapes")
    message = refused(tmp_path, net(layers) + layer("fc8-shapes", [blob(bias[0]), short]), tiny())
    assert "(a blob of shape (4,) has 3 values); get a fresh copy" in message


def test_hdf5_layers_of_other_parts(tmp_path, weights):
    layers = caffe_layers(weights)
    snapshot(tmp_path / "w.h5", {**layers, "fc6-new": layers["fc6-new"] * 2})
    with pytest.raises(WeightsError, match="fc6-new has 4 blobs, expected weight and bias"):
        load(tmp_path / "w.h5", weights.architecture)
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file.move("data/fc6-new/0", "data/fc6-new/kernel")
    with pytest.raises(WeightsError, match="/data/fc6-new holds 1, 2, 3, kernel; expected 0 and 1"):
        load(tmp_path / "w.h5", weights.architecture)


def test_a_model_without_weights(tmp_path):
    message = refused(tmp_path, field(1, b"CaffeNet") + layer("data", []))
    assert message.startswith("a Caffe model without weights")


# -- a pretrained classifier's convolutions ------------------------------------------------------


@pytest.fixture(scope="module")
def classifier() -> dict:
    layers = caffe_layers(full_size((8, 6)), "authors", "target")
    layers["fc8"] = (np.zeros((10, 6), np.float32), np.zeros(10, np.float32))
    layers["anything"] = (np.zeros(3, np.float32),)
    return layers


@pytest.mark.parametrize("kind", ["layer", "layers", "snapshot"])
def test_read_conv_layers(tmp_path, classifier, kind):
    path = tmp_path / "alexnet"
    if kind == "snapshot":
        snapshot(path, classifier)
    else:
        path.write_bytes(net(classifier, v1=kind == "layers", shape="legacy"))
    conv = read_conv_layers(path)
    assert list(conv) == [
        f"conv{index}/{part}" for index in range(1, 6) for part in ("weight", "bias")
    ]
    for name, array in conv.items():
        layer_name, _, part = name.partition("/")
        assert np.array_equal(array, classifier[layer_name][part == "bias"])


def test_read_conv_layers_of_our_own_file(tmp_path):
    from goturn.weights import save

    weights = full_size((8,), shared=False)
    save(weights, tmp_path / "w.h5")
    conv = read_conv_layers(tmp_path / "w.h5")
    assert len(conv) == 10
    assert np.array_equal(conv["conv5/weight"], weights.parameters["conv5/weight"])


def test_read_conv_layers_names_what_is_missing(tmp_path, classifier):
    layers = dict(classifier)
    del layers["conv3"]
    layers["conv1"] = (np.zeros((64, 3, 11, 11), np.float32), layers["conv1"][1])
    (tmp_path / "w").write_bytes(net(layers))
    with pytest.raises(WeightsError) as caught:
        read_conv_layers(tmp_path / "w")
    assert str(caught.value) == (
        f"{tmp_path / 'w'}: conv1 weight has shape (64, 3, 11, 11), expected (96, 3, 11, 11); "
        "layer conv3 is missing"
    )


# -- the data folder's files ---------------------------------------------------------------------


def test_the_prototype_loads(shared_data):
    weights = load(shared_data / "weights" / "prototype.h5")
    assert weights.architecture == goturn((1024, 1024, 1024))
    conv = read_conv_layers(shared_data / "weights" / "alexnet_conv.h5")
    for name, array in conv.items():
        assert np.array_equal(weights.parameters[name], array)


def test_unrelated_fields_are_skipped(tmp_path, weights):
    """Fields of every wire type that we do not know, at every level."""
    extra = (
        number(1000, 7) + field(1001, b"x" * 300) + b"\xc1\x3e" + bytes(8) + b"\xc5\x3e" + bytes(4)
    )
    body = b"".join(
        field(
            100,
            extra
            + field(1, name.encode())
            + extra
            + b"".join(field(7, extra + blob(array) + extra) for array in pair)
            + extra,
        )
        for name, pair in caffe_layers(weights).items()
    )
    (tmp_path / "w").write_bytes(extra + body + extra)
    assert_same(load(tmp_path / "w", weights.architecture), weights)
