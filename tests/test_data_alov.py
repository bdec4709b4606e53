"""ALOV300++: corners, bases, the split, the videos that VOT2014 has too, and what may be wrong."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from datasets import ALOV_SIZES, alov, frames, lines, write
from goturn.box import Box
from goturn.data import DataError, Dataset
from goturn.data.alov import ANNOTATIONS, IMAGES, OVERLAP, label, load


def one(root: Path, text: str, numbers=range(1, 12)) -> Dataset:
    """A set of one video with this annotation."""
    write(root / ANNOTATIONS / "05-Shape" / "05-Shape_video00001.ann", text)
    frames(root / IMAGES / "05-Shape" / "05-Shape_video00001", numbers)
    return load(root)


def test_a_video_is_read(tmp_path):
    dataset = load(alov(tmp_path, {"05-Shape": 1}))
    (video,) = dataset.videos
    assert video.name == "05-Shape_video00001"
    assert len(video.frames) == 11
    assert video.frames[5] == tmp_path / IMAGES / "05-Shape" / video.name / "00000006.jpg"
    # Frames 1, 6, 11 from 1; corners x 5 + frame .. 15 + frame, y 4 .. 10, from 1.
    assert video.boxes == {0: Box(5, 3, 10, 6), 5: Box(10, 3, 10, 6), 10: Box(15, 3, 10, 6)}
    assert video.pairs() == [(0, 5), (5, 10)]
    assert dataset.problems == ()
    assert dataset.kind == "alov"


@pytest.mark.parametrize(
    "order", list(itertools.permutations([(5, 7), (25, 7), (25, 17), (5, 17)]))
)
def test_corners_come_in_any_order(order):
    text = " ".join(str(v) for corner in order for v in corner)
    assert label(f"3 {text}") == (3, Box(4, 6, 20, 10))


def test_a_turned_quadrangle_gives_the_rectangle_around_it():
    assert label("1 11 1 21 11 11 21 1 11") == (1, Box(0, 0, 20, 20))


def test_the_split_is_that_of_the_paper(tmp_path):
    alov(tmp_path, ALOV_SIZES, images=11)
    every, train, val = (load(tmp_path, split=split) for split in ("all", "train", "val"))
    assert (len(every.videos), len(train.videos), len(val.videos)) == (307, 251, 56)
    assert len(load(tmp_path, overlap="keep").videos) == 314
    names = [video.name for video in every.videos]
    assert not OVERLAP & set(names)
    assert names == sorted(names)
    assert sorted(v.name for v in train.videos + val.videos) == names
    # 01-Light: 30 remain, the last six are for validation; 02-SurfaceCover: 14 and two.
    light = [v.name for v in val.videos if v.name.startswith("01")]
    assert light == [f"01-Light_video{n:05d}" for n in range(28, 34)]
    cover = [v.name for v in val.videos if v.name.startswith("02")]
    assert cover == ["02-SurfaceCover_video00014", "02-SurfaceCover_video00015"]
    assert any("7 videos left out" in note and "overlap=keep" in note for note in every.notes)


def test_folders_of_other_names_are_found(tmp_path):
    alov(tmp_path, {"05-Shape": 2})
    (tmp_path / ANNOTATIONS).rename(tmp_path / "truth")
    (tmp_path / IMAGES).rename(tmp_path / "pictures")
    (tmp_path / "another").mkdir()
    assert len(load(tmp_path).videos) == 2


def test_folders_can_be_named(tmp_path):
    alov(tmp_path, {"05-Shape": 1})
    alov(tmp_path / "second", {"06-MotionSmoothness": 2})
    dataset = load(tmp_path, annotations=f"second/{ANNOTATIONS}", images=f"second/{IMAGES}")
    assert [v.name[:2] for v in dataset.videos] == ["06", "06"]


def test_categories_whose_names_are_not_in_their_videos(tmp_path):
    write(tmp_path / ANNOTATIONS / "cars" / "a.ann", "1 1 1 9 1 9 9 1 9\n")
    frames(tmp_path / IMAGES / "cars" / "a", [1])
    assert [video.name for video in load(tmp_path).videos] == ["cars_a"]


BAD_LINES = {
    "2 1 1 9 1 9 9 1": "8 numbers where 9 were expected",
    "2 1 1 9 1 9 9 1 9 9": "10 numbers where 9 were expected",
    "": "no number",
    "2 1 1 9 1 9 nine 1 9": "'nine' where a number was expected",
    "2 1 1 nan 1 9 9 1 9": "a corner that is not a number",
    "2 1 1 inf 1 9 9 1 9": "finite",
    "2 1 1 1e400 1 9 9 1 9": "finite",
    "2 1 1 9 1 9 1 1 1": "width and height above 0",
    "0 1 1 9 1 9 9 1 9": "0 is not a frame's number",
    "1.5 1 1 9 1 9 9 1 9": "1.5 is not a frame's number",
    "nan 1 1 9 1 9 9 1 9": "nan is not a frame's number",
    "1e300 1 1 9 1 9 9 1 9": "1e+300 is not a frame's number",
    "12 1 1 9 1 9 9 1 9": "there is no frame 12",
    "1 1 1 9 1 9 9 1 9": "frame 1 is labelled already",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_left_out_and_named(tmp_path, line):
    good = "1 1 1 9 1 9 9 1 9\n", "3 1 1 9 1 9 9 1 9\n"
    dataset = one(tmp_path, f"{good[0]}{line}\n{good[1]}")
    assert list(dataset.videos[0].boxes) == [0, 2]
    (problem,) = dataset.problems
    assert problem.path.name == "05-Shape_video00001.ann"
    assert problem.reason.startswith("line 2: ")
    assert BAD_LINES[line] in problem.reason


def test_lines_are_put_in_order(tmp_path):
    dataset = one(tmp_path, "6 1 1 9 1 9 9 1 9\n1 2 2 9 2 9 9 2 9\n")
    assert list(dataset.videos[0].boxes.items()) == [(0, Box(1, 1, 7, 7)), (5, Box(0, 0, 8, 8))]


@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty"), ("\n \n", "empty"), (b"\xff\xfe", "text")]
)
def test_a_file_that_is_no_annotation(tmp_path, text, reason):
    dataset = one(tmp_path, text)
    assert dataset.videos == ()
    (problem,) = dataset.problems
    assert reason in problem.reason


def test_a_file_of_rubbish_is_one_problem(tmp_path):
    dataset = one(tmp_path, "rubbish\n" * 100_000)
    (problem,) = dataset.problems
    assert problem.reason.startswith("more than 100 lines are bad, the first is line 1: 'rubbish'")
    assert dataset.videos == ()


def test_missing_images(tmp_path):
    alov(tmp_path, {"05-Shape": 2})
    for image in (tmp_path / IMAGES / "05-Shape" / "05-Shape_video00002").iterdir():
        image.unlink()
    dataset = load(tmp_path)
    assert [video.name for video in dataset.videos] == ["05-Shape_video00001"]
    (problem,) = dataset.problems
    assert problem.path.name == "05-Shape_video00002"
    assert problem.reason == "has no images"


def test_frames_behind_a_missing_one_keep_their_own_boxes(tmp_path):
    rows = [(n, *(n, 1, n + 9, 1, n + 9, 9, n, 9)) for n in (1, 6, 7, 11)]
    dataset = one(tmp_path, lines(rows, " "), numbers=(1, 2, 3, 4, 5, 7, 8, 9, 10, 11))
    (video,) = dataset.videos
    boxes = {video.frames[n].name: box.x for n, box in video.boxes.items()}
    assert boxes == {"00000001.jpg": 0, "00000007.jpg": 6, "00000011.jpg": 10}
    assert [problem.reason for problem in dataset.problems] == ["line 2: there is no frame 6"]


def test_frames_not_numbered_from_1_go_by_order(tmp_path):
    (video,) = one(tmp_path, "2 1 1 9 1 9 9 1 9\n", numbers=(101, 103, 105)).videos
    assert [video.frames[n].name for n in video.boxes] == ["00000103.jpg"]


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no folder in it holds CATEGORY/VIDEO.ann"):
        load(tmp_path)
    write(tmp_path / ANNOTATIONS / "05-Shape" / "a.ann", "1 1 1 9 1 9 9 1 9\n")
    with pytest.raises(DataError, match=r"no folder in it holds CATEGORY/VIDEO/\*.jpg"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load(tmp_path / "nowhere")
