"""HDF5 files made to do harm: each is refused before anything happens."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_files import caffe_layers, snapshot
from goturn.weights import WeightsError, load, random_weights, save
from hdf5_files import compact
from networks import tiny

SECRET = "a secret of another file, long enough to fill a tensor " * 200


@pytest.fixture(params=["ours", "snapshot"])
def file(request, tmp_path):
    """An open HDF5 file of each kind, and the path of fc6's weight in it."""
    weights = random_weights(tiny(), 7)
    path = tmp_path / "w.h5"
    if request.param == "ours":
        save(weights, path)
        tensor = "fc6/weight"
    else:
        snapshot(path, caffe_layers(weights))
        tensor = "data/fc6-new/0"
    with h5py.File(path, "r+") as opened:
        opened.tensor = tensor
        yield opened


def assert_refused(file: h5py.File, sentence: str) -> None:
    """The file, as it is now, is refused with that sentence, cheaply."""
    path = file.filename
    file.close()
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=sentence) as caught:
            load(path, tiny())
        assert str(path) in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def replace_tensor(file: h5py.File, **options: object) -> None:
    attributes = dict(file[file.tensor].attrs)
    shape = options.pop("shape", file[file.tensor].shape)
    del file[file.tensor]
    dtype = options.pop("dtype", "<f4")
    dataset = file.create_dataset(file.tensor, shape, dtype, **options)
    for name, value in attributes.items():
        dataset.attrs[name] = value


def test_the_fixture_itself_loads(file):
    path = file.filename
    file.close()
    assert load(path, tiny()).digest == random_weights(tiny(), 7).digest


def test_external_storage(file, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    size = file[file.tensor].nbytes
    replace_tensor(file, external=[(str(tmp_path / "secret"), 0, size)])
    assert_refused(file, "keeps its values in other files")


def test_virtual_dataset(file, tmp_path):
    shape = file[file.tensor].shape
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros(shape, np.float32)
    layout = h5py.VirtualLayout(shape, "<f4")
    layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape)
    del file[file.tensor]
    file.create_virtual_dataset(file.tensor, layout)
    assert_refused(file, "keeps its values in other files")


def test_external_link(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = file[file.tensor][()]
    del file[file.tensor]
    file[file.tensor] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    assert_refused(file, "is a soft or external link")


def test_external_link_to_a_group(file, tmp_path):
    group = file.tensor.rpartition("/")[0]
    with h5py.File(tmp_path / "other.h5", "w") as other:
        file.copy(file[group], other, "x")
    del file[group]
    file[group] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")
    assert_refused(file, "is a soft or external link")


def test_soft_link(file):
    del file[file.tensor]
    bias = file.tensor.replace("weight", "bias").replace("/0", "/1")
    assert bias in file
    file[file.tensor] = h5py.SoftLink("/" + bias)
    assert_refused(file, "is a soft or external link")


def test_group_in_place_of_a_tensor(file):
    del file[file.tensor]
    file.create_group(file.tensor)
    assert_refused(file, "is not a dataset")


def test_cyclic_hard_link(file):
    group = file.tensor.rpartition("/")[0]
    del file[file.tensor]
    file[file.tensor] = file[group]
    assert_refused(file, "is not a dataset")


def test_huge_group(file):
    group = file[file.tensor.rpartition("/")[0]]
    for index in range(300):
        group.create_group(f"g{index}")
    assert_refused(file, "has 302 entries; a weights file has at most 256")


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (h5py.string_dtype(), "text"),
        (h5py.vlen_dtype(np.dtype("<f4")), "something else than numbers"),
        (h5py.ref_dtype, "something else than numbers"),
        (np.dtype([("a", "<f4")]), "records"),
        (np.dtype("<i4"), "integers"),
        (np.dtype(">f4"), "big-endian 32-bit floats"),
        (np.dtype(">f8"), "big-endian 64-bit floats"),
        (np.dtype(np.longdouble), "unusual 128-bit floats"),
        (np.dtype("S4"), "text"),
    ],
)
def test_odd_dtype(file, dtype, shown):
    replace_tensor(file, dtype=dtype)
    expected = "expected 16, 32 or 64-bit little-endian floats: save it again as such"
    assert_refused(file, f'{file.tensor} holds {shown}, {expected}, with dtype "<f4"')


