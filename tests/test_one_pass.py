"""The two protocols on trackers whose boxes are known beforehand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.one_pass import mean_overlap, mean_overlaps, track_video
from goturn.evaluation.reset import reset_score, track_with_resets
from goturn.evaluation.session import Stopped


def frame(path: Path) -> np.ndarray:
    """A frame that tells its number."""
    return np.full((1, 1, 3), int(path.stem), np.uint8)


class Scripted:
    """A tracker that gives the boxes of a list, and notes where it was started."""

    def __init__(self, boxes: list[Box]) -> None:
        self.boxes = boxes
        self.starts: list[int] = []

    def init(self, frame: np.ndarray, box: Iterable[float]) -> None:
        self.starts.append(int(frame[0, 0, 0]))

    def update(self, frame: np.ndarray) -> Box:
        return self.boxes[int(frame[0, 0, 0])]


def video(boxes: dict[int, Box], frames: int) -> Video:
    return Video("v", tuple(Path(f"{i}.jpg") for i in range(frames)), boxes)


def made_up(s: int, length: int) -> tuple[list[Box], list[Box]]:
    """Truth and a tracker's boxes of a sequence whose scores other tools have computed."""
    truth, found = [], []
    for t in range(length):
        x, y, w, h = 100 + 2 * t + 7 * s, 80 + t, 60 + 5 * s, 40 + 3 * s
        truth.append(Box(x, y, w, h))
        grown = 1 + 0.02 * (t % 5)
        far = 300 if t >= length - length // 6 else 0
        box = (x + (t % 11) * (1 + s) + far, y - (t % 7) * 0.5 * (1 + s), w * grown, h * grown)
        found.append(Box(*(round(value, 3) for value in box)) if t else truth[0])
    return truth, found


LENGTHS = (60, 90, 125)


@pytest.mark.parametrize(
    ("s", "expected"), [(0, 0.649003565586), (1, 0.547635873215), (2, 0.477110569246)]
)
def test_mean_overlap_as_other_tools_have_it(s, expected):
    truth, found = made_up(s, LENGTHS[s])
    labelled = video(dict(enumerate(truth)), len(truth))
    boxes = track_video(Scripted(found), labelled, frame)
    assert mean_overlap(labelled, boxes) == pytest.approx(expected, abs=1e-12)


def test_resets_as_the_vot_toolkit_has_them():
    """Failures and starts at its frames; its accuracy but for its rasterised overlaps."""
    runs, failures, starts = [], [], []
    for s, length in enumerate(LENGTHS):
        truth, found = made_up(s, length)
        tracker = Scripted(found)
        runs.append(track_with_resets(tracker, video(dict(enumerate(truth)), length), frame))
        failures.append(runs[-1].failures)
        starts.append(tracker.starts)
    assert failures == [(50, 56), (75, 81, 87), (105, 111, 117, 123)]
    assert starts == [[0, 55], [0, 80, 86], [0, 110, 116, 122]]
    assert [len(run.overlaps) for run in runs] == [40, 65, 95]
    score = reset_score(runs)
    assert (score.failures, score.frames) == (9, 275)
    assert score.accuracy == pytest.approx(0.6399794186295167, abs=5e-3)
    assert score.robustness == pytest.approx(np.exp(-30 * 9 / 275), abs=1e-15)
    assert score.overall_error == pytest.approx(
        (score.accuracy_error + score.robustness_error) / 2, abs=1e-15
    )


def test_frames_without_labels():
    """They are tracked, and count for nothing; a restart waits for a label."""
    truth = {2: Box(0, 0, 4, 4), 3: Box(0, 0, 4, 4), 9: Box(0, 0, 4, 4), 10: Box(0, 0, 4, 4)}
    tracker = Scripted([Box(50, 50, 4, 4)] * 12)
    run = track_with_resets(tracker, video(truth, 12), frame)
    assert tracker.starts == [2, 9]
    assert (run.failures, run.frames, run.overlaps) == ((3, 10), 4, ())
    assert reset_score([run]).accuracy == 0
    found = track_video(tracker, video(truth, 12), frame)
    assert sorted(found) == list(range(2, 12))
    assert mean_overlap(video(truth, 12), found) == 0.25  # the first frame alone


def test_a_perfect_tracker():
    truth = [Box(i, i, 5, 6) for i in range(30)]
    labelled = video(dict(enumerate(truth)), 30)
    assert mean_overlaps(Scripted(truth), [labelled], frame) == {"v": 1.0}
    score = reset_score([track_with_resets(Scripted(truth), labelled, frame)])
    assert (score.accuracy, score.robustness, score.overall_error) == (1, 1, 0)


def test_refuses_and_stops():
    with pytest.raises(ValueError, match="v has no labelled frame to start a tracker on"):
        track_video(Scripted([]), video({}, 3), frame)
    with pytest.raises(ValueError, match="v has no labelled frame to start a tracker on"):
        track_with_resets(Scripted([]), video({}, 3), frame)
    with pytest.raises(ValueError, match="there is no video to score"):
        reset_score([])
    labelled = video({0: Box(0, 0, 1, 1)}, 3)
    for run in (track_video, track_with_resets):
        with pytest.raises(Stopped):
            run(Scripted([Box(0, 0, 1, 1)] * 3), labelled, frame, stop=lambda: True)
