"""Evaluations in a terminal, and what all forms of a report share."""

from __future__ import annotations

import math
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goturn.evaluation.report import table
from goturn.evaluation.report.charts import decades, ticks
from goturn.evaluation.report.looks import (
    best,
    decimals,
    keys_of,
    look_of,
    ordered,
    rate,
    safe_names,
)
from goturn.evaluation.results import Evaluation, Interval
from report_cases import HOSTILE, evaluation, nothing, tracker, video


def columns(text):
    """How many columns of a terminal the widest line takes."""
    return max(
        sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
        for line in text.splitlines()
    )


def test_what_a_table_says():
    text = table(evaluation(notes=("a video was left out",)))
    lines = text.splitlines()
    assert lines[0] == "OTB on folder:val"
    assert lines[1] == "2 videos, 24 labelled frames, overlap: exact"
    rows = [line.split() for line in lines if line.startswith(("ours", "theirs"))]
    assert rows == [["ours", "0.800*", "0.400*", "80.0"], ["theirs", "0.750", "0.375", "75.0"]]
    assert ["0.75-0.84", "0.10-0.50", "72.0"] in [line.split() for line in lines]
    assert "Note: a video was left out" in lines


def test_order_and_the_best_where_less_is_better():
    videos = (video("one"),)
    results = [tracker(n, videos, v, protocol="vot2014") for n, v in (("bad", 0.2), ("good", 0.9))]
    each = Evaluation(
        "vot2014", "baseline", "raster", "d", videos, results, frozenset({"overall error"})
    )
    text = table(each)
    assert text.index("good") < text.index("bad")
    assert "VOT2014 baseline" in text
    assert re.search(r"good +0\.100\* +0\.900\*", text)
    assert "Less is better: overall error." in text.replace("\n  ", " ")
    by_rank = [t.name for t in ordered(each, "failures")]
    assert by_rank == ["bad", "good"]  # not among those of which less is better here
    with pytest.raises(ValueError, match="named 'speed'; order by one of overall error"):
        table(each, by="speed")


def test_numbers_that_do_not_exist_come_last():
    videos = (video("one"),)
    results = [nothing(videos=videos), tracker("seeing", videos, 0.5)]
    each = Evaluation("otb", "one-pass", "exact", "d", videos, results)
    assert [t.name for t in ordered(each)] == ["seeing", "blind"]
    row = next(line for line in table(each).splitlines() if line.startswith("blind"))
    assert row.split() == ["blind", "-", "-", "-"]
    assert "nan" not in table(each)


def test_many_scores_go_on_below():
    videos = (video("one"),)
    result = tracker("a tracker of the longest name that anybody gave one", videos, 0.5)
    scores = {f"score number {k}": Interval(0.1, 0.05, 0.15) for k in range(20)}
    result = type(result)(**{**vars(result), "scores": scores})
    text = table(Evaluation("otb", "one-pass", "exact", "d", videos, [result]))
    assert columns(text) <= 100
    assert text.count("a tracker of .. anybody gave one"[:13]) > 2
    assert text.count("0.100") == 20
    assert "*" not in text  # nobody to be better than


@pytest.mark.parametrize("protocol", ["otb", "got10k", "vot2014"])
def test_width_and_control_characters(protocol):
    text = table(evaluation(protocol, names=[*HOSTILE, *(f"tracker {k}" for k in range(4))]))
    assert columns(text) <= 100
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "?[31mred?line" in text


def test_one_video_alone():
    text = table(evaluation(videos=(video("one", frames=1),)))
    assert "1 video, 1 labelled frame, overlap" in text


def test_best():
    assert best({"a": 1.0, "b": 2.0, "c": 2.0}, low=False) == {"b", "c"}
    assert best({"a": 1.0, "b": math.nan}, low=True) == {"a"}
    assert best({"a": 1.0}, low=True) == set()
    assert best({"a": math.nan, "b": math.nan}, low=True) == set()


def test_numbers():
    assert [decimals([v]) for v in (0.5, 1, 1.5, 99, 100, math.nan)] == [3, 3, 2, 2, 1, 3]
    assert [rate(v) for v in (1234.5, 12.34, 1.234, 0, math.nan)] == [
        "1,234",
        "12.3",
        "1.23",
        "-",
        "-",
    ]


def test_looks_differ():
    assert len({look_of(k) for k in range(84)}) == 84
    assert not look_of(0).dashes


@given(st.lists(st.text(max_size=20), max_size=8))
def test_safe_names_are_file_names_and_differ(names):
    safe = safe_names(names)
    assert set(safe) == set(names)
    assert len({name.casefold() for name in safe.values()}) == len(set(names))
    for name in safe.values():
        assert not re.search(r"[/\\\0\s]", name)
        assert not name.startswith((".", "-"))
        assert 0 < len(name.encode()) < 200


def test_usual_names_stay():
    names = ["GOT-10k_Val_000001", "Jogging.1", "cv2:KCF", "cv2-KCF", "CV2-kcf", "..", ""]
    expected = [
        "GOT-10k_Val_000001",
        "Jogging.1",
        "cv2-KCF",
        "cv2-KCF-2",
        "CV2-kcf-3",
        "_..",
        "unnamed",
    ]
    assert list(safe_names(names).values()) == expected


def test_keys_differ():
    each = [evaluation(), evaluation("vot2014"), evaluation(), evaluation(dataset="other")]
    assert keys_of(each) == ["otb", "vot2014-baseline", "otb-2", "otb-3"]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks(low, span):
    high = low + span
    values = ticks(low, high)
    assert len(values) <= 6
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - slack <= value <= high + slack for value in values)
    assert len(values) >= 2 or span < 1e-8 * abs(low)


def test_decades():
    assert decades(1, 100) == pytest.approx([1, 2, 5, 10, 20, 50, 100])
    assert decades(1, 10000) == pytest.approx([1, 10, 100, 1000, 10000])
