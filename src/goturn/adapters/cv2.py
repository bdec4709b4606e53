"""``cv2.TrackerGOTURN`` for code written for OpenCV 4, whose successor has it no more.

Change the import and leave the rest::

    from goturn.adapters.cv2 import TrackerGOTURN

    parameters = TrackerGOTURN.Params()
    parameters.modelBin = "goturn.h5"
    tracker = TrackerGOTURN.create(parameters)
    tracker.init(frame, cv2.selectROI(frame))
    found, (x, y, w, h) = tracker.update(next_frame)

Without parameters, and without OpenCV's weights at hand, it takes those that come with goturn.

What differs from OpenCV's, on purpose: the geometry is the authors', the state is not rounded between
frames, floats are taken as a box, ``update`` can answer False, and misuse raises goturn's exceptions
(:class:`goturn.Tracker` lists them) instead of ``cv2.error`` or ending the process.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from goturn.box import Box
from goturn.tracker import Tracker

Rect = tuple[int, int, int, int]

#: What OpenCV calls its weights, in the working directory.
MODEL = "goturn.caffemodel"


class TrackerGOTURN:
    """GOTURN with the interface of OpenCV's tracker.

    Args:
        parameters: which weights.  Where the file has OpenCV's own name, which is also what None stands
            for, and is not there, those that come with goturn are taken.
        device, precision: see :class:`goturn.Tracker`; OpenCV has no such arguments.

    Raises:
        FileNotFoundError, ValueError: no file ``parameters.modelBin``, or not weights.
        TypeError: ``parameters`` are not ``TrackerGOTURN.Params``.
        RuntimeError: a device that is not there.
    """

    class Params:
        """Where the weights are."""

        def __init__(self) -> None:
            self.modelBin: str = MODEL
            """The weights, in any format that :func:`goturn.weights.load` reads."""
            self.modelTxt: str = "goturn.prototxt"
            """Not read: weights say, or show by their shapes, which network they are for."""

    def __init__(
        self, parameters: Params | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> None:
        parameters = TrackerGOTURN.Params() if parameters is None else parameters
        if not hasattr(parameters, "modelBin"):
            raise TypeError(
                f"parameters must be TrackerGOTURN.Params; got {type(parameters).__name__}"
            )
        weights: str | None = parameters.modelBin
        if weights == MODEL and not Path(MODEL).exists():
            weights = None
        self._tracker = Tracker(weights, device=device, precision=precision)

    @staticmethod
    def create(
        parameters: Params | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> TrackerGOTURN:
        """A tracker; the way OpenCV spells the constructor."""
        return TrackerGOTURN(parameters, device=device, precision=precision)

    @property
    def box(self) -> Box | None:
        """The latest box before rounding, image pixels; None before :meth:`init`."""
        return self._tracker.box

    def init(self, image: np.ndarray, boundingBox: Iterable[float]) -> None:
        """Starts to track what is in ``boundingBox`` (x, y, w, h) of ``image``.

        Raises:
            TypeError, ValueError: not an image, or not a box in it.
        """
        self._tracker.init(image, boundingBox)

    def update(self, image: np.ndarray) -> tuple[bool, Rect]:
        """Finds the target in the next image.

        Returns:
            (found, (x, y, w, h)): the box in whole pixels, rounded and clipped to the image as OpenCV
            does, fit for ``cv2.rectangle``; tracking goes on from the unrounded one.  GOTURN has no
            confidence: ``found`` is False only where the box has collapsed to a pixel, as it does
            when it leaves the image, and may be True again later.

        Raises:
            RuntimeError: before :meth:`init`.
            TypeError, ValueError: not an image.
        """
        box = self._tracker.update(image)
        height, width = image.shape[:2]
        return box.w > 1 and box.h > 1, _rounded(box, width, height)


def _rounded(box: Box, image_width: int, image_height: int) -> Rect:
    """Each number to the nearest integer, halves to even (``cvRound``), then within the image."""
    x, y, w, h = (round(value) for value in box)
    left, top = max(0, x), max(0, y)
    right, bottom = min(image_width, x + w), min(image_height, y + h)
    if right <= left or bottom <= top:
        return (0, 0, 0, 0)
    return (left, top, right - left, bottom - top)


TrackerGOTURN_create = TrackerGOTURN.create
TrackerGOTURN_Params = TrackerGOTURN.Params
