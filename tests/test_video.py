"""Sources of frames, and what is written: videos, images, boxes as text, boxes drawn."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from goturn import outputs, video
from goturn.box import Box
from goturn.outputs import BoxFile, ImageFolder, VideoFile, letterbox, open_pictures
from goturn.overlay import COLOURS, draw_boxes
from goturn.video import ImageSource, VideoSource, open_source

SIZE = (64, 48)


def frame_of(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A frame that shows its number, modulo 20, as its brightness."""
    return np.full((size[1], size[0], 3), 25 + 11 * (index % 20), np.uint8)


def number_of(frame: np.ndarray) -> int:
    return round((float(frame.mean()) - 25) / 11)


def write_video(path: Path, count: int, size: tuple[int, int] = SIZE, fps: float = 25.0) -> Path:
    codec = {"avi": "MJPG", "mp4": "mp4v"}[path.suffix[1:]]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    for index in range(count):
        writer.write(frame_of(index, size))
    writer.release()
    return path


def cut(path: Path, part: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    return path


def write_images(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), frame_of(index, size))
    return folder


# -- video files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
def test_a_video_gives_its_frames_in_order(tmp_path, name):
    path = write_video(tmp_path / name, 12, fps=20.0)
    with open_source(path) as source:
        assert (source.name, source.fps, source.claimed, source.size) == (str(path), 20, 12, SIZE)
        assert source.read == 0
        frames = list(source)
    assert source.read == 12
    assert source.problem is None
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    assert [number_of(frame) for frame in frames] == list(range(12))


def test_a_source_can_be_gone_through_once(tmp_path):
    source = open_source(write_video(tmp_path / "a.avi", 3))
    assert len(list(source)) == 3
    assert list(source) == []


def test_a_closed_source_ends_without_a_complaint(tmp_path):
    source = open_source(write_video(tmp_path / "a.avi", 30))
    for _ in source:
        source.close()
    assert source.read == 1
    assert source.problem is None


def test_a_truncated_video_gives_what_it_has_and_says_so(tmp_path):
    path = cut(write_video(tmp_path / "a.avi", 60), 0.5)
    with open_source(path) as source:
        assert source.claimed == 60
        numbers = [number_of(frame) for frame in source]
    assert 10 <= len(numbers) <= 35
    assert numbers == [index % 20 for index in range(len(numbers))]
    assert source.read == len(numbers)
    assert source.problem == (
        f"{path}: read {len(numbers)} of 60 frames; the file is damaged or was cut short"
    )


@pytest.mark.parametrize(("count", "extra", "complains"), [(20, 1, False), (20, 2, True)])
def test_a_claim_that_is_off_by_one_is_an_estimate(tmp_path, count, extra, complains):
    source = open_source(write_video(tmp_path / "a.avi", count))
    source.claimed += extra
    assert len(list(source)) == count
    assert bool(source.problem) == complains


def test_a_long_video_may_miss_two_percent_of_its_claim(tmp_path):
    source = open_source(write_video(tmp_path / "a.avi", 196))
    source.claimed = 200
    list(source)
    assert source.problem is None
    source = open_source(write_video(tmp_path / "a.avi", 195))
    source.claimed = 200
    list(source)
    assert "read 195 of 200 frames" in source.problem


def test_start_skips_frames(tmp_path):
    with open_source(write_video(tmp_path / "a.avi", 10), start=4) as source:
        assert (source.start, source.claimed) == (4, 6)
        assert [number_of(frame) for frame in source] == [4, 5, 6, 7, 8, 9]
        assert source.problem is None


def test_a_start_beyond_the_end_is_refused(tmp_path):
    path = write_video(tmp_path / "a.avi", 10)
    with pytest.raises(ValueError, match=r"a\.avi: no frame 10, the source ends before it"):
        open_source(path, start=10)
    with pytest.raises(ValueError, match="start must be a frame number from 0 on; got -1"):
        open_source(path, start=-1)


@pytest.mark.parametrize("content", [b"", b"hello" * 1000])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.mp4 cannot be opened as a video; it is damaged or of"
    ):
        open_source(path)


