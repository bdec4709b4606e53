"""VOT2014's scores: numbers that its toolkit gives, and an independent statement of the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation_case import HEIGHT, LENGTHS, WIDTH, case, made_up, once, supervised, truths, video
from goturn.evaluation import vot2014
from goturn.evaluation.results import FAILED, SKIPPED, STARTED, TRACKED, Trajectory

STILL = np.array([[100, 100, 40, 40]], float)


def scores(result):
    return {name: interval.value for name, interval in result.scores.items()}


def still(length, name="v", **more):
    """A video of an object that stays where it is."""
    truth = np.repeat(STILL, length, axis=0)
    return video(name, truth, **more), truth


def trajectory(codes, overlap):
    """Of a still object: boxes as high, and as wide as the overlap that they shall have."""
    boxes = np.repeat(STILL, len(codes), axis=0)
    boxes[:, 2] *= overlap
    return Trajectory(boxes, np.array(codes, np.uint8), np.zeros(len(codes)), WIDTH, HEIGHT)


def test_as_the_vot_toolkit_has_it():
    videos, _, resets = case()
    failures = [np.flatnonzero(resets[v.name][0].codes == FAILED).tolist() for v in videos]
    starts = [np.flatnonzero(resets[v.name][0].codes == STARTED).tolist() for v in videos]
    assert failures == [[50, 56], [75, 81, 87], [105, 111, 117, 123]]
    assert starts == [[0, 55], [0, 80, 86], [0, 110, 116, 122]]

    result = vot2014.score("t", videos, resets)
    assert next(iter(result.scores)) == "overall error"
    found = scores(result)
    assert found["failures"] == 9
    assert found["accuracy"] == pytest.approx(0.6399794186295167, abs=1e-12)
    assert found["mean failures"] == pytest.approx(3.2363636363636363, abs=1e-12)
    assert found["A-R plot robustness"] == pytest.approx(0.3467422557956238, abs=1e-12)
    expected = {
        "s0": (0.777750715011, 2, 0.367879441, 60, 40),
        "s1": (0.653147200103, 3, 0.367879441, 90, 65),
        "s2": (0.564368393705, 4, 0.382892886, 125, 95),
    }
    for name, figures in result.videos.items():
        accuracy, failures, robustness, frames, valid = expected[name]
        assert figures["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert figures["robustness"] == pytest.approx(robustness, abs=5e-10)
        assert figures["failures"] == failures
        assert (figures["frames"], figures["valid frames"]) == (frames, valid)
    assert (dict(result.curves), dict(result.attributes)) == ({}, {})


def test_the_papers_errors():
    videos, _, resets = case()
    found = scores(vot2014.score("t", videos, resets))
    a, r = found["accuracy"], math.exp(-30 * 9 / sum(LENGTHS))
    assert found["robustness"] == pytest.approx(r, abs=1e-15)
    assert found["accuracy error"] == pytest.approx(1 - a, abs=1e-15)
    assert found["robustness error"] == pytest.approx(1 - r, abs=1e-15)
    assert found["overall error"] == pytest.approx(1 - (a + r) / 2, abs=1e-15)


def test_other_definitions_of_overlap():
    videos, _, resets = case()
    found = {
        mode: scores(vot2014.score("t", videos, resets, mode))["accuracy"]
        for mode in ("exact", "bounded", "raster", "polygon")
    }
    assert found["exact"] == pytest.approx(found["raster"], abs=5e-3)
    assert found["exact"] != found["raster"]
    assert found["exact"] == found["polygon"]  # all inside the image, and upright
    assert found["exact"] == pytest.approx(found["bounded"], abs=1e-12)


def test_perfect_and_always_failing_trackers():
    videos, _, _ = case()
    found = {name: [supervised(one, one)] for name, one in truths(videos).items()}
    perfect = scores(vot2014.score("t", videos, found))
    assert (perfect["accuracy"], perfect["robustness"], perfect["failures"]) == (1, 1, 0)
    assert perfect["overall error"] == 0
    found = {
        name: [supervised(one, one, lost=lambda _: True)] for name, one in truths(videos).items()
    }
    hopeless = scores(vot2014.score("t", videos, found))
    # A start each six frames, and a failure in the next frame where there is one.
    failures = sum((length + 4) // 6 for length in LENGTHS)
    assert hopeless["failures"] == failures
    assert hopeless["accuracy"] == 0
    assert hopeless["overall error"] == pytest.approx(1 - math.exp(-30 * failures / 275) / 2)


def test_a_tracker_that_never_moves():
    """Truth goes right by 1 a frame and is 10 wide: lost at the tenth frame from each start."""
    t = np.arange(61)
    truth = np.stack([t + 50.0, t * 0 + 50.0, t * 0 + 10.0, t * 0 + 10.0], axis=1)
    codes = np.zeros(61, np.uint8)
    boxes = truth.copy()
    for start in range(0, 61, 15):
        boxes[start : start + 11] = truth[start]
        codes[start : start + 10] = TRACKED
        codes[start] = STARTED
        codes[start + 10 : start + 11] = FAILED
    found = scores(
        vot2014.score(
            "t", [video("v", truth)], {"v": [Trajectory(boxes, codes, t * 0.0, WIDTH, HEIGHT)]}
        )
    )
    assert found["failures"] == 4
    assert found["accuracy"] == 0  # never ten frames after a start
    assert found["robustness"] == pytest.approx(math.exp(-120 / 61))


def test_ten_frames_from_each_start_do_not_count():
    """Nor failures and skipped frames do."""
    codes = [STARTED, *[TRACKED] * 14, FAILED, *[SKIPPED] * 4, STARTED, *[TRACKED] * 12]
    valid = vot2014.counts_for_accuracy(np.array(codes, np.uint8))
    assert np.flatnonzero(valid).tolist() == [10, 11, 12, 13, 14, 30, 31, 32]


def test_repetitions_are_averaged_frame_by_frame():
    """Over those in which a frame is valid; failures over all."""
    codes = [STARTED, *[TRACKED] * 12]
    lost = [*codes[:12], FAILED]
    first, second = trajectory(codes, 0.5), trajectory(lost, 1.0)
    labelled, _ = still(13)
    score = vot2014.score_video(labelled, [first, second])
    assert score.overlaps[10:].tolist() == [0.75, 0.75, 0.5]
    assert np.isnan(score.overlaps[:10]).all()
    result = vot2014.score("t", [labelled], {"v": [first, second]})
    assert scores(result)["accuracy"] == pytest.approx(2 / 3)  # the mean of repetitions' is 3/4
    assert scores(result)["failures"] == 0.5


def test_accuracy_weighs_videos_by_length_and_mean_overlap_by_valid_frames():
    (a, _), (b, _) = still(20, "a"), still(60, "b")
    codes = [STARTED, *[TRACKED] * 59]
    found = {"a": [trajectory(codes[:20], 0.5)], "b": [trajectory(codes, 1.0)]}
    result = scores(vot2014.score("t", [a, b], found))
    assert result["accuracy"] == pytest.approx((20 * 0.5 + 60) / 80)
    assert result["mean overlap"] == pytest.approx((10 * 0.5 + 50) / 60)


def test_a_video_without_valid_frames_has_accuracy_0():
    """As in the VOT toolkit, and it weighs."""
    (a, _), (b, _) = still(5, "a"), still(15, "b")
    codes = [STARTED, *[TRACKED] * 14]
    found = {"a": [trajectory(codes[:5], 1.0)], "b": [trajectory(codes, 1.0)]}
    assert scores(vot2014.score("t", [a, b], found))["accuracy"] == 0.75


def test_frames_without_a_box_overlap_nothing():
    labelled, _ = still(14)
    found = trajectory([STARTED, *[TRACKED] * 13], 1.0)
    found.boxes[12] = np.nan
    assert scores(vot2014.score("t", [labelled], {"v": [found]}))["accuracy"] == 0.75


def test_no_box_does_not_overlap_an_object_of_one_pixel():
    """Though pixels of nothing at the image's corner are by definition those of that one pixel."""
    truth = np.array([[0, 0, 1, 1]] * 12, float)
    codes = np.array([STARTED, *[TRACKED] * 11], np.uint8)
    found = Trajectory(np.full((12, 4), np.nan), codes, np.zeros(12), WIDTH, HEIGHT)
    assert scores(vot2014.score("t", [video("v", truth)], {"v": [found]}))["accuracy"] == 0


