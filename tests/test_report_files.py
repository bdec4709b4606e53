"""Evaluations for programs: JSON, CSV, and got10k's own files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from dataclasses import replace

import numpy as np
import pytest

import goturn
from goturn.evaluation.protocols import PROTOCOLS
from goturn.evaluation.report import write_reports
from goturn.evaluation.report.got10k_files import write_got10k
from goturn.evaluation.report.machine import document, write_csv, write_json
from goturn.evaluation.results import Curve, Interval, Speed, TrackerResult
from report_cases import HOSTILE, evaluation, gone, nothing, read, trajectory, video

#: What ``report.json`` has at each place: types, or what lists and dictionaries by name have in them.
NUMBER = (int, float, type(None))
FIGURES = {str: {str: NUMBER}}
SCHEMA = {
    "schema": str,
    "version": int,
    "made_by": str,
    "evaluations": [
        {
            "protocol": str,
            "experiment": str,
            "overlap": str,
            "dataset": str,
            "better_low": [str],
            "notes": [str],
            "videos": [{"name": str, "frames": int, "labelled": int}],
            "trackers": [
                {
                    "name": str,
                    "scores": {str: {"value": NUMBER, "low": NUMBER, "high": NUMBER}},
                    "videos": FIGURES,
                    "curves": {str: {"x": [NUMBER], "y": [NUMBER]}},
                    "attributes": FIGURES,
                    "speed": {"mean_of_rates": NUMBER, "frames_over_time": NUMBER},
                    "repetitions": {str: int},
                }
            ],
        }
    ],
}


def check(value, schema, place="report"):
    """That ``value`` is what ``schema`` says."""
    if isinstance(schema, list):
        assert isinstance(value, list), place
        for k, item in enumerate(value):
            check(item, schema[0], f"{place}[{k}]")
    elif isinstance(schema, dict) and set(schema) == {str}:
        assert isinstance(value, dict), place
        for name, item in value.items():
            check(item, schema[str], f"{place}.{name}")
    elif isinstance(schema, dict):
        assert set(value) == set(schema), place
        for name, item in value.items():
            check(item, schema[name], f"{place}.{name}")
    else:
        assert isinstance(value, schema), (place, value)
        assert not isinstance(value, bool), place


def everything():
    """Evaluations with all that there can be, and with numbers that there are not."""
    first = evaluation(names=HOSTILE, notes=("a note",))
    blind = replace(first, trackers=[*first.trackers, nothing(videos=first.videos)])
    tagged = evaluation("vot2014", attributes=("camera_motion", "empty"))
    return [blind, tagged, evaluation("got10k")]


def test_json_is_what_is_documented_and_comes_back(tmp_path):
    each = everything()
    path = write_json(tmp_path / "report.json", each)
    found = json.loads(path.read_text("utf-8"))
    assert found == document(each)
    check(found, SCHEMA)
    assert (found["schema"], found["version"]) == ("goturn-evaluation", 1)
    assert found["made_by"] == f"goturn {goturn.__version__}"
    first = found["evaluations"][0]
    assert [t["name"] for t in first["trackers"]] == [*HOSTILE, "blind"]
    assert first["trackers"][0]["scores"]["AUC"] == {"value": 0.8, "low": 0.75, "high": 0.8 + 0.04}
    assert first["trackers"][-1]["scores"]["AUC"]["value"] is None
    assert found["evaluations"][1]["better_low"] == ["failures", "overall error", "rank"]
    assert found["evaluations"][1]["trackers"][1]["attributes"]["empty"]["failures"] == 2.0
    with pytest.raises(AssertionError):
        check({**found, "version": "1"}, SCHEMA)


def test_numpy_numbers_are_written_as_plain_ones(tmp_path):
    each = evaluation(names=["a"])
    v = np.float32(0.5)
    scores = {"AUC": Interval(v, v, np.float64("inf"))}
    result = TrackerResult("a", scores, {}, {"c": Curve((v,), (v,))}, {}, Speed(v, v), {})
    path = write_json(tmp_path / "r.json", [replace(each, trackers=[result])])
    found = json.loads(path.read_text())["evaluations"][0]["trackers"][0]
    assert found["scores"]["AUC"] == {"value": 0.5, "low": 0.5, "high": None}
    assert found["speed"]["mean_of_rates"] == 0.5


def test_csv(tmp_path):
    paths = write_csv(tmp_path, everything())
    assert [path.name for path in paths] == ["scores.csv", "per-video.csv"]
    scores, videos = (
        list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline=""))) for path in paths
    )
    readable = [name.encode("utf-8", "backslashreplace").decode() for name in HOSTILE]
    names = list(dict.fromkeys(row["tracker"] for row in scores if row["protocol"] == "otb"))
    assert names == [*readable, "blind"]
    row = scores[0]
    assert [float(row[name]) for name in ("value", "low", "high")] == [0.8, 0.75, 0.8 + 0.04]
    assert row["better"] == "high"
    blind = [row for row in scores if row["tracker"] == "blind"]
    assert [row["value"] for row in blind] == [""]
    better = {row["score"]: row["better"] for row in scores if row["protocol"] == "vot2014"}
    assert better == {
        "overall error": "low", "accuracy": "high", "failures": "low", "robustness": "high", "rank": "low"
    }  # fmt: skip
    assert len(videos) == 2 * (8 * 3 + 1 + 2 * 3 + 2 * 3)
    assert {row["video"] for row in videos} == {"one", "two"}


def otb_evaluation(**runs):
    v = video("one")
    return PROTOCOLS["otb"].evaluate(
        "one-pass", "d", [v], {name: {"one": [run(v)]} for name, run in runs.items()}
    )


def test_otb_files(tmp_path):
    def partly(v):
        run = trajectory(v, 3.0004)
        run.boxes[5] = np.nan
        run.seconds[5] = np.nan
        return run

    written = write_got10k(tmp_path, [otb_evaluation(a=partly)], base=1)
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    assert names == [
        "results/OTB2015/a/one.txt",
        "results/OTB2015/a/times/one_time.txt",
        "reports/OTB2015/a/performance.json",
    ]
    lines = written[0].read_text().splitlines()
    assert len(lines) == 12
    assert lines[0] == "21.000,31.000,40.000,30.000"
    assert lines[1] == "26.000,31.000,40.000,30.000"
    assert lines[5] == "nan,nan,nan,nan"
    times = written[1].read_text().splitlines()
    assert times[4:6] == ["0.01000000", "0.00000000"]
    performance = json.loads(written[2].read_text())["a"]
    assert set(performance["overall"]) == {
        "success_curve", "precision_curve", "success_score", "precision_score", "success_rate",
        "speed_fps",
    }  # fmt: skip
    assert performance["overall"]["speed_fps"] == pytest.approx(100)
    assert performance["overall"]["precision_score"] == pytest.approx(11 / 12)


def test_got10k_files_and_repetitions_that_went(tmp_path):
    v = video("G[1]")
    runs = {"a": {v.name: [trajectory(v, shift) for shift in (1, 2, 3)]}}
    each = PROTOCOLS["got10k"].evaluate("one-pass", "d", [v], runs)
    folder = tmp_path / "results/GOT-10k/a/G-1"
    write_got10k(tmp_path, [each])
    files = {path.name for path in folder.iterdir()}
    assert files == {"G-1_001.txt", "G-1_002.txt", "G-1_003.txt", "G-1_time.txt"}
    assert (folder / "G-1_time.txt").read_text().splitlines()[0] == ",".join(["0.01000000"] * 3)
    runs["a"][v.name] = runs["a"][v.name][:1]
    runs["a"][v.name][0].boxes[3] = np.inf
    write_got10k(tmp_path, [PROTOCOLS["got10k"].evaluate("one-pass", "d", [v], runs)])
    assert {path.name for path in folder.iterdir()} == {"G-1_001.txt", "G-1_time.txt"}
    assert (folder / "G-1_001.txt").read_text().splitlines()[3] == "0.000,0.000,0.000,0.000"
    performance = json.loads((tmp_path / "reports/GOT-10k/a/performance.json").read_text())["a"]
    part = performance["seq_wise"]["G-1"]
    assert set(part) == {"ao", "sr", "speed_fps", "length"}
    assert part["length"] == 11
    assert part["ao"] == pytest.approx(39 / 41 * 10 / 11)
    assert len(performance["overall"]["succ_curve"]) == 101


def test_names_lead_nowhere_else(tmp_path):
    v = video("../../out")
    runs = {name: {v.name: [trajectory(v)]} for name in HOSTILE}
    written = write_got10k(tmp_path / "in", [PROTOCOLS["otb"].evaluate("one-pass", "d", [v], runs)])
    for path in written:
        assert path.resolve().is_relative_to((tmp_path / "in").resolve())
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_second_evaluation_by_the_same_protocol_has_a_folder_of_its_own(tmp_path):
    a, b = otb_evaluation(a=trajectory), otb_evaluation(a=lambda v: trajectory(v, 9))
    written = write_got10k(tmp_path, [a, b, evaluation("vot2014")])
    places = [path.relative_to(tmp_path).as_posix() for path in written]
    assert places[3:] == [f"otb-2/{place}" for place in places[:3]]
    assert written[0].read_text() != written[3].read_text()


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.filterwarnings("ignore")
def test_got10k_reads_our_files_and_finds_the_same(tmp_path, monkeypatch, base):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pytest.importorskip("got10k", reason="got10k is not installed; pip install got10k==0.1.3 six")
    from got10k.experiments import ExperimentGOT10k, ExperimentOTB

    videos = [video("one", 30), video("two", 50)]
    runs = {
        "ours": {
            v.name: [
                trajectory(v, 4.0123456 + k, lost=25, seconds=0.01 / (k + 1)) for k in range(2)
            ]
            for v in videos
        },
        "blind": {v.name: [trajectory(v, 700)] for v in videos},
    }
    runs["blind"]["one"][0].boxes[3:6] = np.nan
    runs["ours"]["two"][0].boxes[4] = (-30, -20, 90, 70)  # bounded boxes move
    each = [PROTOCOLS[name].evaluate("one-pass", "d", videos, runs) for name in ("otb", "got10k")]
    write_got10k(tmp_path, each, base=base)

    class Data:
        """The data set as got10k's experiments ask for it."""

        seq_names = tuple(v.name for v in videos)
        return_meta = False

        def __len__(self):
            return len(videos)

        def __getitem__(self, index):
            v = videos[self.seq_names.index(index) if isinstance(index, str) else index]
            truth = np.array(list(v.boxes.values())) + np.array([base, base, 0, 0])
            meta = {"cover": np.ones(len(truth)), "resolution": str((160, 120))}
            return (v.frames, truth, meta) if self.return_meta else (v.frames, truth)

    names = list(runs)
    for kind, name, bins in (
        (ExperimentOTB, "OTB2015", {"nbins_iou": 21, "nbins_ce": 51}),
        (ExperimentGOT10k, "GOT-10k", {"nbins_iou": 101, "subset": "val"}),
    ):
        experiment = kind.__new__(kind)  # its __init__ wants to download the data
        vars(experiment).update(
            dataset=Data(),
            result_dir=os.fspath(tmp_path / "results" / name),
            report_dir=os.fspath(tmp_path / "theirs" / name),
            **bins,
        )
        theirs = experiment.report(names)
        ours = json.loads((tmp_path / "reports" / name / "ours/performance.json").read_text())
        compare(ours, theirs)
    assert each[0].trackers[0].scores["AUC"].value != 0


