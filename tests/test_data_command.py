"""``goturn data``: what it says, the sheet, and the look at every image."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from datasets import encoded, entry, frames, lines, photographs, write
from goturn.box import Box
from goturn.cli import main
from goturn.data import Dataset, FrameReader, Photograph, open_dataset
from goturn.data.check import check_images
from goturn.data.sheet import CAPTION, GAP, PICTURE, choose, make_sheet


@pytest.fixture
def videos(tmp_path) -> Path:
    """Three videos of 4 frames, of which the first, second and fourth are labelled."""
    root = tmp_path / "videos"
    for name in "abc":
        frames(root / name / "img", range(1, 5), 5)
        write(
            root / name / "groundtruth.txt",
            lines([(0, 0, 8, 8), (2, 2, 8, 18), [float("nan")] * 4, (4, 4, 16, 16)]),
        )
    return root


@pytest.fixture
def stills(tmp_path) -> Path:
    return photographs(
        tmp_path / "stills",
        {"p": entry((1, 2, 4, 16), (0, 0, 32, 24)), "q": entry((0, 0, 30, 8))},
    )


def test_what_there_is_is_told(videos, stills, capsys):
    assert main(["data", str(videos), f"photographs:{stills}"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines() == [
        f"folder:{videos}",
        "  3 videos: 12 frames, 9 labelled, 6 pairs of successive labelled frames",
        # Sides are 8, 12 and 16; those of the images are sqrt(32 * 24).
        "    side of a box, 5th, 50th, 95th percentile: 8, 12, 16 px; 28.9%, 43.3%, 57.7% of the image's",
        "  no problems",
        f"photographs:{stills}",
        "  2 photographs: 3 boxes",
        # Sides are 8, sqrt(240) and sqrt(32 * 24).
        "    side of a box, 5th, 50th, 95th percentile: 9, 15, 26 px; 31.6%, 55.9%, 95.6% of the image's",
        "    at most 66% of the image wide and high: 0 boxes in 0 photographs",
        "  no problems",
    ]


def test_problems_are_listed(videos, capsys):
    write(videos / "c" / "groundtruth.txt", "\n".join(["1,2,3"] * 3 + ["1,2,3,4"]))
    assert main(["data", str(videos)]) == 1  # three of fifteen
    said = capsys.readouterr()
    assert "  problems: 3\n" in said.out
    assert f"{videos}/c/groundtruth.txt: line 1: 3 numbers where 4 were expected" in said.out
    assert said.err == (
        f"goturn: error: more than 1% of folder:{videos} is bad; mend it, or remove what is bad\n"
    )


def test_many_problems_are_cut_but_for_verbose(videos, capsys):
    frames(videos / "c" / "img", range(1, 31), 5)
    write(videos / "c" / "groundtruth.txt", "1,2,3\n" * 29 + "1,2,3,4")
    main(["data", str(videos)])
    said = capsys.readouterr().out
    assert said.count("3 numbers where") == 10
    assert "and 19 more; --verbose lists all" in said
    main(["data", str(videos), "--verbose"])
    said = capsys.readouterr().out
    assert said.count("3 numbers where") == 29
    assert "more;" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["coco:x"], 1, "there is no kind 'coco'"),
        (["nowhere"], 1, "nowhere: no such folder"),
        (["{}", "--sheet", "x.jpg"], 2, "must end in .png"),
        (["{}", "--count", "3"], 2, "--count is for the sheet"),
        (["{}", "--sheet", "nowhere/x.png"], 1, "the folder nowhere does not exist"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(videos, capsys, arguments, code, sentence):
    assert main(["data", *(text.format(videos) for text in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("goturn: error: ")
    assert error.count("\n") == 1
    assert sentence in error


@pytest.mark.parametrize("count", ["0", "1001", "many", "-1"])
def test_sheets_of_no_or_too_many_samples(videos, capsys, count):
    with pytest.raises(SystemExit) as ended:
        main(["data", str(videos), "--sheet", "x.png", f"--count={count}"])
    assert ended.value.code == 2
    assert re.search("--count: .*is not a", capsys.readouterr().err)


# -- the sheet


def test_samples_are_spread_evenly(videos, stills):
    sets = [open_dataset(videos), open_dataset(stills)]
    assert [sample.caption for sample in choose(sets, 4)] == ["a 1", "c 1", "p", "q"]
    assert [sample.caption for sample in choose(sets, 5)] == ["a 1", "b 1", "c 1", "p", "q"]
    assert [sample.caption for sample in choose(sets, 1)] == ["b 1"]
    assert len(choose(sets, 100)) == 3 * 3 + 2
    assert [sample.caption for sample in choose(sets[1:], 5)] == ["p", "q"]
    six = choose(sets[:1], 6)
    assert [sample.caption for sample in six] == ["a 0", "a 3", "b 0", "b 3", "c 0", "c 3"]


def test_boxes_are_drawn_where_they_are(tmp_path):
    """The image is a white rectangle on black, twice as large as its boxes were drawn in."""
    image = np.zeros((96, 128, 3), np.uint8)
    image[20:60, 30:70] = 255
    path = write(tmp_path / "a.png", cv2.imencode(".png", image)[1].tobytes())
    photograph = Photograph("a", path, (64, 48), (Box(15, 10, 20, 20),))
    dataset = Dataset("photographs", tmp_path, photographs=(photograph,))
    sheet = make_sheet(choose([dataset], 1), FrameReader())
    assert sheet.shape == (PICTURE[1] + CAPTION + GAP, PICTURE[0] + GAP, 3)
    # 128 x 96 becomes 320 x 240: the box is 75..175 x 50..150, first and last pixel within it.
    coloured = (sheet[: PICTURE[1]].max(axis=2) - sheet[: PICTURE[1]].min(axis=2)) > 50
    rows, columns = np.nonzero(coloured)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (75, 174, 50, 149)


def test_an_image_that_cannot_be_decoded_is_left_black(stills):
    write(stills / "img" / "p.jpg", b"no image")
    sheet = make_sheet(choose([open_dataset(stills)], 2), FrameReader())
    assert sheet[: PICTURE[1], : PICTURE[0]].max() == 0
    assert sheet[PICTURE[1] : PICTURE[1] + CAPTION, : PICTURE[0]].max() > 100  # it says so
    assert sheet[: PICTURE[1], PICTURE[0] + GAP :].max() > 100


def test_the_sheet_is_written(videos, stills, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["data", str(videos), str(stills), "--sheet", str(sheet), "--count", "5"]) == 0
    assert f"wrote {sheet}: 5 samples" in capsys.readouterr().out
    assert cv2.imread(str(sheet)).shape == (2 * 268, 3 * 328, 3)
    assert list(tmp_path.glob("*.tmp*")) == []


# -- the look at every image


def test_every_image_is_decoded(videos, stills, capsys):
    write(videos / "a" / "img" / "00003.jpg", encoded()[:300])  # not labelled, but tracked through
    write(stills / "img" / "q.jpg", encoded(24, 32))  # turned
    assert main(["data", str(videos), str(stills), "--check", "--quiet"]) == 1
    said = capsys.readouterr()
    assert f"{videos}/a/img/00003.jpg: not a whole image that OpenCV can decode" in said.out
    assert f"{stills}/img/q.jpg: 24 x 32 pixels, but its boxes were drawn in 32 x 24" in said.out
    assert f"more than 1% of folder:{videos}, photographs:{stills} is bad" in said.err


def test_boxes_must_be_within_their_frames(videos):
    write(
        videos / "b" / "groundtruth.txt",
        lines([(0, 0, 8, 8), (32, 0, 5, 5), (-4, 0, 4, 4), (1, 1, 2, 2)]),
    )
    problems = check_images(open_dataset(videos), threads=2)
    assert [(p.path.name, p.reason) for p in problems] == [
        ("00002.jpg", "box 32, 0, 5, 5 lies outside the image of 32 x 24"),
        ("00003.jpg", "box -4, 0, 4, 4 lies outside the image of 32 x 24"),
    ]


def test_images_of_another_size_but_the_same_shape_are_well(stills):
    write(stills / "img" / "p.jpg", encoded(64, 48))
    write(stills / "img" / "q.jpg", encoded(107, 80))  # a rounded third
    assert check_images(open_dataset(stills)) == []