def test_only_labelled_frames_count():
    labelled = video("v", dict.fromkeys((3, 14, 20), STILL[0]), 25)
    found = trajectory([*[SKIPPED] * 3, STARTED, *[TRACKED] * 21], 0.5)
    result = vot2014.score("t", [labelled], {"v": [found]})
    assert dict(result.videos["v"]) == {
        "accuracy": 0.5, "failures": 0, "robustness": 1, "frames": 3, "valid frames": 2,
    }  # fmt: skip


def test_rotated_truth_by_default():
    """As the toolkit has it: pixels of the quadrangle, not of the box around it.

    The diamond has 841, of which two are in the column and the row behind the box's last.
    """
    diamond = (120.0, 100.0, 140.0, 120.0, 120.0, 140.0, 100.0, 120.0)
    labelled, _ = still(12, corners=dict.fromkeys(range(12), diamond))
    found = {"v": [trajectory([STARTED, *[TRACKED] * 11], 1.0)]}
    assert scores(vot2014.score("t", [labelled], found))["accuracy"] == 839 / 1602
    assert scores(vot2014.score("t", [labelled], found, "polygon"))["accuracy"] == 0.5
    assert scores(vot2014.score("t", [labelled], found, "exact"))["accuracy"] == 1


def plainly(videos, found, attribute):
    """Figures by attribute in plain Python: overlap, valid frames, failures, frames."""
    overlap, valid, failures, frames = 0.0, 0, 0.0, 0
    for one in videos:
        for number, truth in one.boxes.items():
            tags = {tag for tag, where in one.tags.items() if number in where} or {"empty"}
            if attribute not in tags:
                continue
            frames += 1
            values = []
            for run in found[one.name]:
                starts = [n for n in range(number + 1) if run.codes[n] == STARTED]
                if run.codes[number] == TRACKED and number - starts[-1] >= 10:
                    values.append(run.boxes[number][2] / truth.w)
                failures += (run.codes[number] == FAILED) / len(found[one.name])
            if values:
                valid += 1
                overlap += sum(values) / len(values)
    return overlap, valid, failures, frames


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_attributes_are_pooled(seed):
    """Against a plain loop over frames, with overlapping attributes and several repetitions."""
    rng = np.random.default_rng(seed)
    videos, found = [], {}
    names = ("occlusion", "size_change", "shadow")
    for i, length in enumerate((40, 75, 30)):
        tags = {
            tag: frozenset(np.flatnonzero(rng.random(length) < 0.3).tolist())
            for tag in names[: 1 + i]
        }
        one, truth = still(length, f"v{i}", tags=tags)
        videos.append(one)
        found[one.name] = []
        for _ in range(2):
            boxes = truth.copy()
            boxes[:, 2] *= rng.integers(20, 41, length) / 40
            lost = set(np.flatnonzero(rng.random(length) < 0.06).tolist())
            found[one.name].append(supervised(boxes, truth, lost.__contains__))
    result = vot2014.score("t", videos, found)
    assert list(result.attributes) == ["occlusion", "size_change", "shadow", "empty"]
    weighted, total, lengths = 0.0, 0.0, 0
    for attribute, figures in result.attributes.items():
        overlap, valid, failures, frames = plainly(videos, found, attribute)
        assert figures["accuracy"] == pytest.approx(overlap / valid if valid else 0, abs=1e-12)
        assert figures["failures"] == pytest.approx(failures)
        assert (figures["frames"], figures["valid frames"]) == (frames, valid)
        assert figures["robustness"] == pytest.approx(math.exp(-30 * failures / frames))
        weighted += frames * figures["accuracy"]
        total += frames * failures
        lengths += frames
    assert scores(result)["accuracy over attributes"] == pytest.approx(weighted / lengths)
    assert scores(result)["failures over attributes"] == pytest.approx(total / lengths)


