"""The report on versions, builds and devices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

import goturn
from goturn import info
from goturn.cli import main
from goturn.info import gather, render
from goturn.ops import devices
from goturn.ops.devices import CudaDevice, CudaStatus
from goturn.target_policy import TargetPolicy
from goturn.weights import default, random_weights, save, save_caffemodel
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


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """An installation that has lost those that come with it."""
    monkeypatch.setattr(default, "_PACKAGE", tmp_path / "lib" / "site" / "goturn")


def test_the_weights_that_come_with_it_are_described(monkeypatch, tmp_path, capsys):
    save(random_weights(tiny(), 3), tmp_path / "goturn.h5")
    monkeypatch.setattr(default, "_PACKAGE", tmp_path)
    assert main(["info"]) == 0
    assert f"weights      {tmp_path / 'goturn.h5'}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("no_weights")
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


@pytest.mark.usefixtures("no_weights")
def test_the_text_names_everything(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    lines = lines_of(gather())
    assert printed == render(gather()) + "\n"
    assert lines["goturn"] == goturn.__version__
    assert lines["NumPy"].startswith(f"{np.__version__} (BLAS: ")
    assert lines["OpenCV"].startswith(f"{cv2.__version__} (has ")
    assert lines["weights"] == "none come with this installation; give --weights FILE"
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
                "ready, device cuda:0 (auto)",
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


def test_the_report_says_what_the_devices_say(capsys):
    assert main(["info"]) == 0
    line = re.search(r"^CUDA  +(.*)$", capsys.readouterr().out, re.MULTILINE)[1]
    problem = devices.cuda_status().problem
    assert line == (problem or "ready, device cuda:0 (auto)")
    assert gather()["cuda"]["problem"] == problem


def test_weights_are_described(tmp_path, capsys):
    architecture = tiny(mean=(1.5, 2, 3), colour_order="RGB", context_factor=2.5, output_scale=22.7)
    weights = random_weights(architecture, 3)
    path = tmp_path / "w.h5"
    save(weights, path)
    described = gather(path)["weights"]
    assert described == {
        "file": str(path),
        "digest": weights.digest,
        "origin": "random, seed 3",
        "parameters": architecture.parameter_count,
        "conv_channels": {"conv1": 6, "conv2": 8, "conv3": 10},
        "fc_widths": {"fc6": 16, "fc7": 16, "fc8": 4},
        "fc_int8": False,
        "match": False,
        "shared_towers": True,
        "pool_lrn_order": "pool_lrn",
        "input_size": 35,
        "mean": [1.5, 2, 3],
        "colour_order": "RGB",
        "context_factor": 2.5,
        "output_scale": 22.7,
        "target_policy": [0.0, 1],
    }
    with h5py.File(path) as file:
        stored = file.attrs["digest"]
        assert described["digest"] == (stored.decode() if isinstance(stored, bytes) else stored)
    assert main(["info", "--weights", str(path)]) == 0
    printed = capsys.readouterr().out
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in printed.splitlines())
    assert {name: lines[name] for name in list(lines)[-10:]} == {
        "weights": str(path),
        "origin": "random, seed 3",
        "digest": f"SHA-256 {weights.digest} (of architecture and tensors, not of the file)",
        "parameters": f"{architecture.parameter_count:,}",
        "towers": "shared, pool before LRN (CaffeNet)",
        "channels": "conv1 6, conv2 8, conv3 10",
        "fc layers": "fc6 16, fc7 16, fc8 4",
        "input": "35x35 RGB, mean 1.5, 2, 3, of a window 2.5 times the box",
        "output": "22.7 units across that window",
        "target": "taken anew from every frame",
    }
    save(weights, tmp_path / "int8.h5", precision="int8")
    assert lines_of(gather(tmp_path / "int8.h5"))["fc layers"].endswith(
        "fc8 4, all but the last of int8 numbers"
    )
    assert main(["info", "--json", "--weights", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == described


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ((0.0, 3), "taken anew every 3 frames"),
        ((0.004, 1), "taken anew from every frame, and the first one counts 0.4%"),
        ((0.5, 2), "taken anew every 2 frames, and the first one counts 50%"),
    ],
)
def test_how_weights_want_their_target_kept(tmp_path, policy, text):
    save(replace(random_weights(tiny(), 3), target_policy=TargetPolicy(*policy)), tmp_path / "w.h5")
    assert lines_of(gather(tmp_path / "w.h5"))["target"] == text


def test_converted_weights_say_where_they_come_from(tmp_path, capsys):
    made = random_weights(tiny(shared_towers=False, pool_first=False), 3)
    save_caffemodel(made, tmp_path / "theirs.caffemodel")
    assert main(["convert", str(tmp_path / "theirs.caffemodel"), str(tmp_path / "ours.h5")]) == 0
    lines = lines_of(gather(tmp_path / "ours.h5"))
    assert lines["origin"] == "theirs.caffemodel, a Caffe file with OpenCV's layer names"
    assert lines["towers"] == "separate, LRN before pool (AlexNet)"


def test_an_origin_cannot_command_the_terminal(tmp_path):
    made = replace(random_weights(tiny(), 3), origin="a\x1b[2J\nweights  forged")
    save(made, tmp_path / "w.h5")
    lines = render(gather(tmp_path / "w.h5")).splitlines()
    assert [line for line in lines if line.startswith("weights")] == [
        f"weights      {tmp_path / 'w.h5'}"
    ]
    assert lines[-9].endswith("a [2J weights  forged")


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
    module.thread_count = lambda: 2
    monkeypatch.setitem(sys.modules, "goturn._cpu", module)
    assert lines_of(gather())["CPU module"] == (
        "built, 1.2.3, by GCC 9, using avx2 code and 2 threads"
    )
    module.thread_count = lambda: 1
    assert lines_of(gather())["CPU module"].endswith(" and 1 thread")


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"GOTURN_CPU_ISA": "foo"}, "GOTURN_CPU_ISA must be one of "),
        ({"GOTURN_NUM_THREADS": "abc"}, "GOTURN_NUM_THREADS must be a whole number from 1 to 256"),
        ({"GOTURN_CPU_ISA": "foo", "GOTURN_NUM_THREADS": "abc"}, "; got foo; GOTURN_NUM_THREADS"),
    ],
)
def test_an_environment_that_asks_for_the_impossible_is_a_line(environment, problem):
    """The report goes on, and says what every use of the CPU would."""

    def report(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "goturn", "info", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    (line,) = (line for line in report().splitlines() if line.startswith("CPU module"))
    assert ", but cannot be used: " in line
    assert problem in line
    assert problem in json.loads(report("--json"))["cpu"]["module"]["problem"]


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
