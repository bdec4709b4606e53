"""The peers of ``track.py``: trackers, brought to one form (see ``harness.py``).

Runs under each peer's own interpreter, so nothing but the standard library is imported up here.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any


class _TrackerPeer:
    """Frames to go through, a box to start from, and the check that the object was not lost.

    Args:
        frames: ``.npy`` file of (F, H, W, 3) uint8 frames, BGR, in which the object stands still.
        box: x, y, w, h of the object, pixels.
    """

    def __init__(self, frames: str, box: Sequence[int]) -> None:
        import numpy as np

        self._frames = np.load(frames)
        self._next = itertools.cycle(self._frames)
        self._start = self._box = tuple(box)

    def check(self) -> None:
        """Raises RuntimeError if the latest box is not about where it started."""
        overlap = iou(self._start, self._box)
        if overlap < 0.5:
            raise RuntimeError(
                f"the box went from {self._start} to {self._box}: "
                "a lost tracker crops other windows, so its times cannot be compared"
            )


class Goturn(_TrackerPeer):
    """``goturn.Tracker`` from one of our weights files.

    Args:
        tracker: its options: device, precision, ahead.
        objects: above 1, a ``goturn.MultiTracker`` of so many, all at the same place.
        pause_ms: how long to wait for each frame, milliseconds, which is not timed.
    """

    def __init__(
        self,
        weights: str,
        tracker: dict[str, Any],
        threads: int,
        frames: str,
        box: Sequence[int],
        *,
        pause_ms: float = 0,
        objects: int = 1,
    ) -> None:
        super().__init__(frames, box)
        import goturn

        self._pause = pause_ms / 1e3

        if "cv2" in sys.modules:
            sys.modules["cv2"].setNumThreads(threads)
        self._objects = objects
        kind = goturn.Tracker if objects == 1 else goturn.MultiTracker
        self._make: Callable[[], Any] = partial(kind, weights, **tracker)
        self._tracker: Any = None

    def load(self) -> None:
        self._tracker = self._make()
        frame = next(self._next)
        if self._objects == 1:
            self._tracker.init(frame, self._start)
        for _ in range(self._objects if self._objects > 1 else 0):
            self._tracker.add(frame, self._start)

    def rest(self) -> None:
        time.sleep(self._pause)

    def step(self) -> None:
        found = self._tracker.update(next(self._next))
        self._box = found if self._objects == 1 else found[self._objects - 1]


class TwoTrackers(Goturn):
    """A frame for each of two trackers of one network: ``together`` in two threads, or in turn."""

    def __init__(self, together: bool, **options: Any) -> None:
        super().__init__(**options)
        from concurrent.futures import ThreadPoolExecutor

        self._run = ThreadPoolExecutor(2).map if together else map

    def load(self) -> None:
        super().load()
        import goturn

        self._trackers = [self._tracker, goturn.Tracker(self._tracker.network)]
        self._trackers[1].init(next(self._next), self._start)

    def step(self) -> None:
        frames = [next(self._next), next(self._next)]
        found = list(
            self._run(lambda tracker, frame: tracker.update(frame), self._trackers, frames)
        )
        self._box = found[0]


class OpenCV(_TrackerPeer):
    """``cv2.TrackerGOTURN`` of OpenCV 4, from a ``.caffemodel`` and its ``.prototxt``."""

    def __init__(
        self, model: str, description: str, threads: int, frames: str, box: Sequence[int]
    ) -> None:
        super().__init__(frames, box)
        import cv2

        if not hasattr(cv2, "TrackerGOTURN_Params"):
            raise RuntimeError(
                f"OpenCV {cv2.__version__} has no TrackerGOTURN; "
                "install opencv-contrib-python-headless<5 for this interpreter"
            )
        cv2.setNumThreads(threads)
        self._cv2: Any = cv2
        self._params = cv2.TrackerGOTURN_Params()
        self._params.modelTxt, self._params.modelBin = description, model
        self._tracker: Any = None

    def load(self) -> None:
        self._tracker = self._cv2.TrackerGOTURN.create(self._params)
        self._tracker.init(next(self._next), self._start)

    def step(self) -> None:
        found, self._box = self._tracker.update(next(self._next))
        if not found:
            raise RuntimeError("cv2.TrackerGOTURN reports that it lost the object")


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    intersection = max(0.0, width) * max(0.0, height)
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)
