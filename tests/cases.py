"""The one table of shapes on which every backend's operations are checked; see :mod:`checks`.

It holds the network's own shapes and the awkward ones: batch 1, odd sizes, one channel, groups, 1x1
kernels, strides beyond the kernel, padding beyond the kernel, windows that leave pixels over, sizes one
more or less than what vector and tile widths divide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One row: an op, what the case is about, and the op's shapes and parameters."""

    op: str
    label: str
    parameters: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.op}-{self.label}"


def _rows(op: str, table: dict[str, dict[str, Any]]) -> list[Case]:
    return [Case(op, label, parameters) for label, parameters in table.items()]


def _conv(x: tuple[int, ...], weight: tuple[int, ...], **parameters: Any) -> dict[str, Any]:
    return {"x": x, "weight": weight, **parameters}


_CONV2D = {
    "conv1": _conv((1, 3, 227, 227), (96, 3, 11, 11), stride=4),
    "conv2": _conv((1, 96, 27, 27), (256, 48, 5, 5), pad=2, groups=2),
    "conv3": _conv((1, 256, 13, 13), (384, 256, 3, 3), pad=1),
    "conv4": _conv((1, 384, 13, 13), (384, 192, 3, 3), pad=1, groups=2),
    "conv5": _conv((2, 384, 13, 13), (256, 192, 3, 3), pad=1, groups=2),
    "one of everything": _conv((1, 1, 1, 1), (1, 1, 1, 1)),
    "1x1 kernel": _conv((3, 20, 7, 5), (9, 20, 1, 1)),
    "1x1 kernel, strided": _conv((2, 5, 9, 8), (4, 5, 1, 1), stride=3),
    "one channel, odd sizes": _conv((3, 1, 7, 9), (5, 1, 3, 3), pad=1),
    "one output channel": _conv((2, 6, 8, 11), (1, 6, 3, 3)),
    "rectangular kernel": _conv((2, 4, 9, 12), (6, 4, 3, 5), pad=2, stride=2),
    "stride beyond the kernel": _conv((1, 4, 11, 13), (6, 4, 2, 2), stride=3),
    "padding beyond the kernel": _conv((2, 3, 4, 5), (4, 3, 1, 1), pad=2),
    "pixels left over": _conv((2, 2, 10, 10), (3, 2, 3, 3), stride=4),
    "kernel as large as the image": _conv((3, 3, 6, 6), (10, 3, 6, 6)),
    "kernel larger than the image": _conv((2, 3, 2, 3), (4, 3, 5, 5), pad=2),
    "three groups, strided": _conv((2, 9, 10, 7), (15, 3, 3, 3), pad=1, stride=2, groups=3),
    "one channel per group": _conv((2, 6, 8, 8), (6, 1, 3, 3), pad=1, groups=6),
    "one over the tiles": _conv((2, 17, 17, 33), (33, 17, 3, 3), pad=1),
    "one under the tiles": _conv((5, 15, 9, 9), (31, 15, 3, 3)),
}

_MAX_POOL = {
    "pool1": {"x": (1, 96, 55, 55), "kernel": 3, "stride": 2},
    "pool2": {"x": (1, 256, 27, 27), "kernel": 3, "stride": 2},
    "pool5": {"x": (2, 256, 13, 13), "kernel": 3, "stride": 2},
    "ceil: 54 to 27": {"x": (1, 5, 54, 54), "kernel": 3, "stride": 2},
    "ceil in one direction": {"x": (2, 3, 8, 9), "kernel": 3, "stride": 2},
    "one pixel": {"x": (1, 1, 1, 1), "kernel": 1, "stride": 1},
    "overlapping": {"x": (3, 1, 7, 6), "kernel": 3, "stride": 1},
    "padded": {"x": (2, 4, 9, 7), "kernel": 3, "stride": 2, "pad": 1},
    "padded, last window dropped": {"x": (2, 2, 3, 5), "kernel": 2, "stride": 2, "pad": 1},
    "stride beyond the kernel": {"x": (2, 3, 11, 8), "kernel": 2, "stride": 3},
    "stride beyond, last dropped": {"x": (1, 2, 5, 8), "kernel": 1, "stride": 3},
    "window as large as the image": {"x": (2, 3, 5, 5), "kernel": 5, "stride": 5},
}

_LRN_OF_CAFFENET = {"size": 5, "alpha": 1e-4, "beta": 0.75}
_LRN = {
    "norm1": {"x": (1, 96, 27, 27), **_LRN_OF_CAFFENET},
    "norm2": {"x": (2, 256, 13, 13), **_LRN_OF_CAFFENET},
    "one channel": {"x": (2, 1, 5, 3), **_LRN_OF_CAFFENET},
    "two channels": {"x": (1, 2, 1, 7), **_LRN_OF_CAFFENET},
    "size 1": {"x": (3, 4, 3, 3), "size": 1, "alpha": 1e-3, "beta": 0.75},
    "size 3, other constants": {
        "x": (2, 7, 5, 5),
        "size": 3,
        "alpha": 5e-4,
        "beta": 0.5,
        "k": 2.0,
    },
    "beta 1": {"x": (1, 33, 3, 5), "size": 7, "alpha": 2e-4, "beta": 1.0, "k": 1.5},
}

