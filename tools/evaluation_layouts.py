"""Videos to evaluate on, and the folders in which got10k and VOT's toolkit want them.

Frames are stored as PNG, whatever their names say: Pillow and OpenCV then decode the same pixels, which
they do not of JPEG.  Truth is rounded to quarters of a pixel, which every format on the way holds
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from goturn.architecture import LRN, Architecture, Conv, MaxPool, Preprocessing, fc_head
from goturn.box import Box
from goturn.data.model import Video
from goturn.video import read_image
from goturn.weights import random_weights, save

#: Two names of OTB's: got10k opens no others.
NAMES = ("Crossing", "Girl")

#: OTB-2013 by got10k, which would download what has no folder.
OTB_VERSION = 2013


def rendered_videos(folder: Path, frames: int) -> list[Video]:
    """Two videos of a patch that moves before a picture; the second one's truth are quadrangles."""
    return [
        _rendered(folder / name, name, frames, turned=name == NAMES[1], seed=seed)
        for seed, name in enumerate(NAMES)
    ]


def _rendered(folder: Path, name: str, frames: int, *, turned: bool, seed: int) -> Video:
    rng = np.random.default_rng(seed)
    scene = _texture(rng, 320, 240)
    files, boxes, corners = [], {}, {}
    for number in range(frames):
        angle = 0.04 * number
        width, height = 44 + (number % 9), 32 + (number % 7)
        x = 90 + 60 * math.sin(angle + seed) + 0.25 * (number % 4)
        y = 70 + 40 * math.cos(1.3 * angle)
        box = Box(*(round(4 * value) / 4 for value in (x, y, width, height)))
        picture = scene.copy()
        patch = cv2.resize(_texture(np.random.default_rng(seed + 50), 24, 20), (width, height))
        left, top = int(box.x), int(box.y)
        picture[top : top + height, left : left + width] = patch
        if turned:
            lean = 2 + number % 3
            outline = (
                (box.x + lean, box.y), (box.x + box.w, box.y + lean),
                (box.x + box.w - lean, box.y + box.h), (box.x, box.y + box.h - lean),
            )  # fmt: skip
            corners[number] = tuple(value for corner in outline for value in corner)
        boxes[number] = box
        files.append(write_png(folder / f"{number + 1:04d}.png", picture))
    return Video(name, tuple(files), boxes, corners, ignored=covered(frames))


def covered(frames: int) -> frozenset[int]:
    """Frames in which the object is said to be covered, which GOT-10k passes by."""
    return frozenset(range(frames // 3, frames // 3 + 5))


def recorded_videos(videos: Sequence[Video], folder: Path, frames: int) -> list[Video]:
    """The beginnings of two labelled videos, under names of OTB's."""
    made = []
    for name, video in zip(NAMES, videos, strict=True):
        files = [
            write_png(folder / name / f"{number + 1:04d}.png", read_image(video.frames[number]))
            for number in range(frames)
        ]
        boxes = {
            number: Box(*(round(4 * value) / 4 for value in video.boxes[number]))
            for number in range(frames)
        }
        made.append(Video(name, tuple(files), boxes, ignored=covered(frames)))
    return made


def small_weights(path: Path) -> Path:
    """Weights of a small network, random but for their answer: a little right of and below the middle.

    It loses what it tracks every dozen frames, which the protocols with restarts are about.
    """
    architecture = Architecture(
        tower=(
            Conv("conv1", 6, kernel=5, stride=2),
            MaxPool("pool1"),
            LRN("norm1"),
            Conv("conv2", 8, kernel=3, pad=1, groups=2, init_bias=1.0),
            MaxPool("pool2"),
        ),
        head=fc_head([16, 16]),
        preprocessing=Preprocessing(input_size=35),
    )
    weights = random_weights(architecture, 0)
    weights.parameters["fc8/weight"][...] *= np.float32(0.5)
    weights.parameters["fc8/bias"][...] = (3.0, 2.8, 8.0, 7.7)
    save(weights, path)
    return path


def write_otb(root: Path, videos: Sequence[Video], all_names: Sequence[str]) -> None:
    """OTB: ``NAME/img/0001.jpg``, ``NAME/groundtruth_rect.txt`` from 1; an empty folder for each other
    name, without which got10k would download it.
    """
    for name in all_names:
        (root / name).mkdir(parents=True, exist_ok=True)
    for video in videos:
        _link_frames(video, root / video.name / "img", "{:04d}.jpg")
        _write_boxes(root / video.name / "groundtruth_rect.txt", upright(video, by=1))


def write_got10k(root: Path, videos: Sequence[Video]) -> None:
    """GOT-10k's ``val``, with the labels that its experiment reads."""
    root = root / "val"
    root.mkdir(parents=True)
    (root / "list.txt").write_text("".join(f"{video.name}\n" for video in videos))
    for video in videos:
        folder = root / video.name
        _link_frames(video, folder, "{:08d}.jpg")
        _write_boxes(folder / "groundtruth.txt", upright(video))
        width, height = frame_size(video)
        (folder / "meta_info.ini").write_text(f"[METAINFO]\nresolution: ({width}, {height})\n")
        flags = ["0\n" if number in video.ignored else "8\n" for number in video.boxes]
        (folder / "cover.label").write_text("".join(flags))
        for name in ("absence", "cut_by_image"):
            (folder / f"{name}.label").write_text("0\n" * len(flags))


def write_vot(root: Path, videos: Sequence[Video]) -> None:
    """The sequences of a workspace of VOT's toolkit."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "list.txt").write_text("".join(f"{video.name}\n" for video in videos))
    for video in videos:
        folder = root / video.name
        _link_frames(video, folder / "color", "{:08d}.jpg")
        _write_boxes(folder / "groundtruth.txt", video)
        width, height = frame_size(video)
        (folder / "sequence").write_text(
            "channels.color=color/%08d.jpg\nfps=30\nformat=default\n"
            f"name={video.name}\nwidth={width}\nheight={height}\nlength={len(video.frames)}\n"
        )


def upright(video: Video, by: float = 0.0) -> Video:
    """The video without its quadrangles, with coordinates that begin ``by`` higher."""
    boxes = {
        number: box._replace(x=box.x + by, y=box.y + by) for number, box in video.boxes.items()
    }
    return Video(video.name, video.frames, boxes, ignored=video.ignored)


def frame_size(video: Video) -> tuple[int, int]:
    """(width, height) of the first frame, pixels."""
    height, width = read_image(video.frames[0]).shape[:2]
    return width, height


def write_png(path: Path, picture: np.ndarray) -> Path:
    """Writes ``picture`` and gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    return path


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    noise = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _link_frames(video: Video, folder: Path, pattern: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(video.frames):
        (folder / pattern.format(number + 1)).symlink_to(path.resolve())


def _write_boxes(path: Path, video: Video) -> None:
    """A line for each frame, all of which are labelled: four corners where there are, or x,y,w,h."""
    lines = [video.corners.get(number, box) for number, box in video.boxes.items()]
    path.write_text("".join(",".join(f"{value:.2f}" for value in line) + "\n" for line in lines))
