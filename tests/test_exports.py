"""Boxes as annotation tools take them: each file is read back by a parser that knows nothing of ours."""

from __future__ import annotations

import json
import os
import signal
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn import exports
from goturn.box import Box
from goturn.cli import main
from goturn.exports import CocoFile, CvatFile, LabelStudioFile, MotZip, clip_of
from goturn.exports.tracks import Clip, Track, writable
from goturn.video import open_source
from test_cli import clip, no_screen, process, track, weights  # noqa: F401 (fixtures)
from test_video import write_images, write_video

NAMES = ("a <b> & \"c\" 'd'.mp4", "trüb–雨.mp4", "clip.mp4")

#: Two objects over five frames, 3 to 7: one is always there, one is away in frame 5 and ends at 6.
BOXES = {
    3: {0: Box(10, 20, 30, 40), 1: Box(1, 2, 3, 4)},
    4: {0: Box(11.25, 20.5, 30, 40), 1: Box(2, 2, 3, 4)},
    5: {0: Box(12, 21, 30.0625, 40)},
    6: {0: Box(13, 22, 30, 41), 1: Box(4, 2, 3, 4)},
    7: {0: Box(14, 23, 30, 41)},
}
FRAME = np.zeros((120, 160, 3), np.uint8)


def written(kind, path: Path, made: Clip, boxes=BOXES, frame=FRAME) -> Path:
    with kind(path, made) as file:
        for number, found in boxes.items():
            file.write(number, frame, found)
    return path


def read_cvat(path: Path) -> tuple[ElementTree.Element, dict[int, dict[int, tuple]]]:
    """The root, and by track and frame (outside, x1, y1, x2, y2)."""
    root = ElementTree.parse(path).getroot()
    tracks = {}
    for element in root.findall("track"):
        tracks[int(element.get("id"))] = {
            int(box.get("frame")): (
                int(box.get("outside")),
                *(float(box.get(side)) for side in ("xtl", "ytl", "xbr", "ybr")),
            )
            for box in element.findall("box")
        }
    return root, tracks


def boxes_of(read: dict[int, dict[int, tuple]]) -> dict[int, dict[int, tuple]]:
    """x, y, w, h by frame and object, of (x1, y1, x2, y2) by object and frame."""
    frames: dict[int, dict[int, tuple]] = {}
    for key, found in read.items():
        for number, (x1, y1, x2, y2) in found.items():
            frames.setdefault(number, {})[key] = (x1, y1, x2 - x1, y2 - y1)
    return frames


def check_boxes(read: dict[int, dict[int, tuple]], tolerance: float = 1e-3) -> None:
    assert read.keys() == BOXES.keys()
    for number, found in BOXES.items():
        assert read[number].keys() == found.keys()
        for key, box in found.items():
            assert read[number][key] == pytest.approx(box, abs=tolerance)


# -- CVAT --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_cvat_holds_the_boxes_and_the_names(tmp_path, name):
    label = name.removesuffix(".mp4")
    root, tracks = read_cvat(written(CvatFile, tmp_path / "a.xml", Clip(name, label, length=9)))
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/name") == root.findtext("meta/source") == name
    assert root.findtext("meta/task/size") == "9"
    assert root.findtext("meta/task/mode") == "interpolation"
    assert root.findtext("meta/task/labels/label/name") == label
    size = root.find("meta/task/original_size")
    assert (size.findtext("width"), size.findtext("height")) == ("160", "120")
    assert {element.get("label") for element in root.findall("track")} == {label}
    inside = {
        key: {number: box[1:] for number, box in found.items() if not box[0]}
        for key, found in tracks.items()
    }
    check_boxes(boxes_of(inside))
    every = [box for element in root.findall("track") for box in element]
    assert {(box.get("keyframe"), box.get("occluded")) for box in every} == {("1", "0")}