@pytest.mark.parametrize("name", ["a.mp4", "A.MOV", "a.m4v", "a.avi"])
def test_an_mp4_cut_short_is_told_apart_from_the_unknown(tmp_path, name):
    path = cut(write_video(tmp_path / "a.mp4", 60), 0.5).rename(tmp_path / name)
    with pytest.raises(ValueError, match="is damaged or of an unknown format") as caught:
        open_source(path)
    told = str(caught.value).partition("unknown format")[2]
    kind = name[2:].lower()
    assert told == ("" if kind == "avi" else f"; an {kind} that was cut short has lost its index")


def test_a_video_without_frames_is_refused(tmp_path):
    path = cut(write_video(tmp_path / "a.avi", 60), 0.02)
    with pytest.raises(
        ValueError, match=r"a\.avi: no frame could be read|cannot be opened as a video"
    ):
        open_source(path)


def test_an_error_of_opencv_ends_a_video_with_a_sentence(tmp_path):
    class Broken:
        def read(self):
            raise cv2.error("the codec fell over")

    source = open_source(write_video(tmp_path / "a.avi", 5))
    source._capture = Broken()
    assert len(list(source)) == 1
    assert "a.avi: frame 1 cannot be decoded" in source.problem


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), 90000.0])
def test_an_impossible_rate_is_none(tmp_path, monkeypatch, rate):
    real = cv2.VideoCapture

    class Odd:
        def __init__(self, target):
            self._real = real(target)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def get(self, key):
            return rate if key == cv2.CAP_PROP_FPS else -2.3e17

    path = write_video(tmp_path / "a.avi", 2)
    monkeypatch.setattr(video.cv2, "VideoCapture", Odd)
    with open_source(path) as source:
        assert source.fps is None
        assert source.claimed is None
        assert len(list(source)) == 2
        assert source.problem is None


# -- cameras and streams -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["9999", "/dev/video9999"])
def test_a_camera_that_is_not_there(name):
    with pytest.raises(
        RuntimeError, match="camera 9999 cannot be opened; is it connected, and free"
    ):
        open_source(name)


def test_a_camera_that_goes_away_is_reported(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.avi", 4)
    real = cv2.VideoCapture
    monkeypatch.setattr(video.cv2, "VideoCapture", lambda target: real(str(path)))
    with open_source("0") as source:
        assert isinstance(source, VideoSource)
        assert (source.claimed, source.paths) == (None, ())
        assert len(list(source)) == 4
    assert source.problem == "camera 0 stopped after 4 frames; was it disconnected?"


def test_a_stream_that_does_not_answer():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(RuntimeError, match=r"http://.*: the stream cannot be opened"):
        open_source(f"http://127.0.0.1:{port}/a.avi")


# -- images ------------------------------------------------------------------------------------

NATURAL = ["frame1.png", "frame2.png", "frame9.jpg", "frame10.png", "frame100.PNG"]


def test_a_folder_is_read_in_natural_order(tmp_path):
    folder = write_images(tmp_path / "seq", NATURAL)
    (folder / "notes.txt").write_text("not an image")
    (folder / "._frame1.png").write_bytes(b"a copy's resource fork")
    with open_source(folder) as source:
        assert isinstance(source, ImageSource)
        assert [path.name for path in source.paths] == NATURAL
        assert (source.claimed, source.size, source.fps) == (5, SIZE, None)
        assert [number_of(frame) for frame in source] == [0, 1, 2, 3, 4]
    assert source.problem is None


def test_a_sequence_folder_has_its_images_in_img(tmp_path):
    write_images(tmp_path / "seq" / "img", ["00001.jpg", "00002.jpg"])
    with open_source(tmp_path / "seq", start=1) as source:
        assert [number_of(frame) for frame in source] == [1]
        assert source.claimed == 1


def test_a_pattern_is_read_in_natural_order(tmp_path):
    folder = write_images(tmp_path / "seq", NATURAL)
    write_images(folder, ["other.png"])
    with open_source(folder / "frame*.*") as source:
        assert [path.name for path in source.paths] == NATURAL


def test_a_file_with_a_pattern_for_a_name_is_a_file(tmp_path):
    path = write_video(tmp_path / "clip[1].avi", 3)
    assert len(list(open_source(path))) == 3


def test_numbers_of_any_length_sort(tmp_path):
    names = ["1" * 60 + ".png", "٣.png", "a.png", "2.png"]
    folder = write_images(tmp_path / "seq", names)
    with open_source(folder) as source:
        assert [path.name for path in source.paths][:2] == ["2.png", "1" * 60 + ".png"]


def test_frames_keep_their_own_sizes(tmp_path):
    sizes = [(64, 48), (32, 24), (1, 1), (120, 90)]
    for index, size in enumerate(sizes):
        write_images(tmp_path / "seq", [f"{index}.png"], size)
    with open_source(tmp_path / "seq") as source:
        assert [(frame.shape[1], frame.shape[0]) for frame in source] == sizes


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "huge"])
def test_a_damaged_image_ends_the_sequence_with_its_name(tmp_path, damage):
    folder = write_images(tmp_path / "seq", [f"{i:05d}.jpg" for i in range(1, 7)])
    bad = folder / "00004.jpg"
    if damage == "cut":
        cut(bad, 0.6)
    else:
        content = {"empty": b"", "text": b"hello", "huge": png_header(100_000, 100_000)}
        bad.write_bytes(content[damage])
    with open_source(folder) as source:
        assert [number_of(frame) for frame in source] == [0, 1, 2]
    assert source.problem == (
        f"{bad}: not a whole image that OpenCV can decode; read 3 of 6 frames"
    )