def compare(ours, theirs):
    """That two nested dictionaries of numbers are alike."""
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            compare(ours[name], value)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_all_files(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    each = [evaluation(), evaluation("vot2014", attributes=("occlusion",))]
    seen, said = [], []

    def progress(things, label):
        seen.append((label, len(things)))
        return things

    folder = tmp_path / "new/folder"
    written = write_reports(folder, each, read=read, progress=progress, say=said.append)
    found = {path for path in (tmp_path / "new").rglob("*") if path.is_file()}
    assert set(written) == found
    assert len(written) == len(found)
    assert [path.name for path in written[:4]] == [
        "report.html", "report.json", "scores.csv", "per-video.csv"
    ]  # fmt: skip
    assert seen == [("pictures", 2), ("pictures", 2)]
    assert len(said) == 1
    assert "pip install matplotlib" in said[0]
    before = {path: path.read_bytes() for path in written}
    assert write_reports(folder, each, read=read) == written
    assert before == {path: path.read_bytes() for path in before}  # no dates, no chance


def test_what_cannot_be_reported(tmp_path):
    with pytest.raises(ValueError, match="no evaluation to report on"):
        write_reports(tmp_path, [], read=read)
    with pytest.raises(ValueError, match="two trackers are named 'a'"):
        write_reports(tmp_path, [evaluation(names=["a", "b", "a"])], read=gone)
    assert list(tmp_path.iterdir()) == []
    short = evaluation()
    short.trackers[0].trajectories["one"][0] = trajectory(video("one", 5))
    with pytest.raises(ValueError, match="ours has 5 boxes of one, which has 12 frames"):
        write_reports(tmp_path, [short], read=read)
    assert list(tmp_path.iterdir()) == []


def test_a_perfect_tracker_by_otb(tmp_path):
    each = otb_evaluation(perfect=lambda v: trajectory(v, 0))
    path = write_got10k(tmp_path, [each])[-1]
    overall = json.loads(path.read_text())["perfect"]["overall"]
    assert math.isclose(overall["success_score"], 20 / 21)
    assert overall["precision_score"] == 1
