"""The PNG plots of a report."""

from __future__ import annotations

import sys

import cv2
import pytest

from goturn.evaluation.report.looks import looks
from goturn.evaluation.report.plots import write_plots
from goturn.evaluation.results import Evaluation
from report_cases import HOSTILE, evaluation, nothing, video


def plot(folder, evaluations):
    return write_plots(folder, evaluations, looks(evaluations))


def test_without_matplotlib_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot(tmp_path, [evaluation()]) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("protocol", "keys"),
    [
        ("got10k", ["success", "error-speed"]),
        ("vot2014", ["accuracy-robustness", "error-speed", "attributes"]),
    ],
)
def test_plots(tmp_path, protocol, keys):
    """Names as hostile as they come; pictures that have something in them."""
    pytest.importorskip("matplotlib")
    attributes = ("camera_motion", "_empty") if protocol == "vot2014" else ()
    each = evaluation(protocol, HOSTILE[:5], attributes=attributes)
    paths = plot(tmp_path / "plots", [each])
    stem = protocol if protocol == "got10k" else "vot2014-baseline"
    assert [path.name for path in paths] == [f"{stem}-{key}.png" for key in keys]
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir())
    for path in paths:
        picture = cv2.imread(str(path))
        assert picture.shape[1] == 1200
        assert 700 < picture.shape[0] < 1000
        assert picture.std() > 5
        blue = (abs(picture.astype(int) - (0xB2, 0x72, 0x00)).max(axis=2) < 8).sum()
        assert blue > 100  # the first tracker's


@pytest.mark.slow
def test_many_trackers_and_one(tmp_path):
    pytest.importorskip("matplotlib")
    many = evaluation("got10k", [*HOSTILE, "a", "b", "c", "d"])
    heights = [cv2.imread(str(path)).shape[0] for path in plot(tmp_path, [many])]
    assert max(heights) < 1200
    assert len(plot(tmp_path, [evaluation("got10k", ["one"])])) == 2


def test_numbers_that_do_not_exist_are_not_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    v = (video("one"),)
    blind = Evaluation("otb", "one-pass", "exact", "d", v, [nothing(videos=v)])
    paths = plot(tmp_path, [blind])
    assert [path.name for path in paths] == ["otb-success.png"]
    assert plot(tmp_path / "none", [Evaluation("otb", "one-pass", "exact", "d", v, [])]) == []
    assert not (tmp_path / "none").exists()


def test_the_callers_style_and_backend_stay(tmp_path):
    mpl = pytest.importorskip("matplotlib")
    with mpl.rc_context({"font.size": 3.0, "axes.grid": False}):
        backend = mpl.rcParams["backend"]
        plot(tmp_path, [evaluation("got10k", ["a"])])
        assert mpl.rcParams["font.size"] == 3.0
        assert mpl.rcParams["backend"] == backend
