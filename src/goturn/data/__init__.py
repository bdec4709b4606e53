"""Data sets: labelled videos and photographs from the layouts that people have on their disks."""

from goturn.data.images import FrameReader
from goturn.data.layouts import LAYOUTS, absolute_spec, open_dataset
from goturn.data.model import (
    BAD_LIMIT,
    LARGEST_PART,
    DataError,
    Dataset,
    FrameFiles,
    Photograph,
    Problem,
    Video,
    check_problems,
)

__all__ = [
    "BAD_LIMIT",
    "LARGEST_PART",
    "LAYOUTS",
    "DataError",
    "Dataset",
    "FrameFiles",
    "FrameReader",
    "Photograph",
    "Problem",
    "Video",
    "absolute_spec",
    "check_problems",
    "open_dataset",
]
