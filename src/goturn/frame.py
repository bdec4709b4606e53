"""Frames: what a tracker takes as an image, checked in one place."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_frame(frame: Any, kind: Any = np.ndarray) -> Any:
    """``frame`` as an (H, W, C) uint8 view with C of 1, 3 (BGR) or 4 (BGRA); nothing is copied.

    Args:
        frame: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 array, any strides.
        kind: of array, NumPy's or a device's; what is made of it is of the same kind.

    Raises:
        TypeError: not an array.
        ValueError: empty, of another dtype, or of another shape.
    """
    if not isinstance(frame, kind):
        raise TypeError(
            f"frame must be a NumPy array as cv2.imread or VideoCapture.read give; got "
            f"{type(frame).__name__}"
        )
    if frame.size == 0:
        raise ValueError(f"empty frame: shape {frame.shape}; was the image or video read?")
    if frame.dtype != np.uint8:
        raise ValueError(f"frame must be uint8, 0..255; got {frame.dtype}: convert it first")
    if frame.ndim == 2:
        return frame[:, :, np.newaxis]
    if frame.ndim != 3 or frame.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"frame must be (H, W), or (H, W, C) with 1, 3 or 4 channels; got shape {frame.shape}"
        )
    return frame
