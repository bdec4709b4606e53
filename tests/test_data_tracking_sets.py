"""OTB, VOT and GOT-10k: each has a line of truth per frame, and ways of its own."""

from __future__ import annotations

import pytest

from datasets import frames, lines, write
from goturn.box import Box
from goturn.data import DataError, got10k, otb, vot
from goturn.data.vot import region


def boxes(count: int) -> list[tuple[float, ...]]:
    return [(n, 2, 10, 8) for n in range(1, count + 1)]


def reasons(dataset) -> list[str]:
    return [problem.reason for problem in dataset.problems]


# -- OTB


def test_otb_coordinates_begin_at_1(tmp_path):
    frames(tmp_path / "Car1" / "img", [1, 2, 3], 4)
    write(tmp_path / "Car1" / "groundtruth_rect.txt", "11\t21\t30\t40\n0 0 0 0\n12,22,30,40\n")
    (video,) = otb.load(tmp_path).videos
    assert video.boxes == {0: Box(10, 20, 30, 40), 2: Box(11, 21, 30, 40)}


@pytest.mark.parametrize(
    ("name", "images", "first", "last"),
    [
        ("David", 770, 300, 770),
        ("Football1", 80, 1, 74),
        ("Freeman3", 470, 1, 460),
        ("Freeman4", 290, 1, 283),
        ("Diving", 231, 1, 215),
    ],
)
def test_otb_videos_labelled_in_part(tmp_path, name, images, first, last):
    frames(tmp_path / name / "img", range(1, images + 1), 4)
    count = last - first + 1
    write(tmp_path / name / "groundtruth_rect.txt", lines(boxes(count), "\t"))
    dataset = otb.load(tmp_path)
    (video,) = dataset.videos
    assert dataset.problems == ()
    assert len(video.frames) == len(video.boxes) == count
    assert video.frames[0].name == f"{first:04d}.jpg"
    assert video.frames[-1].name == f"{last:04d}.jpg"
    assert video.boxes[0] == Box(0, 1, 10, 8)


def test_otb_separators_may_differ_from_file_to_file(tmp_path):
    """Commas, tabs and blanks all occur in the original, with stray blanks around them."""
    for name, text in {
        "Comma": "11,21,30,40\n12, 22, 30, 40\n",
        "Tab": "11\t21\t30\t40\r\n12\t22\t30\t40\r\n",
        "Blank": "  11 21 30 40 \n12   22 30 40",
    }.items():
        frames(tmp_path / name / "img", [1, 2], 4)
        write(tmp_path / name / "groundtruth_rect.txt", text)
    dataset = otb.load(tmp_path)
    assert [video.name for video in dataset.videos] == ["Blank", "Comma", "Tab"]
    for video in dataset.videos:
        assert video.boxes == {0: Box(10, 20, 30, 40), 1: Box(11, 21, 30, 40)}
        assert video.base == 1


def test_otb_an_only_annotation_that_is_empty_is_named(tmp_path):
    frames(tmp_path / "Human4" / "img", [1, 2], 4)
    write(tmp_path / "Human4" / "groundtruth_rect.txt", "")
    dataset = otb.load(tmp_path)
    assert dataset.videos == ()
    assert reasons(dataset) == ["empty"]


def test_otb_frames_whose_numbers_begin_elsewhere(tmp_path):
    """BlurCar1's images begin at 247; its lines are about these."""
    frames(tmp_path / "BlurCar1" / "img", range(247, 250), 4)
    write(tmp_path / "BlurCar1" / "groundtruth_rect.txt", lines(boxes(3)))
    (video,) = otb.load(tmp_path).videos
    assert video.frames[0].name == "0247.jpg"
    assert list(video.boxes) == [0, 1, 2]


def test_otb_videos_that_were_cut_already(tmp_path):
    frames(tmp_path / "David" / "img", range(1, 472), 4)
    write(tmp_path / "David" / "groundtruth_rect.txt", lines(boxes(471)))
    (video,) = otb.load(tmp_path).videos
    assert len(video.frames) == 471