def test_an_image_that_vanishes_ends_the_sequence(tmp_path):
    folder = write_images(tmp_path / "seq", ["1.jpg", "2.jpg"])
    with open_source(folder) as source:
        (folder / "2.jpg").unlink()
        assert len(list(source)) == 1
    assert source.problem == f"{folder / '2.jpg'}: No such file or directory; read 1 of 2 frames"


def test_an_oversized_image_file_is_not_read(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "seq", ["1.jpg"])
    monkeypatch.setattr(video, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(ValueError, match=r"1\.jpg: an image file of more than 0 MiB is refused"):
        open_source(folder)


def test_a_damaged_first_image_is_refused_at_once(tmp_path):
    folder = write_images(tmp_path / "seq", ["1.jpg", "2.jpg"])
    cut(folder / "1.jpg", 0.5)
    with pytest.raises(ValueError, match=r"1\.jpg: not a whole image that OpenCV can decode"):
        open_source(folder)


# -- what is no source -------------------------------------------------------------------------


def test_a_single_image_is_refused(tmp_path):
    path = write_images(tmp_path, ["one.JPG"]) / "one.JPG"
    with pytest.raises(
        ValueError, match=r"one\.JPG is a single image; give a video, or the folder"
    ):
        open_source(path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"has no images, neither itself nor in img/; known are \.bmp"
    ):
        open_source(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"clip\.mp4: no such file or folder; give a video"):
        open_source(tmp_path / "clip.mp4")
    with pytest.raises(FileNotFoundError, match=r"\*\.png: nothing matches this pattern"):
        open_source(tmp_path / "*.png")
    with pytest.raises(FileNotFoundError, match="the source's name is empty"):
        open_source("")


def test_a_pattern_of_videos_is_refused(tmp_path):
    write_video(tmp_path / "a.avi", 2)
    with pytest.raises(
        ValueError, match="matches no image; a pattern stands for the images of one"
    ):
        open_source(tmp_path / "*.avi")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match=r"pipe\.mp4 is neither a file nor a folder"):
        open_source(tmp_path / "pipe.mp4")


