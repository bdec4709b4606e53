"""MOT's ground truth in a zip, as CVAT imports it ("MOT 1.1"): ``gt/gt.txt`` and ``gt/labels.txt``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from goturn.exports.tracks import TrackFile, writable
from goturn.outputs import mot_line


class MotZip(TrackFile):
    """A zip of the lines that ``--mot gt.txt`` writes, object by object, and the class's name."""

    def save(self, path: Path) -> None:
        with ZipFile(path, "w") as archive:
            with archive.open(_member("gt/gt.txt"), "w", force_zip64=True) as file:
                for part in self.parts():
                    file.write(part.encode("utf-8"))
            archive.writestr(_member("gt/labels.txt"), writable(self.clip.label) + "\n")

    def parts(self) -> Iterator[str]:
        for key, track in self.tracks.items():
            for index, box in track:
                yield mot_line(index, key, box)


def _member(name: str) -> ZipInfo:
    """An entry that says nothing of the time, so that the same boxes make the same file."""
    entry = ZipInfo(name)
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
