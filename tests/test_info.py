"""The report on versions, builds and devices."""

from __future__ import annotations

import json
import os
import re
import sys
import types

import cv2
import h5py
import numpy as np
import pytest

import goturn
from goturn import info
from goturn.cli import main
from goturn.info import gather, render
from goturn.ops.devices import CudaDevice, CudaStatus
from goturn.weights import random_weights, save
from networks import tiny

KEYS = {
    "goturn",
    "python",
    "platform",
    "numpy",
    "opencv",
    "hdf5",
    "cupy",
    "cpu",
    "cuda",
    "weights",
}


def lines_of(report) -> dict[str, str]:
    """The rendered report as name -> text; two spaces or more end the name."""
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in render(report).splitlines())


def test_the_json_has_every_key(capsys):
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == KEYS
    assert report == json.loads(json.dumps(gather()))
    assert report["goturn"] == goturn.__version__
    assert report["numpy"]["version"] == np.__version__
    assert report["opencv"] == {
        "version": cv2.__version__,
        "tracker_goturn": hasattr(cv2, "TrackerGOTURN"),
    }
    assert report["hdf5"] == {"version": h5py.version.hdf5_version, "h5py": h5py.__version__}
    assert report["cpu"]["threads"] == len(os.sched_getaffinity(0))
    assert set(report["cpu"]) == {"model", "threads", "module"}
    assert set(report["cuda"]) == {
        "built",
        "compiled_with",
        "architectures",
        "driver",
        "devices",
        "problem",
    }
    assert report["weights"] is None


def test_the_text_names_everything(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    lines = lines_of(gather())
    assert printed == render(gather()) + "\n"
    assert lines["goturn"] == goturn.__version__
    assert lines["NumPy"].startswith(f"{np.__version__} (BLAS: ")
    assert lines["OpenCV"].startswith(f"{cv2.__version__} (has ")
    assert lines["weights"] == "none given"
    assert {"Python", "HDF5", "CuPy", "CPU", "CPU module", "CUDA module", "GPUs"} <= set(lines)


NO_DRIVER = CudaStatus(False, None, (), None, (), "no NVIDIA driver was found; install one")
NO_DEVICE = CudaStatus(True, (13, 0), ("90-real",), (12, 8), (), "the NVIDIA driver sees no GPU")
READY = CudaStatus(
    True,
    (12, 9),
    ("90-real", "120-virtual"),
    (13, 0),
    (CudaDevice(0, "NVIDIA H100", (9, 0), 80 << 30), CudaDevice(1, "RTX 2080", (7, 5), 8 << 30)),
    None,
)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (NO_DRIVER, ("not built", "none", "none", "no NVIDIA driver was found; install one")),
        (
            NO_DEVICE,
            (
                "built with CUDA 13.0 for 90-real",
                "up to CUDA 12.8",
                "none",
                "the NVIDIA driver sees no GPU",
            ),
        ),
        (
            READY,
            (
                "built with CUDA 12.9 for 90-real, 120-virtual",
                "up to CUDA 13.0",
                "cuda:0 NVIDIA H100, 80 GiB, compute 9.0; cuda:1 RTX 2080, 8 GiB, compute 7.5",
                "a GPU is there, but this version has no kernels for it yet",
            ),
        ),
    ],
    ids=["no driver", "no device", "devices"],
)
def test_the_cases_of_cuda_are_told_apart(monkeypatch, status, expected):
    monkeypatch.setattr(info, "cuda_status", lambda: status)
    lines = lines_of(gather())
    names = ("CUDA module", "CUDA driver", "GPUs", "CUDA")
    assert tuple(lines[name] for name in names) == expected


def test_weights_are_described_by_their_digest(tmp_path, capsys):
    weights = random_weights(tiny(), 3)
    save(weights, tmp_path / "w.h5")
    described = gather(tmp_path / "w.h5")["weights"]
    assert described == {
        "file": str(tmp_path / "w.h5"),
        "sha256": weights.digest,
        "parameters": weights.architecture.parameter_count,
        "origin": "random, seed 3",
    }
    assert main(["info", "--weights", str(tmp_path / "w.h5")]) == 0
    assert f"SHA-256 {weights.digest}; random, seed 3" in capsys.readouterr().out


def test_weights_that_cannot_be_read(tmp_path, capsys):
    assert main(["info", "--weights", str(tmp_path / "w.h5")]) == 1
    assert capsys.readouterr().err == (
        f"goturn: error: {tmp_path / 'w.h5'}: No such file or directory\n"
    )


def test_a_missing_opencv_and_cpu_module_are_no_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "goturn._cpu", None)
    report = gather()
    assert report["opencv"] is None
    assert report["cpu"]["module"] is None
    assert lines_of(report)["OpenCV"] == "cannot be imported"
    assert lines_of(report)["CPU module"] == "not built"


def test_the_cpu_module_is_named_with_its_version(monkeypatch):
    module = types.ModuleType("goturn._cpu")
    module.version, module.compiler, module.isa = "1.2.3", "GCC 9", lambda: "avx2"
    monkeypatch.setitem(sys.modules, "goturn._cpu", module)
    assert lines_of(gather())["CPU module"] == "built, 1.2.3, by GCC 9, using avx2 code"


@pytest.mark.parametrize(
    ("packages", "expected"),
    [
        ([], None),
        (
            [("numpy", "2.0"), ("cupyx-tools", "1"), ("cupy-cuda12x", "13.6.0")],
            "cupy-cuda12x 13.6.0",
        ),
        ([("cupy", "13.0"), ("cupy-cuda12x", "13.6.0")], "cupy 13.0, cupy-cuda12x 13.6.0"),
    ],
)
def test_cupy_is_found_without_importing_it(monkeypatch, packages, expected):
    found = [types.SimpleNamespace(metadata={"Name": n}, version=v) for n, v in packages]
    monkeypatch.setattr(info, "distributions", lambda: found)
    monkeypatch.setitem(sys.modules, "cupy", None)
    report = gather()
    assert report["cupy"] == expected
    assert lines_of(report)["CuPy"] == (expected or "not installed")


def test_a_cpu_without_a_model_name(monkeypatch, tmp_path):
    empty = tmp_path / "cpuinfo"
    empty.write_text("processor : 0\n")
    monkeypatch.setattr(info, "Path", lambda name: empty)
    assert info._cpu_model()
    monkeypatch.setattr(info, "Path", lambda name: tmp_path / "none")
    assert info._cpu_model()
