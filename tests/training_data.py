"""Small made-up data to train on: textured squares that move over a textured ground."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from goturn.training.config import TrainConfig


def make_videos(folder: Path, count: int = 2, frames: int = 4, seed: int = 0) -> Path:
    """Sequences in the ``folder`` layout; the last frame of each is unlabelled."""
    random = np.random.default_rng(seed)
    for number in range(count):
        images = folder / f"video{number}" / "img"
        images.mkdir(parents=True)
        lines = []
        x, y, w, h = 20.0, 15.0, 24.0, 18.0
        ground = random.integers(0, 256, (60, 80, 3)).astype(np.uint8)
        square = random.integers(0, 256, (18, 24, 3)).astype(np.uint8)
        for index in range(frames):
            image = ground.copy()
            image[int(y) : int(y + h), int(x) : int(x + w)] = square
            cv2.imwrite(str(images / f"{index + 1:05d}.jpg"), image)
            lines.append(f"{x},{y},{w},{h}" if index < frames - 1 else "nan,nan,nan,nan")
            x, y = x + 3, y + 2
        (folder / f"video{number}" / "groundtruth.txt").write_text("\n".join(lines) + "\n")
    return folder


def make_photographs(folder: Path, count: int = 3, seed: int = 1) -> Path:
    """Photographs in the ``boxes.json`` layout: one box with room, and one that is too large."""
    random = np.random.default_rng(seed)
    (folder / "img").mkdir(parents=True)
    boxes = {}
    for number in range(count):
        image = random.integers(0, 256, (50, 70, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "img" / f"{number}.jpg"), image)
        boxes[str(number)] = {
            "size": [70, 50],
            "boxes": [
                {"class": "square", "box": [20.0 + number, 12.0, 22.0, 20.0]},
                {"class": "all", "box": [0.0, 0.0, 70.0, 50.0]},
            ],
        }
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


def small_run(
    folder: Path, *, videos: int = 2, validation: int = 1, **settings: Any
) -> TrainConfig:
    """Settings of a small run on made-up data in ``folder``, of features computed once."""
    return TrainConfig(
        videos=(str(make_videos(folder / "videos", count=videos)),),
        images=(str(make_photographs(folder / "images")),),
        validation=(str(make_videos(folder / "validation", count=validation, seed=3)),),
        widths=(8,),
        drawn=2,
        batch=4,
        cache_features=12,
        device="cpu",
        **settings,
    )
