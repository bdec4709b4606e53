"""Tracking from many starts, and the tool that compares weights by it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goturn.architecture import goturn
from goturn.box import Box
from goturn.data.images import FrameReader
from goturn.evaluation.many_starts import many_starts, starts
from goturn.evaluation.session import Stopped
from goturn.target_policy import PAPER, TargetPolicy
from goturn.training.examples import crop
from goturn.training.supply import examples_of
from goturn.weights import random_weights, save
from test_one_pass import Scripted, frame, video
from training_data import make_videos

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import compare_weights

sys.path.pop(0)


def test_starts_are_labelled_and_apart():
    def of(labelled, frames):
        return starts(video({n: Box(0, 0, 4, 4) for n in labelled}, frames))

    assert of(range(100), 100) == [0, 30, 60]  # none with fewer than twenty frames before it
    assert of(range(101), 101) == [0, 30, 60]
    assert of(range(111), 111) == [0, 30, 60, 90]
    assert of((5, 29, 37, 95), 120) == [5, 37, 95]
    assert of((5,), 120) == [5]
    assert of(range(25, 120), 120) == [25, 55, 85]  # as far apart wherever the labels begin ...
    assert of((*range(5), *range(50, 120)), 120) == [0, 50, 80]  # ... or have a gap
    assert of((0, 41), 60) == [0]
    assert of((3,), 5) == [3]  # a short video has its first


def test_frames_that_evaluation_passes_by():
    """None is started on, and none counts."""
    truth = dict.fromkeys(range(60), Box(0, 0, 4, 4))
    covered = replace(video(truth, 60), ignored=frozenset(range(28, 35)))
    assert starts(covered) == [0, 35]
    found = [Box(50, 50, 4, 4) if n in covered.ignored else truth[n] for n in range(60)]
    assert many_starts(Scripted(found), [covered], frame) == {"v": 1.0}


def test_no_answer_is_no_overlap():
    class Losing(Scripted):
        """Says, as OpenCV's trackers do, in the odd frames that it has not found the object."""

        def update(self, frame):
            return int(frame[0, 0, 0]) % 2 == 0, super().update(frame)

    truth = dict.fromkeys(range(9), Box(0, 0, 4, 4))
    assert many_starts(Losing([*truth.values()]), [video(truth, 9)], frame) == {"v": 0.5}


def test_the_mean_of_starts_of_at_most_44_frames():
    """The object stays; a tracker's box is right before frame 30 and half of it from there on."""
    frames = 100
    found = [Box(0, 0, 4, 4) if n < 30 else Box(0, 0, 4, 2) for n in range(frames)]
    truth = dict.fromkeys(range(0, frames, 2), Box(0, 0, 4, 4))  # every other frame is labelled
    tracker = Scripted(found)
    scores = many_starts(tracker, [video(truth, frames)], frame)
    assert tracker.starts == [0, 30, 60]
    # From the first: frames 2, 4 .. 44, of which 14 are right; from the others none.
    assert scores == {"v": pytest.approx(((14 + 8 * 0.5) / 22 + 0.5 + 0.5) / 3)}


def test_nothing_behind_a_start():
    last = video({8: Box(0, 0, 4, 4)}, 9)
    assert many_starts(Scripted([Box(0, 0, 4, 4)] * 9), [last], frame) == {}
    with pytest.raises(ValueError, match="v has no labelled frame to start a tracker on"):
        many_starts(Scripted([]), [video({}, 3)], frame)
    with pytest.raises(Stopped):
        many_starts(Scripted([]), [last], frame, stop=lambda: True)


