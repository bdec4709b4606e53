"""GOTURN, the 100 FPS deep regression tracker (Held, Thrun, Savarese, ECCV 2016).

::

    import goturn

    tracker = goturn.Tracker()  # the weights that come with it; or a file's name
    tracker.init(frame, (x, y, w, h))
    box = tracker.update(next_frame)
"""

from importlib.metadata import PackageNotFoundError as _PackageNotFoundError
from importlib.metadata import version as _version

from goturn.box import Box
from goturn.network import Network
from goturn.tracker import MultiTracker, Tracker
from goturn.weights import Weights

__all__ = ["Box", "MultiTracker", "Network", "Tracker", "Weights", "__version__"]

try:
    __version__ = _version("goturn")
except _PackageNotFoundError:  # imported from a source tree that was never installed
    __version__ = "0+unknown"