def test_cvat_says_where_an_object_is_outside(tmp_path):
    """After each stretch, as long as there is a frame to say it in."""
    _, tracks = read_cvat(written(CvatFile, tmp_path / "a.xml", Clip("a.mp4")))
    assert [number for number, box in tracks[1].items() if box[0]] == [5, 7]
    assert [number for number, box in tracks[0].items() if box[0]] == []
    assert tracks[1][5] == (1, 2, 2, 5, 6)  # where it was last
    _, tracks = read_cvat(written(CvatFile, tmp_path / "a.xml", Clip("a.mp4", length=20)))
    assert [number for number, box in tracks[0].items() if box[0]] == [8]
    _, tracks = read_cvat(written(CvatFile, tmp_path / "a.xml", Clip("a.mp4", length=8)))
    assert [number for number, box in tracks[0].items() if box[0]] == []


# -- COCO --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_coco_holds_the_boxes_and_the_names(tmp_path, name):
    made = Clip(name, "<car>", fps=12.5, length=9)
    read = json.loads(written(CocoFile, tmp_path / "a.json", made).read_bytes())
    (video,), (category,) = read["videos"], read["categories"]
    assert video == {
        "id": 1, "name": name, "width": 160, "height": 120, "length": 9, "fps": 12.5,
    }  # fmt: skip
    assert category["name"] == "<car>"
    images = {image["id"]: image for image in read["images"]}
    assert [image["frame_id"] for image in images.values()] == [3, 4, 5, 6, 7]
    stem = name.removesuffix(".mp4")
    assert [image["file_name"] for image in images.values()] == [
        f"{stem}/{number + 1:06d}.jpg" for number in (3, 4, 5, 6, 7)
    ]
    frames: dict[int, dict[int, tuple]] = {}
    for note in read["annotations"]:
        image = images[note["image_id"]]
        assert note["video_id"] == image["video_id"] == video["id"]
        assert note["category_id"] == category["id"]
        assert note["area"] == pytest.approx(note["bbox"][2] * note["bbox"][3])
        assert note["attributes"] == {"track_id": note["instance_id"]}
        frames.setdefault(image["frame_id"], {})[note["instance_id"]] = tuple(note["bbox"])
    check_boxes(frames)
    numbers = [note["id"] for note in read["annotations"]]
    assert numbers == [*range(1, len(numbers) + 1)]


def test_coco_knows_frames_that_change_size(tmp_path):
    with CocoFile(tmp_path / "a.json", Clip("a")) as file:
        for number, width in enumerate((64, 64, 32, 64)):
            file.write(number, np.zeros((48, width, 3), np.uint8), {0: Box(1, 2, 3, 4)})
    read = json.loads((tmp_path / "a.json").read_bytes())
    assert [image["width"] for image in read["images"]] == [64, 64, 32, 64]
    assert [image["id"] for image in read["images"]] == [1, 2, 3, 4]


# -- Label Studio ------------------------------------------------------------------------------


def read_label_studio(path: Path) -> tuple[dict, dict[str, dict]]:
    """The task, and by object the value of its region."""
    (task,) = json.loads(path.read_bytes())
    (prediction,) = task["predictions"]
    assert prediction["model_version"].startswith("goturn ")
    for region in prediction["result"]:
        assert region["type"] == "videorectangle"
        assert (region["from_name"], region["to_name"]) == ("box", "video")
    return task, {region["id"]: region["value"] for region in prediction["result"]}


@pytest.mark.parametrize("name", NAMES)
def test_label_studio_holds_the_boxes_in_percent(tmp_path, name):
    made = Clip(name, "car & <co>", fps=10.0, length=9)
    task, values = read_label_studio(written(LabelStudioFile, tmp_path / "a.json", made))
    assert task["data"] == {"video": name}
    frames: dict[int, dict[int, tuple]] = {}
    for region, value in values.items():
        assert (value["framesCount"], value["duration"]) == (9, 0.9)
        assert value["labels"] == ["car & <co>"]
        for entry in value["sequence"]:
            assert entry["time"] == pytest.approx(entry["frame"] / 10)
            assert entry["rotation"] == 0
            frames.setdefault(entry["frame"] - 1, {})[int(region.removeprefix("object_"))] = (
                entry["x"] * 1.6, entry["y"] * 1.2, entry["width"] * 1.6, entry["height"] * 1.2,
            )  # fmt: skip
    check_boxes(frames, tolerance=1e-5)


