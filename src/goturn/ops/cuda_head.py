"""The fc layers on a GPU, in buffers that are allocated once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from goturn.architecture import Architecture
from goturn.box import UNITS
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.interface import Array, CompressedWeight


class Head:
    """fc6 to fc8: the parameters where the network has them, and how to multiply.

    Args:
        gpu: the device.
        architecture: of the network.
        parameters: as :class:`goturn.network.Network` keeps them.
        products: of batches; fewer rows are multiplied on CUDA cores whatever this says.
    """

    def __init__(
        self,
        gpu: Gpu,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        products: str,
    ) -> None:
        self.kernels, self.memory, self.products = gpu.kernels, gpu.memory, products
        self.layers = architecture.head
        self.half, self.match = architecture.features, architecture.match
        self.cells, self.part_width = architecture.cells, architecture.part_width
        self.scale = UNITS / architecture.preprocessing.output_scale
        self.weights = [_values_and_scale(parameters[f"{x.name}/weight"]) for x in self.layers]
        self.biases = [parameters[f"{x.name}/bias"] for x in self.layers]

    @property
    def width(self) -> int:
        """Outputs of the first layer."""
        return self.layers[0].features

    def plan(self, count: int) -> HeadPlan:
        """Buffers for ``count`` rows."""
        return HeadPlan(self, count)


class HeadPlan:
    """Buffers for ``count`` rows through ``head``; its methods only launch kernels."""

    def __init__(self, head: Head, count: int) -> None:
        self._head = head
        memory, kernels = head.memory, head.kernels
        self._outputs = [memory.empty((count, x.features), np.float32) for x in head.layers]
        self._units = memory.empty((count, 4), np.float32)
        first, _ = head.weights[0]
        weights = [first[:, : head.half], first[:, head.half :], *(w for w, _ in head.weights[1:])]
        sizes = [
            kernels.linear_workspace(
                (count, weight.shape[1]),
                weight.shape,
                dtype=str(weight.dtype),
                products=_products(head.products, weight),
            )
            for weight in weights
        ]
        self._workspace = memory.empty((max(1, *sizes),), np.uint8)
        self._counters = memory.zeros((kernels.COUNTERS,), np.int32)
        if head.match is not None:
            cells, channels = head.cells, head.half // head.cells
            #: A target's half alone, together; the search's features with the match behind them.
            self._halves = memory.empty((count, head.width), np.float32)
            self._inputs = memory.empty((count, head.half + cells * cells), np.float32)
            self._columns = memory.empty((2, count, channels + 1, cells), np.float32)

    def project(self, features: Array, parts: Array, stream: int) -> None:
        """Target features (count, F) -> what is kept of them, (count, part_width), in ``parts``: their
        half of the first layer, bias included, and where there is a match the features.
        """
        head = self._head
        weight, scale = head.weights[0]
        half = weight[:, : head.half]
        matched = head.match is not None
        to = self._halves if matched else parts
        self._linear(features, half, scale, head.biases[0], to, relu=False, stream=stream)
        if matched:
            copy = head.kernels.copy_rows
            copy(to, parts[:, : head.width], factor=1.0, stream=stream)
            copy(features, parts[:, head.width :], factor=1.0, stream=stream)

    def regress(self, features: Array, parts: Array, stream: int) -> Array:
        """Search features (count, F) and the targets' parts -> (count, 4), 0..10 over the window."""
        head = self._head
        weight, scale = head.weights[0]
        half = weight[:, head.half :]
        if head.match is not None:
            features, parts = self._with_match(features, parts, stream)
        relu = head.layers[0].relu
        self._linear(features, half, scale, parts, self._outputs[0], relu=relu, stream=stream)
        for index in range(1, len(head.layers)):
            weight, scale = head.weights[index]
            self._linear(
                self._outputs[index - 1], weight, scale, head.biases[index], self._outputs[index],
                relu=head.layers[index].relu, stream=stream,
            )  # fmt: skip
        if head.scale == 1:
            return self._outputs[-1]
        head.kernels.copy_rows(self._outputs[-1], self._units, factor=head.scale, stream=stream)
        return self._units

    def _with_match(self, features: Array, parts: Array, stream: int) -> tuple[Array, Array]:
        """The search's features with the match behind them, and the targets' halves alone."""
        head = self._head
        assert head.match is not None
        copy = head.kernels.copy_rows
        copy(parts[:, : head.width], self._halves, factor=1.0, stream=stream)
        copy(features, self._inputs[:, : head.half], factor=1.0, stream=stream)
        head.kernels.match(
            parts[:, head.width :], features, self._inputs[:, head.half :], cells=head.cells,
            scale=head.match.scale, columns=self._columns, stream=stream,
        )  # fmt: skip
        return self._inputs, self._halves

    def _linear(
        self,
        x: Array,
        weight: Array,
        scale: Array | None,
        bias: Array,
        y: Array,
        *,
        relu: bool,
        stream: int,
    ) -> None:
        self._head.kernels.linear(
            x, weight, scale, bias, y, relu=relu, products=_products(self._head.products, weight),
            workspace=self._workspace, counters=self._counters, stream=stream,
        )  # fmt: skip


def _products(products: str, weight: Array) -> str:
    """``products`` of a weight: the last layer stays in float32 whatever the others are in."""
    if products == "half" and weight.dtype == np.float32:
        return "tf32x3"
    return products


def _values_and_scale(weight: Array | CompressedWeight) -> tuple[Array, Array | None]:
    if isinstance(weight, CompressedWeight):
        return weight.values, weight.scale
    return weight, None