# -- pictures out ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "OUT.MP4"])
def test_a_written_video_can_be_read_again(tmp_path, name):
    path = tmp_path / name
    with open_pictures(path, SIZE, 12.5) as output:
        for index in range(15):
            output.write(index, frame_of(index), {})
    with open_source(path) as source:
        assert (source.fps, source.claimed, source.size) == (12.5, 15, SIZE)
        assert [number_of(frame) for frame in source] == list(range(15))


def test_a_video_of_odd_size_and_no_rate(tmp_path):
    with VideoFile(tmp_path / "out.mp4", (33, 21)) as output:
        for index in range(3):
            output.write(index, frame_of(index, (33, 21)), {})
    with open_source(tmp_path / "out.mp4") as source:
        assert source.fps == outputs.DEFAULT_FPS
        assert source.size == (32, 20)
        assert len(list(source)) == 3


def test_frames_of_another_size_are_fitted(tmp_path):
    with VideoFile(tmp_path / "out.avi", SIZE) as output:
        for size in [SIZE, (32, 48), (1, 1), (400, 300)]:
            output.write(0, np.full((size[1], size[0], 3), 200, np.uint8), {})
    with open_source(tmp_path / "out.avi") as source:
        frames = list(source)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert frames[3].min() > 180


def test_letterbox_keeps_the_shape_and_centres():
    fitted = letterbox(np.full((48, 32, 3), 200, np.uint8), SIZE)
    assert (fitted[:, 16:48] == 200).all()
    assert not fitted[:, :16].any()
    assert not fitted[:, 48:].any()
    frame = frame_of(1)
    assert letterbox(frame, SIZE) is frame


def test_another_extension_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"out\.gif: an annotated video ends in \.mp4 or \.avi; a name"
    ):
        open_pictures(tmp_path / "out.gif", SIZE)


def test_a_codec_that_does_not_open(tmp_path):
    with pytest.raises(
        RuntimeError, match=r"OpenCV cannot write mp4v video of 64x48 at 90000 frames"
    ):
        VideoFile(tmp_path / "out.mp4", SIZE, 90000.0)


