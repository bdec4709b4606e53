"""The section of a ``trackers.ini`` by which VOT's toolkit starts the tracker process."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
from argparse import ArgumentTypeError
from pathlib import Path

from goturn import __file__ as package_file
from goturn.weights.atomic import replacing

#: ``trax`` runs a command line; ``traxpython`` runs code in the toolkit's own Python or another.
PROTOCOLS = ("trax", "traxpython")

MODULE = "goturn.adapters.trax"

_HEADER = re.compile(r"^\[([^]]*)\]", re.MULTILINE)


def check_identifier(text: str) -> str:
    """A name that the toolkit takes for a tracker.

    Raises:
        ArgumentTypeError: letters, digits, - and _ are not all it has.
    """
    if not re.fullmatch("[A-Za-z0-9_-]+", text):
        raise ArgumentTypeError(f"{text!r} is not a name of letters, digits, - and _ alone")
    return text


def section(
    name: str,
    *,
    weights: str | None,
    device: str = "auto",
    precision: str = "auto",
    protocol: str = "trax",
) -> str:
    """The text that registers the tracker under ``name``, with this Python and with full paths.

    Args:
        name: of the tracker, as :func:`check_identifier` takes it.
        weights: file of the weights; None for what :class:`goturn.Tracker` takes without.
        device, precision: see :class:`goturn.Tracker`.
        protocol: one of ``PROTOCOLS``.
    """
    arguments = [] if weights is None else ["--weights", str(Path(weights).resolve())]
    arguments += ["--device", device, "--precision", precision]
    lines = [f"[{name}]", f"label = {name}", f"protocol = {protocol}"]
    if protocol == "trax":
        lines.append(f"command = {shlex.join([sys.executable, '-m', MODULE, *arguments])}")
    else:
        lines.append(f"command = import sys, {MODULE} as t; sys.exit(t.main({arguments!r}))")
        lines.append(f"python = {shlex.quote(sys.executable)}")
        # The toolkit replaces PYTHONPATH by this.
        lines.append(f"paths = {Path(package_file).parent.parent}")
    # configparser reads % as the beginning of a reference.
    return "\n".join(line.replace("%", "%%") for line in lines) + "\n"


def write_section(path: Path, name: str, text: str) -> None:
    """Writes ``text`` into the file, in place of a section of that name; the others stay as they are.

    Raises:
        ValueError: the file that is there is no ``trackers.ini``.
        OSError: it cannot be read or written.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        configparser.ConfigParser(interpolation=None).read_string(before)
    except configparser.Error as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path} is not a trackers.ini that can be read: {reason}") from error
    starts = [*_HEADER.finditer(before)]
    ends = [start.start() for start in starts] + [len(before)]
    kept = before[: ends[0]]
    for start, end in zip(starts, ends[1:], strict=True):
        if start[1] != name:
            kept += before[start.start() : end]
    gap = "\n" if kept.strip() else ""
    with replacing(path) as temporary:
        temporary.write_text(f"{kept.rstrip()}\n{gap}{text}" if gap else text, encoding="utf-8")
