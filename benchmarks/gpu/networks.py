"""Rows of the network by itself: two crops an object in, four numbers out, all on the GPU.

Crops are (N, 3, S, S) float32, as a user's would be.  Ours first brings them into its first layer's
layout, which a tracker's crop kernel writes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from goturn.architecture import Architecture
from goturn.network import Network
from goturn.ops.cuda_tower import TowerPlan
from goturn.weights import Weights
from gpu.costs import network_costs, search_costs
from gpu.device import Device, Launch
from gpu.rows import LIMITS, Case, Subject
from gpu.torch_network import TorchNetwork

#: Objects whose answers are checked: the reference is in float64 on the CPU.
CHECKED = 2


@dataclass(frozen=True)
class How:
    """A row's precision."""

    title: str
    precision: str
    products: str | None = None
    """Of float32 numbers; None for what the device has best."""

    def unit(self, device: Device) -> str:
        """What multiplies in the towers, as :class:`gpu.costs.Cost` has it."""
        products = device.ops(self.products).products
        if products == "scalar":
            return "fp32"
        if self.precision == "fp32":
            return products
        return "tf32" if self.precision == "tf32" else "half"


PRECISIONS = (
    How("fp32", "fp32"),
    How("fp32 on CUDA cores", "fp32", "scalar"),
    How("tf32", "tf32"),
    How("bf16", "bf16"),
    How("fp16", "fp16"),
    How("int8 fc weights", "int8"),
)

#: Runs in a graph.
CALLS = 8

#: Objects in a batch.
OBJECTS = (1, 64)

#: What the CUDA engine is to reach: (microseconds, times the best PyTorch), by objects and row.
ASKED: dict[tuple[int, str], tuple[float, float]] = {
    (1, "fp32"): (212, 1.5),
    (1, "fp16"): (100, 1.3),
    (64, "bf16"): (500, 1.0),
    (64, "fp16"): (500, 1.0),
}


class OurNetwork:
    """Our towers and fc layers, to be captured in one graph."""

    def __init__(self, device: Device, network: Network, crops: np.ndarray) -> None:
        ops: Any = network.ops
        pairs = len(crops) // 2
        pipeline = ops.pipeline(network.architecture, network.parameters, network.precision)
        memory, self._device, self._pairs = device.memory, device, pairs
        self._kernels, self._tower = device.kernels, pipeline.target_tower
        self._crops = memory.from_numpy(crops)
        self._plan = TowerPlan(self._tower, 2 * pairs)
        self._head = pipeline.head.plan(pairs)
        self._features = memory.empty((2 * pairs, self._plan.features), np.float32)
        self._parts = memory.empty((pairs, pipeline.head.part_width), np.float32)
        self._units: Any = None
        self._keep = pipeline, network
        # The search's part alone, as when the targets' was done before the frame came.
        self._search_plan = TowerPlan(self._tower, pairs)
        self._search_features = memory.empty((pairs, self._plan.features), np.float32)

    def _fill(self, first: int) -> Callable[[int, Any], None]:
        def fill(start: int, images: Any) -> None:
            self._kernels.space_to_depth(
                self._crops[first + start : first + start + len(images)],
                images,
                block=self._tower.entry.block,
                stream=self._device.pointer,
            )

        return fill

    def enqueue(self) -> None:
        """All of it, both towers as one batch."""
        stream, pairs = self._device.pointer, self._pairs
        self._plan.run(self._fill(0), self._features, stream)
        self._head.project(self._features[:pairs], self._parts, stream)
        self._units = self._head.regress(self._features[pairs:], self._parts, stream)

    def enqueue_search(self) -> None:
        """The search, the targets' part being there."""
        stream = self._device.pointer
        self._search_plan.run(self._fill(self._pairs), self._search_features, stream)
        self._units = self._head.regress(self._search_features, self._parts, stream)

    def units(self) -> np.ndarray:
        """The last answer of the first objects."""
        answer: np.ndarray = self._device.memory.to_numpy(self._units)[:CHECKED]
        return answer


def repeated(enqueue: Launch, calls: int) -> Launch:
    """``enqueue``, so many times."""

    def launch() -> None:
        for _ in range(calls):
            enqueue()

    return launch


def make_crops(architecture: Architecture, count: int) -> np.ndarray:
    """Random crops, as if the mean had been subtracted."""
    side = architecture.preprocessing.input_size
    random = np.random.default_rng(7)
    return random.integers(-120, 130, (count, 3, side, side)).astype(np.float32)


