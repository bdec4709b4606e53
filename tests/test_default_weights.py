"""The weights file that ships: whole, small enough, and what its notes say it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from goturn.ops.compressed import to_int8
from goturn.weights import load

FOLDER = Path(__file__).parents[1] / "weights"


@pytest.fixture(scope="module")
def weights():
    return load(FOLDER / "goturn.h5")


def test_notes_are_of_this_file(weights):
    path, notes = FOLDER / "goturn.h5", (FOLDER / "README.md").read_text()
    figures = json.loads((FOLDER / "figures.json").read_text())
    assert path.stat().st_size == figures["bytes"] <= 24_000_000
    assert weights.digest == figures["digest"]
    assert weights.digest in notes
    assert hashlib.sha256(path.read_bytes()).hexdigest() in notes
    assert "tools/make_weights.py" in weights.origin
    for precision in ("fp32", "int8"):
        row = f"`goturn.h5`, {precision} | {figures[precision]['mean_iou']:.3f} |"
        assert row in notes


def test_int8_takes_the_stored_integers(weights):
    """Which are not rounded a second time where they are computed with."""
    with h5py.File(FOLDER / "goturn.h5") as file:
        for layer in weights.architecture.head[:-1]:
            name = f"{layer.name}/weight"
            values, scale = to_int8(weights.parameters[name])
            np.testing.assert_array_equal(values, file[name][()])
            np.testing.assert_allclose(scale, file[f"{name}_scale"][()], rtol=2**-22)
