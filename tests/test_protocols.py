"""The protocols as what runs and reports know them."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation_case import case, made_up, once, supervised, truths, video
from goturn.evaluation.protocols import PROTOCOLS
from goturn.evaluation.results import Interval


def test_what_each_needs():
    assert list(PROTOCOLS) == ["otb", "got10k", "vot2014"]
    needs = {
        name: (one.experiments, one.overlap, one.repetitions, one.repetitions_deterministic)
        for name, one in PROTOCOLS.items()
    }
    assert needs == {
        "otb": (("one-pass",), "exact", 1, 1),
        "got10k": (("one-pass",), "bounded", 3, 1),
        "vot2014": (("baseline", "region_noise"), "raster", 15, 3),
    }


def test_scores_by_default_are_the_fields_own():
    videos, passes, resets = case()
    first = {
        name: next(iter(one.score("t", videos, resets if one.ranked else passes).scores.items()))
        for name, one in PROTOCOLS.items()
    }
    assert {name: (score, interval.value) for name, (score, interval) in first.items()} == {
        "otb": ("AUC", pytest.approx(0.551922398589, abs=1e-12)),
        "got10k": ("AO", pytest.approx(0.532596557648, abs=1e-12)),
        "vot2014": (
            "overall error",
            pytest.approx(1 - (0.6399794186295167 + np.exp(-270 / 275)) / 2, abs=1e-12),
        ),
    }


def test_an_evaluation():
    videos, passes, _ = case()
    perfect = {name: [once(truth)] for name, truth in truths(videos).items()}
    found = PROTOCOLS["otb"].evaluate("one-pass", "made up", videos, {"b": passes, "a": perfect})
    assert (found.protocol, found.experiment, found.overlap) == ("otb", "one-pass", "exact")
    assert (found.dataset, list(found.videos), found.notes) == ("made up", videos, ())
    assert [one.name for one in found.trackers] == ["b", "a"]
    assert found.better_low == frozenset()
    assert found.trackers[0].trajectories["s0"] is passes["s0"]
    assert found.trackers[0].speed.frames_over_time == pytest.approx(100)


def test_videos_that_cannot_be_scored_are_named():
    truth, found = made_up(0, 60)
    videos = [
        video("good", truth),
        video("unlabelled", {}, 60),
        video("once", {0: truth[0]}, 60),
    ]
    runs = {"t": {one.name: [once(found)] for one in videos}}
    otb = PROTOCOLS["otb"].evaluate("one-pass", "d", videos, runs)
    assert [one.name for one in otb.videos] == ["good", "once"]
    assert otb.notes == ("unlabelled is left out: it has no labelled frame.",)
    got10k = PROTOCOLS["got10k"].evaluate("one-pass", "d", videos, runs)
    assert [one.name for one in got10k.videos] == ["good"]
    assert got10k.notes[1] == ("once is left out: no frame after its first labelled one is scored.")
    assert "one video" in got10k.notes[2]
    assert list(PROTOCOLS["got10k"].score("t", videos, runs["t"]).videos) == ["good"]
    with pytest.raises(ValueError, match=r"no video to score: unlabelled is left out"):
        PROTOCOLS["otb"].score("t", videos[1:2], runs["t"])


def test_another_overlap_is_noted():
    videos, passes, _ = case()
    found = PROTOCOLS["got10k"].evaluate("one-pass", "d", videos, {"t": passes}, "exact")
    assert found.overlap == "exact"
    assert found.notes == ("Overlap is exact; got10k is defined with bounded overlap.",)


def test_fewer_repetitions_are_noted():
    videos, _, resets = case()
    protocol = PROTOCOLS["vot2014"]

    def notes(runs):
        return protocol.evaluate("baseline", "d", videos, {"t": runs}).notes

    assert notes({name: one * 3 for name, one in resets.items()}) == ()
    assert "t was run 2 times" in notes({name: one * 2 for name, one in resets.items()})[0]
    others = {
        name: [*one * 2, supervised(truth, truth)]
        for (name, one), truth in zip(resets.items(), truths(videos).values(), strict=True)
    }
    assert "t was run 3 times" in notes(others)[0]
    assert notes({name: one * 5 for name, one in others.items()}) == ()


def test_trackers_are_ranked_by_vot2014():
    videos, _, resets = case()
    videos = [
        video(
            one.name,
            np.array(list(one.boxes.values())),
            tags={"occlusion": frozenset(range(0, len(one.frames), 2))},
        )
        for one in videos
    ]
    perfect = {name: [supervised(truth, truth)] * 3 for name, truth in truths(videos).items()}
    runs = {name: one * 3 for name, one in resets.items()}
    protocol = PROTOCOLS["vot2014"]
    found = protocol.evaluate(
        "region_noise", "d", videos, {"made up": runs, "perfect": perfect, "again": perfect}
    )
    assert found.experiment == "region_noise"
    ranks = {
        one.name: [one.scores[name] for name in ("accuracy rank", "robustness rank", "rank")]
        for one in found.trackers
    }
    assert ranks == {
        "made up": [Interval(3, 3, 3)] * 3,
        "perfect": [Interval(1.5, 1.5, 1.5)] * 3,
        "again": [Interval(1.5, 1.5, 1.5)] * 3,
    }
    assert next(iter(found.trackers[0].scores)) == "overall error"
    assert set(found.trackers[0].attributes) == {"occlusion", "empty"}
    for figures in found.trackers[1].attributes.values():
        assert (figures["accuracy rank"], figures["robustness rank"]) == (1.5, 1.5)
    assert found.notes == ("Ranks hold among these trackers alone, and have no intervals.",)
    low = {name for name in found.trackers[0].scores if name in found.better_low}
    assert low == {
        *("overall error", "accuracy error", "robustness error", "failures", "mean failures"),
        *("failures over attributes", "accuracy rank", "robustness rank", "rank"),
    }
    alone = protocol.evaluate("baseline", "d", videos, {"perfect": perfect})
    assert "rank" not in alone.trackers[0].scores


def test_refuses_what_it_does_not_know():
    videos, passes, _ = case()
    with pytest.raises(ValueError, match="otb has no experiment 'baseline'; it has one-pass"):
        PROTOCOLS["otb"].evaluate("baseline", "d", videos, {"t": passes})
    with pytest.raises(ValueError, match="there are exact, bounded, raster, polygon"):
        PROTOCOLS["otb"].score("t", videos, passes, "iou")
    with pytest.raises(ValueError, match="no tracker"):
        PROTOCOLS["otb"].evaluate("one-pass", "d", videos, {})
    with pytest.raises(ValueError, match="no trajectory of s1"):
        PROTOCOLS["otb"].evaluate("one-pass", "d", videos, {"t": {"s0": passes["s0"]}})
