"""Plain folders, goturn's own form: ``<name>/img/00001.jpg ...`` and ``<name>/groundtruth.txt``.

A line per frame, ``x,y,w,h`` in pixels from 0, ``nan,nan,nan,nan`` where the object is not labelled.  The
frames may lie in ``<name>/`` itself.  The folder given may be that of one sequence.
"""

from __future__ import annotations

from pathlib import Path

from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import Dataset
from goturn.data.reading import subfolders
from goturn.data.sequences import add_video

KIND = "folder"
TRUTH = "groundtruth.txt"
LOOKS = "NAME/groundtruth.txt with frames in NAME/img or NAME"


def load(path: Path, *, progress: Progress = silent) -> Dataset:
    """The sequences in a folder, by name.

    Raises:
        DataError: there are none.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    if (path / TRUTH).exists():
        folders = [path]
    else:
        folders = [path / name for name in found.subfolders(path) if (path / name / TRUTH).exists()]
    for folder in progress(folders, KIND):
        add_video(found, folder.resolve().name, folder / TRUTH, frame_folder(folder))
    return found.dataset(LOOKS)


def frame_folder(folder: Path) -> Path:
    """Where a sequence's frames are."""
    return folder / "img" if (folder / "img").is_dir() else folder


def recognise(path: Path) -> bool:
    """Whether it or a folder in it has a ground truth."""
    return (path / TRUTH).exists() or any(
        (path / name / TRUTH).exists() for name in subfolders(path)
    )


LAYOUT = Layout(KIND, LOOKS, load, recognise)
