"""Files that are not weights we read: each is told by its content and refused with a way out."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

from goturn.weights import WeightsError, load, read_conv_layers, save
from goturn.weights import random_weights as random
from networks import tiny


def zipped() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.h5"))
    return buffer.getvalue()


def saved_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


HOW_TO_CONVERT = (
    "write each layer's weight and bias with h5py as /data/<layer>/0 and /data/<layer>/1"
)

CASES = {
    "zip": (zipped(), "a zip archive, as .pth, .pt and .npz files are", HOW_TO_CONVERT),
    "truncated zip": (zipped()[:40], "a zip archive", HOW_TO_CONVERT),
    "piece of a zip": (b"PK\x07\x08" + zipped(), "a part of a zip archive", "unpack"),
    "pickle 2": (pickle.dumps([1], 2), "a Python pickle .* never opened", HOW_TO_CONVERT),
    "pickle 5": (pickle.dumps([1], 5), "a Python pickle", HOW_TO_CONVERT),
    "npy": (saved_array(), "a NumPy array", HOW_TO_CONVERT),
    "safetensors": (safetensors(), "a safetensors file", HOW_TO_CONVERT),
    "gzip": (gzip.compress(b"x" * 100), "compressed with gzip", "gunzip"),
    "tar": (tarred(), "a tar archive", "unpack it"),
    "web page": (b"\n<!DOCTYPE html><h1>404</h1>", "a web page", "download the file itself"),
    "Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer",
        "git lfs pull",
    ),
    "prototxt": (
        b'name: "CaffeNet"\nlayer {\n}\n',
        "a network's description",
        "give the .caffemodel",
    ),
    "text": (b"404: Not Found\n", "a text file", "download or copy"),
    "empty": (b"", "an empty file", "download or copy"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("read", [load, read_conv_layers])
def test_refused_with_a_remedy(tmp_path, case, read):
    content, kind, remedy = CASES[case]
    path = tmp_path / "goturn.caffemodel"
    path.write_bytes(content)
    with pytest.raises(
        WeightsError, match=f"this is {kind}.*not a file of weights we read; .*{remedy}"
    ):
        read(path)


def test_the_extension_does_not_matter(tmp_path):
    weights = random(tiny(), 0)
    save(weights, tmp_path / "w.pth")
    assert load(tmp_path / "w.pth").digest == weights.digest


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    for name in ("w.pth", "w.pt"):
        with pytest.raises(WeightsError):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_noise_is_neither(tmp_path):
    rng = np.random.default_rng(0)
    for size in (1, 2, 10, 1000, 100_000):
        (tmp_path / "w").write_bytes(b"\x00" + rng.bytes(size))
        with pytest.raises(WeightsError, match="neither HDF5 nor a Caffe model"):
            load(tmp_path / "w")


@pytest.mark.parametrize("read", [load, read_conv_layers])
def test_errors_of_paths_stay_themselves(tmp_path, read):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.h5")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    if os.geteuid() != 0:
        (tmp_path / "locked").write_bytes(b"")
        (tmp_path / "locked").chmod(0)
        with pytest.raises(PermissionError):
            read(tmp_path / "locked")


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a regular file"):
        load(tmp_path / "pipe")


def test_hdf5_of_something_else(tmp_path):
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["model_weights/conv/kernel"] = np.zeros(3)
    with pytest.raises(WeightsError, match="without the group /data of a Caffe snapshot"):
        load(tmp_path / "w.h5")
