"""The text that names a data set, and telling layouts by looking."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets import JPEG, alov, entry, frames, photographs, voc_xml, write
from goturn.data import LAYOUTS, DataError, open_dataset
from goturn.data.layouts import parse_spec, recognise


def make(kind: str, root: Path) -> Path:
    """The smallest data set of a kind."""
    truth = "11,21,30,40\n"
    if kind == "photographs":
        photographs(root, {"a": entry((1, 2, 3, 4))})
    elif kind == "voc":
        write(root / "Annotations" / "a.xml", voc_xml([(1, 1, 9, 9)], filename="a.jpg"))
        write(root / "JPEGImages" / "a.jpg", JPEG)
    elif kind == "imagenet_det":
        write(root / "Annotations" / "DET" / "train" / "n01" / "a.xml", voc_xml([(1, 1, 9, 9)]))
        write(root / "Data" / "DET" / "train" / "n01" / "a.JPEG", JPEG)
    elif kind == "alov":
        alov(root, {"05-Shape": 5})
    elif kind == "got10k":
        write(root / "train" / "list.txt", "a\n")
        frames(root / "train" / "a", [1])
        write(root / "train" / "a" / "groundtruth.txt", truth)
        write(root / "train" / "a" / "absence.label", "0\n")
    else:
        name = "groundtruth_rect.txt" if kind == "otb" else "groundtruth.txt"
        frames(root / "a" / ("img" if kind != "vot" else "color"), [1])
        write(root / "a" / name, truth)
        if kind == "vot":
            write(root / "list.txt", "a\n")
    return root


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_layouts_are_told_by_looking(tmp_path, kind):
    root = make(kind, tmp_path / "set")
    assert recognise(root).kind == kind
    dataset = open_dataset(str(root))
    assert dataset.kind == kind
    assert dataset.path == root
    assert len(dataset.videos) + len(dataset.photographs) == (5 if kind == "alov" else 1)
    assert dataset.problems == ()
    assert open_dataset(f"{kind}:{root}") == dataset
    assert open_dataset(root) == dataset


def test_progress_is_given_all_that_is_read(tmp_path):
    seen = []

    def progress(things, label, /):
        for thing in things:
            seen.append(label)
            yield thing

    open_dataset(make("alov", tmp_path), progress=progress)
    assert seen == ["alov"] * 5


def test_options(tmp_path):
    make("alov", tmp_path)
    assert len(open_dataset(f"alov:{tmp_path},split=val").videos) == 1
    assert len(open_dataset(f"{tmp_path},split=train,overlap=keep").videos) == 4


def test_paths_may_have_commas_and_colons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "a,split", "x:y", "alov:y"):
        make("folder", tmp_path / name)
        assert open_dataset(str(tmp_path / name)).videos[0].name == "a"
    assert open_dataset("x:y").videos[0].name == "a"
    assert open_dataset("./alov:y").videos[0].name == "a"
    assert parse_spec("alov:/a,b/c,split=val") == ("alov", Path("/a,b/c"), {"split": "val"})


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            "coco:{}",
            "there is no kind 'coco' of data set; there are photographs, voc, alov, got10k",
        ),
        ("alov:{},splits=val", "alov has no option 'splits'; there are: split, overlap"),
        ("alov:{},split=test", "alov: split must be one of all, train, val; got 'test'"),
        ("alov:{},split=val,split=val", "the option split is given twice"),
        ("otb:{},split=val", "otb has no option 'split'; there are: none"),
        ("vot:{},base=2", "vot: base must be one of 1, 0; got '2'"),
        ("alov:", "names no folder"),
        ("", "names no folder"),
        (",split=val", "names no folder"),
        ("{}", "has no layout that is known"),
    ],
)
def test_what_cannot_be_opened(tmp_path, spec, sentence):
    with pytest.raises(DataError) as caught:
        open_dataset(spec.format(tmp_path))
    assert sentence in str(caught.value)


def test_an_unknown_layout_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path))
    for kind, layout in LAYOUTS.items():
        assert f"{kind}: {layout.looks}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_dataset(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_dataset(f"otb:{tmp_path / 'nowhere'}")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        open_dataset(write(tmp_path / "file", ""))


def test_recorded_data(shared_data):
    train = open_dataset(str(shared_data / "data" / "videos" / "train"))
    assert (train.kind, len(train.videos), train.problems) == ("folder", 74, ())
    assert sum(len(video.frames) for video in train.videos) == 3469
    pictures = open_dataset(str(shared_data / "data" / "images"))
    assert (pictures.kind, len(pictures.photographs), pictures.problems) == (
        "photographs",
        2911,
        (),
    )
    assert sum(len(photograph.boxes) for photograph in pictures.photographs) == 7033
    assert all(photograph.with_room() for photograph in pictures.photographs)
