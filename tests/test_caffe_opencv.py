"""Files we write, run by OpenCV 4 (OpenCV 5 has no Caffe importer): it computes what we compute."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "check_opencv_roundtrip.py"


def interpreter() -> str:
    """A Python whose OpenCV reads Caffe's files; the test is skipped where none is known."""
    named = os.environ.get("GOTURN_OPENCV4_PYTHON")
    if named:
        return named
    if hasattr(cv2.dnn, "readNetFromCaffe"):
        return sys.executable
    pytest.skip(
        f"OpenCV {cv2.__version__} does not read Caffe's files; set GOTURN_OPENCV4_PYTHON to a Python "
        "with OpenCV 4 (opencv-contrib-python<5), NumPy and h5py"
    )


def run_script(*arguments: str) -> list[str]:
    """Lines of the script's report, in which every comparison must have agreed."""
    source = str(SCRIPT.parent.parent / "src")
    result = subprocess.run(
        [interpreter(), str(SCRIPT), *arguments],
        env={**os.environ, "PYTHONPATH": source},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()[1:]
    assert all(line.endswith(": agree") for line in lines), result.stdout
    return lines


@pytest.mark.slow
def test_opencv_computes_the_same():
    """Every kind of network and of file, and cv2.TrackerGOTURN's boxes."""
    *networks, first, second, third, fourth = run_script("--width", "256")
    assert {tuple(line.split(": ")[0].split(", ")) for line in networks} == set(
        itertools.product(
            ("3 fc layers", "4 fc layers"),
            ("pool_lrn", "lrn_pool"),
            ("shared towers", "separate towers"),
            ("names opencv", "names authors"),
            ("mean own", "mean folded"),
        )
    )
    for line in networks:
        assert "fc8 minus bias" in line
    for line in (first, second, third, fourth):
        assert line.startswith("TrackerGOTURN: ")


@pytest.mark.slow
def test_opencv_computes_the_same_at_full_width():
    """The paper's network: 445 MB."""
    lines = run_script("--paper", "--width", "4096")
    networks = [line for line in lines if line.startswith("4 fc layers, pool_lrn, shared towers")]
    assert len(networks) == 2
    assert sum(line.startswith("TrackerGOTURN: ") for line in lines) == 4
