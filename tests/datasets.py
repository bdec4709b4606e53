"""Tiny data sets in the layouts of the real ones, written to a test's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np


def encoded(width: int = 32, height: int = 24, shade: int = 128, suffix: str = ".jpg") -> bytes:
    """A grey image of one shade as a file's bytes."""
    return cv2.imencode(suffix, np.full((height, width, 3), shade, np.uint8))[1].tobytes()


JPEG = encoded()


def write(path: Path, content: str | bytes) -> Path:
    """Writes a file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def frames(folder: Path, numbers: Iterable[int], digits: int = 8) -> Path:
    """Writes ``00000001.jpg`` and so on."""
    for number in numbers:
        write(folder / f"{number:0{digits}d}.jpg", JPEG)
    return folder


def lines(rows: Iterable[Sequence[float]], separator: str = ",") -> str:
    """Rows of numbers as text."""
    return "".join(separator.join(f"{value:g}" for value in row) + "\n" for row in rows)


def alov(root: Path, sizes: Mapping[str, int], images: int = 11) -> Path:
    """ALOV300++ with so many videos a category, each labelled in frames 1, 6, 11: a box of 10 x 6."""
    for category, count in sizes.items():
        for number in range(1, count + 1):
            name = f"{category}_video{number:05d}"
            rows = [(f, *(5 + f, 4, 15 + f, 4, 15 + f, 10, 5 + f, 10)) for f in (1, 6, 11)]
            write(
                root / "alov300++_rectangleAnnotation_full" / category / f"{name}.ann",
                lines(rows, " "),
            )
            frames(root / "imagedata++" / category / name, range(1, images + 1))
    return root


#: The categories of ALOV300++ and how many videos each has.
ALOV_SIZES = {
    "01-Light": 33,
    "02-SurfaceCover": 15,
    "03-Specularity": 18,
    "04-Transparency": 20,
    "05-Shape": 24,
    "06-MotionSmoothness": 22,
    "07-MotionCoherence": 12,
    "08-Clutter": 15,
    "09-Confusion": 37,
    "10-LowContrast": 23,
    "11-Occlusion": 34,
    "12-MovingCamera": 22,
    "13-ZoomingCamera": 29,
    "14-LongDuration": 10,
}


def voc_xml(
    boxes: Iterable[Sequence[object]],
    *,
    folder: str = "n01",
    filename: str = "a",
    size: Sequence[object] | None = (100, 80),
    before: str = "",
) -> str:
    """An annotation; boxes are xmin, ymin, xmax, ymax."""
    objects = "".join(
        "<object><name>cat</name><bndbox>"
        f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>\n"
        for x1, y1, x2, y2 in boxes
    )
    sized = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return (
        f"{before}<annotation><folder>{folder}</folder><filename>{filename}</filename>{sized}\n"
        f"{objects}</annotation>"
    )


def photographs(
    root: Path, entries: Mapping[str, object], images: Iterable[str] | None = None
) -> Path:
    """``boxes.json`` with these entries, and an image for each, or for those named."""
    write(root / "boxes.json", json.dumps(entries))
    for name in entries if images is None else images:
        write(root / "img" / f"{name}.jpg", JPEG)
    return root


def entry(*boxes: Sequence[object], size: Sequence[object] = (32, 24)) -> dict[str, object]:
    """An entry of ``boxes.json``."""
    return {"size": list(size), "boxes": [{"class": "cat", "box": list(box)} for box in boxes]}
