"""GOTURN, the 100 FPS deep regression tracker (Held, Thrun, Savarese, ECCV 2016).

::

    import goturn

    tracker = goturn.Tracker("goturn.h5")
    tracker.init(frame, (x, y, w, h))
    box = tracker.update(next_frame)
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from goturn.box import Box
from goturn.network import Network
from goturn.tracker import MultiTracker, Tracker
from goturn.weights import Weights

__all__ = ["Box", "MultiTracker", "Network", "Tracker", "Weights", "__version__"]

try:
    __version__ = version("goturn")
except PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"
