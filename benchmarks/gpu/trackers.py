"""Rows of whole trackers: from a 640x480 frame to boxes, as a user calls them.

Two times for each: "update" of frames that are there already, one after the other, which is what frames a
second are made of; and "delay", from a frame's arrival at an idle GPU to its boxes, where a tracker may
have used the time before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from goturn import MultiTracker
from goturn.weights import Weights
from gpu.costs import network_costs, search_costs
from gpu.device import Device, Launch
from gpu.networks import PRECISIONS, How, offered
from gpu.rows import Case, Subject
from gpu.torch_network import TorchNetwork
from gpu.torch_tracker import EagerTracker, GraphTracker, steps
from track import BOX, HEIGHT, WIDTH, make_frames

#: What the CUDA engine is to reach: (microseconds, times the best PyTorch).
ASKED = {"fp16": (250, 3.0)}

#: Of the rows of many.
OBJECTS = 64

#: Updates in a timed turn.
CALLS = 16

#: Least overlap with where the (still) objects are: a lost tracker crops other windows.
OVERLAP = 0.5


def boxes_of(count: int) -> list[tuple[int, int, int, int]]:
    """Where the objects are: the one of the frames, or so many spread over the frame."""
    if count == 1:
        return [BOX]
    side = math.ceil(math.sqrt(count))
    across, down = WIDTH // side, HEIGHT // side
    return [
        (across * (i % side) + across // 4, down * (i // side) + down // 4, across // 2, down // 2)
        for i in range(count)
    ]


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """One object in each precision, host and device frames; then 64."""
    frames = list(make_frames())
    named = {how.title: how for how in PRECISIONS}
    # Those with a figure asked for first, should time be short.
    for how in sorted(offered(device), key=lambda how: how.title not in ASKED):
        yield _case(device, weights, how, frames, asked=ASKED.get(how.title, (None, None)))
    for title in ("fp32", "fp16", "int8 fc weights"):
        yield _case(device, weights, named[title], frames, delay=True)
    on_device = [device.memory.from_numpy(frame) for frame in frames]
    if device.memory.view(on_device[0]) is not None:
        yield _case(device, weights, named["fp16"], on_device)
    for title in ("fp32", "bf16", "fp16", "int8 fc weights"):
        yield _case(device, weights, named[title], frames, count=OBJECTS)


def _case(
    device: Device,
    weights: Weights,
    how: How,
    frames: Sequence[Any],
    *,
    count: int = 1,
    delay: bool = False,
    asked: tuple[float | None, float | None] = (None, None),
) -> Case:
    calls = 1 if delay else CALLS if count == 1 else 4
    counted = search_costs if delay else network_costs
    what = "delay" if delay else "update"
    objects = "" if count == 1 else f"{count} objects, "
    where = "host frame" if isinstance(frames[0], np.ndarray) else "device frame"
    boxes = boxes_of(count)
    return Case(
        name=f"{what}, {objects}{where}, {how.title}",
        ours=lambda: _ours(device, weights, how, frames, (boxes, calls)),
        peers=_peers(device, weights, how, frames, (boxes, calls)),
        costs=counted(weights.architecture, count, how.precision, how.unit(device)),
        want=lambda: np.ones(count),
        limit=0.5,  # the result is whether each object is still where it was
        calls=calls,
        on_host=True,
        asked_us=asked[0],
        asked_ratio=asked[1],
    )


#: Where the objects are, and how many updates a launch is.
Work = tuple[Sequence[tuple[int, int, int, int]], int]


def _ours(device: Device, weights: Weights, how: How, frames: Sequence[Any], work: Work) -> Subject:
    boxes, calls = work
    tracker = MultiTracker(device.network(weights, how.precision, how.products))
    for box in boxes:
        tracker.add(frames[0], box)
    launch = _timed(device, steps(tracker.update, frames, calls), calls)
    return Subject(launch, lambda: _found(tracker.boxes.values(), boxes))


def _timed(device: Device, updates: Launch, calls: int) -> Launch:
    """Several updates until all that they began is done; a single one until it returns."""

    def launch() -> None:
        updates()
        device.wait_all()

    return updates if calls == 1 else launch


def _found(boxes: Any, wanted: Sequence[Sequence[float]]) -> np.ndarray:
    """1 for each object that is where it was, else 0."""
    overlaps = []
    for box, (x, y, w, h) in zip(boxes, wanted, strict=True):
        overlaps.append(box.iou(type(box)(float(x), float(y), float(w), float(h))))
    return np.array([1.0 if overlap > OVERLAP else 0.0 for overlap in overlaps])


def _peers(
    device: Device, weights: Weights, how: How, frames: Sequence[Any], work: Work
) -> dict[str, Callable[[], Subject]]:
    """PyTorch's trackers; frames on the device are theirs as tensors."""
    if device.torch is None:
        return {}
    boxes, calls = work
    theirs = "fp16" if how.precision == "int8" else how.precision
    tf32 = how.precision == "tf32"
    preprocessing = weights.architecture.preprocessing

    def net(**options: Any) -> TorchNetwork:
        device.settings(conv_tf32=tf32, matmul_tf32=tf32)
        return TorchNetwork(device, weights.architecture, weights.parameters, theirs, **options)

    def ready(tracker: Any) -> Subject:
        given = frames
        if not isinstance(frames[0], np.ndarray):
            given = [device.tensor(device.memory.to_numpy(frame)) for frame in frames]
        tracker.init(given[0], boxes)
        launch = _timed(device, steps(tracker.update, given, calls), calls)
        return Subject(launch, lambda: _found(tracker.boxes, boxes))

    def eager() -> Subject:
        return ready(EagerTracker(device, net(lrn="builtin"), preprocessing))

    def graphs(**options: Any) -> Subject:
        shape = tuple(frames[0].shape)
        return ready(GraphTracker(device, net(**options), preprocessing, shape, len(boxes)))

    return {
        "eager": eager,
        "graphs, target ahead": graphs,
        "graphs, target ahead, fused": lambda: graphs(fused=True),
    }