_LINEAR = {
    "fc6, narrow": {"x": (2, 18432), "weight": (64, 18432)},
    "fc6, the target's half": {"x": (1, 9216), "weight": (96, 18432), "columns": (0, 9216)},
    "fc6, the search's half": {"x": (3, 9216), "weight": (32, 18432), "columns": (9216, 18432)},
    "fc7": {"x": (1, 4096), "weight": (4096, 4096)},
    "fc8": {"x": (50, 4096), "weight": (4, 4096)},
    "one of everything": {"x": (1, 1), "weight": (1, 1)},
    "one input": {"x": (4, 1), "weight": (3, 1)},
    "one output": {"x": (7, 5), "weight": (1, 5)},
    "no bias": {"x": (5, 33), "weight": (17, 33), "bias": None},
    "a bias for each row": {"x": (5, 33), "weight": (17, 33), "bias": "a row each"},
    "and for a row alone": {"x": (1, 64), "weight": (16, 64), "bias": "a row each"},
    "odd column slice": {"x": (3, 31), "weight": (9, 70), "columns": (7, 38)},
    "one over the tiles": {"x": (17, 129), "weight": (65, 129)},
    "a batch of 64": {"x": (64, 1000), "weight": (33, 1000)},
    "beyond a block each way": {"x": (50, 777), "weight": (1001, 777)},
    "a large batch, odd column slice": {"x": (33, 300), "weight": (70, 391), "columns": (81, 381)},
}

_MATCH = {
    "of 64 channels": {"count": 3, "channels": 64, "cells": 36, "scale": 10.0},
    "of pool5": {"count": 1, "channels": 256, "cells": 36, "scale": 10.0},
    "one of everything": {"count": 1, "channels": 1, "cells": 1, "scale": 1.0},
    "one channel": {"count": 2, "channels": 1, "cells": 5, "scale": 10.0},
    "two channels, odd cells": {"count": 3, "channels": 2, "cells": 7, "scale": -0.5},
    "one cell": {"count": 5, "channels": 33, "cells": 1, "scale": 3.0},
    "one over the tiles": {"count": 2, "channels": 65, "cells": 33, "scale": 10.0},
    "more cells than channels": {"count": 2, "channels": 3, "cells": 49, "scale": 10.0},
}

_SHAPES: dict[str, dict[str, Any]] = {
    "one": {"x": (1,)},
    "activation": {"x": (2, 3, 7, 5)},
    "fc": {"x": (50, 4096)},
}

_DROPOUT = {
    "half": {"x": (50, 4096), "ratio": 0.5, "key": 20160916},
    "none": {"x": (3, 5), "ratio": 0.0, "key": 1},
    "a third": {"x": (7, 11, 13), "ratio": 1 / 3, "key": 0},
    "nearly all, largest key": {"x": (1000,), "ratio": 0.99, "key": 2**64 - 1},
}

_LOSS: dict[str, dict[str, Any]] = {"one": {"x": (1, 4)}, "batch of 50": {"x": (50, 4)}}


def _adam(
    rate: float,
    *,
    momentum: float = 0.9,
    squares: float = 0.999,
    decay: float = 0.0,
    iteration: int,
) -> dict[str, Any]:
    return {
        "rate": rate,
        "momentum": momentum,
        "squares": squares,
        "decay": decay,
        "iteration": iteration,
    }


_SGD = {
    "one": {"x": (1,), "rate": 0.5, "momentum": 0.9, "decay": 0.1},
    "weights": {"x": (37, 4096), "rate": 1e-5, "momentum": 0.9, "decay": 5e-4},
    "bias": {"x": (4096,), "rate": 2e-5, "momentum": 0.9, "decay": 0.0},
    "no momentum": {"x": (3, 5, 7), "rate": 0.1, "momentum": 0.0, "decay": 0.01},
    "frozen": {"x": (33,), "rate": 0.0, "momentum": 0.0, "decay": 0.0},
}

_ADAM = {
    "one, at the first step": {"x": (1,), **_adam(0.5, decay=0.1, iteration=1)},
    "weights": {"x": (37, 4096), **_adam(3e-4, decay=0.01, iteration=1000)},
    "bias": {"x": (4096,), **_adam(6e-4, iteration=7)},
    "no momentum": {"x": (3, 5, 7), **_adam(0.1, momentum=0.0, squares=0.0, iteration=3)},
    "frozen": {"x": (33,), **_adam(0.0, iteration=2)},
}