def test_comparing_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_weights, "ITERATIONS", 2)
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    videos = str(make_videos(tmp_path / "videos", frames=6))
    files = [str(tmp_path / "a.h5"), f"{tmp_path / 'a.h5'},0.5,3"]
    assert compare_weights.main([*files, "--videos", videos, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    # The whole path: files of runs have the same names.
    assert [each.split()[:2] for each in lines] == [[files[0], "0,1"], [files[0], "0.5,3"]]
    # Errors of examples do not depend on how one tracks.
    assert lines[0].split()[2:4] == lines[1].split()[2:4]
    assert all(0 <= float(value) for value in lines[0].split()[2:])


def test_weights_and_the_policy_behind_a_comma(tmp_path):
    named = compare_weights.weights_and_policy
    assert named("a.h5") == (Path("a.h5"), None)
    assert named("a.h5,0.5,3") == (Path("a.h5"), TargetPolicy(0.5, 3))
    assert named("a,b.h5,paper") == (Path("a,b.h5"), PAPER)
    (tmp_path / "c,1,2").touch()  # a file's own name
    assert named(str(tmp_path / "c,1,2")) == (tmp_path / "c,1,2", None)
    with pytest.raises(ValueError, match=r"'0\.6' is not a way to keep the target"):
        named("a.h5,0.6")


def test_mistakes_are_told_before_anything_is_measured(tmp_path, capsys):
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    command = [str(tmp_path / "a.h5"), "--videos", str(tmp_path)]
    for more, sentence in ((["--precision", "int9"], "int9"), (["--device", "foo"], "foo")):
        with pytest.raises(ValueError, match=sentence):
            compare_weights.main([*command, *more])
    assert capsys.readouterr().out == ""


def test_held_out_errors(tmp_path, monkeypatch):
    """Of two kinds of target, and what a tracker's steps say to each example by itself."""
    monkeypatch.setattr(compare_weights, "ITERATIONS", 2)
    monkeypatch.setattr(compare_weights, "BATCH", 5)
    seen = []

    def noted(network, sources, config, stop):
        seen.append((config.target_error, config.starts))
        expected, reader = [], FrameReader()
        examples = examples_of(config, sources, reader)
        p = network.architecture.preprocessing
        for step in range(2):
            batch = crop(examples.plan(step, 5), network.ops, p)
            parts = network.project_target(network.encode_target(batch.targets))
            for n, owner in enumerate(batch.owners):
                search = network.encode_search(batch.searches[n : n + 1])
                units = network.regress(parts[owner : owner + 1], search)
                expected.append(np.abs(units - batch.labels[n]).mean())
        found = held_out(network, sources, config, stop)
        assert found == pytest.approx(np.mean(expected), rel=1e-5)
        return found

    held_out = compare_weights.held_out
    monkeypatch.setattr(compare_weights, "held_out", noted)
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    videos = str(make_videos(tmp_path / "videos", count=1))
    command = [str(tmp_path / "a.h5"), "--videos", videos, "--device", "cpu"]
    assert compare_weights.main(command) == 0
    assert seen == [(0.3, 0.0), (0.0, 1.0)]


def test_videos_of_the_same_name_all_count(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare_weights, "ITERATIONS", 1)
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    sets = [str(make_videos(tmp_path / str(n), count=1, frames=3 + 2 * n)) for n in (0, 1)]
    means = []
    for videos in ([sets[0]], [sets[1]], sets):
        command = [str(tmp_path / "a.h5"), "--videos", *videos, "--device", "cpu"]
        assert compare_weights.main(command) == 0
        means.append([float(x) for x in capsys.readouterr().out.splitlines()[2].split()[4:6]])
    assert means[0] != means[1]
    assert means[2] == pytest.approx(np.mean(means[:2], axis=0), abs=1.01e-4)


def test_refuses_a_policy_that_will_not_do(tmp_path):
    with pytest.raises(ValueError, match="'2,3' is not a way to keep the target"):
        compare_weights.main(["a.h5,2,3", "--videos", str(tmp_path)])


def test_refuses_a_file_that_is_not_there_before_it_measures(tmp_path):
    save(random_weights(goturn((8,)), 3), tmp_path / "a.h5")
    files = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    with pytest.raises(FileNotFoundError, match=r"b\.h5: there is no such file"):
        compare_weights.main([*files, "--videos", str(tmp_path)])
