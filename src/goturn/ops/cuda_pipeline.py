"""Tracking on a GPU: a frame is one upload and one graph replay, and the next target is begun at once.

Two graphs for each number of objects, captured on first use and replayed for every frame::

    search    crop the search windows -> search tower -> fc6's other half .. fc8 -> four numbers each
    retarget  crop the target windows -> target tower -> fc6's half of the target

The caller waits for the first alone.  The second runs while the caller fetches the next frame: its
windows are known as soon as the boxes are.  Of a frame in host memory only the pixels that the windows
show are copied, through pinned memory, in one copy with the windows' table; a frame on the device is
read where it is.

Everything that changes from frame to frame lies in device memory at fixed addresses, so that a replay
needs no new parameters.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from goturn.architecture import SEARCH_SUFFIX, Architecture, Preprocessing
from goturn.box import SearchWindow
from goturn.frame import check_frame
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_head import Head
from goturn.ops.cuda_memory import DeviceMemoryError
from goturn.ops.cuda_tower import Arithmetic, Entry, Tower, TowerPlan, network_tower
from goturn.ops.interface import Array
from goturn.ops.resample import window_table
from goturn.target_policy import mean_answer

#: Numbers of objects whose graphs and buffers are kept; the one unused for longest goes first.
PLANS = 4

#: Objects for which there is room at first; doubled as needed.
ROOM = 8


@dataclass(frozen=True)
class DeviceFrame:
    """A frame in device memory."""

    array: Array
    """(H, W, C)."""
    ordered: bool
    """Whether the caller works on it in its current stream, as with CuPy's own arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.array.shape
        return shape


class CudaPipeline:
    """:class:`goturn.pipeline.Pipeline` on a GPU, on a stream of its own.

    Args:
        gpu: the device.
        architecture: of the network.
        parameters: as :class:`goturn.network.Network` keeps them; fc weights are used where they are.
        tower: how the towers compute.
        products: how batches are multiplied in the fc layers.
        start: how much the answer for a target as it was at its start counts
            (:class:`goturn.target_policy.TargetPolicy`).

    Raises:
        MemoryError: not enough memory on the device.
    """

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        tower: Arithmetic,
        products: str,
        *,
        start: float = 0.0,
    ) -> None:
        self.start = start
        self.kernels, self.memory, self.architecture = gpu.kernels, gpu.memory, architecture
        memory = self.memory
        with memory.device():
            self.stream = memory.new_stream()
            self.target_tower = network_tower(gpu, architecture, parameters, tower)
            self.search_tower = (
                self.target_tower
                if architecture.shared_towers
                else network_tower(gpu, architecture, parameters, tower, SEARCH_SUFFIX)
            )
            self.head = Head(gpu, architecture, parameters, products)
            #: Each target's half of the first fc layer, bias included, and for a match its features: a
            #: row each, in order.
            self.parts = memory.empty((ROOM, self.head.part_width), np.float32)
            #: The same of each as it was when it was added.
            self.starts = memory.empty(self.parts.shape, np.float32)
            self._aside = memory.empty(self.parts.shape, np.float32)
            self._after_allocation()
        self._count = 0
        self._searches: OrderedDict[int, _Search] = OrderedDict()
        self._retargets: OrderedDict[int, _Retarget] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def frame(self, given: Any) -> np.ndarray | DeviceFrame:
        view = self.memory.view(given)
        if view is None:
            frame: np.ndarray = check_frame(given)
            return frame
        return DeviceFrame(check_frame(view, kind=type(view)), ordered=view is given)

    def add(self, frame: Any, window: SearchWindow, *, instead_of: int | None = None) -> None:
        with self.memory.device():
            plan = self._plan(self._retargets, _Retarget, 1, frame)
            plan.run(frame, [window])
            if instead_of is not None:
                self.remove(instead_of)
            self._make_room(self._count + 1)
            for rows in (self.parts, self.starts):
                self._copy(plan.parts, rows[self._count : self._count + 1])
            self._count += 1

    def remove(self, index: int) -> None:
        with self.memory.device():
            behind = self._count - index - 1
            for rows in (self.parts, self.starts) if behind else ():
                self._copy(rows[index + 1 : self._count], self._aside[:behind])
                self._copy(self._aside[:behind], rows[index : self._count - 1])
            self._count -= 1

    def search(self, frame: Any, windows: Sequence[SearchWindow]) -> np.ndarray:
        with self.memory.device():
            plan: _Search = self._plan(self._searches, _Search, self._count, frame)
            return plan.run(frame, windows)

    def retarget(self, frame: Any, windows: Sequence[SearchWindow], which: Sequence[int]) -> None:
        with self.memory.device():
            plan = self._plan(self._retargets, _Retarget, len(windows), frame)
            plan.run(frame, windows)
            if list(which) == list(range(self._count)):  # all of them, in their order
                self._copy(plan.parts, self.parts[: self._count])
                return
            for row, index in enumerate(which):
                self._copy(plan.parts[row : row + 1], self.parts[index : index + 1])

    def target_parts(self) -> np.ndarray:
        return self._downloaded(self.parts)

    def start_parts(self) -> np.ndarray:
        return self._downloaded(self.starts)

    def _downloaded(self, rows: Array) -> np.ndarray:
        with self.memory.device():
            parts = self.memory.pinned((self._count, self.head.part_width), np.float32)
            self.memory.download(rows[: self._count], parts, self.stream)
            self.memory.synchronize(self.stream)
            copied: np.ndarray = parts[:, : self.head.width].copy()
            return copied

    def _copy(self, rows: Array, to: Array) -> None:
        pointer = self.memory.pointer_of(self.stream)
        self.kernels.copy_rows(rows, to, factor=1.0, stream=pointer)

    def _make_room(self, count: int) -> None:
        """Room for ``count`` targets; graphs that read the old place are dropped."""
        if count <= len(self.parts):
            return
        parts, starts, aside = (
            self.memory.empty((2 * count, self.head.part_width), np.float32) for _ in range(3)
        )
        self._after_allocation()
        self._copy(self.parts[: self._count], parts[: self._count])
        self._copy(self.starts[: self._count], starts[: self._count])
        self.memory.synchronize(self.stream)
        self.parts, self.starts, self._aside = parts, starts, aside
        self._searches.clear()

    def _after_allocation(self) -> None:
        """What the caller's stream still does with memory that it freed comes before ours."""
        self.memory.follow(self.stream, self.memory.caller_stream())

    def __del__(self) -> None:
        # The memory goes back to a pool that may hand it to another stream.  Nothing is left to wait for
        # where the device has failed, or the interpreter ends.
        if hasattr(self, "_retargets"):
            with contextlib.suppress(Exception):
                self.memory.synchronize(self.stream)

    def _plan(self, plans: OrderedDict[int, Any], kind: Any, count: int, frame: Any) -> Any:
        """The plan for ``count`` objects, made anew where frames have become larger."""
        on_device = isinstance(frame, DeviceFrame)
        pixels = 0 if on_device else frame.shape[0] * frame.shape[1] * frame.shape[2]
        plan = plans.pop(count, None)
        if plan is None or plan.upload.pixels < pixels:
            self.memory.synchronize(self.stream)  # nothing runs on what is dropped here
            plan = None
            while len(plans) >= PLANS:
                plans.popitem(last=False)
            try:
                plan = kind(self, count, pixels)
            except DeviceMemoryError as error:
                raise DeviceMemoryError(f"{count} objects are too many: {error}") from None
            self._after_allocation()
        plans[count] = plan
        return plan


