"""COCO with videos: COCO's JSON plus ``videos``, as CocoVID has it.

What reads COCO's boxes reads it (pycocotools, FiftyOne, Datumaro), and what knows videos finds
``video_id`` and ``frame_id`` in images and ``instance_id`` in annotations.  Frames in ``frame_id`` and
objects count from 0 as in the CSV, other numbers from 1; boxes are x, y, w, h in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from goturn.exports.tracks import TrackFile, writable

#: Of the only video and the only category.
ID = 1


class CocoFile(TrackFile):
    """One video, its frames that were tracked, and an annotation for each box."""

    def parts(self) -> Iterator[str]:
        width, height = self.size
        video = {
            "id": ID,
            "name": writable(self.clip.name),
            "width": width,
            "height": height,
            "length": self.length,
            "fps": self.clip.fps,
        }
        category = {"id": ID, "name": writable(self.clip.label), "supercategory": ""}
        yield "{\n"
        yield from listed("videos", [video])
        yield from listed("images", self._images())
        yield from listed("annotations", self._annotations())
        yield from listed("categories", [category], last=True)
        yield "}\n"

    def _images(self) -> Iterator[dict[str, Any]]:
        for frames in self.frames:
            for index in range(frames.first, frames.stop):
                yield {
                    "id": index + 1,
                    "video_id": ID,
                    "frame_id": index,
                    "file_name": self.clip.frame_name(index),
                    "width": frames.size[0],
                    "height": frames.size[1],
                }

    def _annotations(self) -> Iterator[dict[str, Any]]:
        number = 0
        for key, track in self.tracks.items():
            for index, box in track:
                number += 1
                bbox = [round(value, 3) for value in box]
                yield {
                    "id": number,
                    "image_id": index + 1,
                    "video_id": ID,
                    "category_id": ID,
                    "instance_id": key,
                    "bbox": bbox,
                    "area": round(bbox[2] * bbox[3], 6),
                    "iscrowd": 0,
                    "attributes": {"track_id": key},  # what Datumaro and CVAT keep
                }


def listed(name: str, entries: Iterable[dict[str, Any]], *, last: bool = False) -> Iterator[str]:
    """``"name": [...]`` of a JSON object, an entry a line."""
    yield f'"{name}": ['
    comma = "\n"
    for entry in entries:
        yield comma + json.dumps(entry)
        comma = ",\n"
    yield "\n]\n" if last else "\n],\n"