def test_label_studio_hides_an_object_after_its_last_box(tmp_path):
    _, values = read_label_studio(written(LabelStudioFile, tmp_path / "a.json", Clip("a.mp4")))
    ends = {
        region: [entry["frame"] for entry in value["sequence"] if not entry["enabled"]]
        for region, value in values.items()
    }
    assert ends == {"object_0": [8], "object_1": [5, 7]}


def test_label_studio_cuts_boxes_to_the_frame_and_follows_its_size(tmp_path):
    with LabelStudioFile(tmp_path / "a.json", Clip("a.mp4")) as file:
        file.write(0, np.zeros((100, 200, 3), np.uint8), {0: Box(-20, 90, 40, 40)})
        file.write(1, np.zeros((50, 100, 3), np.uint8), {0: Box(-20, -10, 400, 400)})
    _, values = read_label_studio(tmp_path / "a.json")
    first, second = values["object_0"]["sequence"]
    assert [first[k] for k in ("x", "y", "width", "height")] == [0, 90, 10, 10]
    assert [second[k] for k in ("x", "y", "width", "height")] == [0, 0, 100, 100]
    assert first["time"] == pytest.approx(1 / 25)  # without a rate, 25 frames a second


# -- MOT ---------------------------------------------------------------------------------------


def test_mot_zip_is_what_cvat_imports(tmp_path):
    path = written(MotZip, tmp_path / "a.zip", Clip("a.mp4", "car"))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["gt/gt.txt", "gt/labels.txt"]
        assert archive.read("gt/labels.txt") == b"car\n"
        rows = [line.split(",") for line in archive.read("gt/gt.txt").decode().splitlines()]
    frames: dict[int, dict[int, tuple]] = {}
    for number, key, *box, ignored, kind, visible in rows:
        assert (ignored, kind, visible) == ("1", "1", "1")
        frames.setdefault(int(number) - 1, {})[int(key) - 1] = tuple(map(float, box))
    check_boxes(frames)
    content = path.read_bytes()
    time.sleep(0.01)
    assert written(MotZip, path, Clip("a.mp4", "car")).read_bytes() == content


# -- all of them -------------------------------------------------------------------------------

KINDS = [CvatFile, CocoFile, LabelStudioFile, MotZip]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path, kind, monkeypatch):
    """An old file stays whole whatever happens while the new one is written."""
    path = tmp_path / "file"
    path.write_text("old")

    def broken(self):
        yield "half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kind, "parts", broken)
    with pytest.raises(OSError, match="could not write: No space left"):
        written(kind, path, Clip("a"))
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_frame_there_is_no_file(tmp_path, kind):
    path = tmp_path / "file"
    with kind(path, Clip("a")):
        pass
    assert not path.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_frames_without_boxes_make_a_valid_file(tmp_path, kind):
    path = written(kind, tmp_path / "file", Clip("a"), boxes={0: {}, 1: {}})
    if kind is CvatFile:
        assert read_cvat(path)[1] == {}
    elif kind is MotZip:
        assert zipfile.ZipFile(path).read("gt/gt.txt") == b""
    else:
        json.loads(path.read_bytes())


def test_a_file_is_written_once_though_closed_twice(tmp_path):
    path = tmp_path / "a.xml"
    file = CvatFile(path, Clip("a"))
    file.write(0, FRAME, {})
    file.close()
    path.unlink()
    file.close()
    assert not path.exists()


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not a file; give the name of a file"):
        CvatFile(tmp_path / "pipe", Clip("a"))
    with pytest.raises(ValueError, match="is not a file"):
        CvatFile("/dev/null", Clip("a"))


