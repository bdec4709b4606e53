"""The demo: its clip shows what its truth says, and the command tracks it."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from goturn.cli import main
from goturn.demo import FRAMES, SIZE, DemoSource, Scene, truth
from goturn.video import open_source
from goturn.weights import save
from test_tracker import steady


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


def red(frame: np.ndarray) -> np.ndarray:
    """Where a frame is as red as the car's body, and nothing else in it is."""
    blue, green, red = (frame[..., i].astype(int) for i in range(3))
    return (red > 120) & (red > 2 * green) & (red > 2 * blue)


@pytest.mark.parametrize("index", [0, 40, 100, 160, 220, FRAMES - 1])
def test_the_truth_is_where_the_car_is(scene, index):
    box = truth(index)
    rows, columns = np.nonzero(red(scene.frame(index)))
    assert len(rows) > 200
    left, top, right, bottom = box.xyxy
    inside = (columns > left - 2) & (columns < right + 2) & (rows > top - 2) & (rows < bottom + 2)
    assert inside.mean() > 0.99
    # And no larger than it: the body spans nearly all of its width, the wheels the rest of its height.
    assert np.ptp(columns[inside]) > 0.85 * box.w
    assert np.ptp(rows[inside]) > 0.6 * box.h


def test_the_car_stays_in_the_picture_and_changes_its_size():
    boxes = [truth(index) for index in range(FRAMES)]
    for box in boxes:
        assert box.x > 0
        assert box.y > 0
        assert box.x + box.w < SIZE[0]
        assert box.y + box.h < SIZE[1]
    widths = [box.w for box in boxes]
    assert max(widths) > 1.4 * min(widths)
    # No jump that GOTURN could not follow.
    shifts = [np.hypot(*np.subtract(b.center, a.center)) / a.h for a, b in pairwise(boxes)]
    assert 0.05 < max(shifts) < 0.5


def test_the_clip_is_the_same_each_time(scene):
    assert np.array_equal(scene.frame(33), Scene().frame(33))
    assert not np.array_equal(scene.frame(33), scene.frame(34))


def test_it_is_a_source(scene):
    with DemoSource(3) as source:
        frames = list(source)
        assert (source.size, source.claimed, source.read, source.problem) == (SIZE, 3, 3, None)
    assert np.array_equal(frames[2], scene.frame(2))


def test_the_command_tracks_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(steady(), tmp_path / "w.h5")
    assert main(["demo", "--weights", "w.h5", "--frames", "5"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-2].startswith("5 frames, tracking ")
    assert said[-2].endswith("; wrote demo.mp4")
    assert said[-1].startswith("IoU of the box with the car's: mean ")
    with open_source("demo.mp4") as video:
        frames = list(video)
    assert len(frames) == 5
    # The box is drawn about the car.
    assert cv2.absdiff(frames[0], Scene().frame(0)).max() > 80


def test_refusals(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["demo", "--frames", "0"]) == 2
    assert main(["demo", "--show"]) == 2
    assert main(["demo", "--output", "demo.gif"]) == 2
    assert main(["demo", "--output", "no/demo.mp4"]) == 1
    assert "the folder no does not exist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
