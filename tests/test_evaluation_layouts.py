"""The folders that tools/check_evaluation_tools.py makes for other tools, by our own loaders."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import goturn
from goturn.data import got10k, otb, vot
from goturn.video import read_image

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
import evaluation_layouts as layouts

sys.path.pop(0)

FRAMES = 24


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return layouts.rendered_videos(tmp_path_factory.mktemp("rendered"), FRAMES)


def boxes_of(found) -> dict[str, dict]:
    return {video.name: dict(video.boxes) for video in found}


def test_the_rendered_object_is_where_the_truth_says(videos):
    """Pixels change within the boxes alone."""
    for video in videos:
        assert len(video.frames) == len(video.boxes) == FRAMES
        first, last = (read_image(video.frames[index]) for index in (0, FRAMES - 1))
        changed = np.argwhere((first != last).any(axis=2))
        boxes = [video.boxes[index] for index in (0, FRAMES - 1)]
        assert changed[:, 1].min() >= min(box.x for box in boxes) - 1
        assert changed[:, 1].max() <= max(box.xyxy[2] for box in boxes)
        assert all(4 * value == int(4 * value) for box in boxes for value in box)


def test_otb_counts_from_one(videos, tmp_path):
    layouts.write_otb(tmp_path, videos, ["Crossing", "Girl", "Woman"])
    assert boxes_of(otb.load(tmp_path).videos) == boxes_of(videos)
    assert (tmp_path / "Woman").is_dir()


def test_got10k(videos, tmp_path):
    layouts.write_got10k(tmp_path, videos)
    found = got10k.load(tmp_path).videos
    assert boxes_of(found) == boxes_of(videos)
    flags = (tmp_path / "val" / "Girl" / "cover.label").read_text().split()
    assert [number for number, flag in enumerate(flags) if flag == "0"] == [8, 9, 10, 11, 12]


def test_vot_with_quadrangles(videos, tmp_path):
    """The upright rectangle around each quadrangle is the box."""
    layouts.write_vot(tmp_path, videos)
    assert boxes_of(vot.load(tmp_path, base="0").videos) == boxes_of(videos)
    line = (tmp_path / "Girl" / "groundtruth.txt").read_text().splitlines()[0]
    assert len(line.split(",")) == 8
    settings = (tmp_path / "Girl" / "sequence").read_text().splitlines()
    assert {"width=320", "height=240", f"length={FRAMES}"} <= set(settings)


def test_the_small_network_drifts(videos, tmp_path):
    tracker = goturn.Tracker(str(layouts.small_weights(tmp_path / "a.h5")))
    frame = read_image(videos[0].frames[0])
    start = videos[0].boxes[0]
    tracker.init(frame, start)
    for _ in range(15):
        box = tracker.update(frame)
    assert box.iou(start) < 0.3