class _Upload:
    """The job of the crop kernel, and the pixels that it reads, on their way to the device.

    Args:
        count: windows of a job.
        pixels: bytes that there is room for.
    """

    def __init__(self, pipeline: CudaPipeline, count: int, pixels: int) -> None:
        memory = pipeline.memory
        self._kernels, self._memory, self._stream = pipeline.kernels, memory, pipeline.stream
        self.pixels = pixels
        self._job_bytes = self._kernels.crop_job_bytes(count)
        self._pinned = memory.pinned((self._job_bytes + pixels,), np.uint8)
        self._device = memory.empty(self._pinned.shape, np.uint8)
        self.job = self._device[: self._job_bytes]
        self._sent = memory.new_event()

    def send(self, frame: Any, windows: Sequence[SearchWindow]) -> None:
        """Enqueues the copies that bring the job, and what its windows show, to the device.

        Raises:
            ValueError: a window that does not fit the frame.
        """
        table = window_table(windows)
        size = self._job_bytes
        self._memory.wait(self._sent)  # the previous copy may still read the pinned memory
        if not isinstance(frame, DeviceFrame):
            left, top = table[:, 4].min(), table[:, 5].min()
            right, bottom = (table[:, 4] + table[:, 6]).max(), (table[:, 5] + table[:, 7]).max()
            shown = frame[top:bottom, left:right]
            table[:, 4] -= left
            table[:, 5] -= top
            size += shown.size
            pixels = self._device[self._job_bytes : size].reshape(shown.shape)
            job = self._kernels.pack_crop_job(pixels, table)
            np.copyto(self._pinned[self._job_bytes : size].reshape(shown.shape), shown)
        else:
            job = self._kernels.pack_crop_job(frame.array, table)
        self._pinned[: self._job_bytes] = job
        self._memory.upload(self._pinned[:size], self._device[:size], self._stream)
        self._memory.record(self._sent, self._stream)


