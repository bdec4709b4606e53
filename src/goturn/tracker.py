"""Trackers: the network plus the state of one object, or of many.

The procedure is the paper's (section 3; the authors' ``tracker.cpp``): the target is what was in the
previous frame at the previous estimate; it is searched for in the current frame in a window twice the
box, about the same place; the prediction is not rounded, smoothed or judged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from goturn.ahead import TargetHalf, target_half
from goturn.box import (
    Box,
    SearchWindow,
    check_initial_box,
    restore,
    search_window,
    uncenter,
    unscale,
)
from goturn.frame import check_frame
from goturn.network import Network
from goturn.ops import Array
from goturn.weights import Weights, load

WeightsLike = str | Path | Weights | Network


@dataclass
class _Object:
    """The state of one tracked object."""

    box: Box
    """The latest estimate, image pixels."""
    target: Array
    """The network's input for it: crop of the latest frame about ``box``, (3, S, S)."""


class MultiTracker:
    """Tracks any number of objects on one set of weights, with one batched forward per frame.

    Each object gets the box that a :class:`Tracker` of its own would give, to rounding.  Calls from
    several threads wait for each other.

    Args:
        weights: a weights file in any format that :func:`goturn.weights.load` reads, or Weights, or a
            Network (shared with its other users; it brings its own device and precision).
        device: "auto", "cpu", "cuda", "cuda:N" or "reference".
        precision: "fp32", "bf16" or "int8": see :class:`goturn.network.Network`.
        ahead: begin with the next frame's work as soon as a frame's is done: a thread runs the previous
            frame's crops through their half of the network while the caller fetches the next frame.
            The boxes are the same, bit for bit, and come sooner after their frame; what goes wrong in
            the thread is raised by the next :meth:`update`.

    Raises:
        FileNotFoundError, ValueError: no such file, or not weights.
        RuntimeError: a device that is not there.
    """

    def __init__(
        self,
        weights: WeightsLike | None = None,
        *,
        device: str = "auto",
        precision: str = "fp32",
        ahead: bool = False,
    ) -> None:
        self.network = _as_network(weights, device, precision)
        self._ahead = ahead
        self._half: TargetHalf | None = None
        self._objects: dict[int, _Object] = {}
        self._next_id = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._objects)

    def __repr__(self) -> str:
        return f"<goturn.MultiTracker of {len(self)} objects on {self.network.ops.name}>"

    @property
    def boxes(self) -> dict[int, Box]:
        """The latest box of each object, by its number."""
        with self._lock:
            return {key: item.box for key, item in self._objects.items()}

    def add(self, frame: np.ndarray, box: Iterable[float]) -> int:
        """Starts to track what is in ``box`` of ``frame``.

        Args:
            frame: the frame that was last passed to :meth:`update`, or the first one; (H, W, 3) uint8
                BGR, or (H, W), (H, W, 1), (H, W, 4).
            box: x, y, w, h in pixels of the frame; must overlap it.

        Returns:
            The object's number; numbers are not used again.

        Raises:
            TypeError, ValueError: not a frame, or not a box in it.
        """
        return self._add(frame, box)

    def _add(self, frame: np.ndarray, box: Iterable[float], instead_of: int | None = None) -> int:
        checked = check_frame(frame)
        height, width = checked.shape[:2]
        start = check_initial_box(box, width, height)
        target = self._crops(checked, [self._window(start, checked)])[0]
        with self._lock:
            if instead_of is not None:
                del self._objects[instead_of]
            key = self._next_id
            self._next_id += 1
            self._objects[key] = _Object(start, target)
            self._look_ahead()
        return key

    def remove(self, key: int) -> None:
        """Forgets an object.

        Raises:
            KeyError: there is none of that number.
        """
        with self._lock:
            if key not in self._objects:
                raise KeyError(f"no object has the number {key!r}; there are {list(self._objects)}")
            del self._objects[key]
            self._look_ahead()

    def update(self, frame: np.ndarray) -> dict[int, Box]:
        """Finds each object in the next frame.

        Args:
            frame: (H, W, 3) uint8 BGR, or (H, W), (H, W, 1), (H, W, 4); it may differ in size from
                the previous one.

        Returns:
            Box by object number, in image pixels: four finite numbers, width and height at least 1,
            inside the frame.

        Raises:
            TypeError, ValueError: not a frame; the objects stay as they were.
        """
        checked = check_frame(frame)
        with self._lock:
            if self._objects:
                self._step(checked)
                self._look_ahead()
            return {key: item.box for key, item in self._objects.items()}

    def _step(self, frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        network, objects = self.network, list(self._objects.values())
        windows = [self._window(item.box, frame) for item in objects]
        searched = network.encode_search(self._crops(frame, windows))
        # Last, so that a thread that is still at work on it has not been waited for.
        target_part = self._target_half([item.target for item in objects])
        units = network.ops.to_numpy(network.regress(target_part, searched)).tolist()

        boxes = []
        for values, window in zip(units, windows, strict=True):
            if not all(map(math.isfinite, values)):
                raise ValueError("the network's output is not finite; are the weights damaged?")
            found = uncenter(unscale(values, window), window, width, height)
            boxes.append(restore(found, width, height))
        targets = self._crops(frame, [self._window(box, frame) for box in boxes])
        for item, box, target in zip(objects, boxes, targets, strict=True):
            item.box, item.target = box, target

    def _look_ahead(self) -> None:
        """Begins with the target's half for the objects as they are now; call it when they change.

        The half is that of all objects together: another one in the batch, and roundings differ.
        """
        if self._half is not None:
            self._half.cancel()
            self._half = None
        if self._ahead and self._objects:
            targets = [item.target for item in self._objects.values()]
            self._half = TargetHalf(self.network, targets)

    def _target_half(self, targets: Sequence[Array]) -> Array:
        begun, self._half = self._half, None
        return target_half(self.network, targets) if begun is None else begun.result()

    def _window(self, box: Box, frame: np.ndarray) -> SearchWindow:
        height, width = frame.shape[:2]
        factor = self.network.architecture.preprocessing.context_factor
        return search_window(box, width, height, factor)

    def _crops(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> Array:
        p = self.network.architecture.preprocessing
        return self.network.ops.crop_resize(
            frame, windows, size=p.input_size, mean=p.mean, colour_order=p.colour_order
        )


class Tracker:
    """Tracks one object: ``init(frame, box)``, then ``update(frame)`` for each further frame.

    Arguments and errors as for :class:`MultiTracker`.
    """

    def __init__(
        self,
        weights: WeightsLike | None = None,
        *,
        device: str = "auto",
        precision: str = "fp32",
        ahead: bool = False,
    ) -> None:
        self._tracker = MultiTracker(weights, device=device, precision=precision, ahead=ahead)
        self._key: int | None = None
        self._lock = threading.Lock()  # MultiTracker's own does not cover _key

    def __repr__(self) -> str:
        return f"<goturn.Tracker on {self.network.ops.name}, {self.box or 'not started'}>"

    @property
    def network(self) -> Network:
        """The network it runs; pass it as ``weights`` to share it with another tracker."""
        return self._tracker.network

    @property
    def box(self) -> Box | None:
        """The latest box, image pixels; None before :meth:`init`."""
        with self._lock:
            return None if self._key is None else self._tracker.boxes[self._key]

    def init(self, frame: np.ndarray, box: Iterable[float]) -> None:
        """Starts, or starts anew, on what is in ``box`` (x, y, w, h) of ``frame``.

        Raises:
            TypeError, ValueError: not a frame, or not a box in it; an earlier track goes on then.
        """
        with self._lock:
            self._key = self._tracker._add(frame, box, instead_of=self._key)

    def update(self, frame: np.ndarray) -> Box:
        """The object's box in the next frame: see :meth:`MultiTracker.update`.

        Raises:
            RuntimeError: before :meth:`init`.
            TypeError, ValueError: not a frame; the track can go on with another.
        """
        with self._lock:
            if self._key is None:
                raise RuntimeError("update before init: call init(frame, box) with the first frame")
            return self._tracker.update(frame)[self._key]


def _as_network(weights: WeightsLike | None, device: str, precision: str) -> Network:
    if isinstance(weights, Network):
        own = {"device": weights.ops.name, "precision": weights.precision}
        for name, given, default in (("device", device, "auto"), ("precision", precision, "fp32")):
            if given not in (own[name], default):
                raise ValueError(
                    f"the network given runs with {name} {own[name]!r}, not {given!r}; "
                    f"leave {name} out, or pass the weights instead"
                )
        return weights
    if weights is None:
        raise ValueError(
            "no weights given, and none ship with this version of goturn; pass the path of a weights "
            "file (the README's section on weights says where such files come from)"
        )
    if not isinstance(weights, (str, Path, Weights)):
        raise TypeError(
            f"weights must be the path of a file, Weights or a Network; got {type(weights).__name__}"
        )
    if not isinstance(weights, Weights):
        weights = load(weights)
    return Network(weights, device, precision=precision)
