"""The towers of a training iteration on a GPU: forward for both crops, and backward where they learn.

Towers that share their weights see targets and searches as one batch.  Where the convolutions do not
learn, as in the paper, :class:`goturn.ops.cuda_tower.Tower` runs them; where they do, every layer's
output is kept, and the kernels' copies of the weights are made anew after each update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from goturn.architecture import LRN, SEARCH_SUFFIX, Architecture, Conv, MaxPool
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_tower import (
    Arithmetic,
    TowerPlan,
    lrn_keywords,
    network_tower,
    pool_keywords,
)
from goturn.ops.interface import Array

#: Channels of the first convolution's input where it learns: three planes, and zeros up to 16 bytes.
_PADDED = 4


class TrainableTowers:
    """Both towers for ``targets`` targets and ``count`` search windows.

    Args:
        gpu: the device.
        architecture: of the network.
        parameters: float32 arrays on the device.
        targets: targets in a batch.
        count: search windows in a batch.
        arithmetic: how to compute; float32 numbers where they learn.
        learn: whether :meth:`backward` will be called.
    """

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Array],
        targets: int,
        count: int,
        *,
        arithmetic: Arithmetic,
        learn: bool,
    ) -> None:
        memory = gpu.memory
        self._kernels, self._memory, self._targets = gpu.kernels, memory, targets
        side, features = architecture.preprocessing.input_size, architecture.features
        self._crops = memory.empty((targets + count, 3, side, side), np.float32)
        self._pinned: np.ndarray | None = None  # crops in host memory, on their way
        self._features = memory.empty((targets + count, features), np.float32)
        #: (targets, F) and (count, F), in (C, H, W) order; and their gradients.
        self.target_features = self._features[:targets]
        self.search_features = self._features[targets:]
        self._d_features = memory.empty(self._features.shape, np.float32) if learn else None
        if self._d_features is not None:
            self.d_target_features = self._d_features[:targets]
            self.d_search_features = self._d_features[targets:]
        rows = {"": slice(0, targets + count)}
        if not architecture.shared_towers:
            rows = {"": slice(0, targets), SEARCH_SUFFIX: slice(targets, targets + count)}
        kind: Any = _Learning if learn else _Frozen
        self._passes = [
            (
                part,
                kind(gpu, architecture, parameters, suffix, (part.stop - part.start, arithmetic)),
            )
            for suffix, part in rows.items()
        ]

    def send(self, targets: Array, searches: Array, stream: Any) -> None:
        """Enqueues the copies of crops (.., 3, S, S) float32, from the host or the device."""
        for rows, crops in (
            (slice(0, self._targets), targets),
            (slice(self._targets, len(self._crops)), searches),
        ):
            to, on_device = self._crops[rows], self._memory.view(crops)
            if tuple(crops.shape) != to.shape:
                raise ValueError(f"crops must be {to.shape}; got {tuple(crops.shape)}")
            if on_device is not None and not on_device.flags.c_contiguous:
                raise ValueError("crops in device memory must be C-contiguous")
            if on_device is None:
                if self._pinned is None:
                    self._pinned = self._memory.pinned(self._crops.shape, np.float32)
                self._pinned[rows] = crops
                self._memory.upload(self._pinned[rows], to, stream)
            else:
                self._kernels.copy_rows(
                    on_device.reshape(len(to), -1), to.reshape(len(to), -1), factor=1.0,
                    stream=self._memory.pointer_of(stream),
                )  # fmt: skip

    def forward(self, stream: int) -> None:
        """Launches what writes the features."""
        for rows, tower in self._passes:
            tower.forward(self._crops[rows], self._features[rows], stream)

    def backward(
        self, velocities: Mapping[str, Array], rates: Mapping[str, Array], stream: int
    ) -> None:
        """Launches what carries the features' gradients back, and updates the convolutions.

        Args:
            velocities: of every parameter of the towers; changed.
            rates: (3,) each: rate, momentum, decay.
            stream: where.
        """
        assert self._d_features is not None
        for rows, tower in self._passes:
            tower.backward(self._d_features[rows], velocities, rates, stream)


class _Frozen:
    """A tower that does not learn."""

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Array],
        suffix: str,
        how: tuple[int, Arithmetic],
    ) -> None:
        count, arithmetic = how
        tower = network_tower(gpu, architecture, parameters, arithmetic, suffix)
        self._kernels, self._block = gpu.kernels, tower.entry.block
        self._plan = TowerPlan(tower, count)

    def forward(self, crops: Array, features: Array, stream: int) -> None:
        def fill(start: int, images: Array) -> None:
            self._kernels.space_to_depth(
                crops[start : start + len(images)], images, block=self._block, stream=stream
            )

        self._plan.run(fill, features, stream)

    def backward(self, *arguments: Any) -> None:
        raise RuntimeError("these towers do not learn")


@dataclass
class _Layer:
    """A layer, its output, and the gradient of its input."""

    layer: Conv | MaxPool | LRN
    y: Array
    dx: Array | None


@dataclass
class _Weights:
    """A convolution's weight and bias, the kernels' copy of the weight, and their gradients."""

    names: tuple[str, str]
    weight: Array
    bias: Array
    krsc: Array
    d_krsc: Array
    d_padded: Array
    d_weight: Array
    d_bias: Array


class _Learning:
    """A tower that learns: float32 NHWC images, each layer's output kept."""

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Array],
        suffix: str,
        how: tuple[int, Arithmetic],
    ) -> None:
        count, arithmetic = how
        kernels, memory = gpu.kernels, gpu.memory
        self._kernels, self._memory = kernels, memory
        self._products = arithmetic.products
        side, first = architecture.preprocessing.input_size, architecture.tower[0]
        channels = _PADDED if isinstance(first, Conv) and first.groups == 1 else 3
        self._x = memory.empty((count, side, side, channels), np.float32)
        self._weights: dict[str, _Weights] = {}
        self._layers: list[_Layer] = []
        shape, workspace, largest = self._x.shape, 1, 1
        for index, layer in enumerate(architecture.tower):
            dx = memory.empty(shape, np.float32) if index > 0 else None
            if isinstance(layer, Conv):
                weights = self._prepare(layer, suffix, parameters, shape[3])
                self._weights[layer.name] = weights
                sizes = _sizes(layer)
                for need in (
                    kernels.conv2d_workspace,
                    kernels.conv2d_backward_data_workspace,
                    kernels.conv2d_backward_weight_workspace,
                ):
                    wanted = need(
                        shape, weights.krsc.shape, **sizes, dtype="float32", products=self._products
                    )
                    workspace = max(workspace, wanted)
                shape = kernels.conv2d_shape(shape, weights.krsc.shape, **sizes)
                largest = max(largest, count * shape[1] * shape[2] * shape[3])
            elif isinstance(layer, MaxPool):
                shape = kernels.max_pool_shape(shape, **pool_keywords(layer))
            self._layers.append(_Layer(layer, memory.empty(shape, np.float32), dx))
        self._output = (count, shape[3], shape[1], shape[2])
        self._dy = memory.empty(self._layers[-1].y.shape, np.float32)
        self._gated = memory.empty((largest,), np.float32)  # a convolution's dy behind its ReLU
        self._workspace = memory.empty((workspace,), np.uint8)
        self._counters = memory.zeros((kernels.COUNTERS,), np.int32)

    def _prepare(
        self, layer: Conv, suffix: str, parameters: Mapping[str, Array], channels: int
    ) -> _Weights:
        def empty(*shape: int) -> Array:
            return self._memory.empty(shape, np.float32)

        names = (f"{layer.name}{suffix}/weight", f"{layer.name}{suffix}/bias")
        weight = parameters[names[0]]
        depth, side = channels // layer.groups, layer.kernel
        return _Weights(
            names,
            weight,
            parameters[names[1]],
            krsc=empty(layer.channels, side, side, depth),
            d_krsc=empty(layer.channels, side, side, depth),
            d_padded=empty(layer.channels, depth, side, side),
            d_weight=empty(*weight.shape),
            d_bias=empty(layer.channels),
        )

    def forward(self, crops: Array, features: Array, stream: int) -> None:
        kernels = self._kernels
        # Every time: the trainer may have put other weights in their place.
        for weights in self._weights.values():
            kernels.nchw_to_nhwc(weights.weight, weights.krsc, stream=stream)
        kernels.nchw_to_nhwc(crops, self._x, stream=stream)
        x = self._x
        for item in self._layers:
            if isinstance(item.layer, MaxPool):
                kernels.max_pool(x, item.y, **pool_keywords(item.layer), stream=stream)
            elif isinstance(item.layer, LRN):
                kernels.lrn(x, item.y, **lrn_keywords(item.layer), stream=stream)
            else:
                weights = self._weights[item.layer.name]
                kernels.conv2d(
                    x, weights.krsc, weights.bias, item.y, **_sizes(item.layer), relu=True,
                    products=self._products, workspace=self._workspace,
                    counters=self._counters, stream=stream,
                )  # fmt: skip
            x = item.y
        kernels.nhwc_to_nchw(x, features.reshape(self._output), stream=stream)

    def backward(
        self,
        d_features: Array,
        velocities: Mapping[str, Array],
        rates: Mapping[str, Array],
        stream: int,
    ) -> None:
        kernels = self._kernels
        dy = self._dy
        kernels.nchw_to_nhwc(d_features.reshape(self._output), dy, stream=stream)
        inputs = [self._x, *(item.y for item in self._layers)]
        for item, x in zip(reversed(self._layers), reversed(inputs[:-1]), strict=True):
            if isinstance(item.layer, MaxPool):
                if item.dx is not None:
                    keywords = pool_keywords(item.layer)
                    kernels.max_pool_backward(dy, x, item.dx, **keywords, nchw=False, stream=stream)
            elif isinstance(item.layer, LRN):
                if item.dx is not None:
                    kernels.lrn_backward(dy, x, item.dx, **lrn_keywords(item.layer), stream=stream)
            else:
                self._conv_backward(item, x, dy, stream)
            dy = item.dx
        for weights in self._weights.values():
            for name, value, gradient in zip(
                weights.names,
                (weights.weight, weights.bias),
                (weights.d_weight, weights.d_bias),
                strict=True,
            ):
                kernels.sgd_update(value, gradient, velocities[name], rates[name], stream=stream)

    def _conv_backward(self, item: _Layer, x: Array, dy: Array, stream: int) -> None:
        assert isinstance(item.layer, Conv)
        kernels, weights = self._kernels, self._weights[item.layer.name]
        gated = self._gated[: dy.size].reshape(dy.shape)
        kernels.relu_backward(dy, item.y, gated, stream=stream)
        common = {
            **_sizes(item.layer),
            "products": self._products,
            "workspace": self._workspace,
            "counters": self._counters,
            "stream": stream,
        }
        kernels.conv2d_backward_weight(gated, x, weights.d_krsc, weights.d_bias, **common)
        if item.dx is not None:
            kernels.conv2d_backward_data(gated, weights.krsc, item.dx, **common)
        # The padded planes' gradient is nobody's.
        kernels.nhwc_to_nchw(weights.d_krsc, weights.d_padded, stream=stream)
        rows, wanted = weights.d_padded.shape[0], weights.d_weight.size // len(weights.d_weight)
        kernels.copy_rows(
            weights.d_padded.reshape(rows, -1)[:, :wanted],
            weights.d_weight.reshape(rows, -1),
            factor=1.0,
            stream=stream,
        )


def _sizes(layer: Conv) -> dict[str, int]:
    return {"stride": layer.stride, "pad": layer.pad, "groups": layer.groups}