class _Plan:
    """Buffers and a graph for ``count`` objects: upload, crops, a tower, and what follows."""

    def __init__(self, pipeline: CudaPipeline, tower: Tower, count: int, pixels: int) -> None:
        memory = pipeline.memory
        self._memory, self._stream = memory, pipeline.stream
        self.upload = _Upload(pipeline, count, pixels)
        self._tower = TowerPlan(tower, count)
        self._features = memory.empty((count, self._tower.features), np.float32)
        p = pipeline.architecture.preprocessing
        self._crop = _crop(pipeline.kernels, p, tower.entry, self.upload.job)
        self._replay: Any = None
        self._frame: DeviceFrame | None = None  # what the device may still read
        self._read = memory.new_event()

    def _enqueue_rest(self, stream: int) -> None:
        raise NotImplementedError

    def _enqueue(self) -> None:
        stream = self._memory.pointer_of(self._stream)
        self._tower.run(
            lambda start, images: self._crop(start, images, stream), self._features, stream
        )
        self._enqueue_rest(stream)

    def _launch(self, frame: Any, windows: Sequence[SearchWindow]) -> None:
        if self._frame is not None:
            self._memory.wait(self._read)
            self._frame = None
        if isinstance(frame, DeviceFrame):  # what makes the frame comes first
            self._memory.follow(self._stream, self._memory.caller_stream())
        self.upload.send(frame, windows)
        if self._replay is None:
            # Once as it is: modules are loaded, and attributes set, outside of a capture.
            self._enqueue()
            self._replay = self._memory.capture(self._enqueue, self._stream)
        else:
            self._replay.launch()
        # And what changes the frame, or the network, later, last.
        self._memory.follow(self._memory.caller_stream(), self._stream)
        if isinstance(frame, DeviceFrame):
            self._frame = frame
            self._memory.record(self._read, self._stream)
            if not frame.ordered:  # it will be changed in some stream that nobody named
                self._memory.wait(self._read)


class _Search(_Plan):
    """The search for ``count`` objects."""

    def __init__(self, pipeline: CudaPipeline, count: int, pixels: int) -> None:
        super().__init__(pipeline, pipeline.search_tower, count, pixels)
        memory = self._memory
        self._kernels, self._count, self._start = pipeline.kernels, count, pipeline.start
        self._parts, self._starts = pipeline.parts[:count], pipeline.starts[:count]
        rows = 2 * count if self._start else count
        self._head = pipeline.head.plan(rows)
        self._units = memory.pinned((rows, 4), np.float32)
        if self._start:  # both answers as one batch, so that the fc weights are read once
            self._both_parts = memory.empty((rows, pipeline.head.part_width), np.float32)
            self._both_features = memory.empty((rows, self._tower.features), np.float32)

    def _enqueue_rest(self, stream: int) -> None:
        features, parts = self._features, self._parts
        if self._start:
            features, parts, n = self._both_features, self._both_parts, self._count
            for rows, to in (
                (self._features, features[:n]),
                (self._features, features[n:]),
                (self._parts, parts[:n]),
                (self._starts, parts[n:]),
            ):
                self._kernels.copy_rows(rows, to, factor=1.0, stream=stream)
        units = self._head.regress(features, parts, stream)
        self._memory.download(units, self._units, self._stream)

    def run(self, frame: Any, windows: Sequence[SearchWindow]) -> np.ndarray:
        """(count, 4), once they are there."""
        self._launch(frame, windows)
        self._memory.synchronize(self._stream)
        if self._start:
            return mean_answer(self._units, self._start)
        units: np.ndarray = self._units.copy()
        return units


class _Retarget(_Plan):
    """The targets' half for ``count`` objects."""

    def __init__(self, pipeline: CudaPipeline, count: int, pixels: int) -> None:
        super().__init__(pipeline, pipeline.target_tower, count, pixels)
        self._head = pipeline.head.plan(count)
        self.parts = self._memory.empty((count, pipeline.head.part_width), np.float32)

    def _enqueue_rest(self, stream: int) -> None:
        self._head.project(self._features, self.parts, stream)

    def run(self, frame: Any, windows: Sequence[SearchWindow]) -> None:
        """Begins with it, into ``parts``."""
        self._launch(frame, windows)


def _crop(kernels: Any, p: Preprocessing, entry: Entry, job: Array) -> Any:
    """What launches the crops of a job's windows start, start + 1 ... in the tower's entry layout."""

    def crop(start: int, images: Array, stream: int) -> None:
        kernels.crop_resize(
            job, images, start=start, size=p.input_size, mean=p.mean,
            colour_order=p.colour_order, block=entry.block, stream=stream,
        )  # fmt: skip

    return crop
