"""What a tracker asks of a network, frame after frame, and the plain way to do it on any device.

A pipeline keeps the targets of a number of objects, in order, and searches for them in frames.  A device
that has a faster way of its own (:meth:`goturn.ops.interface.Ops.pipeline`) is asked in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from goturn.ahead import TargetHalf, target_half
from goturn.architecture import Preprocessing
from goturn.box import SearchWindow
from goturn.frame import check_frame
from goturn.network import Network
from goturn.ops import Array


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

    def retarget(self, frame: Any, windows: Sequence[SearchWindow]) -> None:
        """New targets in place of all: what is in each window of ``frame``."""

    def target_parts(self) -> np.ndarray:
        """What the first fc layer makes of each target: (n, width) float32, a copy in host memory.

        The next :meth:`search` needs the same and does not compute it again.
        """


class PlainPipeline:
    """A pipeline of the network's four steps, one call after the other.

    Args:
        network: runs the steps.
        ahead: run the target's half in a thread as soon as the targets are known.
    """

    def __init__(self, network: Network, *, ahead: bool = False) -> None:
        self._network = network
        self._ahead = ahead
        self._targets: list[Array] = []
        self._half: TargetHalf | None = None
        self._parts: Array | None = None  # the half, once somebody has asked for it

    def __len__(self) -> int:
        return len(self._targets)

    def frame(self, given: Any) -> np.ndarray:
        frame: np.ndarray = check_frame(given)
        return frame

    def add(
        self, frame: np.ndarray, window: SearchWindow, *, instead_of: int | None = None
    ) -> None:
        self._replace([*self._without(instead_of), *self._crops(frame, [window])])

    def remove(self, index: int) -> None:
        self._replace(self._without(index))

    def search(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> np.ndarray:
        searched = self._network.encode_search(self._crops(frame, windows))
        # Last, so that a thread that is still at work on it has not been waited for.
        parts = self._target_parts()
        return self._network.ops.to_numpy(self._network.regress(parts, searched))

    def retarget(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> None:
        self._replace(list(self._crops(frame, windows)))

    def target_parts(self) -> np.ndarray:
        parts: np.ndarray = self._network.ops.to_numpy(self._target_parts())
        width = self._network.architecture.head[0].features  # behind it are a match's features
        copied: np.ndarray = parts[
            :, :width
        ].copy()  # on some devices it is the network's own memory
        return copied

    def _target_parts(self) -> Array:
        if self._parts is None:
            begun, self._half = self._half, None
            self._parts = begun.result() if begun else target_half(self._network, self._targets)
        return self._parts

    def _replace(self, targets: list[Array]) -> None:
        """Takes new targets, and begins with their half where asked to.

        The half is that of all objects together: another one in the batch, and roundings differ.
        """
        if self._half is not None:
            self._half.cancel()
            self._half = None
        self._parts = None
        self._targets = targets
        if self._ahead and targets:
            self._half = TargetHalf(self._network, targets)

    def _without(self, index: int | None) -> list[Array]:
        return [target for i, target in enumerate(self._targets) if i != index]

    def _crops(self, frame: np.ndarray, windows: Sequence[SearchWindow]) -> Array:
        p: Preprocessing = self._network.architecture.preprocessing
        return self._network.ops.crop_resize(
            frame, windows, size=p.input_size, mean=p.mean, colour_order=p.colour_order
        )


def pipeline_of(network: Network, *, ahead: bool = False) -> Pipeline:
    """The device's own pipeline for ``network`` where it has one, else the plain one."""
    own: Pipeline | None = network.ops.pipeline(
        network.architecture, network.parameters, network.precision
    )
    return PlainPipeline(network, ahead=ahead) if own is None else own
