"""Digests of what decides a tracker's boxes: files that it reads, and its code."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import goturn


def source_digest(made: object) -> str | None:
    """SHA-256 of the file that a class is in; what that imports is not looked at."""
    try:
        source = inspect.getsourcefile(made)  # type: ignore[arg-type]
    except TypeError:
        return None
    return None if source is None or not os.path.isfile(source) else file_digest(Path(source))


def digests_of_files(options: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of the files that options name, by option."""
    named = {key: value for key, value in options.items() if os.path.isfile(value)}
    return {key: file_digest(Path(value)) for key, value in named.items()}


@cache
def code_digest() -> str:
    """SHA-256 of the code that our boxes come from: a checkout changes without a new version."""
    package = Path(goturn.__file__).parent
    paths = [
        p
        for pattern in ("*.py", "*.so", "ops/**/*.py", "weights/*.py")
        for p in package.glob(pattern)
    ]
    return hashlib.sha256("".join(map(file_digest, sorted(paths))).encode()).hexdigest()


def file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