_RATES = {"rate": 1e-2, "momentum": 0.9, "decay": 5e-4}
_LINEAR_SGD = {
    "fc6, narrow": {"x": (50, 18432), "outputs": 70, **_RATES},
    "fc8": {"x": (50, 4096), "outputs": 4, **_RATES},
    "one of everything": {"x": (1, 1), "outputs": 1, **_RATES},
    "one example": {"x": (1, 100), "outputs": 37, **_RATES},
    "one over the tiles": {"x": (17, 129), "outputs": 65, **_RATES},
    "no momentum": {"x": (9, 35), "outputs": 12, "rate": 0.1, "momentum": 0.0, "decay": 0.01},
    "frozen": {"x": (5, 20), "outputs": 7, "rate": 0.0, "momentum": 0.0, "decay": 0.0},
    "more rows than are fused": {"x": (2500, 40), "outputs": 13, **_RATES},
}

#: Boxes (x, y, w, h) in a frame of 64 x 48: inside, out on each side, and of less than a pixel.
_BOXES = (
    (20.0, 12.0, 16.0, 12.0),
    (-6.5, 20.25, 17.0, 9.0),
    (50.0, 40.0, 31.0, 23.0),
    (30.5, 10.5, 0.25, 0.25),
    (-100.0, -90.0, 264.0, 228.0),
)
_CROP_RESIZE = {
    "the network's input": {"frame": (48, 64, 3), "boxes": _BOXES, "size": 227},
    "small, RGB": {"frame": (48, 64, 3), "boxes": _BOXES, "size": 13, "colour_order": "RGB"},
    "grey": {"frame": (48, 64, 1), "boxes": _BOXES[:2], "size": 35},
    "with alpha": {"frame": (48, 64, 4), "boxes": _BOXES[1:3], "size": 35},
    "no window": {"frame": (48, 64, 3), "boxes": (), "size": 35},
}

CASES: list[Case] = [
    *_rows("conv2d", _CONV2D),
    *_rows("max_pool", _MAX_POOL),
    *_rows("lrn", _LRN),
    *_rows("match", _MATCH),
    *_rows("linear", _LINEAR),
    *_rows("relu", _SHAPES),
    *_rows("dropout", _DROPOUT),
    *_rows("l1_loss", _LOSS),
    *_rows("l2_loss", _LOSS),
    *_rows("sgd_update", _SGD),
    *_rows("adam_update", _ADAM),
    *_rows("linear_sgd_update", _LINEAR_SGD),
    *_rows("crop_resize", _CROP_RESIZE),
]


def bounded(case: Case) -> Case:
    """``case`` with fewer pixels and outputs, where its products take long to form one by one.

    Sums stay as long as they were, and pixels left over at the border as many.
    """
    p = dict(case.parameters)
    if case.op == "conv2d":
        (n, c, *sizes), (k, per_group, r, s) = p["x"], p["weight"]
        stride, pad, groups = p.get("stride", 1), p.get("pad", 0), p.get("groups", 1)
        per_pixel = n * per_group * r * s
        # The gradient of a strided one's input is formed with the zeros between the pixels of dy.
        if per_pixel * k * math.prod(sizes) < _MANY:
            return case
        small = []
        for size, kernel in zip(sizes, (r, s), strict=True):
            left = size + 2 * pad - kernel
            small.append(min(left, left % stride + 6 * stride) + kernel - 2 * pad)
        while per_pixel * k * math.prod(small) > _MANY and k % (2 * groups) == 0:
            k //= 2
        p |= {"x": (n, c, *small), "weight": (k, per_group, r, s)}
    elif case.op == "linear":
        rows, columns = p["weight"]
        p["weight"] = (max(1, min(rows, _MANY // 4 // math.prod(p["x"]))), columns)
    elif case.op == "linear_sgd_update":
        p["outputs"] = max(1, min(p["outputs"], _MANY // math.prod(p["x"])))
    return case if p == case.parameters else Case(case.op, f"{case.label}, less of it", p)


#: Products from which on :func:`bounded` takes fewer.
_MANY = 12_000_000

#: (x, weight, parameters) small enough for loops over every product and for finite differences.
SMALL_CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, int]]] = [
    ((2, 3, 6, 5), (4, 3, 3, 3), {"pad": 1}),
    ((1, 4, 7, 7), (6, 2, 3, 3), {"groups": 2, "stride": 2}),
    ((2, 2, 8, 5), (3, 2, 2, 4), {"stride": 3, "pad": 2}),
    ((1, 1, 1, 1), (2, 1, 1, 1), {}),
    ((2, 4, 3, 3), (4, 1, 3, 3), {"groups": 4, "pad": 1}),
]