def test_compact_layout(file):
    values = file[file.tensor][()]
    group, _, name = file.tensor.rpartition("/")
    del file[file.tensor]
    compact(file[group].id, name.encode(), values)
    assert_refused(
        file,
        f"{file.tensor} has a compact layout, expected a contiguous or chunked one: save it again as "
        "such, as h5py does unless told otherwise",
    )


def test_declared_four_gigabytes(tmp_path):
    """A dataset of 4 GiB in a file of a few kilobytes: contiguous, nothing ever written."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/fc6-new/0", (32768, 32768), "<f4")
        file.create_dataset("data/fc6-new/1", (32768,), "<f4")
    assert os.path.getsize(path) < 10_000
    with h5py.File(path, "r") as file:
        assert_refused(file, "declares 4294967296 bytes and stores 0")


def test_declared_and_never_written(file):
    replace_tensor(file)
    assert_refused(file, "declares [0-9]+ bytes and stores 0")


def test_size_that_contradicts_the_shape(file):
    """The layout's own size, changed in the file's bytes to half of what the shape asks for."""
    path, dataset = Path(file.filename), file[file.tensor]
    size, offset = dataset.nbytes, int(dataset.id.get_offset())
    file.flush()
    layout = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
    data = path.read_bytes()
    assert data.count(layout) == 1
    path.write_bytes(data.replace(layout, layout[:8] + (size // 2).to_bytes(8, "little")))
    assert_refused(file, f"declares {size} bytes and stores {size // 2}")


def test_chunks_never_written(file):
    replace_tensor(file, chunks=(1, 16))
    assert_refused(file, "needs [0-9]+ chunks and stores 0")


def test_compressed_zeros(tmp_path):
    """64 MiB of zeros in some 70 kB."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        zeros = np.zeros((4096, 4096), np.float32)
        file.create_dataset("data/fc6-new/0", data=zeros, compression="gzip")
    assert os.path.getsize(path) < 200_000
    with h5py.File(path, "r") as file:
        assert_refused(file, "declares 67108864 bytes and stores [0-9]+: out of proportion")


def test_chunk_that_inflates_beyond_its_size(file):
    """HDF5's own gzip filter would follow the stream to its end, whatever the chunk's size."""
    rows, columns = file[file.tensor].shape
    replace_tensor(file, chunks=(rows, columns), compression="gzip")
    size = 4 * rows * columns
    bomb = zlib.compress(bytes(size + 1))
    file[file.tensor].id.write_direct_chunk((0, 0), bomb)
    assert_refused(file, f"has a chunk that does not inflate to {size} bytes")


@pytest.mark.parametrize("filters", [{"compression": "gzip"}, {"shuffle": True}])
def test_chunk_smaller_than_its_size(file, filters):
    rows, columns = file[file.tensor].shape
    replace_tensor(file, chunks=(rows, columns), **filters)
    size = 4 * rows * columns
    content = bytes(size - 2)
    content = zlib.compress(content) if "compression" in filters else content
    file[file.tensor].id.write_direct_chunk((0, 0), content)
    assert_refused(file, f"has a chunk of {size - 2} bytes instead of {size}")


def test_damaged_chunk(file):
    shape = file[file.tensor].shape
    replace_tensor(file, chunks=shape, compression="gzip")
    file[file.tensor].id.write_direct_chunk((0, 0), b"not a zlib stream")
    assert_refused(file, "has a damaged chunk")


def test_chunk_larger_than_its_size(file):
    shape = file[file.tensor].shape
    replace_tensor(file, chunks=shape, compression="gzip")
    file[file.tensor].id.write_direct_chunk((0, 0), bytes(40_000))
    assert_refused(file, "has a chunk of 40000 bytes for")


