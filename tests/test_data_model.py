"""What loaders give: pairs of frames, room around boxes, boxes in an image of another size, problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from goturn.box import Box
from goturn.data import DataError, Dataset, FrameFiles, Photograph, Problem, Video, check_problems

BOX = Box(1, 2, 3, 4)


def video(name: str = "v", numbers: tuple[int, ...] = (0, 5, 6)) -> Video:
    return Video(name, (Path("a.jpg"),) * 9, dict.fromkeys(numbers, BOX))


def test_pairs_are_of_successive_labelled_frames():
    assert video().pairs() == [(0, 5), (5, 6)]
    assert video(numbers=(3,)).pairs() == []


def test_room_is_asked_for_in_both_dimensions():
    wide, high, fits = Box(0, 0, 67, 10), Box(0, 0, 10, 133), Box(5, 5, 66, 132)
    photograph = Photograph("p", Path("p.jpg"), (100, 200), (wide, high, fits))
    assert photograph.with_room() == (fits,)
    assert photograph.with_room(0.67) == (wide, high, fits)
    assert photograph.with_room(0.5) == ()


def test_boxes_of_an_image_of_another_size_are_scaled_by_the_ratio_of_heights():
    photograph = Photograph("p", Path("p.jpg"), (100, 80), (Box(10, 20, 30, 40),))
    assert photograph.fitted(photograph.boxes[0], 80) is photograph.boxes[0]
    assert photograph.fitted(photograph.boxes[0], 40) == Box(5, 10, 15, 20)
    assert photograph.fitted(photograph.boxes[0], 40) == Box(5, 10, 15, 20)  # nothing compounds


def test_files_of_a_folder_are_paths_made_when_asked_for():
    files = FrameFiles(Path("f"), ["1.jpg", "2.jpg", "3.jpg"])
    assert list(files) == [Path("f/1.jpg"), Path("f/2.jpg"), Path("f/3.jpg")]
    assert files[-1] == Path("f/3.jpg")
    assert files[1:] == FrameFiles(Path("f"), ["2.jpg", "3.jpg"])
    assert len({files, FrameFiles(Path("f"), ("1.jpg", "2.jpg", "3.jpg"))}) == 1
    assert files != FrameFiles(Path("g"), files.names)
    with pytest.raises(IndexError):
        files[3]


def test_name_and_files_of_a_data_set():
    dataset = Dataset("folder", Path("x"), (video("c"), video("a"), video("b")))
    assert dataset.files == 27
    assert dataset.name == "folder:x"


def test_a_hundredth_may_be_bad_and_no_more():
    problems = tuple(Problem(Path(f"{n}.xml"), "empty") for n in range(3))
    check_problems("set", problems, 300)
    check_problems("set", (), 0)
    with pytest.raises(DataError, match=r"^set: 3 of 299 files are bad, more than 1%") as caught:
        check_problems("set", problems, 299)
    assert "2.xml: empty" in str(caught.value)


def test_a_long_list_of_problems_is_cut():
    problems = tuple(Problem(Path(f"{n}.xml"), "empty") for n in range(60))
    with pytest.raises(DataError, match="and 10 more") as caught:
        check_problems("set", problems, 60)
    assert "49.xml" in str(caught.value)
    assert "50.xml" not in str(caught.value)
