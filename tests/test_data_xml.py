"""ImageNet DET and Pascal VOC: coordinates, what is dropped, and files made to harm."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import JPEG, voc_xml, write
from goturn.box import Box
from goturn.data import DataError, Dataset, imagenet_det, voc
from goturn.data.xml_boxes import MAX_BYTES, parse_annotation, read_annotation

TRUTHS = "Annotations/DET/train"
IMAGES = "Data/DET/train"


def imagenet(
    root: Path, text: str | bytes, *, name: str = "n01/a", image: str = "n01/a"
) -> Dataset:
    """A set of one annotation."""
    write(root / TRUTHS / f"{name}.xml", text)
    write(root / IMAGES / f"{image}.JPEG", JPEG)
    return imagenet_det.load(root)


def reasons(dataset: Dataset) -> list[str]:
    return [problem.reason for problem in dataset.problems]


def test_imagenet_coordinates_are_taken_as_they_are(tmp_path):
    dataset = imagenet(tmp_path, voc_xml([(0, 0, 100, 80), (10, 20, 40, 60)]))
    (photograph,) = dataset.photographs
    assert photograph.name == "n01/a"
    assert photograph.path == tmp_path / IMAGES / "n01" / "a.JPEG"
    assert photograph.size == (100, 80)
    assert photograph.boxes == (Box(0, 0, 100, 80), Box(10, 20, 30, 40))  # the large one is kept
    assert photograph.with_room() == (Box(10, 20, 30, 40),)
    assert dataset.problems == ()


def test_voc_coordinates_begin_at_1_and_both_ends_are_in_the_box(tmp_path):
    write(
        tmp_path / "Annotations/a.xml",
        voc_xml([(1, 1, 100, 80), (11, 21, 40, 60)], filename="a.jpg"),
    )
    write(tmp_path / "JPEGImages/a.jpg", JPEG)
    (photograph,) = voc.load(tmp_path).photographs
    assert photograph.boxes == (Box(0, 0, 100, 80), Box(10, 20, 30, 40))
    assert photograph.path == tmp_path / "JPEGImages" / "a.jpg"
    assert photograph.name == "a"


def test_voc_of_several_years(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write(tmp_path / year / "Annotations/a.xml", voc_xml([(1, 1, 9, 9)], filename="a.jpg"))
        write(tmp_path / year / "JPEGImages/a.jpg", JPEG)
    assert [p.name for p in voc.load(tmp_path).photographs] == ["VOC2007/a", "VOC2012/a"]


def test_a_part_of_an_object_is_not_its_box(tmp_path):
    text = voc_xml([(11, 21, 40, 60)]).replace(
        "</object>",
        "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax>"
        "</bndbox></part></object>",
    )
    assert imagenet(tmp_path, text).photographs[0].boxes == (Box(11, 21, 29, 39),)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((-1, 0, 9, 9), "begin within the image"),
        ((0, -1, 9, 9), "begin within the image"),
        ((9, 0, 9, 9), "width and height above 0"),
        ((0, 9, 9, 8), "width and height above 0"),
        ((0, 0, "nan", 9), "finite"),
        ((0, 0, "inf", 9), "finite"),
        ((0, 0, "1e400", 9), "finite"),
        ((0, 0, "9 9", 9), "2 numbers where 1 was expected"),
        ((0, 0, "wide", 9), "'wide' where a number was expected"),
        ((0, 0, "", 9), "no bndbox/xmax"),
        ((0, 0, "1_0", 9), "a number was expected"),
        ((100, 0, 120, 9), "lies outside the image of 100 x 80"),
    ],
)
def test_bad_boxes_are_left_out_and_named(tmp_path, box, reason):
    dataset = imagenet(tmp_path, voc_xml([(1, 2, 4, 6), box]))
    assert dataset.photographs[0].boxes == (Box(1, 2, 3, 4),)
    (found,) = reasons(dataset)
    assert found.startswith("object 2: ")
    assert reason in found


def test_a_photograph_with_no_good_box_is_left_out(tmp_path):
    dataset = imagenet(tmp_path, voc_xml([(9, 9, 9, 9)]))
    assert dataset.photographs == ()
    assert len(dataset.problems) == 1


def test_annotations_without_objects_are_no_problem(tmp_path):
    imagenet(tmp_path, voc_xml([(1, 2, 4, 6)]))
    dataset = imagenet(tmp_path, voc_xml([]), name="n01/b", image="n01/b")
    assert len(dataset.photographs) == 1
    assert dataset.problems == ()
    assert dataset.notes == ("1 annotation without objects left out.",)


def test_folders_with_extra_images_are_left_out(tmp_path):
    imagenet(tmp_path, voc_xml([(1, 2, 4, 6)]))
    dataset = imagenet(
        tmp_path,
        voc_xml([(1, 2, 4, 6)], folder="ILSVRC2013_train_extra0"),
        name="ILSVRC2013_train_extra0/b",
        image="ILSVRC2013_train_extra0/a",
    )
    assert [photograph.name for photograph in dataset.photographs] == ["n01/a"]
    assert dataset.notes == ("1 folder with extra images left out.",)


@pytest.mark.parametrize(
    ("truths", "images"),
    [
        ("ILSVRC2014_DET_bbox_train", "ILSVRC2014_DET_train"),
        ("ILSVRC/Annotations/DET/train", "ILSVRC/Data/DET/train"),
        ("boxes", "pictures"),
    ],
)
def test_folders_of_annotations_and_images_are_found(tmp_path, truths, images):
    write(tmp_path / truths / "n01" / "a.xml", voc_xml([(1, 2, 4, 6)]))
    write(tmp_path / images / "n01" / "a.JPEG", JPEG)
    (photograph,) = imagenet_det.load(tmp_path).photographs
    assert photograph.path == tmp_path / images / "n01" / "a.JPEG"


def test_an_image_may_lie_in_the_folder_that_its_annotation_lies_in(tmp_path):
    text = voc_xml([(1, 2, 4, 6)], folder="n01")
    dataset = imagenet(
        tmp_path, text, name="ILSVRC2013_train/n01/a", image="ILSVRC2013_train/n01/a"
    )
    assert dataset.photographs[0].name == "ILSVRC2013_train/n01/a"
    assert dataset.photographs[0].path == tmp_path / IMAGES / "ILSVRC2013_train" / "n01" / "a.JPEG"


def test_a_missing_image_is_a_problem(tmp_path):
    dataset = imagenet(tmp_path, voc_xml([(1, 2, 4, 6)], filename="gone"), image="n01/another")
    assert dataset.photographs == ()
    assert reasons(dataset) == ["there is no image gone or a"]


@pytest.mark.parametrize("size", [None, (0, 0), ("nan", 3), (-5, 5), (1e9, 1), (3.5, 4)])
def test_a_size_that_is_none(tmp_path, size):
    dataset = imagenet(tmp_path, voc_xml([(1, 2, 4, 6)], size=size))
    assert dataset.photographs == ()
    assert "size" in reasons(dataset)[0]


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/passwd", "..", "a/../../b", "a\\b", "x" * 300]
)
@pytest.mark.parametrize("what", ["folder", "filename"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, what, name):
    write(tmp_path / "secret.JPEG", JPEG)
    write(tmp_path / IMAGES / "secret.JPEG", JPEG)
    dataset = imagenet(tmp_path, voc_xml([(1, 2, 4, 6)], **{what: name}))
    assert dataset.photographs == ()
    assert "is not the plain name of a file" in reasons(dataset)[0]


ENTITIES = "".join(f"<!ENTITY b{n + 1} '{f'&b{n};' * 10}'>" for n in range(9))
BILLION = f"<!DOCTYPE a [<!ENTITY b0 'ha'>{ENTITIES}]>"
BOMBS = {
    "a billion laughs": voc_xml([(1, 2, 4, 6)], filename="&b9;", before=BILLION),
    "quadratic growth": voc_xml(
        [(1, 2, 4, 6)],
        filename="&a;" * 20_000,
        before=f"<!DOCTYPE a [<!ENTITY a '{'a' * 100_000}'>]>",
    ),
    "a file of another's": voc_xml(
        [(1, 2, 4, 6)],
        filename="&a;",
        before="<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>",
    ),
    "a definition elsewhere": voc_xml(
        [(1, 2, 4, 6)], before="<!DOCTYPE a SYSTEM 'http://127.0.0.1:9/a.dtd'>"
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_doctype_is_refused_at_once(tmp_path, bomb):
    path = write(tmp_path / "a.xml", BOMBS[bomb])
    began = time.perf_counter()
    with pytest.raises(ValueError, match="DOCTYPE"):
        read_annotation(path)
    assert time.perf_counter() - began < 0.1
    dataset = imagenet(tmp_path, BOMBS[bomb])
    assert dataset.photographs == ()
    assert "DOCTYPE" in reasons(dataset)[0]


def test_a_doctype_is_seen_in_any_encoding():
    text = voc_xml([(1, 2, 4, 6)], before=BILLION)
    with pytest.raises(ValueError, match="DOCTYPE"):
        parse_annotation(text.encode("utf-16"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "well-formed"),
        ("<annotation>", "well-formed"),
        ("no xml", "well-formed"),
        (b"<?xml version='1.0' encoding='none-such'?><a/>", "well-formed"),
        (b"<a>\xff</a>", "well-formed"),
        ("<a>" * 100_000, "too deep"),
        ("<a>" + "<b/>" * 100_000 + "</a>", "too many"),
        (" " * MAX_BYTES + "<a/>", "larger than 1 MB"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, text, reason):
    dataset = imagenet(tmp_path, text)
    assert dataset.photographs == ()
    assert reason in reasons(dataset)[0]


def test_a_folder_named_like_an_annotation_is_no_annotation(tmp_path):
    (tmp_path / TRUTHS / "n01" / "b.xml").mkdir(parents=True)
    assert len(imagenet(tmp_path, voc_xml([(1, 2, 4, 6)])).photographs) == 1


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_whatever_a_file_holds_it_is_read_or_refused(data):
    """Damage at random places of a good file: nothing but ValueError comes out."""
    content = bytearray(voc_xml([(1, 2, 4, 6), (5, 6, 7, 8)]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        annotation = parse_annotation(bytes(content))
        width, height = annotation.size()
    except ValueError:
        return
    assert 1 <= width <= 1_000_000
    assert 1 <= height <= 1_000_000


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no folder in it holds FOLDER/NAME.xml"):
        imagenet_det.load(tmp_path)
    with pytest.raises(DataError, match=r"found nothing; looked for Annotations/NAME\.xml"):
        voc.load(tmp_path)
