"""GOT-10k: ``train`` and ``val``, each with ``list.txt`` and, in the folders that it names, ``%08d.jpg``,
``groundtruth.txt`` and ``absence.label``.

The truth is a line ``x,y,w,h`` per frame; a frame from which the object is absent (1 in
``absence.label``) counts as unlabelled, and one in which nothing of it is to be seen (0 in
``cover.label``, whose 8 is all of it) is labelled and not scored.  Either file may be missing, as may
``meta_info.ini``, of which nothing is needed.  The folder of one split may be given as well.  The test
split has no truth and is not read.
"""

from __future__ import annotations

from pathlib import Path

from goturn.data.loader import Found, Layout, Progress, silent
from goturn.data.model import DataError, Dataset
from goturn.data.reading import check_folder
from goturn.data.sequences import LIST, add_video, listed, read_flags

KIND = "got10k"
TRUTH = "groundtruth.txt"
ABSENCE = "absence.label"
COVER = "cover.label"

#: The value of ``cover.label`` where the whole object is visible.
ALL_VISIBLE = 8
LOOKS = "train or val with list.txt, NAME/groundtruth.txt, NAME/absence.label and NAME/00000001.jpg"
SPLITS = ("train", "val")


def load(path: Path, *, split: str = "all", progress: Progress = silent) -> Dataset:
    """The sequences, in the order of their lists.

    Args:
        path: the root, or the folder of one split.
        split: "train", "val" or "all"; the last only for the folder of one split.
        progress: wraps the sequences.

    Raises:
        DataError: there are none, or the split asked for is not there.
        FileNotFoundError: no such folder.
    """
    check_folder(path)
    roots = [path / name for name in SPLITS if (path / name / LIST).is_file()]
    if not roots:
        if split != "all":
            raise DataError(f"{path} has no {split}/{LIST}; give GOT-10k's root, or no split")
        roots = [path]
    elif split != "all":
        roots = [root for root in roots if root.name == split]
        if not roots:
            raise DataError(f"{path} has no {split}/{LIST}; is that split missing?")
    found = Found(KIND, path)
    if len(roots) > 1:
        found.notes.append("Both train and val are read; split=train or split=val reads one.")
    sequences = [root / name for root in roots for name in listed(found, root)]
    for folder in progress(sequences, KIND):
        _add(found, folder)
    return found.dataset(LOOKS)


def _add(found: Found, folder: Path) -> None:
    flags: dict[str, list[int]] = {}
    for name, highest in ((ABSENCE, 1), (COVER, ALL_VISIBLE)):
        if (folder / name).exists():
            try:
                flags[name] = read_flags(folder / name, highest)
            except ValueError as error:
                found.leave_out(folder / name, error)
                return
    add_video(
        found,
        folder.name,
        folder / TRUTH,
        folder,
        absent=[flag == 1 for flag in flags.get(ABSENCE, [])],
        ignored=[flag == 0 for flag in flags.get(COVER, [])],
    )


def recognise(path: Path) -> bool:
    """Whether it, or a split in it, has a list and a folder there is as in GOT-10k."""
    for root in (path, *(path / name for name in SPLITS)):
        if (root / LIST).is_file():
            for name in listed(Found(KIND, path), root)[:5]:
                if any((root / name / mark).exists() for mark in (ABSENCE, "meta_info.ini")):
                    return True
    return False


LAYOUT = Layout(KIND, LOOKS, load, recognise, {"split": ("all", *SPLITS)})
