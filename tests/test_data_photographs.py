"""Photographs with ``boxes.json``."""

from __future__ import annotations

import json

import pytest

from datasets import entry, photographs, write
from goturn.box import Box
from goturn.data import DataError
from goturn.data.photographs import load


def test_photographs(tmp_path):
    photographs(
        tmp_path, {"00002": entry((1, 2, 3.5, 4), (0, 0, 32, 24)), "00001": entry((5, 6, 7, 8))}
    )
    dataset = load(tmp_path)
    first, second = dataset.photographs
    assert (first.name, second.name) == ("00002", "00001")
    assert first.path == tmp_path / "img" / "00002.jpg"
    assert first.size == (32, 24)
    assert first.boxes == (Box(1, 2, 3.5, 4), Box(0, 0, 32, 24))
    assert first.with_room() == (Box(1, 2, 3.5, 4),)
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([1, 2, 3], "4 numbers were expected"),
        ([1, 2, 3, 4, 5], "4 numbers were expected"),
        ([1, 2, 3, "4"], "4 numbers were expected"),
        ([1, 2, 3, True], "4 numbers were expected"),
        ({"x": 1}, "4 numbers were expected"),
        (None, "4 numbers were expected"),
        ([1, 2, 3, float("nan")], "finite"),
        ([1, 2, 3, float("inf")], "finite"),
        ([1, 2, 3, 10**400], "too large"),
        ([1, 2, 0, 4], "width and height above 0"),
        ([40, 2, 3, 4], "lies outside the image of 32 x 24"),
        ([-5, 2, 5, 4], "lies outside the image of 32 x 24"),
    ],
)
def test_a_bad_box_is_left_out_and_named(tmp_path, box, reason):
    bad = entry((1, 2, 3, 4))
    bad["boxes"].append({"class": "cat", "box": box})
    photographs(tmp_path, {"a": bad})
    dataset = load(tmp_path)
    assert dataset.photographs[0].boxes == (Box(1, 2, 3, 4),)
    (problem,) = dataset.problems
    assert problem.path == tmp_path / "img" / "a.jpg"
    assert problem.reason.startswith("box 2: ")
    assert reason in problem.reason


@pytest.mark.parametrize(
    ("name", "bad", "reason"),
    [
        ("b", None, "must be"),
        ("b", [], "must be"),
        ("b", {"size": [32, 24]}, "must be"),
        ("b", {"size": [32, 24], "boxes": {}}, "must be"),
        ("b", entry((1, 2, 3, 4), size=(0, 24)), "an image cannot be of size 0 x 24"),
        ("b", entry((1, 2, 3, 4), size=(32,)), "2 numbers were expected"),
        ("b", entry((1, 2, 3, 4), size=(float("nan"), 24)), "cannot be of size"),
        ("gone", entry((1, 2, 3, 4)), "there is no image img/gone.jpg"),
        ("../b", entry((1, 2, 3, 4)), "is not the plain name"),
        ("/b", entry((1, 2, 3, 4)), "is not the plain name"),
        ("", entry((1, 2, 3, 4)), "is not the plain name"),
    ],
)
def test_a_bad_entry_is_left_out_and_named(tmp_path, name, bad, reason):
    photographs(tmp_path, {name: bad, "a": entry((1, 2, 3, 4))}, images=["a", "b", "../b"])
    dataset = load(tmp_path)
    assert [photograph.name for photograph in dataset.photographs] == ["a"]
    (problem,) = dataset.problems
    assert problem.reason.startswith(repr(name))
    assert reason in problem.reason


def test_an_entry_without_boxes_is_no_problem(tmp_path):
    photographs(tmp_path, {"a": entry((1, 2, 3, 4)), "b": entry()})
    dataset = load(tmp_path)
    assert len(dataset.photographs) == 1
    assert dataset.problems == ()
    assert dataset.notes == ("1 photograph without boxes left out.",)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "[" * 100_000, b"\xff\xfe\x00", '{"a": 1' + "0" * 5000 + "}"]
)
def test_files_that_are_not_boxes(tmp_path, text):
    photographs(tmp_path, {"a": entry((1, 2, 3, 4))})
    write(tmp_path / "boxes.json", text)
    with pytest.raises(DataError, match=r"boxes\.json"):
        load(tmp_path)


def test_no_images(tmp_path):
    write(tmp_path / "boxes.json", json.dumps({"a": entry((1, 2, 3, 4))}))
    with pytest.raises(DataError, match=r"img cannot be read"):
        load(tmp_path)
    (tmp_path / "img").mkdir()
    with pytest.raises(DataError, match=r"img has no images"):
        load(tmp_path)
