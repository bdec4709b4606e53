"""Trackers: the network plus the state of one object, or of many.

The procedure is the paper's (section 3; the authors' ``tracker.cpp``): the target is what was in the
previous frame at the previous estimate; it is searched for in the current frame in a window twice the
box, about the same place; the prediction is not rounded, smoothed or judged.  Weights may ask for more
than the latest target to be kept, as those that come with goturn do (:mod:`goturn.target_policy`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from goturn.box import (
    Box,
    SearchWindow,
    check_initial_box,
    restore,
    search_window,
    uncenter,
    unscale,
)
from goturn.confidence import likeness
from goturn.network import Network
from goturn.pipeline import pipeline_of
from goturn.target_policy import TargetPolicy
from goturn.weights import Weights, load
from goturn.weights.default import default_path

WeightsLike = str | Path | Weights | Network


class MultiTracker:
    """Tracks any number of objects on one set of weights, with one batched forward per frame.

    Frames are NumPy arrays; on a GPU they may also be arrays in its memory, CuPy's or any with
    ``__cuda_array_interface__`` (PyTorch's tensors): these are cropped where they lie.

    Each object gets the box that a :class:`Tracker` of its own would give, to rounding.  Calls from
    several threads wait for each other.

    Args:
        weights: a weights file in any format that :func:`goturn.weights.load` reads, or Weights, or a
            Network (shared with its other users; it brings its own device and precision); None for the
            weights that come with goturn.
        device: "auto", "cpu", "cuda", "cuda:N" or "reference".
        precision: "auto", "fp32", "bf16" or "int8" on a CPU; also "fp16" on a GPU, and "tf32" on one that
            has it (compute capability 8.0); see :class:`goturn.network.Network`.
        ahead: begin with the next frame's work as soon as a frame's is done: a thread runs the previous
            frame's crops through their half of the network while the caller fetches the next frame.
            The boxes are the same, bit for bit, and come sooner after their frame; what goes wrong in
            the thread is raised by the next :meth:`update`.
        target_policy: what is kept of a target, and when it is taken anew
            (:class:`goturn.target_policy.TargetPolicy`, or its two numbers); None for what the weights
            ask for, which is the paper's way (:data:`goturn.target_policy.PAPER`) where they ask for
            nothing.

    Raises:
        FileNotFoundError, ValueError: no such file, or not weights, or not a policy.
        TypeError: weights, or a policy, of another type.
        RuntimeError: a device that is not there.
    """

    def __init__(
        self,
        weights: WeightsLike | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        ahead: bool = False,
        target_policy: Iterable[float] | None = None,
    ) -> None:
        self.network = _as_network(weights, device, precision)
        self._target_policy = TargetPolicy.of(
            self.network.target_policy if target_policy is None else target_policy
        )
        self._pipeline = pipeline_of(self.network, ahead=ahead, start=self._target_policy.start)
        self._boxes: dict[int, Box] = {}  # in the order of the pipeline's targets
        self._ages: dict[int, int] = {}  # frames since each was added
        self._next_id = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._boxes)

    def __repr__(self) -> str:
        return f"<goturn.MultiTracker of {len(self)} objects on {self.network.ops.name}>"

    @property
    def target_policy(self) -> TargetPolicy:
        """What is kept of a target, and when it is taken anew; as given when this was made."""
        return self._target_policy

    @property
    def boxes(self) -> dict[int, Box]:
        """The latest box of each object, by its number."""
        with self._lock:
            return dict(self._boxes)

    @property
    def confidences(self) -> dict[int, float]:
        """The confidence of each object, by its number: see :attr:`Tracker.confidence`."""
        curve = self.network.calibration
        return {key: curve.confidence(value) for key, value in self.likenesses.items()}

    @property
    def likenesses(self) -> dict[int, float]:
        """What confidence is made of, by object number: see :mod:`goturn.confidence`; in [-1, 1]."""
        with self._lock:
            if not self._boxes:
                return {}
            pairs = zip(self._pipeline.target_parts(), self._pipeline.start_parts(), strict=True)
            values = (likeness(now, start) for now, start in pairs)
            return dict(zip(self._boxes, values, strict=True))

    def add(self, frame: np.ndarray, box: Iterable[float]) -> int:
        """Starts to track what is in ``box`` of ``frame``.

        Args:
            frame: the frame that was last passed to :meth:`update`, or the first one; (H, W, 3) uint8
                BGR, or (H, W), (H, W, 1), (H, W, 4); in host memory, or on CUDA the device's.
            box: x, y, w, h in pixels of the frame; must overlap it.

        Returns:
            The object's number; numbers are not used again.

        Raises:
            TypeError, ValueError: not a frame, or not a box in it.
        """
        return self._add(frame, box)

    def _add(self, frame: np.ndarray, box: Iterable[float], instead_of: int | None = None) -> int:
        checked = self._pipeline.frame(frame)
        height, width = checked.shape[:2]
        start = check_initial_box(box, width, height)
        with self._lock:
            index = None if instead_of is None else self._index(instead_of)
            self._pipeline.add(checked, self._window(start, checked), instead_of=index)
            if instead_of is not None:
                self._forget(instead_of)
            key = self._next_id
            self._next_id += 1
            self._boxes[key] = start
            self._ages[key] = 0
        return key

    def remove(self, key: int) -> None:
        """Forgets an object.

        Raises:
            KeyError: there is none of that number.
        """
        with self._lock:
            if key not in self._boxes:
                raise KeyError(f"no object has the number {key!r}; there are {list(self._boxes)}")
            self._pipeline.remove(self._index(key))
            self._forget(key)

    def _forget(self, key: int) -> None:
        del self._boxes[key], self._ages[key]

    def _index(self, key: int) -> int:
        return list(self._boxes).index(key)

    def update(self, frame: np.ndarray) -> dict[int, Box]:
        """Finds each object in the next frame.

        Args:
            frame: (H, W, 3) uint8 BGR, or (H, W), (H, W, 1), (H, W, 4), in host memory or on CUDA the
                device's; it may differ from the previous one in size, and in where it is.

        Returns:
            Box by object number, in image pixels: four finite numbers, width and height at least 1,
            inside the frame.

        Raises:
            TypeError, ValueError: not a frame; the objects stay as they were.
        """
        checked = self._pipeline.frame(frame)
        with self._lock:
            if self._boxes:
                self._step(checked)
            return dict(self._boxes)

    def _step(self, frame: np.ndarray) -> None:
        height, width = frame.shape[:2]
        windows = [self._window(box, frame) for box in self._boxes.values()]
        units = self._pipeline.search(frame, windows).tolist()
        boxes = []
        for values, window in zip(units, windows, strict=True):
            if not all(map(math.isfinite, values)):
                raise ValueError("the network's output is not finite; are the weights damaged?")
            found = uncenter(unscale(values, window), window, width, height)
            boxes.append(restore(found, width, height))
        ages = [age + 1 for age in self._ages.values()]
        due = [index for index, age in enumerate(ages) if age % self._target_policy.every == 0]
        if due:
            self._pipeline.retarget(
                frame, [self._window(boxes[index], frame) for index in due], due
            )
        self._boxes = dict(zip(self._boxes, boxes, strict=True))
        self._ages = dict(zip(self._boxes, ages, strict=True))

    def _window(self, box: Box, frame: np.ndarray) -> SearchWindow:
        height, width = frame.shape[:2]
        factor = self.network.architecture.preprocessing.context_factor
        return search_window(box, width, height, factor)


class Tracker:
    """Tracks one object: ``init(frame, box)``, then ``update(frame)`` for each further frame.

    Arguments and errors as for :class:`MultiTracker`.
    """

    def __init__(
        self,
        weights: WeightsLike | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        ahead: bool = False,
        target_policy: Iterable[float] | None = None,
    ) -> None:
        self._tracker = MultiTracker(
            weights, device=device, precision=precision, ahead=ahead, target_policy=target_policy
        )
        self._key: int | None = None
        self._lock = threading.Lock()  # MultiTracker's own does not cover _key

    def __repr__(self) -> str:
        return f"<goturn.Tracker on {self.network.ops.name}, {self.box or 'not started'}>"

    @property
    def network(self) -> Network:
        """The network it runs; pass it as ``weights`` to share it with another tracker."""
        return self._tracker.network

    @property
    def target_policy(self) -> TargetPolicy:
        """See :attr:`MultiTracker.target_policy`."""
        return self._tracker.target_policy

    @property
    def box(self) -> Box | None:
        """The latest box, image pixels; None before :meth:`init`."""
        with self._lock:
            return None if self._key is None else self._tracker.boxes[self._key]

    @property
    def confidence(self) -> float | None:
        """How likely it is that the latest box overlaps the object by at least 0.2, in [0, 1].

        None before :meth:`init`; near 1 at the start.  It compares what the network makes of the image in
        the box with what it made of it at the start (:mod:`goturn.confidence`), as of the frame that the
        target was last taken from: where the policy takes it every few frames, it stays the same between
        them.  What that takes is computed for the next :meth:`update` in any case, so that reading it
        moves the target's half of the work to here, and adds none; with ``ahead`` it waits for the
        thread.  A look-alike is taken for the object, and an object that has come to look different for
        something else.

        The curve is fitted to the shipped weights; a weights file of another network can bring its own.
        """
        with self._lock:
            return None if self._key is None else self._tracker.confidences[self._key]

    @property
    def likeness(self) -> float | None:
        """What :attr:`confidence` is made of: see :mod:`goturn.confidence`; None before :meth:`init`."""
        with self._lock:
            return None if self._key is None else self._tracker.likenesses[self._key]

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
        for name, given, default in (("device", device, "auto"), ("precision", precision, "auto")):
            if given not in (own[name], default):
                raise ValueError(
                    f"the network given runs with {name} {own[name]!r}, not {given!r}; "
                    f"leave {name} out, or pass the weights instead"
                )
        return weights
    if weights is None:
        weights = default_path()
    if not isinstance(weights, (str, Path, Weights)):
        raise TypeError(
            f"weights must be the path of a file, Weights or a Network; got {type(weights).__name__}"
        )
    if not isinstance(weights, Weights):
        weights = load(weights)
    return Network(weights, device, precision=precision)
