"""Folders with a line of truth per frame: separators, bad lines, and images that are missing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import frames, lines, write
from goturn.box import Box
from goturn.data import DataError, folder, got10k, otb, vot
from goturn.data.alov import label
from goturn.data.reading import rectangle
from goturn.data.sequences import files_of_lines
from goturn.data.vot import region


def boxes(count: int) -> list[tuple[float, ...]]:
    return [(n, 2, 10, 8) for n in range(1, count + 1)]


def reasons(dataset) -> list[str]:
    return [problem.reason for problem in dataset.problems]


@pytest.mark.parametrize("below", ["img", ""])
def test_a_folder(tmp_path, below):
    frames(tmp_path / "b" / below, range(1, 4), 5)
    write(tmp_path / "b" / "groundtruth.txt", "1.5,2,3,4\nnan,nan,nan,nan\n5,6,7,8.25\n")
    (tmp_path / "no-sequence").mkdir()
    dataset = folder.load(tmp_path)
    (video,) = dataset.videos
    assert video.name == "b"
    assert [path.name for path in video.frames] == ["00001.jpg", "00002.jpg", "00003.jpg"]
    assert video.frames[0] == tmp_path / "b" / below / "00001.jpg"
    assert video.boxes == {0: Box(1.5, 2, 3, 4), 2: Box(5, 6, 7, 8.25)}
    assert video.pairs() == [(0, 2)]
    assert dataset.problems == ()


def test_one_sequence_may_be_given(tmp_path):
    frames(tmp_path / "b" / "img", [1])
    write(tmp_path / "b" / "groundtruth.txt", "1,2,3,4")
    assert [video.name for video in folder.load(tmp_path / "b").videos] == ["b"]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("f10.png", "f9.png", "f1.png", ".hidden.png", "notes.txt"):
        write(tmp_path / "b" / "img" / name, b"")
    write(tmp_path / "b" / "groundtruth.txt", lines(boxes(3)))
    (video,) = folder.load(tmp_path).videos
    assert [path.name for path in video.frames] == ["f1.png", "f9.png", "f10.png"]


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8\n",
        "1,2,3,4\r\n5,6,7,8\r\n\r\n",
        "1\t2\t3\t4\n5\t6\t7\t8",
        " 1  2 3 4 \n5, 6, 7, 8\n",
        "\ufeff1,2,3,4\n5;6;7;8\n",
        "1,2,3,4\r5,6,7,8\r",
    ],
)
def test_separators_and_line_ends(tmp_path, text):
    frames(tmp_path / "b", [1, 2])
    write(tmp_path / "b" / "groundtruth.txt", text)
    (video,) = folder.load(tmp_path).videos
    assert video.boxes == {0: Box(1, 2, 3, 4), 1: Box(5, 6, 7, 8)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3", "3 numbers where 4 were expected"),
        ("1,2,,4", "3 numbers where 4 were expected"),
        ("1,2,3,4,5", "5 numbers where 4 were expected"),
        ("", "no number"),
        ("1,2,3,x", "'x' where a number was expected"),
        ("1,2,3,1_0", "'1_0' where a number was expected"),
        ("1,2,3,nan", "finite"),
        ("nan,nan,nan", "3 numbers where 4 were expected"),
        ("1,2,inf,4", "finite"),
        ("1,2,1e400,4", "finite"),
        ("1,2,2e9,4", "within 1e+09"),
        ("1,2,0,4", "width and height above 0, not 0 x 4"),
        ("1,2,3,-4", "width and height above 0, not 3 x -4"),
    ],
)
def test_a_bad_line_leaves_its_frame_unlabelled(tmp_path, line, reason):
    frames(tmp_path / "b", range(1, 4))
    write(tmp_path / "b" / "groundtruth.txt", f"1,2,3,4\n{line}\n5,6,7,8\n")
    dataset = folder.load(tmp_path)
    assert list(dataset.videos[0].boxes) == [0, 2]
    assert dataset.problems[0].path == tmp_path / "b" / "groundtruth.txt"
    assert len(dataset.problems) == 1
    assert reasons(dataset)[0].startswith("line 2: ")
    assert reason in reasons(dataset)[0]


@pytest.mark.parametrize(
    ("text", "count", "reason"),
    [
        ("", 2, "empty"),
        ("nan,nan,nan,nan\n" * 2, 2, "no frame is labelled"),
        ("1,2,3,4\n", 2, "1 line for 2 images"),
        ("1,2,3,4\n", 0, "has no images"),
        (b"\x80\x81", 2, "not a text file"),
        ("x\n" * 300, 300, "more than 100 lines are bad"),
        ("1,2,3,4\n" * 500, 3, "497 of 500 frames are missing"),
    ],
)
def test_a_sequence_that_cannot_be_used_is_left_out(tmp_path, text, count, reason):
    (tmp_path / "b" / "img").mkdir(parents=True)
    frames(tmp_path / "b" / "img", range(1, count + 1))
    write(tmp_path / "b" / "groundtruth.txt", text)
    frames(tmp_path / "good", [1])
    write(tmp_path / "good" / "groundtruth.txt", "1,2,3,4")
    dataset = folder.load(tmp_path)
    assert [video.name for video in dataset.videos] == ["good"]
    (found,) = reasons(dataset)
    assert reason in found


def test_what_is_too_large_or_no_file_is_not_read(tmp_path):
    for name in ("pipe", "large", "loop"):
        frames(tmp_path / name, [1])
    os.mkfifo(tmp_path / "pipe" / "groundtruth.txt")  # opening it would wait for ever
    with open(tmp_path / "large" / "groundtruth.txt", "wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "loop" / "img").mkdir()
    os.symlink(tmp_path / "loop" / "img" / "1.jpg", tmp_path / "loop" / "img" / "1.jpg")
    write(tmp_path / "loop" / "groundtruth.txt", "1,2,3,4")
    problems = folder.load(tmp_path).problems
    assert [str(problem.path.relative_to(tmp_path)) for problem in problems] == [
        "large/groundtruth.txt",
        "loop/img",
        "pipe/groundtruth.txt",
    ]
    assert problems[0].reason == "larger than 17 MB"
    assert problems[1].reason == "cannot be read: Too many levels of symbolic links"
    assert problems[2].reason == "not a file"


@pytest.mark.parametrize(
    ("names", "count", "expected"),
    [
        (["a.jpg", "b.jpg"], 2, [0, 1]),
        (["1.jpg", "5.jpg", "9.jpg"], 3, [0, 1, 2]),  # thinned, and so are the lines
        (["1.jpg", "3.jpg"], 3, [0, None, 1]),
        (["2.jpg", "3.jpg"], 3, [None, 0, 1]),
        (["1.jpg", "2.jpg"], 3, [0, 1, None]),
        (["0.jpg", "2.jpg"], 3, [0, None, 1]),
        (["247.jpg", "249.jpg"], 3, [0, None, 1]),  # part of a longer video
    ],
)
def test_which_image_a_line_is_about(names, count, expected):
    assert files_of_lines(names, count) == expected


@pytest.mark.parametrize(
    ("names", "count"),
    [(["a.jpg"], 2), (["1.jpg", "2.jpg"], 1), (["1.jpg", "9.jpg"], 3), (["a1.jpg", "b1.jpg"], 3)],
)
def test_lines_that_cannot_be_matched(names, count):
    with pytest.raises(ValueError, match=r"for [0-9]+ image"):
        files_of_lines(names, count)


FIELD = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.text(max_size=4),
    st.sampled_from(["nan", "inf", "-0", "1e999", "0x1", "1_0", "\u0663", "m", "\0"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FIELD, max_size=10), st.sampled_from([",", " ", "\t", ", "]))
def test_whatever_a_line_holds_it_is_a_good_box_or_refused(fields, separator):
    line = separator.join(fields)
    for parse in (rectangle, region, otb.from_one, label):
        try:
            box = parse(line)
        except ValueError:
            continue
        if parse is label:
            frame, box = box
            assert 1 <= frame < 1e9
        if box is not None:
            assert all(abs(value) <= 1e9 + 1 for value in box)
            assert box.w > 0
            assert box.h > 0


@pytest.mark.parametrize("loader", [folder, otb, got10k, vot])
def test_nothing_there(tmp_path, loader):
    with pytest.raises(DataError, match="found nothing; looked for"):
        loader.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        loader.load(tmp_path / "nowhere")
    file = write(tmp_path / "file", "")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        loader.load(file)
