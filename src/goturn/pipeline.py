"""What a tracker asks of a network, frame after frame, and the plain way to do it on any device.

A pipeline keeps the targets of a number of objects, in order, and searches for them in frames.  A device
that has a faster way of its own (:meth:`goturn.ops.interface.Ops.pipeline`) is asked in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from goturn.ahead import TargetHalf, target_half
from goturn.architecture import Preprocessing
from goturn.box import SearchWindow
from goturn.frame import check_frame
from goturn.network import Network
from goturn.ops import Array
from goturn.target_policy import mean_answer


class Pipeline(Protocol):
    """The targets of n objects, and the search for them.

    Frames are what :meth:`frame` gives; windows are of those frames.  A call that raises leaves the
    targets as they were.
    """

    def frame(self, given: Any) -> Any:
        """A caller's frame as the methods below take it, an (H, W, C) view.

        Raises:
            TypeError, ValueError: as :func:`goturn.frame.check_frame`.
        """

    def __len__(self) -> int:
        """How many targets there are."""

    def add(self, frame: Any, window: SearchWindow, *, instead_of: int | None = None) -> None:
        """One more target, the last one: what is in ``window`` of ``frame``.

        Target number ``instead_of`` is forgotten first, as by :meth:`remove`.
        """

    def remove(self, index: int) -> None:
        """Forgets a target; those behind it move up."""

    def search(self, frame: Any, windows: Sequence[SearchWindow]) -> np.ndarray:
        """Each target in its window of ``frame``: (n, 4) x1, y1, x2, y2, 0..10 over the window."""

    def retarget(self, frame: Any, windows: Sequence[SearchWindow], which: Sequence[int]) -> None:
        """New targets in place of those of these numbers: what is in each window of ``frame``."""

    def target_parts(self) -> np.ndarray:
        """What the first fc layer makes of each target: (n, width) float32, a copy in host memory.

        The next :meth:`search` needs the same and does not compute it again.
        """

    def start_parts(self) -> np.ndarray:
        """The same of each target as it was when it was added."""


@dataclass
class _Target:
    """One object's: the crop until its half of the network is computed, and then that half."""

    crop: Array | None
    part: Array | None = None  # (1, width)
    start: Array | None = None  # the first one


class PlainPipeline:
    """A pipeline of the network's four steps, one call after the other.

    Args:
        network: runs the steps.
        ahead: run the target's half in a thread as soon as the targets are known.
        start: how much the answer for a target as it was at its start counts, 0 to 1; see
            :class:`goturn.target_policy.TargetPolicy`.
    """

    def __init__(self, network: Network, *, ahead: bool = False, start: float = 0.0) -> None:
        self._network = network
        self._ahead = ahead
        self._start = start
        self._targets: list[_Target] = []
        self._half: TargetHalf | None = None

    def __len__(self) -> int:
        return len(self._targets)

    def frame(self, given: Any) -> np.ndarray:
        frame: np.ndarray = check_frame(given)
        return frame

    def add(
        self, frame: np.ndarray, window: SearchWindow, *, instead_of: int | None = None
    ) -> None:
        (crop,) = self._crops(frame, [window])
        if instead_of is not None:
            del self._targets[instead_of]
        self._targets.append(_Target(crop))
        self._begin()

    def remove(self, index: int) -> None:
        del self._targets[index]
        self._begin()

    def search(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> np.ndarray:
        ops = self._network.ops
        searched = self._network.encode_search(self._crops(frame, windows))
        # Last, so that a thread that is still at work on it has not been waited for.
        self._settle()
        parts = [target.part for target in self._targets]
        if not self._start:
            return ops.to_numpy(self._network.regress(self._rows(parts), searched))
        # Both answers as one batch, so that the fc weights are read once.
        rows = self._rows([*parts, *(target.start for target in self._targets)])
        both = ops.to_numpy(self._network.regress(rows, ops.concatenate([searched, searched])))
        return mean_answer(both, self._start)

    def retarget(
        self, frame: np.ndarray, windows: Sequence[SearchWindow], which: Sequence[int]
    ) -> None:
        for index, crop in zip(which, self._crops(frame, windows), strict=True):
            self._targets[index].crop = crop
        self._begin()

    def target_parts(self) -> np.ndarray:
        self._settle()
        return self._copied([target.part for target in self._targets])

    def start_parts(self) -> np.ndarray:
        self._settle()
        return self._copied([target.start for target in self._targets])

    def _copied(self, rows: list[Array | None]) -> np.ndarray:
        parts: np.ndarray = self._network.ops.to_numpy(self._rows(rows))
        width = self._network.architecture.head[0].features  # behind it are a match's features
        copied: np.ndarray = parts[:, :width].copy()  # it may be the network's own memory
        return copied

    def _rows(self, rows: Sequence[Array | None]) -> Array:
        if len(rows) == 1:
            return rows[0]
        return self._network.ops.concatenate(rows)

    def _new(self) -> list[_Target]:
        """Those whose half is still to be computed."""
        return [target for target in self._targets if target.crop is not None]

    def _settle(self) -> None:
        """Computes what is missing, all of it as one batch, or waits for the thread that does."""
        new = self._new()
        if not new:
            return
        begun, self._half = self._half, None
        crops = [target.crop for target in new]
        parts = begun.result() if begun else target_half(self._network, crops)
        for index, target in enumerate(new):
            target.crop, target.part = None, parts[index : index + 1]
            if target.start is None:
                target.start = target.part

    def _begin(self) -> None:
        """Begins with the half of all new targets where asked to, in place of what was begun before.

        It is that of all together: with another number of them in a batch, roundings differ.
        """
        if self._half is not None:
            self._half.cancel()
            self._half = None
        new = self._new()
        if self._ahead and new:
            self._half = TargetHalf(self._network, [target.crop for target in new])

    def _crops(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> Array:
        p: Preprocessing = self._network.architecture.preprocessing
        return self._network.ops.crop_resize(
            frame, windows, size=p.input_size, mean=p.mean, colour_order=p.colour_order
        )


def pipeline_of(network: Network, *, ahead: bool = False, start: float = 0.0) -> Pipeline:
    """The device's own pipeline for ``network`` where it has one, else the plain one.

    Args:
        network: see :class:`PlainPipeline`, as for the others.
    """
    own: Pipeline | None = network.ops.pipeline(
        network.architecture, network.parameters, network.precision, start
    )
    return PlainPipeline(network, ahead=ahead, start=start) if own is None else own
