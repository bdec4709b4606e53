"""Files we write, run by OpenCV 4 (OpenCV 5 has no Caffe importer): it computes what we compute."""

from __future__ import annotations

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


@pytest.mark.slow
def test_opencv_computes_the_same():
    source = str(SCRIPT.parent.parent / "src")
    result = subprocess.run(
        [interpreter(), str(SCRIPT), "--width", "256"],
        env={**os.environ, "PYTHONPATH": source},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        result.stdout.count("fc8 minus bias") == 4
    )  # three and four fc layers, shared towers or not
    assert "TrackerGOTURN" in result.stdout
