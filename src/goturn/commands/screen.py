"""Windows: drawing the first box, and watching the track.  OpenCV's own, where it has them."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np

from goturn.box import Box
from goturn.commands.exits import UsageError

TITLE = "goturn"

_PROBE_SECONDS = 20
_ESCAPE = 27


def screen_problem() -> str | None:
    """Why no window can be opened here, as a clause; None where one can.

    Tried in a process of its own: where the display does not answer, OpenCV's Qt ends the process.
    """
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return "there is no screen (neither DISPLAY nor WAYLAND_DISPLAY is set)"
    probe = "import cv2; cv2.namedWindow('goturn'); cv2.waitKey(1); cv2.destroyAllWindows()"
    try:
        ended = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "the screen does not answer"
    if ended.returncode == 0:
        return None
    if b"not implemented" in ended.stderr:
        return "this OpenCV is built without windows (opencv-python has them, -headless does not)"
    return "no window can be opened on this screen"


def select_box(frame: np.ndarray) -> Box:
    """Lets the user draw a box around the target.

    Raises:
        UsageError: cancelled, or nothing drawn.
    """
    title = f"{TITLE}: draw a box around the target, then Enter; c cancels"
    selected = cv2.selectROI(title, frame, showCrosshair=False)
    cv2.destroyAllWindows()
    box = Box(*(float(value) for value in selected))
    if box.area == 0:
        raise UsageError("no box was drawn; draw one around the target, or pass --box x,y,w,h")
    return box


def show(frame: np.ndarray) -> bool:
    """Shows a frame; false once the user has pressed q or Esc, or closed the window."""
    cv2.imshow(TITLE, frame)
    key = cv2.waitKey(1) & 0xFF
    return key not in (_ESCAPE, ord("q")) and bool(
        cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
    )


def close_windows() -> None:
    """Closes what was opened."""
    cv2.destroyAllWindows()
