"""The motion model: how a search window is drawn about an object (paper, section 4.2; facts 3.1).

Objects move smoothly, so small shifts and small changes of size are drawn more often than large ones:
both from Laplace distributions.  A model gives the box that the object *would have had* in the previous
frame; the search window is cropped about it, and the true box in that window is what the network learns.

Random numbers are doubles in [0, 1) alone, from a generator of the caller's, so that a draw depends on
nothing but them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from goturn.box import Box

#: A source of independent uniform numbers in [0, 1).
Uniform = Callable[[], float]

MODELS = ("laplace", "strict", "uniform")

#: How often a draw is repeated before the last one is taken (the authors' code), or, for models that
#: reject, before the object's own box is.
TRIES = 10
_STRICT_TRIES = 1000


@dataclass(frozen=True)
class MotionModel:
    """Random boxes about a true one.

    Args:
        kind: "laplace" is the authors' code to the letter: changes of size are clamped at the limit, the
            box is moved into the image, and the tenth shift is taken whatever it is.  "strict" is the
            paper's text: changes of size beyond the limit are drawn again, and so is a box whose search
            window holds less than half of the object in either dimension; the image's edge is no limit.
            "uniform" is the ablation without motion smoothness: size and shift uniform in the same range.
        lambda_shift: 1 / b_x, of shifts in units of the box's size.
        lambda_scale: 1 / b_s, of changes of size, likewise.
        scale_limit: largest change of size.
        context_factor: side of the search window over that of its box.
    """

    kind: str = "laplace"
    lambda_shift: float = 5.0
    lambda_scale: float = 15.0
    scale_limit: float = 0.4
    context_factor: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in MODELS:
            raise ValueError(f"motion model must be one of {', '.join(MODELS)}; got {self.kind!r}")
        for name in ("lambda_shift", "lambda_scale", "context_factor"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)!r}")
        if not 0 <= self.scale_limit < 1:
            raise ValueError(f"scale_limit must be in [0, 1); got {self.scale_limit!r}")

    def draw(self, box: Box, frame_width: int, frame_height: int, uniform: Uniform) -> Box:
        """A box about which to crop the search window for the object in ``box``, image pixels.

        Args:
            box: the object's, with w and h above 0.
            frame_width, frame_height: of the image, pixels.
            uniform: called as often as it takes.
        """
        if self.kind == "strict":
            return self._strict(box, uniform)
        width = self._size(box.w, frame_width, uniform)
        height = self._size(box.h, frame_height, uniform)
        x, y = box.center
        x = self._place(x, box.w, width, frame_width, uniform)
        y = self._place(y, box.h, height, frame_height, uniform)
        return Box(x - width / 2, y - height / 2, width, height)

    def _size(self, size: float, extent: int, uniform: Uniform) -> float:
        """A new width (or height), at least one pixel and at most the image's, less one."""
        limit = self.scale_limit
        if self.kind == "uniform":
            change = limit * (2 * uniform() - 1)
        else:
            change = min(max(laplace(self.lambda_scale, uniform), -limit), limit)
        return min(max(size * (1 + change), 1.0), max(1.0, extent - 1.0))

    def _place(
        self, middle: float, size: float, new_size: float, extent: int, uniform: Uniform
    ) -> float:
        """A new centre, such that the box lies in the image and its window still shows the object."""
        low, high = new_size / 2, extent - new_size / 2
        reach = self.context_factor / 2 * size
        for _ in range(TRIES):
            if self.kind == "uniform":
                shift = new_size * self.context_factor / 2 * (2 * uniform() - 1)
            else:
                shift = size * laplace(self.lambda_shift, uniform)
            new = min(max(middle + shift, low), max(low, high))
            if abs(new - middle) <= reach:
                break
        return new

    def _strict(self, box: Box, uniform: Uniform) -> Box:
        (x, y), factor = box.center, self.context_factor
        x, width = _strict_axis(x, box.w, self, factor, uniform)
        y, height = _strict_axis(y, box.h, self, factor, uniform)
        return Box(x - width / 2, y - height / 2, width, height)


def laplace(rate: float, uniform: Uniform) -> float:
    """A number from the Laplace distribution of mean 0 and scale 1 / rate; takes two uniform ones."""
    sign = 1.0 if uniform() < 0.5 else -1.0
    return sign * math.log(1.0 - uniform()) / rate


def _strict_axis(
    middle: float, size: float, model: MotionModel, factor: float, uniform: Uniform
) -> tuple[float, float]:
    """A new centre and size along one axis, by rejection."""
    for _ in range(_STRICT_TRIES):
        change = laplace(model.lambda_scale, uniform)
        shift = laplace(model.lambda_shift, uniform)
        if abs(change) <= model.scale_limit and _visible(shift, 1 + change, factor) >= 0.5:
            return middle + size * shift, size * (1 + change)
    return middle, size


def _visible(shift: float, scale: float, factor: float) -> float:
    """How much of [-1/2, 1/2] lies in a window of ``factor * scale`` about ``shift``."""
    half = factor * scale / 2
    return max(0.0, min(0.5, shift + half) - max(-0.5, shift - half))
