"""All layouts of data sets that are read, and the text that names one: ``PATH`` or ``KIND:PATH``."""

from __future__ import annotations

import re
from pathlib import Path

from goturn.data import alov, folder, got10k, imagenet_det, otb, photographs, voc, vot
from goturn.data.loader import Layout, Progress, silent
from goturn.data.model import DataError, Dataset
from goturn.data.reading import check_folder

#: In the order in which they are looked for: one that others' marks could be taken for comes later.
LAYOUTS: dict[str, Layout] = {
    layout.kind: layout
    for layout in (
        photographs.LAYOUT,
        voc.LAYOUT,
        alov.LAYOUT,
        got10k.LAYOUT,
        vot.LAYOUT,
        otb.LAYOUT,
        folder.LAYOUT,
        imagenet_det.LAYOUT,
    )
}

_OPTION = re.compile(r",([A-Za-z_]+)=([^,]*)$")


def open_dataset(spec: str | Path, *, progress: Progress = silent) -> Dataset:
    """Opens the data set that ``spec`` names.

    Args:
        spec: a folder, whose layout is told by looking; or ``KIND:PATH``; each with the options of its
            kind after commas: ``alov:/data/ALOV,split=train``.
        progress: wraps what the loader goes through; a tqdm, where that is wanted.

    Raises:
        DataError: a kind, a layout or an option that is not known, or a folder with nothing in it.
        FileNotFoundError: no such folder.
    """
    kind, path, options = parse_spec(str(spec))
    layout = LAYOUTS[kind] if kind else recognise(path)
    for name, value in options.items():
        _check_option(layout, name, value)
    try:
        return layout.load(path, progress=progress, **options)
    except DataError:
        raise
    except ValueError as error:  # a clause about the folder itself
        raise DataError(f"{path} {error}") from error


def parse_spec(spec: str) -> tuple[str | None, Path, dict[str, str]]:
    """Kind (None if not given), path and options of a data set's text.

    Raises:
        DataError: no path, an unknown kind, or an option given twice.
    """
    options: dict[str, str] = {}
    rest = spec
    while match := _OPTION.search(rest):
        if match[1] in options:
            raise DataError(f"{spec!r}: the option {match[1]} is given twice")
        options[match[1]] = match[2]
        rest = rest[: match.start()]
    kind, colon, path = rest.partition(":")
    if not colon or "/" in kind or (kind not in LAYOUTS and Path(rest).exists()):
        kind, path = "", rest
    elif kind not in LAYOUTS:
        raise DataError(
            f"{spec!r}: there is no kind {kind!r} of data set; there are {', '.join(LAYOUTS)}"
        )
    if not path:
        raise DataError(f"{spec!r} names no folder; give PATH or KIND:PATH")
    return kind or None, Path(path), dict(reversed(options.items()))


def absolute_spec(spec: str) -> str:
    """The same data set, named so that it is found from any working directory.

    Raises:
        DataError: as :func:`parse_spec`.
    """
    kind, path, options = parse_spec(spec)
    head = f"{kind}:" if kind else ""
    return head + str(path.absolute()) + "".join(f",{k}={v}" for k, v in options.items())


def recognise(path: Path) -> Layout:
    """The layout of a folder.

    Raises:
        DataError: it is none that is known; the message says what was looked for.
        FileNotFoundError: no such folder.
    """
    check_folder(path)
    for layout in LAYOUTS.values():
        try:
            if layout.recognise(path):
                return layout
        except ValueError:  # a folder in it that cannot be read
            continue
    looked = "; ".join(f"{layout.kind}: {layout.looks}" for layout in LAYOUTS.values())
    raise DataError(
        f"{path} has no layout that is known; say which with KIND:PATH if it is one of these, which "
        f"were looked for: {looked}"
    )


def _check_option(layout: Layout, name: str, value: str) -> None:
    if name not in layout.options:
        known = ", ".join(layout.options) or "none"
        raise DataError(f"{layout.kind} has no option {name!r}; there are: {known}")
    choices = layout.options[name]
    if choices and value not in choices:
        raise DataError(f"{layout.kind}: {name} must be one of {', '.join(choices)}; got {value!r}")
