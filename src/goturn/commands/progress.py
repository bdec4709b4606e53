"""Bars on a terminal's standard error; nothing where that is a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any


def bar(things: Sequence[Any] | None = None, *, quiet: bool, label: str = "", **more: Any) -> Any:
    """A tqdm over things, or of its own where there are none; gone when it is done.

    Args:
        things: what is gone through.
        quiet: show nothing.
        label: what stands before the bar.
        more: of tqdm's arguments.
    """
    from tqdm import tqdm

    disable = True if quiet else None  # None: unless it is a terminal
    return tqdm(things, desc=label, file=sys.stderr, disable=disable, leave=False, **more)


class Loading:
    """Shows what a loader goes through: a :class:`goturn.data.loader.Progress`."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, things: Sequence[Any], label: str, /) -> Iterable[Any]:
        wrapped: Iterable[Any] = bar(things, quiet=self._quiet, label=label)
        return wrapped
