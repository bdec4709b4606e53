"""OpenCV's own trackers, whatever the installed one has, as trackers that can be evaluated."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

#: The option ``lost`` where it is not given.
KEEP = "keep"


class OpenCVTracker:
    """One of OpenCV's.

    ``init`` makes a new one each time: some cannot be started twice.  OpenCV takes whole pixels alone,
    so the box to start on is rounded.

    Args:
        create: makes one.
        keep: where it says that it has lost the object, its last box stands; else there is none.
            (With "lost" Python is given a box of zeros; in C++ the caller's box is left as it was.)
    """

    def __init__(self, create: Callable[[], Any], *, keep: bool = True) -> None:
        self._create, self._keep = create, keep
        self._tracker = create()  # what is missing is missed now
        self._last: Sequence[float] = ()

    def init(self, frame: np.ndarray, box: Iterable[float]) -> None:
        """Starts.

        Raises:
            cv2.error, ValueError: OpenCV cannot start there.
        """
        self._last = tuple(box)
        x, y, w, h = (round(value) for value in self._last)
        self._tracker = self._create()
        # The newer interface returns None, the older one whether it went well.
        if self._tracker.init(frame, (x, y, max(w, 1), max(h, 1))) is False:
            raise ValueError("OpenCV's tracker could not be started")

    def update(self, frame: np.ndarray) -> tuple[bool, Sequence[float]]:
        """Whether it has found the object, and its box."""
        found, box = self._tracker.update(frame)
        if found:
            self._last = box
        return bool(found) or self._keep, self._last


def make(target: str, options: Mapping[str, str]) -> OpenCVTracker:
    """OpenCV's tracker of that name.

    Args:
        target: a key of :func:`trackers`.
        options: fields of its Params, as texts; and ``lost``, "keep" (as if not given) or "none":
            whether the last box stands where the tracker says that it has lost the object.  Protocols ask
            for a box in every frame, and a tracker that rests loses nothing that it would not lose by
            its overlap; without a box it fails wherever it is in doubt.

    Raises:
        ValueError: there is no such tracker or option, or it lacks a file.
    """
    known = trackers()
    if target not in known:
        close = difflib.get_close_matches(target.upper(), {n.upper(): n for n in known}, 1)
        meant = next((f" (did you mean {n}?)" for n in known if [n.upper()] == close), "")
        raise ValueError(
            f"OpenCV {cv2.__version__} as it is installed has no tracker {target!r}{meant}; it has "
            f"{names()}; opencv-contrib-python before version 5 has more"
        )
    module, name = known[target]
    lost = options.get("lost", KEEP)
    if lost not in (KEEP, "none"):
        raise ValueError(f"cv2:{target}: lost must be keep or none; got {lost!r}")
    options = {key: text for key, text in options.items() if key != "lost"}
    create: Any = getattr(module, f"Tracker{name}_create")
    kind: Any = getattr(module, f"Tracker{name}_Params", None)
    parameters = _parameters(target, kind, options)
    try:
        return OpenCVTracker(
            lambda: create() if parameters is None else create(parameters), keep=lost == KEEP
        )
    except cv2.error as error:
        files = _file_fields(kind)
        needs = "".join(f",{field}=FILE" for field in files)
        remedy = f"; it needs model files: cv2:{target}{needs}" if files else ""
        raise ValueError(f"OpenCV's {name} cannot be made: {said(error)}{remedy}") from error


def trackers() -> dict[str, tuple[Any, str]]:
    """OpenCV's trackers by name: the module that has each, and what it is called there.

    Those of ``cv2.legacy`` are ``legacy.NAME``; ``NAME`` is enough where ``cv2`` has none of that name.
    """
    found: dict[str, tuple[Any, str]] = {}
    for prefix, module in (("", cv2), ("legacy.", getattr(cv2, "legacy", None))):
        for attribute in dir(module):
            match = re.fullmatch(r"Tracker([A-Z]\w*?)_create", attribute)
            if match:
                found[prefix + match[1]] = (module, match[1])
                found.setdefault(match[1], (module, match[1]))
    return found


def names() -> str:
    """The names of all, each once, for messages."""
    known = trackers()
    hidden = {f"legacy.{name}" for name, (module, _) in known.items() if module is not cv2}
    return ", ".join(f"cv2:{name}" for name in known if name not in hidden) or "none"


def said(error: cv2.error) -> str:
    """What an OpenCV error says, without where in its source that is."""
    text = " ".join(str(error).split())
    match = re.search(r"error: \(-?\d+:[^)]*\) (.*?)(?: in function '.*)?$", text)
    return (match[1] if match else text)[:200]


def _parameters(target: str, kind: Any, options: Mapping[str, str]) -> Any:
    """OpenCV's Params with the options in them; None where there are no options."""
    if not options:
        return None
    known = _fields(kind)
    parameters = kind() if known else None
    for key, text in options.items():
        if key not in known:
            has = ", ".join(["lost", *known])
            raise ValueError(f"cv2:{target} has no option {key!r}; there are: {has}")
        before = getattr(parameters, key)
        try:
            value: Any = text
            if isinstance(before, bool):
                value = {"yes": True, "no": False}[text]
            elif isinstance(before, (int, float)):
                value = type(before)(text)
            elif key in _file_fields(kind) and not os.path.isfile(text):
                raise ValueError("no such file")
            setattr(parameters, key, value)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"cv2:{target}: {key} cannot be {text!r}: {error}") from error
    return parameters


def _fields(kind: Any) -> list[str]:
    return [] if kind is None else [name for name in dir(kind) if not name.startswith("_")]


def _file_fields(kind: Any) -> list[str]:
    """The fields that name model files: texts that are, before they are set, some file's name."""
    values = {name: getattr(kind(), name) for name in _fields(kind)}
    return [name for name, value in values.items() if isinstance(value, str) and "." in value]
