"""Tensors that still lie in a file: where their bytes are, and how they become arrays.

The parsers of the formats only find out where a tensor is; all reading of values is done here and by
the blobs themselves, with ``pread``, so that tensors can be read by several threads at once and no more
is ever read or allocated than the caller's expected shapes allow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from goturn.weights.model import WeightsError, join_problems

#: Bytes read at a time: small enough to stay in a core's cache while they are hashed or converted.
BLOCK_BYTES = 1 << 20


class Blob(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as the file states it."""

    def read_into(self, out: np.ndarray) -> None:
        """Fills ``out``: float32, C-contiguous, as many values as ``shape`` has.

        Raises:
            WeightsError: the file is too short, or its bytes are not what it says.
        """


@dataclass(frozen=True)
class UnusableBlob:
    """A tensor (a :class:`Blob`) that is there but cannot be read, kept until all such are known."""

    shape: tuple[int, ...]
    """Empty where even that is not known."""
    problem: str
    """What is wrong with it; names it."""

    def read_into(self, out: np.ndarray) -> None:
        raise WeightsError(self.problem)


def pread_into(descriptor: int, view: memoryview, offset: int) -> None:
    """Fills ``view`` (bytes) from a file's bytes at ``offset``; WeightsError where the file ends."""
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise WeightsError("the file ends within a tensor; it is truncated")
        done += count


def read_all(
    subject: str, blobs: Mapping[str, Blob], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Every blob as a float32 array of the given shape, by name; large ones first, in threads.

    Raises:
        WeightsError: blobs that cannot be read, all of them named; begins with ``subject``.
    """
    arrays = {name: np.empty(shapes[name], np.float32) for name in blobs}
    by_size = sorted(blobs, key=lambda name: arrays[name].size, reverse=True)

    def read(name: str) -> str | None:
        try:
            blobs[name].read_into(arrays[name])
        except WeightsError as error:
            return str(error)
        return None

    # Reading, hashing and inflating release the GIL.
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        problems = [problem for problem in pool.map(read, by_size) if problem]
    if problems:
        raise WeightsError(join_problems(subject, problems))
    return arrays
