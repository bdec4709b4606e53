"""GOT-10k's scores: numbers that its toolkit gives, and what the definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_case import case, made_up, once, truths, video
from goturn.evaluation import got10k


def scores(result):
    return {name: interval.value for name, interval in result.scores.items()}


def test_as_its_toolkit_has_it():
    videos, passes, _ = case()
    result = got10k.score("t", videos, passes)
    assert next(iter(result.scores)) == "AO"
    assert scores(result) == pytest.approx(
        {"AO": 0.532596557648, "SR@0.5": 0.647058823529, "SR@0.75": 0.224264705882}, abs=1e-12
    )
    expected = {
        "s0": (0.643054473478, 0.830508474576, 0.474576271186, 59),
        "s1": (0.542553130217, 0.741573033708, 0.202247191011, 89),
        "s2": (0.472893718998, 0.491935483871, 0.120967741935, 124),
    }
    for name, figures in result.videos.items():
        assert list(figures) == ["AO", "SR@0.5", "SR@0.75", "frames"]
        assert tuple(figures.values()) == pytest.approx(expected[name], abs=1e-12)
    success = result.curves["success"]
    assert success.x == tuple(np.linspace(0, 1, 101))
    assert success.y[50] == scores(result)["SR@0.5"]
    assert success.y[75] == scores(result)["SR@0.75"]


def test_covered_frames_are_not_scored():
    """What its toolkit's full run and report give with cover 0 on five frames."""
    truth, _ = made_up(1, 90)
    videos, passes, _ = case()
    videos[1] = video("s1", truth, ignored=frozenset(range(10, 15)))
    result = got10k.score("t", videos, passes)
    assert scores(result)["AO"] == pytest.approx(0.5295777619235887, abs=1e-15)
    assert scores(result)["SR@0.5"] == pytest.approx(0.6441947565543071, abs=1e-15)
    ao = [figures["AO"] for figures in result.videos.values()]
    assert ao == pytest.approx([0.6430544734776, 0.5335503255078, 0.4728937189981], abs=1e-13)
    assert result.videos["s1"]["frames"] == 84


def test_the_first_frame_is_not_scored():
    truth = np.array([[0, 0, 40, 30]] * 3, float)
    boxes = truth + np.array([[0], [500], [500]]) * [1, 0, 0, 0]
    result = got10k.score("t", [video("v", truth)], {"v": [once(boxes)]})
    assert scores(result) == {"AO": 0, "SR@0.5": 0, "SR@0.75": 0}
    late = {2: truth[0], 4: truth[0]}
    assert got10k.scored_frames(video("v", late, 6)).tolist() == [False, True]


def test_a_perfect_tracker_has_1():
    videos, _, _ = case()
    perfect = {name: [once(truth)] for name, truth in truths(videos).items()}
    assert scores(got10k.score("t", videos, perfect)) == pytest.approx(
        {"AO": 1, "SR@0.5": 1, "SR@0.75": 1}, abs=1e-15
    )


def test_overlaps_are_bounded_by_the_image():
    truth = np.array([[600, 0, 40, 30]] * 2, float)
    boxes = np.array([[600, 0, 40, 30], [600, 0, 80, 30]], float)
    labelled, found = [video("v", truth)], {"v": [once(boxes)]}
    assert scores(got10k.score("t", labelled, found))["AO"] == 1
    assert scores(got10k.score("t", labelled, found, "exact"))["AO"] == 0.5


def test_thresholds_must_be_exceeded():
    truth = np.array([[0, 0, 40, 30]] * 3, float)
    boxes = np.array([[0, 0, 40, 30], [0, 0, 20, 30], [0, 0, 30, 30]], float)
    result = got10k.score("t", [video("v", truth)], {"v": [once(boxes)]})
    assert scores(result) == {"AO": 0.625, "SR@0.5": 0.5, "SR@0.75": 0}


def test_frames_and_repetitions_are_pooled():
    """A video of 3 scored frames and one of 1, of which the first was run twice."""
    truth = np.array([[0, 0, 40, 30]] * 4, float)
    lost = truth + np.array([500, 0, 0, 0])
    videos = [video("a", truth), video("b", truth[:2])]
    found = {"a": [once(truth), once(lost)], "b": [once(truth[:2])]}
    result = got10k.score("t", videos, found)
    assert scores(result)["AO"] == 4 / 7
    assert result.videos["a"]["AO"] == 0.5


def test_frames_without_a_box_overlap_nothing():
    truth = np.array([[0, 0, 40, 30]] * 5, float)
    boxes = truth.copy()
    boxes[1:3] = np.nan
    assert scores(got10k.score("t", [video("v", truth)], {"v": [once(boxes)]}))["AO"] == 0.5


def test_order_of_videos_changes_nothing():
    videos, passes, _ = case()
    forth, back = got10k.score("t", videos, passes), got10k.score("t", videos[::-1], passes)
    assert forth.scores == back.scores
    assert forth.curves == back.curves


def test_boxes_are_rounded_as_result_files_have_them():
    truth = np.array([[0, 0, 10, 10]] * 2, float)
    boxes = truth + np.array([0.0004, 0, 0, 0])
    labelled, found = [video("v", truth)], {"v": [once(boxes)]}
    assert scores(got10k.score("t", labelled, found))["AO"] == 1
    assert scores(got10k.score("t", labelled, found, decimals=None))["AO"] < 1


def test_refuses_what_cannot_be_scored():
    truth, found = made_up(0, 60)
    with pytest.raises(ValueError, match="no video"):
        got10k.score("t", [], {})
    with pytest.raises(ValueError, match="v has no frame to score after its first"):
        got10k.score("t", [video("v", {3: truth[0]}, 60)], {"v": [once(found)]})
    with pytest.raises(ValueError, match="no trajectory of v"):
        got10k.score("t", [video("v", truth)], {"v": []})