def test_filters_that_we_do_not_undo(file):
    shape = file[file.tensor].shape
    replace_tensor(file, chunks=shape, fletcher32=True)
    assert_refused(file, "has a filter other than shuffle and gzip")


def test_too_many_chunks(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data/fc6-new/0", (300, 300), "<f4", chunks=(1, 1))
        dataset[0, 0] = 1
    with h5py.File(path, "r") as file:
        assert_refused(file, r"needs 90000 chunks and stores 1 \(limit 65536\)")


def test_resizable_dataset_smaller_than_its_chunk(file):
    rows, columns = file[file.tensor].shape
    replace_tensor(file, maxshape=(None, None), chunks=(rows + 1, columns))
    assert_refused(file, "has chunks larger than itself")


def test_many_tensors_in_the_same_bytes(tmp_path):
    """One megabyte, linked from everywhere, must not become a hundred."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["data/fc6-new/0"] = np.ones((512, 512), np.float32)
        file["data/fc6-new/1"] = file["data/fc6-new/0"]
    with h5py.File(path, "r") as file:
        assert_refused(file, "claims more bytes than the file has")


def test_scalar_and_empty_tensors(tmp_path):
    for value, sentence in [
        (np.float32(1), "is not an array"),
        (h5py.Empty("<f4"), "is not an array"),
    ]:
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["data/fc6-new/0"] = value
        with h5py.File(tmp_path / "w.h5", "r") as file:
            assert_refused(file, sentence)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data/fc6-new/0"] = np.zeros((0, 4), np.float32)
    with h5py.File(tmp_path / "w.h5", "r") as file:
        assert_refused(file, "is empty")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("architecture", "text of variable length", "is not a text of fixed length"),
        ("origin", 3, "is not a text of fixed length"),
        ("mean", "text", "is not a number or a short list of numbers"),
        ("mean", np.zeros((2, 2)), "is not a number or a short list of numbers"),
        ("mean", np.zeros(8100), "and the architecture says"),
        ("digest", np.array([b"a", b"b"]), "is not a single text"),
    ],
)
def test_odd_attributes(tmp_path, name, value, sentence):
    save(random_weights(tiny(), 7), tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        del file.attrs[name]
        file.attrs[name] = value
        assert_refused(file, sentence)


def test_large_attribute(tmp_path):
    save(random_weights(tiny(), 7), tmp_path / "w.h5")
    with (
        h5py.File(tmp_path / "w.h5", "r") as source,
        h5py.File(tmp_path / "large.h5", "w", libver="latest") as file,
    ):
        for name, value in source.attrs.items():
            file.attrs[name] = value
        del file.attrs["origin"]
        file.attrs["origin"] = np.array(b"x" * 100_000)
        file.attrs["format"] = np.array(b"x" * 100_000)
        assert_refused(file, "is not at most 65536 bytes")


def test_text_that_is_not_utf8(tmp_path):
    save(random_weights(tiny(), 7), tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file.attrs["origin"] = np.array(b"\xff\xfe")
        assert_refused(file, "damaged HDF5 file .*can't decode")


def test_user_block(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w", userblock_size=512) as file:
        file["data/x/0"] = np.zeros(3)
    data = (tmp_path / "w.h5").read_bytes()
    assert data[512:516] == b"\x89HDF"
    with pytest.raises(WeightsError):
        load(tmp_path / "w.h5")


@pytest.mark.parametrize("keep", [8, 9, 100, 1000, 20_000])
def test_truncated(file, tmp_path, keep):
    path = Path(file.filename)
    file.close()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="damaged HDF5 file"):
        load(path, tiny())


def test_no_descriptor_is_left_open(tmp_path):
    save(random_weights(tiny(), 7), tmp_path / "w.h5")
    data = (tmp_path / "w.h5").read_bytes()
    (tmp_path / "bad.h5").write_bytes(data[:1000])
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc here")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        load(tmp_path / "w.h5")
        with pytest.raises(WeightsError):
            load(tmp_path / "bad.h5")
    assert len(list(descriptors.iterdir())) == before
