"""How wrong the boxes are about which a tracker looks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goturn.architecture import goturn
from goturn.box import Box
from goturn.evaluation.session import Stopped
from goturn.weights import random_weights, save
from test_one_pass import Scripted, frame, video
from training_data import make_videos

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import tracker_errors

sys.path.pop(0)


def test_boxes_looked_about_against_where_the_object_then_is():
    """The object goes right by a tenth of its size each frame; the tracker grows to twice its height."""
    truth = {n: Box(10.0 + n, 20, 10, 8) for n in range(0, 4)}
    found = [Box(*truth[0]), Box(11, 20, 10, 16), Box(12, 16, 10, 16), Box(500, 500, 10, 8)]
    tracker = Scripted(found)
    got = tracker_errors.errors(tracker, [video(truth, 4)], frame, lambda: False)
    # About the truth of frame 0 in frame 1; about a box twice as high in 2, with its middle below; then
    # with the same middle.  What comes of frame 3 is not looked about any more.
    assert tracker.starts == [0]
    np.testing.assert_allclose(got, [(-0.1, 0, 0, 0), (-0.1, 0.5, 0, 1), (-0.1, 0, 0, 1)])


def test_lost_objects_and_missing_labels_do_not_count():
    truth = {0: Box(0, 0, 10, 10), 1: Box(100, 0, 10, 10), 3: Box(101, 0, 10, 10)}
    found = [truth[0], Box(90, 0, 10, 10), Box(100, 0, 10, 10), Box(0, 0, 1, 1)]
    got = tracker_errors.errors(Scripted(found), [video(truth, 4)], frame, lambda: False)
    np.testing.assert_allclose(got, [(-0.1, 0, 0, 0)])
    with pytest.raises(Stopped):
        tracker_errors.errors(Scripted(found), [video(truth, 4)], frame, lambda: True)


def test_covered_frames_and_no_answers():
    """What evaluation passes by does not count; without an answer the last box is looked about again."""
    truth = {n: Box(10.0 + n, 20, 10, 8) for n in range(4)}
    covered = replace(video(truth, 4), ignored=frozenset({2}))

    class Losing(Scripted):
        def update(self, frame):
            return False, super().update(frame)

    found = tracker_errors.errors(Losing([*truth.values()]), [covered], frame, lambda: False)
    np.testing.assert_allclose(found, [(-0.1, 0, 0, 0), (-0.3, 0, 0, 0)])


def test_bad_data_are_told_of(tmp_path):
    videos = make_videos(tmp_path / "videos")
    (videos / "video0" / "groundtruth.txt").write_text("1,2,3\n" * 4)
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    with pytest.raises(ValueError, match="files are bad"):
        tracker_errors.main([str(tmp_path / "a.h5"), "--videos", str(videos), "--device", "cpu"])


def test_the_command(tmp_path, capsys):
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    videos = str(make_videos(tmp_path / "videos", frames=6))
    command = [str(tmp_path / "a.h5"), "--videos", videos, "--device", "cpu"]
    assert tracker_errors.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("videos, tracked with --target 0,1")
    assert lines[1].split() == ["across", "down", "lambda"]
    shift = [float(value) for value in lines[2].split()[1:]]
    assert shift[2] == pytest.approx(2 / (shift[0] + shift[1]), rel=0.05, abs=0.1)


def test_a_file_that_is_not_there_is_named_before_data_are_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.h5: there is no such file"):
        tracker_errors.main([str(tmp_path / "no.h5"), "--videos", str(tmp_path)])
