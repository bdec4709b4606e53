"""The peers of ``crop.py``: a window of a frame, resized to the network's input.

Runs under each peer's own interpreter, so nothing but the standard library is imported up here.
"""

from __future__ import annotations

from typing import Any

SIZE, MEAN = 227, (104.0, 117.0, 123.0)


class _Crop:
    """A noisy frame and a box in it; a step is ``repeats`` crops.

    Args:
        frame: width and height, pixels.
        box: x, y, w, h of the object, pixels; the window is twice as large, about the same centre.
    """

    def __init__(
        self, frame: tuple[int, int], box: tuple[int, int, int, int], threads: int
    ) -> None:
        import numpy as np

        self._frame: Any = np.random.default_rng(0).integers(
            0, 256, (frame[1], frame[0], 3), dtype=np.uint8
        )
        self._box, self._threads = box, threads
        self._crop: Any = None

    def check(self) -> None:
        """Raises RuntimeError unless the crop has the right shape."""
        if SIZE not in self._crop.shape:
            raise RuntimeError(f"the crop has shape {self._crop.shape}")


class Goturn(_Crop):
    """``crop_resize``: float32 planes, the mean subtracted."""

    def load(self) -> None:
        from goturn.box import Box, search_window
        from goturn.ops import get_ops

        height, width = self._frame.shape[:2]
        self._ops = get_ops("cpu")
        self._windows = [search_window(Box(*self._box), width, height, 2.0)]

    def step(self) -> None:
        self._crop = self._ops.crop_resize(self._frame, self._windows, size=SIZE, mean=MEAN)


class OpenCV(_Crop):
    """``copyMakeBorder`` and ``resize``, as ``cv2.TrackerGOTURN`` has them, to bytes; or, with
    ``planes``, a resize of the window alone, on to float32 planes less the mean.
    """

    def __init__(self, planes: bool = False, **options: Any) -> None:
        super().__init__(**options)
        import cv2

        cv2.setNumThreads(self._threads)
        self._cv2: Any = cv2
        self._planes = planes

    def load(self) -> None:
        pass

    def step(self) -> None:
        cv2, (x, y, w, h) = self._cv2, self._box
        left, top = x - w // 2, y - h // 2
        if self._planes:
            window = self._frame[top : top + 2 * h, left : left + 2 * w]
            self._crop = cv2.dnn.blobFromImage(window, 1.0, (SIZE, SIZE), MEAN)
            return
        padded = cv2.copyMakeBorder(self._frame, h, h, w, w, cv2.BORDER_REPLICATE)
        window = padded[top + h : top + 3 * h, left + w : left + 3 * w]
        self._crop = cv2.resize(window, (SIZE, SIZE))