def right_answer(weights: Weights, crops: np.ndarray, pairs: int) -> np.ndarray:
    """Of the first objects, in float64 by the reference."""
    reference = Network(weights, "reference", dtype=np.float64)
    count = min(CHECKED, pairs)
    targets, searches = (crops[start : start + count].astype(np.float64) for start in (0, pairs))
    return np.asarray(reference.forward(targets, searches).units)


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """Each precision, for each number of objects."""
    architecture = weights.architecture
    for count in OBJECTS:
        crops = make_crops(architecture, 2 * count)
        want = right_answer(weights, crops, count)
        # Those with a figure asked for first, should time be short.
        asked = {title for objects, title in ASKED if objects == count}
        for how in sorted(offered(device), key=lambda how: how.title not in asked):
            yield network_case(device, weights, how, crops=crops, want=want)
    crops = make_crops(architecture, 2)
    for how in offered(device):
        yield _search_case(device, weights, how, crops)


def offered(device: Device) -> list[How]:
    """What the device has of them: TF32 is tensor cores' alone."""
    precisions = device.ops().precisions
    return [how for how in PRECISIONS if how.precision in precisions]


def network_case(
    device: Device, weights: Weights, how: How, *, crops: np.ndarray, want: np.ndarray
) -> Case:
    """The network on crops of targets, then as many of search windows."""
    count = len(crops) // 2
    calls = CALLS if count == 1 else -(-CALLS // 4)
    asked = ASKED.get((count, how.title), (None, None))
    objects = "batch 1" if count == 1 else f"{count} objects"
    return Case(
        name=f"network, {objects}, {how.title}",
        ours=lambda: _ours(device, weights, how, crops, calls),
        peers=_peers(device, weights, how, crops, calls),
        costs=network_costs(weights.architecture, count, how.precision, how.unit(device)),
        want=lambda: want,
        limit=LIMITS[how.precision],
        calls=calls,
        asked_us=asked[0],
        asked_ratio=asked[1],
    )


def _ours(device: Device, weights: Weights, how: How, crops: np.ndarray, calls: int) -> Subject:
    net = OurNetwork(device, device.network(weights, how.precision, how.products), crops)
    return Subject(device.capture(repeated(net.enqueue, calls)), net.units)


def _search_case(device: Device, weights: Weights, how: How, crops: np.ndarray) -> Case:
    calls = CALLS

    def prepare() -> Subject:
        net = OurNetwork(device, device.network(weights, how.precision, how.products), crops)
        net.enqueue()
        return Subject(device.capture(repeated(net.enqueue_search, calls)))

    return Case(
        name=f"network, batch 1, target ahead, {how.title}",
        ours=prepare,
        costs=search_costs(weights.architecture, 1, how.precision, how.unit(device)),
        calls=calls,
    )


#: PyTorch's ways: name, options of TorchNetwork, whether in a CUDA graph.
VARIANTS: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("eager", {"channels_last": False, "lrn": "builtin"}, False),
    ("graph", {"channels_last": False}, True),
    ("graph, channels_last", {}, True),
    ("graph, channels_last, fused", {"fused": True}, True),
)


def _peers(
    device: Device, weights: Weights, how: How, crops: np.ndarray, calls: int
) -> dict[str, Callable[[], Subject]]:
    """PyTorch's ways at the same precision; with int8 fc weights it has none, and fp16 stands in."""
    if device.torch is None:
        return {}
    precision = "fp16" if how.precision == "int8" else how.precision
    tf32 = precision == "tf32"

    def prepare(options: dict[str, Any], graph: bool) -> Subject:
        device.settings(conv_tf32=tf32, matmul_tf32=tf32)
        net = TorchNetwork(device, weights.architecture, weights.parameters, precision, **options)
        return torch_subject(device, net.forward, crops, calls, graph=graph)

    return {name: partial(prepare, options, graph) for name, options, graph in VARIANTS}


def torch_subject(
    device: Device, net: Callable[[Any, Any], Any], crops: np.ndarray, calls: int, *, graph: bool
) -> Subject:
    """PyTorch's network on these crops, ready."""
    torch, count = device.torch, len(crops) // 2
    both = device.tensor(crops)
    answer: list[Any] = [None]

    def enqueue() -> None:
        with torch.inference_mode():
            answer[0] = net(both[:count], both[count:])

    launch = repeated(enqueue, calls)
    launch = device.torch_capture(launch) if graph else launch
    return Subject(launch, lambda: answer[0][:CHECKED].float().cpu().numpy())
