"""Tracked boxes as files of annotation tools: CVAT, COCO with videos, Label Studio, MOT as a zip.

Each is an :class:`~goturn.outputs.Output` that keeps the boxes, 40 bytes each, and writes the whole file
when it is closed: whatever ended the run, the file is complete and valid, and one that was there before
is replaced in one step.  Only a process that is killed outright leaves no file; CSV and JSON lines are
written frame by frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from goturn.exports.coco import CocoFile
from goturn.exports.cvat import CvatFile
from goturn.exports.label_studio import LabelStudioFile
from goturn.exports.mot import MotZip
from goturn.exports.tracks import Clip, TrackFile, clip_of

__all__ = [
    "EXPORTS",
    "Clip",
    "CocoFile",
    "CvatFile",
    "LabelStudioFile",
    "MotZip",
    "TrackFile",
    "clip_of",
]

#: Export by the name of its option, in underscores.
EXPORTS: Mapping[str, type[TrackFile]] = {
    "cvat": CvatFile,
    "coco": CocoFile,
    "label_studio": LabelStudioFile,
}