def test_memory_is_by_box_and_not_by_frame(tmp_path):
    """Ten thousand frames of one size take no more room than one."""
    file = CvatFile(tmp_path / "a.xml", Clip("a"))
    for number in range(10_000):
        file.write(number, FRAME, {0: Box(number, 1, 2, 3)} if number < 100 else {})
    assert len(file.frames) == 1
    assert len(file.tracks[0]) == 100
    assert file.tracks[0]._numbers.itemsize + 4 * file.tracks[0]._values.itemsize == 40


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 30)))
def test_stretches_are_runs_of_successive_frames(numbers):
    one = Track()
    for number in sorted(numbers):
        one.add(number, Box(number, 0, 1, 1))
    stretches = [[number for number, _ in stretch] for stretch in one.stretches()]
    assert [number for stretch in stretches for number in stretch] == sorted(numbers)
    for stretch in stretches:
        assert stretch == [*range(stretch[0], stretch[-1] + 1)]
        assert stretch[-1] + 1 not in numbers


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=20))
def test_any_name_can_be_written(text):
    """Control characters and lone surrogates, of file names that are not UTF-8, are replaced."""
    clean = writable(text)
    assert len(clean) == len(text)
    clean.encode("utf-8")
    escaped = clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    read = ElementTree.fromstring(f"<a>{escaped}</a>").text or ""
    assert read == clean.replace("\r\n", "\n").replace("\r", "\n")


# -- what there is to know of a source ---------------------------------------------------------


def test_a_clip_of_a_video(tmp_path):
    with open_source(write_video(tmp_path / "clip.avi", 8), start=2) as source:
        made = clip_of(source, label="car")
    assert (made.name, made.label, made.fps, made.length) == ("clip.avi", "car", 25, 8)
    assert made.frame_name(0) == "clip/000001.jpg"


@pytest.mark.parametrize(("folder", "name"), [("seq", "seq"), ("seq/img", "seq")])
def test_a_clip_of_images(tmp_path, folder, name):
    write_images(tmp_path / folder, ["7.png", "10.png"])
    with open_source(tmp_path / "seq") as source:
        made = clip_of(source, fps=12)
    assert (made.name, made.fps, made.length) == (name, 12, 2)
    assert [made.frame_name(index) for index in (0, 1)] == ["7.png", "10.png"]


def test_images_of_several_folders_keep_them_in_their_names(tmp_path):
    for folder in ("a", "b"):
        write_images(tmp_path / folder, ["1.png"])
    with open_source(f"{tmp_path}/*/*.png") as source:
        made = clip_of(source)
    assert [made.frame_name(index) for index in (0, 1)] == ["a/1.png", "b/1.png"]
    assert made.name == tmp_path.name


def test_a_streams_password_gets_into_no_file(tmp_path):
    class Stream:
        name = "rtsp://user:secret@camera.example:554/live/north?token=secret"
        paths = ()
        fps = claimed = None
        start = 0

    assert clip_of(Stream()).name == "north"
    Stream.name = "rtsp://user:secret@camera.example"
    assert clip_of(Stream()).name == "camera.example"


# -- goturn track ------------------------------------------------------------------------------


def test_the_command_writes_them_all(track, clip, tmp_path, capsys):  # noqa: F811
    names = {"cvat": "a.xml", "coco": "a.json", "label-studio": "ls.json", "mot": "gt.ZIP"}
    options = [part for flag, name in names.items() for part in (f"--{flag}", tmp_path / name)]
    more = ("--label", "pedestrian", "--box", "4,4,12,12", "--start", 2, "--frames", 4)
    assert track(clip, *options, *more, "--csv", tmp_path / "b.csv") == 0
    printed = capsys.readouterr().err
    assert all(str(tmp_path / name) in printed for name in names.values())
    expected = {
        (int(frame), int(key)): tuple(map(float, box))
        for frame, key, *box, _ in (
            line.split(",") for line in (tmp_path / "b.csv").read_text().splitlines()[1:]
        )
    }
    assert len(expected) == 8
    root, tracks = read_cvat(tmp_path / "a.xml")
    assert root.findtext("meta/source") == "clip.avi"
    for (frame, key), (x, y, w, h) in expected.items():
        assert tracks[key][frame] == pytest.approx((0, x, y, x + w, y + h), abs=2e-3)
    assert tracks[0][6][0] == 1  # the video goes on, and the tracker did not
    notes = json.loads((tmp_path / "a.json").read_bytes())["annotations"]
    assert {(n["image_id"] - 1, n["instance_id"]): tuple(n["bbox"]) for n in notes} == expected
    _, values = read_label_studio(tmp_path / "ls.json")
    assert [e["frame"] for e in values["object_1"]["sequence"]] == [3, 4, 5, 6]
    assert values["object_1"]["labels"] == ["pedestrian"]
    with zipfile.ZipFile(tmp_path / "gt.ZIP") as archive:
        assert archive.read("gt/labels.txt") == b"pedestrian\n"
        assert len(archive.read("gt/gt.txt").splitlines()) == 8


