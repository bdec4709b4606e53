"""Runs kept on disk: to the last bit, and only for what they are of."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets import frames, write
from goturn.box import Box
from goturn.data.model import Dataset, FrameFiles, Video
from goturn.evaluation.results import Trajectory
from goturn.evaluation.session import Run
from goturn.evaluation.store import RunKey, Store, dataset_names, remove_temporaries, video_digest

KEY = RunKey("baseline", "KCF", "ball", 0)
TRACKER = {"spec": "cv2:KCF", "opencv": "5.0.0"}


@pytest.fixture
def video(tmp_path) -> Video:
    files = FrameFiles(frames(tmp_path / "ball", [1, 2, 3]), [f"{n:08d}.jpg" for n in (1, 2, 3)])
    return Video("ball", files, {0: Box(1, 2, 3, 4), 2: Box(5, 6, 7, 8)})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs", {"baseline": {"overlap": "raster"}})


def made() -> Run:
    boxes = np.array([[1, 2, 3, 4], [1 / 3, 1e-300, -0.0, 1e9], [np.nan] * 4])
    seconds = np.array([0.1, np.nextafter(0.2, 1), np.nan])
    return Run(
        Trajectory(boxes, np.array([1, 3, 2], np.uint8), seconds, 640, 480),
        ("frame 1: KeyError: 'ü'",),
        7,
        2,
    )


def test_to_the_last_bit(store, video):
    assert store.load(KEY, video, TRACKER) is None
    store.save(KEY, video, TRACKER, made())
    assert store.path(KEY) == store.folder / "baseline" / "KCF" / "ball_001.json"
    for fingerprint in (TRACKER, None):
        run = store.load(KEY, video, fingerprint)
        for name in ("boxes", "codes", "seconds"):
            got, want = getattr(run.trajectory, name), getattr(made().trajectory, name)
            assert got.dtype == want.dtype
            assert got.tobytes() == want.tobytes()
        assert (run.trajectory.width, run.trajectory.height) == (640, 480)
        assert (run.problems, run.problem_count, run.jobs) == (made().problems, 7, 2)
    assert store.trackers("baseline") == ["KCF"]
    assert store.trackers("one-pass") == []


@pytest.mark.parametrize(
    "tracker",
    [
        {"spec": "cv2:KCF", "opencv": "4.14.0"},
        {"spec": "cv2:KCF"},
        {**TRACKER, "weights": "ab"},
    ],
)
def test_of_another_tracker(store, video, tracker):
    store.save(KEY, video, TRACKER, made())
    assert store.load(KEY, video, tracker) is None
    assert store.load(KEY, video, dict(reversed(TRACKER.items()))) is not None


def test_of_other_settings_or_another_repetition(store, video):
    store.save(KEY, video, TRACKER, made())
    other = Store(store.folder, {"baseline": {"overlap": "exact"}})
    assert other.load(KEY, video, TRACKER) is None
    assert other.load(KEY, video, None) is None
    os.rename(store.path(KEY), store.path(replace(KEY, repetition=1)))
    assert store.load(replace(KEY, repetition=1), video, TRACKER) is None


def test_of_another_video(store, video):
    """Other truth, other frames, or frames of another length."""
    store.save(KEY, video, TRACKER, made())
    corners = {0: (1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0)}
    for other in (
        replace(video, boxes={**video.boxes, 2: Box(5, 6, 7, np.nextafter(8, 9))}),
        replace(video, boxes={0: video.boxes[0], 1: video.boxes[2]}),
        replace(video, ignored=frozenset({2})),
        replace(video, corners=corners),
        replace(video, frames=video.frames[:2]),
    ):
        fresh = Store(store.folder, {"baseline": {"overlap": "raster"}})
        assert fresh.load(KEY, other, TRACKER) is None
        assert fresh.load(KEY, other, None) is None
        assert video_digest(other) != video_digest(video)
    write(video.frames[1], video.frames[1].read_bytes() + b"\0")
    assert Store(store.folder, {"baseline": {"overlap": "raster"}}).load(KEY, video, None) is None


def test_attributes_and_coordinates_of_files_decide_no_run(video):
    other = replace(video, tags={"occlusion": frozenset({1})}, base=1)
    assert video_digest(other) == video_digest(video)


def test_every_damaged_byte_is_noticed(store, video):
    """Or is none: blanks and the kind of escape do not matter to JSON."""
    store.save(KEY, video, TRACKER, made())
    path = store.path(KEY)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for place in range(0, len(whole), 7):
        for value in random.integers(0, 256, 2).tolist():
            damaged = whole[:place] + bytes([value]) + whole[place + 1 :]
            path.write_bytes(damaged)
            run = store.load(KEY, video, TRACKER)
            if run is not None:
                assert json.loads(damaged) == json.loads(whole), (place, value)
    for length in range(0, len(whole) - 1, 11):
        path.write_bytes(whole[:length])
        assert store.load(KEY, video, TRACKER) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{}", "[" * 100_000, '{"of": 1, "result": {}, "sha256": ""}', b"\xff\xfe"],
)
def test_other_files_are_as_good_as_none(store, video, content):
    write(store.path(KEY), content)
    assert store.load(KEY, video, TRACKER) is None
    assert store.load(KEY, video, None) is None


def test_what_a_killed_evaluation_left_is_removed(tmp_path, video):
    store = Store(tmp_path / "out" / "runs" / "set", {})
    store.save(KEY, video, TRACKER, made())
    left = Path(f"{store.path(KEY)}.tmp.1.0")
    output, name = store.folder.parents[1], store.folder.name
    reports = [
        output / f"{place}.tmp.12.3"
        for place in ("report.html", "plots/otb.png", f"{name}/results/OTB2015/x/times/a_time.txt")
    ]
    # Others may have work of their own in the folder, and be at it.
    others = [
        *(store.folder / name for name in ("a.tmp", "b.tmp.txt", "c.tmp.1.txt")),
        *(output / name for name in ("best.h5.tmp.1.2", "run/final.h5.tmp.1.2", "runs/x.tmp.1.2")),
    ]
    for path in (left, *reports, *others):
        write(path, b"half")
    remove_temporaries(output, [name])
    assert not any(path.exists() for path in (left, *reports))
    assert all(path.exists() for path in others)
    assert store.load(KEY, video, TRACKER) is not None


def test_names_of_data_sets(tmp_path):
    def names(*paths: str) -> list[str]:
        return dataset_names([Dataset("folder", tmp_path / path) for path in paths])

    assert names("a/val") == ["val"]
    assert names("a/val", "a/train") == ["val", "train"]
    assert names("a/val", "b/val") == ["a-val", "b-val"]
    assert len(set(names("a", "a"))) == 2