def test_otb_videos_labelled_in_part_whose_frames_have_other_names(tmp_path):
    for name in ("x.jpg", "y.jpg"):
        write(tmp_path / "David" / "img" / name, b"")
    write(tmp_path / "David" / "groundtruth_rect.txt", lines(boxes(1)))
    assert reasons(otb.load(tmp_path))[0].startswith("1 line for 2 images")


def test_otb_two_targets(tmp_path):
    for name in ("Jogging", "Human4"):
        frames(tmp_path / name / "img", [1, 2], 4)
        write(tmp_path / name / "groundtruth_rect.2.txt", lines(boxes(2)))
    write(tmp_path / "Jogging" / "groundtruth_rect.1.txt", lines([(5, 5, 5, 5)] * 2))
    write(tmp_path / "Human4" / "groundtruth_rect.1.txt", "")
    dataset = otb.load(tmp_path)
    assert [video.name for video in dataset.videos] == ["Human4.2", "Jogging.1", "Jogging.2"]
    assert dataset.videos[1].boxes[0] == Box(4, 4, 5, 5)
    assert dataset.videos[2].boxes[0] == Box(0, 1, 10, 8)
    assert dataset.problems == ()
    assert dataset.notes == ("Human4/groundtruth_rect.1.txt is empty, as in the original.",)


# -- VOT


def test_vot(tmp_path):
    write(tmp_path / "list.txt", "bolt\nball\n")
    for name, below in (("ball", "color"), ("bolt", "")):
        frames(tmp_path / name / below, [1, 2])
        write(tmp_path / name / "groundtruth.txt", "11,21,30,40\n41,31,21,31,21,11,41,11\n")
    dataset = vot.load(tmp_path)
    assert [video.name for video in dataset.videos] == ["bolt", "ball"]
    assert dataset.videos[0].frames[0] == tmp_path / "bolt" / "00000001.jpg"
    assert dataset.videos[1].frames[0] == tmp_path / "ball" / "color" / "00000001.jpg"
    for video in dataset.videos:
        assert video.boxes == {0: Box(10, 20, 30, 40), 1: Box(20, 10, 20, 20)}
        assert video.corners == {1: (40, 30, 20, 30, 20, 10, 40, 10)}
        assert (video.tags, video.base) == ({}, 1)
    from_zero = vot.load(tmp_path, base="0").videos[0]
    assert from_zero.boxes == {0: Box(11, 21, 30, 40), 1: Box(21, 11, 20, 20)}
    assert from_zero.corners == {1: (41, 31, 21, 31, 21, 11, 41, 11)}
    assert from_zero.base == 0


def test_vot_attributes(tmp_path):
    write(tmp_path / "list.txt", "ball\n")
    ball = frames(tmp_path / "ball", [1, 2, 3, 4])
    (ball / "00000002.jpg").unlink()  # flags are lines', not images'
    write(ball / "groundtruth.txt", "11,21,30,40\n" * 4)
    write(ball / "occlusion.label", "0\n1\n1\n0\n")
    write(ball / "camera_motion.tag", "1\n1\n")  # the rest have it not
    write(ball / "size_change.label", "0\n" * 4)
    write(ball / "illum_change.label", "0\nyes\n0\n0\n")
    write(ball / "practical.value", "0.1\n" * 4)
    dataset = vot.load(tmp_path)
    (video,) = dataset.videos
    assert list(video.boxes) == [0, 1, 2]
    assert video.tags == {
        "camera_motion": frozenset({0}),
        "occlusion": frozenset({1}),
        "size_change": frozenset(),
    }
    assert (ball / "illum_change.label", "a line that is neither 0 nor 1") in [
        (problem.path, problem.reason) for problem in dataset.problems
    ]


def test_vot_regions():
    assert region("10,0,20,10,10,20,0,10") == Box(0, 0, 20, 20)  # a turned square
    assert region(",".join(["nan"] * 8)) is None
    for line, reason in (
        ("1,2,3,4,5,6", "6 numbers where 4 or 8"),
        ("1,2,3,4,5,6,7,nan", "a corner that is not a number"),
        ("1,2,1,2,1,2,1,2", "width and height above 0"),
        ("m0,0,5,5,1,2", "a mask"),
        ("1", "1 number where 4 or 8"),
    ):
        with pytest.raises(ValueError, match=reason):
            region(line)


