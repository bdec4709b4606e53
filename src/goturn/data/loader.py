"""What a loader is: how it is found, what it is given, and what it collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from goturn.data.model import DataError, Dataset, Photograph, Problem, Video
from goturn.data.reading import check_folder, file_names, image_names, read_lines, subfolders

T = TypeVar("T")

#: A file with more bad lines than this is left out as a whole: it is something else, or wholly broken.
MAX_BAD_LINES = 100


class Progress(Protocol):
    """Wraps what a loader goes through, so that it can be shown; tqdm does."""

    def __call__(self, things: Sequence[T], label: str, /) -> Iterable[T]:
        """The same things in the same order."""


def silent(things: Sequence[T], label: str, /) -> Iterable[T]:
    """No progress."""
    return things


@dataclass(frozen=True)
class Layout:
    """A form in which data sets lie on disk, and its loader."""

    kind: str
    looks: str
    """What makes it out, for messages."""
    load: Callable[..., Dataset]
    """``load(path, *, progress=silent, **options)``."""
    recognise: Callable[[Path], bool]
    """Whether a folder looks like it; quick, and reads no annotations."""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The values of each option of ``load``; none where any text will do."""


class Found:
    """Collects what a loader finds in a folder, and what it leaves out.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, kind: str, path: Path) -> None:
        check_folder(path)
        self.kind, self.path = kind, path
        self.videos: list[Video] = []
        self.photographs: list[Photograph] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def leave_out(self, path: Path, reason: object) -> None:
        """Records that a file, or a part of it, is bad."""
        self.problems.append(Problem(path, str(reason)))

    def subfolders(self, folder: Path) -> list[str]:
        """As :func:`subfolders`; that a folder cannot be read is a problem, and it has none."""
        try:
            return subfolders(folder)
        except ValueError as error:
            self.leave_out(folder, error)
            return []

    def file_names(self, folder: Path, suffixes: Iterable[str]) -> list[str]:
        """As :func:`file_names`, sorted; that a folder cannot be read is a problem, and it has none."""
        try:
            return sorted(file_names(folder, suffixes))
        except ValueError as error:
            self.leave_out(folder, error)
            return []

    def lines_and_images(
        self, annotation: Path, images: Path
    ) -> tuple[list[str], list[str]] | None:
        """The lines of a video's annotation and the names of its images; that one of them cannot be read
        is a problem, and there is nothing then.
        """
        try:
            lines = read_lines(annotation)
        except ValueError as error:
            self.leave_out(annotation, error)
            return None
        try:
            return lines, image_names(images)
        except ValueError as error:
            self.leave_out(images, error)
            return None

    def dataset(self, looked_for: str) -> Dataset:
        """All of it.

        Raises:
            DataError: nothing was found, nor anything bad; ``looked_for`` says what should be there.
        """
        if not self.videos and not self.photographs and not self.problems:
            why = f" ({' '.join(self.notes)})" if self.notes else ""
            raise DataError(f"{self.path}: found nothing; looked for {looked_for}{why}")
        return Dataset(
            self.kind,
            self.path,
            tuple(self.videos),
            tuple(self.photographs),
            tuple(self.problems),
            tuple(self.notes),
        )


def checked_root(path: Path, root: Path | None, holds: str, looks: str) -> Path:
    """The folder of a data set's annotations, or of its images.

    Args:
        path: of the data set.
        root: what was found, or named; None where nothing was.
        holds: what it has in it, for messages.
        looks: the layout, for messages.

    Raises:
        DataError: nothing was found.
        FileNotFoundError: there is no such folder.
    """
    if root is None:
        raise DataError(f"{path}: no folder in it holds {holds}; looked for {looks}")
    check_folder(root)
    return root


def parse_lines(
    path: Path, lines: Mapping[int, str], parse: Callable[[str], T], found: Found
) -> dict[int, T] | None:
    """What ``parse`` makes of each line; both by number from 0.

    A line for which it raises ValueError is a problem and missing from the result; beyond
    ``MAX_BAD_LINES`` of them the file is one problem, and the result None.
    """
    parsed: dict[int, T] = {}
    bad: list[str] = []
    for number, line in lines.items():
        try:
            parsed[number] = parse(line)
        except ValueError as error:
            bad.append(f"line {number + 1}: {error}")
            if len(bad) > MAX_BAD_LINES:
                found.leave_out(
                    path, f"more than {MAX_BAD_LINES} lines are bad, the first is {bad[0]}"
                )
                return None
    for reason in bad:
        found.leave_out(path, reason)
    return parsed
