"""ImageNet DET (ILSVRC2014): ``<annotations>/<folder>/<name>.xml`` and ``<images>/<folder>/<name>.JPEG``.

The folders are those of the release, ``Annotations/DET/train`` and ``Data/DET/train`` or
``ILSVRC2014_DET_bbox_train`` and ``ILSVRC2014_DET_train``, else any two in the root that hold such files.
Folders with "extra" in their names, images without the objects looked for, are left out.

All boxes with an area are kept; with those that fill at most 66 % of their image in both dimensions
(:meth:`~goturn.data.model.Photograph.with_room`), the complete training set has 239,283 boxes in 134,821
images (facts 3.7), as the paper has it.  Coordinates are taken as they are, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from goturn.box import Box
from goturn.data.loader import Found, Layout, Progress, checked_root, silent
from goturn.data.model import DataError, Dataset
from goturn.data.reading import checked_box, count, holds, subfolders
from goturn.data.xml_boxes import Annotation, Pictures, add_photograph
from goturn.video import IMAGE_SUFFIXES

KIND = "imagenet_det"
LOOKS = "a folder of FOLDER/NAME.xml and one of FOLDER/NAME.JPEG"

#: Annotations and images of the release, as it is unpacked by various people.
KNOWN = (
    ("Annotations/DET/train", "Data/DET/train"),
    ("ILSVRC/Annotations/DET/train", "ILSVRC/Data/DET/train"),
    ("ILSVRC2014_DET_bbox_train", "ILSVRC2014_DET_train"),
)

#: How deep folders may lie in each other.
MAX_DEPTH = 6


def load(
    path: Path, *, annotations: str = "", images: str = "", progress: Progress = silent
) -> Dataset:
    """The images that have an object, by folder and name.

    Args:
        path: the folder with both.
        annotations: their folder in ``path``, if it is to be another one.
        images: likewise.
        progress: wraps the XML files.

    Raises:
        DataError: there are no such folders, or nothing in them.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    truths, root = _roots(path, annotations, images)
    files: list[tuple[str, str]] = []
    extra = _walk(found, truths, "", files)
    pictures = Pictures(root)
    empty = 0
    for folder, name in progress(files, KIND):
        stem = name[: -len(".xml")]

        def locate(annotation: Annotation, folder: str = folder, stem: str = stem) -> Path:
            folders = [*annotation.plain("folder"), folder, ""]
            return pictures.find(folders, [*annotation.plain("filename"), stem])

        full_name = f"{folder}/{stem}".lstrip("/")
        empty += not add_photograph(found, truths / folder / name, full_name, locate, _box)
    if extra:
        found.notes.append(f"{count(extra, 'folder')} with extra images left out.")
    if empty:
        found.notes.append(f"{count(empty, 'annotation')} without objects left out.")
    return found.dataset(LOOKS)


def _box(x1: float, y1: float, x2: float, y2: float) -> Box:
    box = checked_box(x1, y1, x2 - x1, y2 - y1)
    if x1 < 0 or y1 < 0:
        raise ValueError(f"a box must begin within the image, not at {x1:g}, {y1:g}")
    return box


def _walk(found: Found, root: Path, folder: str, files: list[tuple[str, str]]) -> int:
    """Adds the XML files below ``root``, as (folder, name), sorted; how many folders were left out."""
    files += ((folder, name) for name in found.file_names(root / folder, (".xml",)))
    left_out = 0
    if folder.count("/") < MAX_DEPTH:
        for name in found.subfolders(root / folder):
            if "extra" in name.lower():
                left_out += 1
            else:
                left_out += _walk(found, root, f"{folder}/{name}".lstrip("/"), files)
    return left_out


def _roots(path: Path, annotations: str, images: str) -> tuple[Path, Path]:
    """The folders of annotations and of images."""
    for truth_name, image_name in KNOWN:
        if (path / truth_name).is_dir() and (path / image_name).is_dir():
            annotations, images = annotations or truth_name, images or image_name
    folders = [path / name for name in subfolders(path)]
    truths = path / annotations if annotations else _first(folders, (".xml",))
    root = path / images if images else _first(folders, IMAGE_SUFFIXES)
    return (
        checked_root(path, truths, "FOLDER/NAME.xml", LOOKS),
        checked_root(path, root, "FOLDER/NAME.JPEG", LOOKS),
    )


def _first(folders: Sequence[Path], suffixes: Sequence[str] | frozenset[str]) -> Path | None:
    """The first of the folders that holds such files, at whatever depth."""
    return next((f for f in folders if any(holds(f, suffixes, deep) for deep in range(4))), None)


def recognise(path: Path) -> bool:
    """Whether it has annotations and images as in ImageNet DET."""
    try:
        _roots(path, "", "")
    except (DataError, FileNotFoundError):
        return False
    return True


LAYOUT = Layout(KIND, LOOKS, load, recognise, {"annotations": (), "images": ()})
