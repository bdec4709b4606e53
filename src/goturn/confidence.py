"""Whether a tracker still has its object: how like its start what it holds now is.

GOTURN itself has no notion of being lost: it answers with a box whatever it sees.  But the first fc layer
must tell what the target is to find it again, and its half of that layer (the products with the target's
features, before anything of the search window) is computed for every target that is taken anyway.  The
cosine between this vector now and at the start falls when the box has left its object.  A logistic curve
makes a probability of it, that the box overlaps the object by at least :data:`LOST`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

#: The overlap below which an object counts as lost.
LOST = 0.2


class Calibration(NamedTuple):
    """The logistic curve from likeness to confidence."""

    middle: float
    """The likeness at which the confidence is one half."""
    width: float
    """By how much more likeness the odds grow by a factor of e."""

    def is_sound(self) -> bool:
        """Whether it is a curve that rises."""
        return math.isfinite(self.middle) and 0 < self.width < math.inf

    def confidence(self, likeness: float) -> float:
        """In [0, 1]."""
        # Within what exp() takes, for any likeness and any curve.
        odds = min(max((likeness - self.middle) / self.width, -700.0), 700.0)
        return 1.0 / (1.0 + math.exp(-odds))


#: For weights that bring none: fitted to a network with fc layers of 1024 on thinned-out training videos.
DEFAULT = Calibration(middle=0.837, width=0.0439)


def likeness(now: np.ndarray, start: np.ndarray) -> float:
    """Cosine of two vectors, in [-1, 1]; 0 where one of them is 0 or not finite."""
    a, b = now.astype(np.float64), start.astype(np.float64)
    lengths = math.sqrt(float(a @ a) * float(b @ b))
    if not 0 < lengths < math.inf:
        return 0.0
    return min(1.0, max(-1.0, float(a @ b) / lengths))