def test_attributes_in_vot2014s_order():
    everywhere = frozenset(range(30))
    one, _ = still(30, tags={"zoom": everywhere, "occlusion": everywhere, "camera_motion": {1}})
    other, _ = still(30, "w")
    found = [trajectory([STARTED, *[TRACKED] * 29], 1.0)]
    result = vot2014.score("t", [one, other], {"v": found, "w": found})
    assert list(result.attributes) == ["camera_motion", "occlusion", "zoom", "empty"]
    assert result.attributes["empty"]["frames"] == 30  # those of the video without attributes


def test_frames_without_attribute_are_found_not_read():
    """What a data set calls empty may be anything."""
    one, _ = still(30, tags={"empty": frozenset(range(30)), "occlusion": frozenset(range(12))})
    found = {"v": [trajectory([STARTED, *[TRACKED] * 29], 1.0)]}
    result = vot2014.score("t", [one], found)
    frames = {name: figures["frames"] for name, figures in result.attributes.items()}
    assert frames == {"occlusion": 12, "empty": 18}


def test_intervals():
    """Of the overall error too, which is no mean; ends are those of the videos here."""
    videos, _, resets = case()
    result = vot2014.score("t", videos, resets)
    for name, interval in result.scores.items():
        assert interval.low < interval.value < interval.high, name
    assert (result.scores["failures"].low, result.scores["failures"].high) == (6, 12)


def test_order_of_videos_changes_nothing():
    videos, _, resets = case()
    forth, back = vot2014.score("t", videos, resets), vot2014.score("t", videos[::-1], resets)
    assert forth.scores == back.scores
    assert list(back.videos) == ["s2", "s1", "s0"]


def test_refuses_what_cannot_be_scored():
    truth, found = made_up(0, 60)
    with pytest.raises(ValueError, match="no video"):
        vot2014.score("t", [], {})
    with pytest.raises(ValueError, match="no trajectory of v"):
        vot2014.score("t", [video("v", truth)], {"v": []})
    with pytest.raises(ValueError, match="each of its 60 frames"):
        vot2014.score("t", [video("v", truth)], {"v": [once(found[1:])]})