@pytest.mark.parametrize("name", ["../outside", "/etc", "gone", ".."])
def test_lists_that_lead_elsewhere(tmp_path, name):
    root = tmp_path / "root"
    for folder_ in (root / "ball", tmp_path / "outside"):
        frames(folder_, [1])
        write(folder_ / "groundtruth.txt", "11,21,30,40\n")
    write(root / "list.txt", f"{name}\nball\n")
    dataset = vot.load(root)
    assert [video.name for video in dataset.videos] == ["ball"]
    assert dataset.problems[0].path == root / "list.txt"
    assert reasons(dataset)[0].startswith("line 1: ")


# -- GOT-10k


def got(root, name: str, text: str, absence: str | None = None, count: int = 3):
    frames(root / name, range(1, count + 1))
    write(root / name / "groundtruth.txt", text)
    if absence is not None:
        write(root / name / "absence.label", absence)


def test_got10k(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / split / "list.txt", f"GOT-10k_{split}_1\n")
        got(tmp_path / split, f"GOT-10k_{split}_1", "1,2,3,4\n0,0,0,0\n5,6,7,8\n", "0\n1\n0\n")
    both = got10k.load(tmp_path)
    assert [video.name for video in both.videos] == ["GOT-10k_train_1", "GOT-10k_val_1"]
    assert both.videos[0].boxes == {0: Box(1, 2, 3, 4), 2: Box(5, 6, 7, 8)}
    assert both.problems == ()
    assert "split=train" in both.notes[0]
    assert [v.name for v in got10k.load(tmp_path, split="val").videos] == ["GOT-10k_val_1"]
    assert [v.name for v in got10k.load(tmp_path / "train").videos] == ["GOT-10k_train_1"]
    with pytest.raises(DataError, match=r"has no val/list.txt"):
        got10k.load(tmp_path / "train", split="val")
    (tmp_path / "val" / "list.txt").unlink()
    with pytest.raises(DataError, match="is that split missing"):
        got10k.load(tmp_path, split="val")


def test_got10k_frames_in_which_the_object_is_covered(tmp_path):
    """They are labelled and not scored; one from which it is absent has no label at all."""
    got(tmp_path, "a", "1,2,3,4\n5,6,7,8\n0,0,0,0\n9,9,9,9\n", "0\n0\n1\n0\n", 4)
    write(tmp_path / "a" / "cover.label", "8\n0\n0\n1\n")
    got(tmp_path, "b", "1,2,3,4\n" * 3)  # no labels of either kind, and no meta_info.ini
    a, b = got10k.load(tmp_path).videos
    assert list(a.boxes) == [0, 1, 3]
    assert a.ignored == {1}
    assert (list(b.boxes), b.ignored, b.base) == ([0, 1, 2], frozenset(), 0)
    for bad, reason in (
        ("8\n0\n", "4 lines, but there are 2 flags of cover"),
        ("9\n" * 4, "not from 0"),
    ):
        write(tmp_path / "a" / "cover.label", bad)
        (problem,) = got10k.load(tmp_path).problems
        assert reason in problem.reason


def test_got10k_problems(tmp_path):
    write(tmp_path / "list.txt", "a\nb\nc\nd\n")
    good = "1,2,3,4\n" * 3
    got(tmp_path, "a", good)
    got(tmp_path, "b", good, "0\n0\n")
    got(tmp_path, "c", good, "0\n2\n0\n")
    got(tmp_path, "d", good, "0\n0\n0\n")
    (tmp_path / "d" / "00000002.jpg").unlink()
    dataset = got10k.load(tmp_path)
    assert {video.name: list(video.boxes) for video in dataset.videos} == {
        "a": [0, 1, 2],
        "d": [0, 1],
    }
    assert [path.name for path in dataset.videos[1].frames] == ["00000001.jpg", "00000003.jpg"]
    assert reasons(dataset) == [
        "3 lines, but there are 2 flags of absence",
        "a line that is neither 0 nor 1",
        "the frame of line 2 of groundtruth.txt is missing",
    ]
