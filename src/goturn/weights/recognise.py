"""What a weights file is, told by its first bytes; the name is never trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from goturn.weights.model import WeightsError

#: Enough for every signature below (tar's lies at 257).
_HEAD_BYTES = 512

_HDF5 = b"\x89HDF\r\n\x1a\n"

#: What to do with formats that we do not read, some of which could run code when opened.
_RECIPE = (
    "in the program that wrote it, write each layer's weight and bias with h5py as "
    "/data/<layer>/0 and /data/<layer>/1 (layers conv1..conv5, fc6-new, fc7-new, fc7-newb, "
    "fc8-shapes), then load that file"
)

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as .pth, .pt and .npz files are", _RECIPE),
    (b"PK", "a part of a zip archive", "unpack the archive completely and load the file in it"),
    (b"\x93NUMPY", "a NumPy array", _RECIPE),
    (b"\x1f\x8b", "compressed with gzip", "unpack it with gunzip and load the result"),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2 and load the result"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it with unxz and load the result"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive", "unpack it and load the file in it"),
    (b"Rar!", "a rar archive", "unpack it and load the file in it"),
    (b"(\xb5/\xfd", "compressed with zstd", "unpack it with unzstd and load the result"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the real file with git lfs pull"),
    (b"MATLAB", "a MATLAB file", _RECIPE),
)


def recognise(path: Path) -> str:
    """The format of a weights file by its content: "hdf5" or "caffemodel".

    Raises:
        WeightsError: another format; the message names it and says what to do.
        FileNotFoundError, IsADirectoryError, PermissionError: from opening the file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder; name a file in it (of a run, best.h5)")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for a writer
        raise WeightsError(f"{path}: not a regular file; give a weights file")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
    if head.startswith(_HDF5):
        return "hdf5"
    refusal = _refusal(head, size)
    if refusal is not None:
        kind, remedy = refusal
        raise WeightsError(f"{path}: this is {kind}, not a file of weights we read; {remedy}")
    return "caffemodel"


def _refusal(head: bytes, size: int) -> tuple[str, str] | None:
    """(what it is, what to do) for a format that is known and not read."""
    if not head:
        return "an empty file", "download or copy it again"
    for signature, kind, remedy in _SIGNATURES:
        if head.startswith(signature):
            return kind, remedy
    if head[0] == 0x80 and head[1:2] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle (.pth, .pt, .pkl), which can run code and is never opened", _RECIPE
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it and load the file in it"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return "a safetensors file", _RECIPE
    return _refusal_of_text(head)


def _refusal_of_text(head: bytes) -> tuple[str, str] | None:
    """As :func:`_refusal`, for what is text; a caffemodel has control characters early on."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return "a web page or XML", "the download failed: download the file itself"
    printable = set(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}
    if not set(head) <= printable:
        return None
    if b"layer" in head or b"input" in head or text.startswith(b"name"):
        return "a network's description (.prototxt)", "give the .caffemodel that belongs to it"
    return "a text file", "download or copy the weights again"
