"""Sessions, and the loops over a video: what is written down of a tracker's doings."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn.box import Box
from goturn.data.model import Video
from goturn.evaluation.experiments import Experiment, run_experiment
from goturn.evaluation.reset import BURN_IN, failure_overlap, noisy_start
from goturn.evaluation.results import FAILED, SKIPPED, STARTED, TRACKED
from goturn.evaluation.session import Session, Stopped
from goturn.evaluation.trackers import parse_trackers
from test_one_pass import LENGTHS, Scripted, frame, made_up, video

ONE_PASS = Experiment("one-pass", 1)


def wide(path: Path) -> np.ndarray:
    """A frame of 640 x 480 that tells its number."""
    return np.full((480, 640, 3), int(path.stem), np.uint8)


def numbers(codes: np.ndarray, code: int) -> list[int]:
    return np.flatnonzero(codes == code).tolist()


# -- one pass


def test_one_pass_begins_at_the_first_label():
    truth = {2: Box(1, 2, 3, 4), 5: Box(9, 9, 9, 9)}
    boxes = [Box(i, i, 5, 6) for i in range(8)]
    run = run_experiment(Scripted(boxes), video(truth, 8), ONE_PASS, 0, wide)
    found = run.trajectory
    assert found.codes.tolist() == [SKIPPED] * 2 + [STARTED] + [TRACKED] * 5
    assert np.isnan(found.boxes[:2]).all()
    assert found.boxes[2].tolist() == [1, 2, 3, 4]
    assert found.boxes[3:].tolist() == [list(box) for box in boxes[3:]]
    assert np.isnan(found.seconds).tolist() == [True] * 2 + [False] * 6
    assert (found.seconds[2:] >= 0).all()
    assert (found.width, found.height) == (640, 480)
    assert (run.problems, run.problem_count) == ((), 0)


def test_reading_frames_is_not_timed(monkeypatch):
    """A clock that goes on in the tracker alone, and in reading."""
    now = [0.0]
    monkeypatch.setattr("goturn.evaluation.session.time.perf_counter", lambda: now[0])

    class Slow(Scripted):
        def init(self, frame, box):
            now[0] += 7
            super().init(frame, box)

        def update(self, frame):
            now[0] += 3
            return super().update(frame)

    def read(path: Path) -> np.ndarray:
        now[0] += 100
        return frame(path)

    run = run_experiment(
        Slow([Box(0, 0, 1, 1)] * 3), video({0: Box(0, 0, 1, 1)}, 3), ONE_PASS, 0, read
    )
    assert run.trajectory.seconds.tolist() == [7, 3, 3]


class Answers:
    """Gives these, or raises them, one a frame."""

    def __init__(self, *answers: object, init: Exception | None = None) -> None:
        self.answers, self.error = list(answers), init

    def init(self, frame, box):
        if self.error:
            raise self.error

    def update(self, frame):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    "answer",
    [
        (1, 2, 3, 4),
        [1, 2, 3, 4],
        Box(1, 2, 3, 4),
        np.array([1, 2, 3, 4], np.float32),
        (True, (1, 2, 3, 4)),
        (np.bool_(True), np.array([1, 2, 3, 4])),
    ],
)
def test_what_is_a_box(answer):
    run = run_experiment(Answers(answer), video({0: Box(5, 5, 5, 5)}, 2), ONE_PASS, 0, frame)
    assert run.trajectory.boxes[1].tolist() == [1, 2, 3, 4]
    assert run.problem_count == 0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, "gave None where a box was expected"),
        (itertools.repeat(1.0), "got more"),
        (range(10**9), "got more"),
        ([["a" * 1000] * 1000] * 1000, "gave [['aaa"),
        ((1, 2, 3), "got 3 values"),
        ((1, 2, 3, float("nan")), "box must be finite"),
        ((1, 2, 3, float("inf")), "box must be finite"),
        ((1, 2, 3, 1e12), "within 1e"),
        ("1234", "where a box was expected"),
        ((True, None), "where a box was expected"),
        (ValueError("lost it\n again"), "frame 1: ValueError: lost it again"),
        (ZeroDivisionError(), "frame 1: ZeroDivisionError: "),
    ],
)
def test_what_is_none_is_no_box_and_the_tracker_is_asked_again(answer, problem):
    tracker = Answers(answer, (1, 2, 3, 4))
    run = run_experiment(tracker, video({0: Box(5, 5, 5, 5)}, 3), ONE_PASS, 0, frame)
    assert np.isnan(run.trajectory.boxes[1]).all()
    assert run.trajectory.boxes[2].tolist() == [1, 2, 3, 4]
    assert run.trajectory.codes.tolist() == [STARTED, TRACKED, TRACKED]
    assert run.problem_count == 1
    assert problem in run.problems[0]
    assert run.problems[0].startswith("frame 1: ")


def test_what_a_tracker_gives_is_told_of_in_few_words():
    tracker = Answers(["ab" * 10**6] * 10**5, init=None)
    run = run_experiment(tracker, video({0: Box(5, 5, 5, 5)}, 2), ONE_PASS, 0, frame)
    assert len(run.problems[0]) < 400


def test_frames_after_a_start_that_failed_are_counted():
    """All of them are without a box, not the first one alone."""
    tracker = Answers(init=ValueError("no"))
    run = run_experiment(tracker, video({0: Box(5, 5, 5, 5)}, 4), ONE_PASS, 0, frame)
    assert run.problem_count == 4
    assert run.problems == ("frame 0: ValueError: no",)


def test_saying_that_it_is_lost_is_no_problem():
    run = run_experiment(
        Answers((False, (0, 0, 0, 0))), video({0: Box(5, 5, 5, 5)}, 2), ONE_PASS, 0, frame
    )
    assert np.isnan(run.trajectory.boxes[1]).all()
    assert run.problem_count == 0


def test_many_problems_are_counted_and_few_kept():
    run = run_experiment(Answers(*[None] * 50), video({0: Box(5, 5, 5, 5)}, 51), ONE_PASS, 0, frame)
    assert (run.problem_count, len(run.problems)) == (50, 5)


def test_a_tracker_that_cannot_start_has_no_boxes_until_it_does():
    truth = {number: Box(5, 5, 5, 5) for number in range(12)}
    tracker = Answers(init=ValueError("too small"))
    run = run_experiment(tracker, video(truth, 12), ONE_PASS, 0, frame)
    assert np.isnan(run.trajectory.boxes[1:]).all()
    assert run.problems == ("frame 0: ValueError: too small",)
    again = run_experiment(tracker, video(truth, 12), Experiment("baseline", 1), 0, frame)
    assert numbers(again.trajectory.codes, STARTED) == [0, 6]
    assert numbers(again.trajectory.codes, FAILED) == [1, 7]


def test_no_memory_is_not_the_trackers_doing():
    labelled = video({0: Box(5, 5, 5, 5)}, 2)
    with pytest.raises(MemoryError):
        run_experiment(Answers(MemoryError()), labelled, ONE_PASS, 0, frame)
    lost = RuntimeError("the device is gone")
    assert run_experiment(Answers(lost), labelled, ONE_PASS, 0, frame).problem_count == 1
    ours, theirs = parse_trackers(["w.h5", "cv2:MIL"])
    assert theirs.fatal == (MemoryError,)
    with pytest.raises(RuntimeError, match="the device is gone"):
        run_experiment(Answers(lost), labelled, ONE_PASS, 0, frame, fatal=ours.fatal)


def test_a_strict_session_raises_and_a_stopped_one_stops():
    labelled = video({0: Box(5, 5, 5, 5)}, 2)
    session = Session(Answers(KeyError("x")), labelled, frame, strict=True)
    session.start(0, Box(5, 5, 5, 5))
    with pytest.raises(KeyError):
        session.follow(1)
    with pytest.raises(Stopped):
        Session(Answers(), labelled, frame, stop=lambda: True).start(0, Box(5, 5, 5, 5))


def test_steps_are_counted():
    steps: list[int] = []
    truth = dict(enumerate(made_up(0, 60)[0]))
    tracker = Scripted(made_up(0, 60)[1])
    run_experiment(tracker, video(truth, 60), ONE_PASS, 0, wide, step=lambda: steps.append(1))
    assert len(steps) == 60


# -- with resets


@pytest.mark.parametrize("mode", ["raster", "exact", "bounded", "polygon"])
@pytest.mark.parametrize(
    ("s", "failures", "starts", "valid"),
    [
        (0, [50, 56], [0, 55], 40),
        (1, [75, 81, 87], [0, 80, 86], 65),
        (2, [105, 111, 117, 123], [0, 110, 116, 122], 95),
    ],
)
def test_resets_as_the_vot_toolkit_has_them(s, failures, starts, valid, mode):
    """What vot-toolkit 0.7.4 does with the same boxes."""
    truth, found = made_up(s, LENGTHS[s])
    tracker = Scripted(found)
    labelled = video(dict(enumerate(truth)), len(truth))
    run = run_experiment(tracker, labelled, Experiment("baseline", 15, overlap=mode), 0, wide)
    codes = run.trajectory.codes
    assert numbers(codes, FAILED) == failures
    assert numbers(codes, STARTED) == starts == tracker.starts
    skipped = [f + k for f in failures for k in range(1, 5) if f + k < len(truth)]
    assert numbers(codes, SKIPPED) == skipped
    assert np.isnan(run.trajectory.boxes[skipped]).all()
    counting = [
        number
        for number in numbers(codes, TRACKED)
        if number >= max(start for start in starts if start <= number) + BURN_IN
    ]
    assert len(counting) == valid
    for number in numbers(codes, TRACKED) + failures:
        assert run.trajectory.boxes[number].tolist() == list(found[number])
    for number in starts:
        assert run.trajectory.boxes[number].tolist() == list(truth[number])


def test_a_restart_waits_for_a_label_and_passes_covered_frames_by():
    truth = {number: Box(0, 0, 4, 4) for number in (0, 1, 3, 6, 7, 9, 10)}
    covered = Video("v", video(truth, 12).frames, truth, ignored=frozenset({3, 7}))
    tracker = Scripted([Box(0, 0, 4, 4)] * 2 + [Box(90, 90, 4, 4)] * 10)
    run = run_experiment(tracker, covered, Experiment("baseline", 1), 0, frame)
    # 3 is without overlap, and covered; 6 fails; 7 to 10 are skipped, and 11 has no label.
    assert run.trajectory.codes.tolist() == [
        *[STARTED, TRACKED, TRACKED, TRACKED, TRACKED, TRACKED, FAILED],
        *[SKIPPED] * 5,
    ]


def test_which_overlap_decides_a_failure():
    """A box beside a diamond, within the upright rectangle around it."""
    diamond = (50.0, 0.0, 100.0, 50.0, 50.0, 100.0, 0.0, 50.0)
    truth = {0: Box(0, 0, 100, 100), 1: Box(0, 0, 100, 100)}
    rotated = Video("v", video(truth, 2).frames, truth, corners={0: diamond, 1: diamond})
    box = Box(1, 1, 20, 20)
    assert failure_overlap("exact")(box, rotated, 1, (640, 480)) == pytest.approx(0.04, abs=1e-12)
    assert failure_overlap("polygon")(box, rotated, 1, (640, 480)) == 0
    assert failure_overlap("raster")(box, rotated, 1, (640, 480)) == 0
    for mode, code in (("exact", TRACKED), ("polygon", FAILED), ("raster", FAILED)):
        run = run_experiment(
            Scripted([box] * 2), rotated, Experiment("baseline", 1, overlap=mode), 0, wide
        )
        assert run.trajectory.codes.tolist() == [STARTED, code]
    with pytest.raises(ValueError, match="unknown definition of overlap 'iou'"):
        failure_overlap("iou")


# -- region noise

BOXES = st.builds(
    Box,
    *[st.floats(-100, 1000)] * 2,
    *[st.floats(1, 500)] * 2,
)


@settings(deadline=None)
@given(BOXES, st.integers(0, 10_000), st.integers(0, 14), st.text(max_size=5))
def test_noise_is_within_its_limits_and_the_same_again(box, number, repetition, name):
    labelled = Video(name, (), {number: box})
    noisy = noisy_start(repetition)(labelled, number)
    assert noisy == noisy_start(repetition)(labelled, number)
    assert 0.9 * box.w <= noisy.w * (1 + 1e-12)
    assert noisy.w <= 1.1 * box.w * (1 + 1e-12)
    assert 0.9 * box.h <= noisy.h * (1 + 1e-12)
    assert noisy.h <= 1.1 * box.h * (1 + 1e-12)
    for moved, true, side in zip(noisy.center, box.center, box[2:], strict=True):
        assert abs(moved - true) <= 0.1 * side + 1e-9


def test_noise_differs_by_video_frame_and_repetition_and_fills_its_range():
    truth = {number: Box(100, 100, 50, 20) for number in range(200)}

    def draws(name: str, repetition: int) -> np.ndarray:
        start = noisy_start(repetition)
        return np.array([start(Video(name, (), truth), number) for number in truth])

    all_draws = np.concatenate([draws(name, r) for name in "abc" for r in range(5)])
    assert len(np.unique(all_draws, axis=0)) == len(all_draws) == 3000
    scale = all_draws[:, 2:] / (50, 20)
    shift = (all_draws[:, :2] + all_draws[:, 2:] / 2 - (125, 110)) / (50, 20)
    for values, low, high in ((scale, 0.9, 1.1), (shift, -0.1, 0.1)):
        # Uniform: 3000 draws leave less than 0.3 % at the ends but once in 8,000 times, ...
        assert (values.min(axis=0) < low + 0.003 * (high - low)).all()
        assert (values.max(axis=0) > high - 0.003 * (high - low)).all()
        # ... and have the spread of a uniform variable within 3 %.
        assert values.std(axis=0) == pytest.approx((high - low) / 12**0.5, rel=0.03)
    assert np.abs(np.corrcoef(np.column_stack([scale, shift]).T) - np.eye(4)).max() < 0.08


def test_noisy_starts_are_what_the_tracker_is_given():
    truth, found = made_up(0, 60)
    labelled = video(dict(enumerate(truth)), 60)
    given: list[Box] = []

    class Notes(Scripted):
        def init(self, frame, box):
            given.append(box)
            super().init(frame, box)

    noise = Experiment("region_noise", 15)
    runs = [run_experiment(Notes(found), labelled, noise, r, wide) for r in (0, 1, 0)]
    assert given[:2] == [noisy_start(0)(labelled, 0), noisy_start(0)(labelled, 55)]
    assert runs[0].trajectory.boxes[0].tolist() == list(given[0])
    assert runs[0].trajectory.boxes[0].tolist() != runs[1].trajectory.boxes[0].tolist()
    assert np.array_equal(runs[0].trajectory.boxes, runs[2].trajectory.boxes, equal_nan=True)


# -- how often


def test_how_often_a_video_is_tracked():
    labelled = video({0: Box(0, 0, 4, 4)}, 3)
    same = [
        run_experiment(Scripted([Box(1, 1, 2, 2)] * 3), labelled, ONE_PASS, 0, frame)
        for _ in range(15)
    ]
    other = run_experiment(Scripted([Box(1, 1, 2, 3)] * 3), labelled, ONE_PASS, 0, frame)

    def needed(experiment: Experiment, runs: list, deterministic: bool) -> int:
        return next(n for n in range(16) if experiment.complete(runs[:n], deterministic))

    vot = Experiment("baseline", 15, deterministic=3)
    assert needed(vot, same, True) == needed(vot, same, False) == 3
    assert needed(vot, [*same[:2], other, *same], False) == 15
    assert needed(Experiment("one-pass", 3, deterministic=1), same, True) == 1
    assert needed(Experiment("one-pass", 3, deterministic=1), same, False) == 3
    assert needed(Experiment("baseline", 2, deterministic=3), same, True) == 2
    assert needed(Experiment("region_noise", 15, deterministic=3), same, True) == 15
