"""GOTURN for the GOT-10k toolkit, whose experiments run it as any tracker of theirs.

::

    from got10k.experiments import ExperimentOTB
    from goturn.adapters.got10k import TrackerGOTURN

    experiment = ExperimentOTB("data/OTB", version=2015)
    experiment.run(TrackerGOTURN("goturn.h5", first_pixel=1))
    experiment.report(["GOTURN"])

It is a subclass of the toolkit's ``Tracker`` and inherits ``track``, so that frames are opened and timed
as for every other tracker and frames per second can be compared.  (Pillow decodes when the pixels are
first asked for: the time includes that.)  Without the toolkit this module cannot be imported, and says
so.

The toolkit hands over images in RGB, as Pillow has them, and boxes just as the data set's files have
them: it knows nothing of where pixels are counted from.  GOT-10k's are taken to count from 0, as goturn
does; OTB's, and those of most older sets, count from 1 and want ``first_pixel=1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from goturn.tracker import Tracker, WeightsLike

try:
    from got10k.trackers import Tracker as ToolkitTracker
except ImportError as error:
    raise ImportError(
        "goturn.adapters.got10k needs the GOT-10k toolkit, which cannot be imported here "
        f"({error}); pip install got10k six"  # got10k does not say that it needs six
    ) from error

if TYPE_CHECKING:
    from PIL.Image import Image


class TrackerGOTURN(ToolkitTracker):  # type: ignore[misc]
    """GOTURN with the interface of the toolkit's trackers.

    Args:
        weights, device, precision: see :class:`goturn.Tracker`.
        name: what the folder of results is called.
        first_pixel: the coordinate of the first pixel in the data set's files, 0 or 1.

    Raises:
        FileNotFoundError, ValueError: no such file, or not weights; another ``first_pixel``.
        RuntimeError: a device that is not there.
    """

    def __init__(
        self,
        weights: WeightsLike | None = None,
        *,
        name: str = "GOTURN",
        device: str = "auto",
        precision: str = "auto",
        first_pixel: int = 0,
    ) -> None:
        super().__init__(name=name, is_deterministic=True)
        if first_pixel not in (0, 1):
            raise ValueError(f"first_pixel must be 0 or 1; got {first_pixel!r}")
        self._tracker = Tracker(weights, device=device, precision=precision)
        self._shift = np.array([first_pixel, first_pixel, 0, 0], np.float64)

    def init(self, image: Image, box: Iterable[float]) -> None:
        """Starts to track what is in ``box`` (left, top, width, height, the files' pixels) of ``image``.

        Raises:
            TypeError, ValueError: not an image, or not a box in it.
        """
        start = np.array([*box], np.float64)
        if start.shape == (4,):  # else the tracker says what is wrong
            start -= self._shift
        self._tracker.init(as_bgr(image), start)

    def update(self, image: Image) -> np.ndarray:
        """The box in the next image: (4,) float64, as in :meth:`init`.

        Raises:
            RuntimeError: before :meth:`init`.
            TypeError, ValueError: not an image.
        """
        return np.array(self._tracker.update(as_bgr(image))) + self._shift


def as_bgr(image: Image | np.ndarray) -> np.ndarray:
    """A Pillow image of any mode, or an (H, W, 3) RGB array, as (H, W, 3) uint8 BGR."""
    if not isinstance(image, np.ndarray):
        if not hasattr(image, "convert"):
            raise TypeError(
                f"image must be a Pillow image or an RGB array; got {type(image).__name__}"
            )
        image = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