def test_images_need_a_rate_for_label_studio_alone(track, tmp_path):  # noqa: F811
    folder = write_images(tmp_path / "seq", [f"{n}.png" for n in range(1, 4)])
    assert track(folder, "--label-studio", tmp_path / "a.json", "--fps", 5) == 0
    task, values = read_label_studio(tmp_path / "a.json")
    assert task["data"] == {"video": "seq"}
    assert [e["time"] for e in values["object_0"]["sequence"]] == [0.2, 0.4, 0.6]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cvat", "-"], "--cvat is written when the run ends; give the name of a file, not -"),
        (["--label", "car"], "--label names a class in the files of annotation tools"),
        (["--label", "car", "--mot", "gt.txt"], "--label names a class"),
        (["--coco", "a", "--cvat", "./a"], "two outputs have the same name"),
        (["--label", " ", "--coco", "a"], "' ' is not the name of a class"),
        (["--label", "a\nb", "--coco", "a"], "is not the name of a class"),
    ],
)
def test_options_that_make_no_sense(track, clip, options, sentence, capsys):  # noqa: F811
    try:
        code = track(clip, *options)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert sentence in capsys.readouterr().err


def test_folders_are_refused_before_any_work(track, clip, tmp_path, capsys):  # noqa: F811
    assert track(clip, "--cvat", tmp_path) == 1
    assert "is a folder; give the name of a file for the boxes" in capsys.readouterr().err
    assert track(clip, "--coco", tmp_path / "none" / "a.json") == 1
    assert "does not exist; make it first" in capsys.readouterr().err


def test_the_source_is_not_overwritten(track, clip, capsys):  # noqa: F811
    assert track(clip, "--cvat", clip) == 2
    assert "is read as input and writing it would destroy it" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_leaves_whole_files(tmp_path, weights):  # noqa: F811
    source = write_video(tmp_path / "long.avi", 3000)
    outputs = ["--cvat", tmp_path / "a.xml", "--coco", tmp_path / "a.json", "--csv", tmp_path / "b"]
    running = process("track", source, "--box", "10,8,20,16", "--weights", weights, *outputs)
    deadline = time.monotonic() + 60
    while not (tmp_path / "b").exists() or (tmp_path / "b").stat().st_size < 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    count = len((tmp_path / "b").read_text().splitlines()) - 1
    assert 0 < count < 3000
    _, tracks = read_cvat(tmp_path / "a.xml")
    assert [box[0] for box in tracks[0].values()] == [0] * count + [1]
    assert len(json.loads((tmp_path / "a.json").read_bytes())["annotations"]) == count


def test_every_export_is_an_option():
    assert {*exports.EXPORTS} == {"cvat", "coco", "label_studio"}
    for kind in exports.EXPORTS.values():
        assert issubclass(kind, exports.TrackFile)


def test_help_names_them(capsys):
    with pytest.raises(SystemExit):
        main(["track", "--help"])
    printed = capsys.readouterr().out
    for option in ("--cvat", "--coco", "--label-studio", "--label"):
        assert option in printed
