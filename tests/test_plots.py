"""Pictures of a run."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import cv2
import pytest

from goturn.training.metrics import Metrics, Row
from goturn.training.plots import plot_run


def write_run(folder, count, *, validate=0, every=20, step=100_000):
    """A metrics.csv as a run would leave it."""
    noise = random.Random(0)
    metrics = Metrics.open(folder / "metrics.csv", upto=0)
    for iteration in range(every, every * count + 1, every):
        loss = 0.4 + 2 * math.exp(-iteration / 500) + noise.uniform(0, 0.1)
        iou = None
        if validate and iteration % validate == 0:
            iou = 0.6 - 0.3 * math.exp(-iteration / 500)
        metrics.append(Row(iteration, loss, 1e-5 * 0.1 ** (iteration // step), iou))


def test_without_matplotlib_nothing_happens(tmp_path, monkeypatch):
    write_run(tmp_path, 3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot_run(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("count", [1, 2, 30, 400])
def test_pictures(tmp_path, count):
    pytest.importorskip("matplotlib")
    write_run(tmp_path, count, validate=20, step=2000)
    for loss in ("l1", "l2"):
        paths = plot_run(tmp_path, loss=loss)
        assert paths == [tmp_path / "loss.png", tmp_path / "validation.png"]
        for path in paths:
            picture = cv2.imread(str(path))
            assert picture.shape == (675, 1200, 3)
            assert picture.std() > 5
    assert len(list(tmp_path.iterdir())) == 3


def test_runs_with_less_to_show(tmp_path):
    pytest.importorskip("matplotlib")
    Metrics.open(tmp_path / "metrics.csv", upto=0)
    assert plot_run(tmp_path) == []
    write_run(tmp_path, 3)
    assert plot_run(tmp_path) == [tmp_path / "loss.png"]
    (tmp_path / "metrics.csv").write_text("other\n")
    with pytest.raises(ValueError, match="line 1"):
        plot_run(tmp_path)


def test_flat_and_perfect(tmp_path):
    """Limits of axes that have no extent of their own."""
    pytest.importorskip("matplotlib")
    metrics = Metrics.open(tmp_path / "metrics.csv", upto=0)
    for iteration, iou in enumerate([1.0, 1.0, None], 1):
        metrics.append(Row(iteration, 0.0, 0.0, iou))
    assert len(plot_run(tmp_path)) == 2


PLOT = """
import sys
from pathlib import Path
import matplotlib
matplotlib.rcParams.update({"figure.facecolor": "black", "backend": "svg"})
before = dict(matplotlib.rcParams)
from goturn.training.plots import plot_run
assert len(plot_run(Path(sys.argv[1]))) == 2
assert dict(matplotlib.rcParams) == before
assert "matplotlib.pyplot" not in sys.modules
"""


def test_nobody_elses_plots_are_touched(tmp_path):
    """No pyplot, no window, and neither the caller's style in ours nor ours in the caller's."""
    pytest.importorskip("matplotlib")
    write_run(tmp_path, 10, validate=20)
    plot_run(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in ("loss.png", "validation.png")]
    subprocess.run([sys.executable, "-c", PLOT, str(tmp_path)], check=True)
    assert [(tmp_path / name).read_bytes() for name in ("loss.png", "validation.png")] == before
