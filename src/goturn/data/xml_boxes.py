"""Annotations in Pascal VOC's XML, which ImageNet has too.

They come from others, so: a file is small, has no DOCTYPE (entities are defined there, which can grow
without bound or name other files), is not deep, and its strings are names and numbers or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from goturn.box import Box
from goturn.data.loader import Found
from goturn.data.model import Photograph
from goturn.data.reading import (
    check_inside,
    checked_size,
    count,
    file_names,
    numbers,
    plain_name,
    read_bytes,
)
from goturn.video import IMAGE_SUFFIXES

#: Largest file, bytes.
MAX_BYTES = 1_000_000

#: VOC's own files have four levels, and some ten elements an object.
MAX_DEPTH = 20
MAX_ELEMENTS = 50_000

SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Annotation:
    """What an XML file says of an image."""

    fields: dict[str, str]
    """Text of elements by path: "filename", "size/width"."""
    objects: list[dict[str, str]] = field(default_factory=list)
    """The same of each object: "name", "bndbox/xmin"."""

    def plain(self, name: str) -> list[str]:
        """The text of an element that names a file or folder: one, or none where it is not there.

        Raises:
            ValueError: it leads elsewhere.
        """
        return [plain_name(self.fields[name])] if self.fields.get(name) else []

    def size(self) -> tuple[int, int]:
        """(width, height) of the image, pixels.

        Raises:
            ValueError: it is not given, or is none.
        """
        width, height = (_number(self.fields, f"size/{side}") for side in ("width", "height"))
        return checked_size(width, height)


class Pictures:
    """Which images there are; each folder is read once, when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def find(self, folders: Sequence[str], names: Sequence[str]) -> Path:
        """The first there is, in any of the folders, of any of the names, with any usual ending.

        Raises:
            ValueError: there is none.
        """
        for folder in folders:
            there = self._in(folder)
            for name in names:
                for full in (name, *(name + suffix for suffix in (".JPEG", ".jpg", ".png"))):
                    if full in there:
                        return self._root / folder / full
        raise ValueError(f"there is no image {' or '.join(dict.fromkeys(names))}")

    def _in(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(file_names(self._root / folder, IMAGE_SUFFIXES))
            except ValueError:
                self._names[folder] = frozenset()
        return self._names[folder]


def add_photograph(
    found: Found,
    xml: Path,
    name: str,
    locate: Callable[[Annotation], Path],
    boxed: Callable[[float, float, float, float], Box],
) -> bool:
    """Reads a file into ``found``, as a photograph or as the problems that it has.

    Args:
        found: takes it.
        xml: the file.
        name: of the photograph.
        locate: finds its image; ValueError where it cannot.
        boxed: the box of xmin, ymin, xmax, ymax; ValueError where there is none.

    Returns:
        Whether the file has objects, good or bad, or is a problem itself.
    """
    try:
        annotation = read_annotation(xml)
        if not annotation.objects:
            return False
        size = annotation.size()
        image = locate(annotation)
    except ValueError as error:
        found.leave_out(xml, error)
        return True
    boxes = []
    for number, item in enumerate(annotation.objects, 1):
        try:
            boxes.append(check_inside(boxed(*_sides(item)), size))
        except ValueError as error:
            found.leave_out(xml, f"object {number}: {error}")
    if boxes:
        found.photographs.append(Photograph(name, image, size, tuple(boxes)))
    return True


def read_annotation(path: Path) -> Annotation:
    """Reads a file.

    Raises:
        ValueError: it cannot be read, is too large, has a DOCTYPE, or is not well formed; a clause.
    """
    return parse_annotation(read_bytes(path, MAX_BYTES))


def parse_annotation(data: bytes) -> Annotation:
    """Parses a file's content.

    Raises:
        ValueError: as :func:`read_annotation`.
    """
    result = Annotation({})
    open_elements: list[str] = []
    texts: list[str] = []
    elements = 0
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def doctype(*_: object) -> None:
        raise ValueError("XML with a DOCTYPE is refused; remove it")

    def start(name: str, attributes: object) -> None:
        nonlocal elements
        elements += 1
        open_elements.append(name)
        texts.clear()
        if len(open_elements) > MAX_DEPTH or elements > MAX_ELEMENTS:
            raise ValueError("no annotation: too many elements, or too deep")
        if open_elements[1:] == ["object"]:
            result.objects.append({})

    def end(name: str) -> None:
        inside = open_elements[1:]
        open_elements.pop()
        text = "".join(texts).strip()
        texts.clear()
        if inside[:1] == ["object"]:  # of a part within an object: "part/bndbox/xmin"
            result.objects[-1]["/".join(inside[1:])] = text
        elif inside:
            result.fields["/".join(inside)] = text

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = texts.append
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:  # the latter for an encoding nobody knows
        raise ValueError(f"not well-formed XML ({error})") from error
    return result


def _sides(item: dict[str, str]) -> tuple[float, float, float, float]:
    """xmin, ymin, xmax, ymax of an object, as they are written.

    Raises:
        ValueError: one is missing, or not a number.
    """
    x1, y1, x2, y2 = (_number(item, f"bndbox/{side}") for side in SIDES)
    return x1, y1, x2, y2


def _number(fields: dict[str, str], name: str) -> float:
    if not fields.get(name):
        raise ValueError(f"no {name}")
    values = numbers(fields[name])
    if len(values) != 1:
        raise ValueError(f"{name}: {count(len(values), 'number')} where 1 was expected")
    return values[0]