@pytest.mark.parametrize("name", ["out.mp4", "out.avi"])
def test_a_full_disk_is_noticed(tmp_path, name):
    noise = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    output = VideoFile(tmp_path / name, SIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        for index in range(60):
            output.write(index, noise.integers(0, 256, (48, 64, 3), dtype=np.uint8), {})
        with pytest.raises(OSError, match=r"could not be written whole; is the disk full\?"):
            output.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_error_inside_goes_before_one_of_closing(tmp_path, monkeypatch):
    output = VideoFile(tmp_path / "out.avi", SIZE)
    monkeypatch.setattr(output, "_count", 1000)
    with pytest.raises(KeyError), output:
        raise KeyError("inside")


def test_a_folder_of_images(tmp_path):
    with open_pictures(f"{tmp_path}/new/", SIZE) as output:
        assert isinstance(output, ImageFolder)
        for index in (7, 8):
            output.write(index, frame_of(index), {})
    with open_source(tmp_path / "new") as source:
        assert [path.name for path in source.paths] == ["00001.jpg", "00002.jpg"]
        assert [number_of(frame) for frame in source] == [7, 8]
    assert isinstance(open_pictures(tmp_path / "new", SIZE), ImageFolder)


# -- boxes out ---------------------------------------------------------------------------------

BOXES = {0: Box(1.23456, 2, 3.5, 4), 1: Box(-5.0, 0.25, 1e3, 7.1)}


def test_csv_lines_are_there_at_once(tmp_path):
    output = BoxFile(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "frame,object,x,y,w,h,confidence\n"
    output.write(0, frame_of(0), BOXES, {0: 0.97612})
    output.write(12, frame_of(0), {1: BOXES[1]})
    assert (tmp_path / "b.csv").read_bytes() == (
        b"frame,object,x,y,w,h,confidence\n"
        b"0,0,1.235,2.000,3.500,4.000,0.976\n"
        b"0,1,-5.000,0.250,1000.000,7.100,\n"
        b"12,1,-5.000,0.250,1000.000,7.100,\n"
    )
    output.close()


def test_mot_counts_from_one(tmp_path):
    with BoxFile(tmp_path / "gt.txt", "mot") as output:
        output.write(0, frame_of(0), BOXES)
    assert (tmp_path / "gt.txt").read_text() == (
        "1,1,1.235,2.000,3.500,4.000,1,1,1\n1,2,-5.000,0.250,1000.000,7.100,1,1,1\n"
    )


def test_json_lines(tmp_path):
    with BoxFile(tmp_path / "b.jsonl", "jsonl") as output:
        output.write(3, frame_of(0), BOXES, {1: 0.12345})
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert lines == [
        {"frame": 3, "object": 0, "box": [1.235, 2.0, 3.5, 4.0]},
        {"frame": 3, "object": 1, "box": [-5.0, 0.25, 1000.0, 7.1], "confidence": 0.123},
    ]


def test_boxes_to_standard_output(capsys):
    with BoxFile("-", "mot") as output:
        output.write(0, frame_of(0), {0: Box(1, 2, 3, 4)})
    print("still open")
    assert capsys.readouterr().out == "1,1,1.000,2.000,3.000,4.000,1,1,1\nstill open\n"


# -- boxes drawn -------------------------------------------------------------------------------


def test_a_box_is_drawn_on_a_copy():
    frame = np.full((100, 120, 3), 128, np.uint8)
    drawn = draw_boxes(frame, {0: Box(20, 30, 40, 25)})
    assert (frame == 128).all()
    assert tuple(drawn[30, 40]) == COLOURS[0]  # top edge: the box's first row of pixels
    assert tuple(drawn[54, 40]) == COLOURS[0]  # bottom edge: its last row
    assert tuple(drawn[40, 20]) == COLOURS[0]
    assert tuple(drawn[40, 59]) == COLOURS[0]
    assert (drawn[34:50, 24:56] == 128).all()
    assert (drawn[:27] == 128).all()


def test_several_objects_have_colours_and_numbers():
    frame = np.full((200, 200, 3), 128, np.uint8)
    first, second = Box(20, 60, 40, 40), Box(120, 60, 40, 40)
    alone = draw_boxes(frame, {0: first})
    both = draw_boxes(frame, {0: first, 1: second})
    assert tuple(both[70, 20]) == COLOURS[0]
    assert tuple(both[70, 120]) == COLOURS[1]
    plate = (slice(40, 57), slice(20, 30))
    assert (alone[plate] == 128).all()
    assert (both[plate] == COLOURS[0]).all(axis=2).sum() > 60


def test_numbers_of_overlapping_boxes_do_not_hide_each_other():
    frame = np.full((200, 200, 3), 128, np.uint8)
    box = Box(60, 60, 80, 80)
    alone = draw_boxes(frame, {0: box, 1: Box(0, 190, 1, 1)})
    plate_area = (alone[:58] == COLOURS[0]).all(axis=2).sum()  # the plate above box 0
    assert plate_area > 60
    drawn = draw_boxes(frame, dict.fromkeys(range(8), box))
    border = 4 * 80
    for key in range(8):
        area = (drawn == COLOURS[key]).all(axis=2).sum()
        assert plate_area * 0.8 < area < plate_area * 1.2 + border, key


def test_numbers_stay_in_the_frame():
    frame = np.full((60, 60, 3), 128, np.uint8)
    drawn = draw_boxes(frame, {0: Box(0, 0, 60, 60), 1: Box(0, 0, 60, 60), 2: Box(50, -9, 30, 90)})
    for key in range(3):
        assert (drawn == COLOURS[key]).all(axis=2).sum() > 60, key


@pytest.mark.parametrize("size", [(1, 1), (30, 20), (4000, 3000)])
def test_any_box_can_be_drawn(size):
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    boxes = [
        Box(-1e9, -1e9, 2e9, 2e9),
        Box(0, 0, 1, 1),
        Box(size[0] - 1, 0, 1, 1),
        Box(5, 5, -3, 0),
    ]
    assert draw_boxes(frame, dict(enumerate(boxes * 3))).shape == frame.shape
