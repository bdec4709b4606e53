"""OTB's one-pass evaluation: numbers that got10k and LaSOT's formula give, and what definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_case import LENGTHS, case, made_up, once, truths, video
from goturn.evaluation import otb
from goturn.evaluation.truth import rounded


def scores(result):
    return {name: interval.value for name, interval in result.scores.items()}


FIGURES = ("AUC", "P@20", "SR@0.5", "mean IoU", "centre error", "norm. P AUC", "norm. P@0.2")


@pytest.mark.parametrize(
    ("s", "expected"),
    [
        (0, (0.639682539683, 0.833333333333, 0.833333333333, 0.649003565586, 56.114044293306,
             0.653267973856, 0.833333333333)),
        (1, (0.541798941799, 0.733333333333, 0.744444444444, 0.547635873215, 61.572773305442,
             0.519172113290, 0.466666666667)),
        (2, (0.474285714286, 0.512000000000, 0.496000000000, 0.477110569246, 64.869002615492,
             0.411764705882, 0.320000000000)),
    ],
)  # fmt: skip
def test_videos_as_other_tools_have_them(s, expected):
    videos, passes, _ = case()
    figures = otb.score("t", videos, passes).videos[f"s{s}"]
    assert figures == pytest.approx(dict(zip(FIGURES, expected, strict=True)), abs=1e-12, rel=0)


def test_data_set_as_other_tools_have_it():
    videos, passes, _ = case()
    result = otb.score("t", videos, passes)
    assert next(iter(result.scores)) == "AUC"
    assert scores(result) == pytest.approx(
        {
            "AUC": 0.551922398589,
            "P@20": 0.692888888889,
            "SR@0.5": 0.691259259259,
            "norm. P AUC": 0.528068264343,
            "norm. P@0.2": 0.540000000000,
            "mean IoU": (0.649003565586 + 0.547635873215 + 0.477110569246) / 3,
        },
        abs=1e-12,
    )
    success = result.curves["success"]
    assert success.x == tuple(np.linspace(0, 1, 21))
    assert success.y == pytest.approx(
        [
            *([0.835556] * 7), 0.814222, 0.782222, 0.746519, 0.691259, 0.626519, 0.556444,
            0.488815, 0.381481, 0.274148, 0.198667, 0.122370, 0.046889, 0.011926, 0,
        ],
        abs=5e-7,
    )  # fmt: skip
    precision = result.curves["precision"]
    assert precision.x == tuple(range(51))
    assert [precision.y[d] for d in (0, 5, 10, 20, 50)] == pytest.approx(
        [0.011926, 0.179556, 0.434741, 0.692889, 0.835556], abs=5e-7
    )
    assert result.curves["normalised precision"].x == tuple(np.linspace(0, 0.5, 51))


def test_a_perfect_tracker_has_20_of_21():
    videos, _, _ = case()
    perfect = {name: [once(truth)] for name, truth in truths(videos).items()}
    result = otb.score("t", videos, perfect)
    assert scores(result)["AUC"] == pytest.approx(20 / 21, abs=1e-15)
    assert result.curves["success"].y[-2:] == (1, 0)
    assert [scores(result)[name] for name in ("P@20", "SR@0.5", "norm. P AUC")] == [1, 1, 1]


def test_a_tracker_that_never_moves():
    """Truth of width 10 that goes right by 1 a frame: overlap (10 - t) / (10 + t), distance t."""
    t = np.arange(30)
    truth = np.stack([t + 5.0, t * 0 + 5.0, t * 0 + 10.0, t * 0 + 10.0], axis=1)
    one = otb.score_video(video("v", truth), [once(np.repeat(truth[:1], 30, axis=0))])
    iou = np.maximum(0, (10 - t) / (10 + t))
    assert one.success.tolist() == [np.mean(iou > i / 20) for i in range(21)]
    assert one.precision.tolist() == [np.mean(t <= d) for d in range(51)]
    assert one.precision[0] == 1 / 30
    assert one.normalised == pytest.approx([np.mean(t / 10 <= i / 100 + 1e-9) for i in range(51)])
    assert one.overlap == pytest.approx(iou.mean())
    assert one.distance == pytest.approx(14.5)


def test_thresholds_are_exceeded_by_overlaps_and_reached_by_distances():
    truth = np.array([[0, 0, 40, 30]] * 3, float)
    boxes = np.array([[0, 0, 40, 30], [5, 5, 30, 20], [20, 0, 40, 30]], float)
    one = otb.score_video(video("v", truth), [once(boxes)])
    assert one.success[10] == 1 / 3  # the second overlaps by exactly 0.5
    assert one.success[9] == 2 / 3
    assert one.precision[19:21].tolist() == [2 / 3, 1]  # the third is exactly 20 away


def test_distances_are_got10ks_to_the_last_bit():
    """Exactly 20 by its centres, which counts; those of x + w / 2 are a bit further."""
    truth = np.array([[0, 0, 40, 30], [198.3, 74.0, 91.7, 63.4]])
    found = np.array([[0, 0, 40, 30], [223.8, 110.2, 64.7, 23.0]])
    one = otb.score_video(video("v", truth), [once(found)])
    assert one.precision[19:21].tolist() == [0.5, 1]


def test_an_object_of_less_than_a_pixel():
    """Its distances are normalised as those of one pixel are."""
    truth = np.array([[5, 5, 0.5, 0.25]] * 2)
    one = otb.score_video(video("v", truth), [once(truth + np.array([[0], [0.3]]) * [1, 0, 0, 0])])
    assert (one.normalised[29], one.normalised[31]) == (0.5, 1)


def test_the_first_box_is_the_true_one():
    truth, found = made_up(0, 60)
    wrong = found.copy()
    wrong[0] = [500, 400, 5, 5]
    missing = found.copy()
    missing[0] = np.nan
    labelled = video("v", truth)
    expected = otb.score_video(labelled, [once(found)]).figures
    assert otb.score_video(labelled, [once(wrong)]).figures == expected
    assert otb.score_video(labelled, [once(missing)]).figures == expected


def test_frames_without_a_box_are_misses_in_every_curve():
    truth = np.array([[0, 0, 40, 30]] * 4, float)
    boxes = truth.copy()
    boxes[1] = np.nan
    boxes[2, 3] = np.inf
    one = otb.score_video(video("v", truth), [once(boxes)])
    assert one.success[:20].tolist() == [0.5] * 20
    assert one.precision.tolist() == [0.5] * 51
    assert one.normalised.tolist() == [0.5] * 51
    assert (one.overlap, one.distance) == (0.5, 0)


def test_frames_without_truth_are_left_out():
    truth, found = made_up(1, 90)
    every_fifth = {number: truth[number] for number in range(10, 90, 5)}
    some = otb.score_video(video("v", every_fifth, 90), [once(found)]).figures
    alone = otb.score_video(video("v", truth[10::5]), [once(found[10::5])]).figures
    assert some == alone


def test_order_of_videos_changes_nothing():
    videos, passes, _ = case()
    forth, back = otb.score("t", videos, passes), otb.score("t", videos[::-1], passes)
    assert forth.scores == back.scores
    assert forth.curves == back.curves
    assert list(back.videos) == ["s2", "s1", "s0"]


def test_videos_weigh_alike():
    """However long: a long one in which all goes wrong, and a short one in which all is right."""
    short, long = np.array([[0, 0, 9, 9]] * 2, float), np.array([[0, 0, 9, 9]] * 98, float)
    lost = long + np.array([500, 0, 0, 0])
    result = otb.score(
        "t", [video("a", short), video("b", long)], {"a": [once(short)], "b": [once(lost)]}
    )
    assert scores(result)["P@20"] == pytest.approx((1 + 1 / 98) / 2)


def test_boxes_are_rounded_as_result_files_have_them():
    truth = np.array([[0, 0, 10, 10]] * 2, float)
    boxes = truth + np.array([[0], [0.0004]]) * [1, 0, 0, 0]
    labelled = video("v", truth)
    assert otb.score_video(labelled, [once(boxes)]).overlap == 1
    assert otb.score_video(labelled, [once(boxes)], decimals=None).overlap < 1
    values = np.array([0.0005, 0.0015, 2.6755, -1.0005, 1e8 + 0.0005, 123.4565, 0.5])
    assert rounded(values).tolist() == [float(f"{value:.3f}") for value in values]


def test_repetitions_are_pooled():
    truth, found = made_up(0, 60)
    labelled = video("v", truth)
    both = otb.score_video(labelled, [once(truth), once(found)]).figures
    perfect, other = (otb.score_video(labelled, [once(one)]).figures for one in (truth, found))
    assert both == pytest.approx({name: (perfect[name] + other[name]) / 2 for name in both})


def test_refuses_what_cannot_be_scored():
    truth, found = made_up(0, 60)
    with pytest.raises(ValueError, match="no video"):
        otb.score("t", [], {})
    with pytest.raises(ValueError, match="no trajectory of v"):
        otb.score("t", [video("v", truth)], {})
    with pytest.raises(ValueError, match="v has no labelled frame"):
        otb.score_video(video("v", {}, 5), [once(found[:5])])
    with pytest.raises(ValueError, match=r"boxes \(59, 4\) .* each of its 60 frames"):
        otb.score_video(video("v", truth), [once(found[:59])])


def test_lengths_are_those_of_the_table():
    assert [len(one.frames) for one in case()[0]] == list(LENGTHS)
