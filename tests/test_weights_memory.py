"""Loading takes little more memory than the weights themselves, in every format."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from goturn.architecture import goturn
from goturn.weights import random_weights, save, save_caffemodel

LOAD = r"""
import re, sys
from pathlib import Path
from goturn.weights import load

def kilobytes(name):
    return int(re.search(name + r":\s+(\d+) kB", Path("/proc/self/status").read_text())[1])

before = kilobytes("VmRSS")
weights = load(sys.argv[1])
extra = 1024 * (kilobytes("VmHWM") - before)
print(extra / sum(array.nbytes for array in weights.parameters.values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_peak_memory_of_loading(tmp_path):
    weights = random_weights(goturn(widths=(1024, 1024, 1024)), 0)
    save(weights, tmp_path / "fp32.h5")
    save(weights, tmp_path / "fp16.h5", precision="fp16")
    save(weights, tmp_path / "compressed.h5", precision="fp16", compress=True)
    save_caffemodel(weights, tmp_path / "caffe.caffemodel")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for name in ("fp32.h5", "fp16.h5", "compressed.h5", "caffe.caffemodel"):
        ratio = subprocess.run(
            [sys.executable, "-c", LOAD, tmp_path / name],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        # Of the caffemodel, the second tower (9 MB) is read too, compared, and dropped.
        assert 1 <= float(ratio) < 1.2, name
