"""Pascal VOC: ``Annotations/<name>.xml`` and ``JPEGImages/<name>.jpg``, or folders of both, one a year.

The first pixel is (1, 1), and xmax and ymax are the last pixels *in* the box, so that a box from 1 to
the image's width is as wide as the image.
"""

from __future__ import annotations

from pathlib import Path

from goturn.box import Box
from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import Dataset
from goturn.data.reading import checked_box, count, subfolders
from goturn.data.xml_boxes import Annotation, Pictures, add_photograph

KIND = "voc"
TRUTHS = "Annotations"
IMAGES = "JPEGImages"
LOOKS = "Annotations/NAME.xml and JPEGImages/NAME.jpg"


def load(path: Path, *, progress: Progress = silent) -> Dataset:
    """The images that have an object, by name.

    Raises:
        DataError: there are none.
        FileNotFoundError: no such folder.
    """
    found = Found(KIND, path)
    names = [""] if _is_year(path) else [n for n in found.subfolders(path) if _is_year(path / n)]
    empty = 0
    for year in names:
        pictures = Pictures(path / year)
        files = found.file_names(path / year / TRUTHS, (".xml",))
        for file in progress(files, f"{KIND} {year}".strip()):
            xml = path / year / TRUTHS / file
            name = f"{year}/{xml.stem}".lstrip("/")

            def locate(
                annotation: Annotation, pictures: Pictures = pictures, stem: str = xml.stem
            ) -> Path:
                return pictures.find([IMAGES], [*annotation.plain("filename"), stem])

            empty += not add_photograph(found, xml, name, locate, _box)
    if empty:
        found.notes.append(f"{count(empty, 'annotation')} without objects left out.")
    return found.dataset(LOOKS)


def _box(x1: float, y1: float, x2: float, y2: float) -> Box:
    return checked_box(x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)


def _is_year(path: Path) -> bool:
    return (path / TRUTHS).is_dir() and (path / IMAGES).is_dir()


def recognise(path: Path) -> bool:
    """Whether it, or a folder in it, has both folders."""
    return _is_year(path) or any(_is_year(path / name) for name in subfolders(path))


LAYOUT = Layout(KIND, LOOKS, load, recognise)
