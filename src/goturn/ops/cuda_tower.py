"""Towers on a GPU: conv1 to pool5 on NHWC images, in buffers that are allocated once.

A :class:`Tower` holds a tower's weights as the kernels want them.  A :class:`TowerPlan` adds the buffers
for a number of crops; its :meth:`TowerPlan.run` only launches kernels, so it can be captured in a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from goturn.architecture import LRN, Architecture, Conv, MaxPool, TowerLayer
from goturn.ops import compressed
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.interface import Array

#: Crops that go through the layers at once: their widest activations then stay in a GPU's L2 cache.
CHUNK = 16


@dataclass(frozen=True)
class Arithmetic:
    """How a tower computes."""

    dtype: str
    """Of activations and weights: "float32", "float16", or "uint16" for the bits of bfloat16."""
    products: str
    """ "scalar", "tf32", "tf32x3" or "half": see csrc/cuda/ops.h."""

    @property
    def vector(self) -> int:
        """Values in 16 bytes."""
        return 16 // np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Entry:
    """How crops enter: blocks of block x block pixels as channels of an NHWC image."""

    block: int
    side: int
    channels: int


Enqueue = Callable[[Array, Array, Array, Array, int], None]


@dataclass(frozen=True)
class _Step:
    """A layer, or several in one kernel.  Nothing here refers to the tower: memory goes when it goes."""

    shape: Callable[[tuple[int, ...]], tuple[int, ...]]
    """From the input's shape (N, H, W, C) to the output's."""
    workspace: Callable[[tuple[int, ...]], int]
    """Bytes for an input of that shape."""
    enqueue: Enqueue
    """Launches the kernels: input, output, workspace, counters, stream."""


class Tower:
    """A tower's layers and weights on a device.

    Args:
        gpu: the device.
        layers: as for :meth:`goturn.ops.interface.Ops.tower`.
        side: height and width of the crops.
        parameters: float32 arrays on the device, by layer name; copied.
        arithmetic: how to compute.

    Raises:
        ValueError: weights that half precision cannot hold.
    """

    def __init__(
        self,
        gpu: Gpu,
        layers: Sequence[TowerLayer],
        side: int,
        parameters: Mapping[str, Array],
        arithmetic: Arithmetic,
    ) -> None:
        self.kernels, self.memory, self.arithmetic = gpu.kernels, gpu.memory, arithmetic
        self.side = side
        self.entry = _entry(layers, side, arithmetic)
        self._parameters = parameters
        self.steps: list[_Step] = []
        remaining = list(layers)
        while remaining:
            layer, following = remaining[0], remaining[1:2]
            if isinstance(layer, MaxPool) and following and isinstance(following[0], LRN):
                self.steps.append(self._pool_lrn(layer, following[0]))
                del remaining[:2]
                continue
            if isinstance(layer, Conv):
                self.steps.append(self._conv(layer, first=not self.steps))
            elif isinstance(layer, LRN):
                self.steps.append(self._lrn(layer))
            elif len(remaining) > 1:
                self.steps.append(self._pool(layer))
            del remaining[0]
        #: The last layer where it is a pool, which writes the features itself.
        self.last_pool = layers[-1] if isinstance(layers[-1], MaxPool) else None
        del self._parameters

    # -- steps -----------------------------------------------------------------------------------

    def _conv(self, layer: Conv, *, first: bool) -> _Step:
        weight = self.memory.to_numpy(self._parameters[f"{layer.name}/weight"])
        bias = self.memory.from_numpy(
            self.memory.to_numpy(self._parameters[f"{layer.name}/bias"]).copy()
        )
        stride, block = layer.stride, 1
        if first and layer.groups == 1:
            block = self.entry.block
            weight = _blocked(weight, block, self.entry.channels)
            stride //= block
        krsc = self.memory.from_numpy(_stored(weight.transpose(0, 2, 3, 1), self.arithmetic.dtype))
        sizes = {"stride": stride, "pad": layer.pad, "groups": layer.groups}
        kernels, dtype, products = self.kernels, self.arithmetic.dtype, self.arithmetic.products

        def enqueue(x: Array, y: Array, workspace: Array, counters: Array, stream: int) -> None:
            kernels.conv2d(
                x, krsc, bias, y, **sizes, relu=True, products=products,
                workspace=workspace, counters=counters, stream=stream,
            )  # fmt: skip

        return _Step(
            lambda x: kernels.conv2d_shape(x, krsc.shape, **sizes),
            lambda x: kernels.conv2d_workspace(
                x, krsc.shape, **sizes, dtype=dtype, products=products
            ),
            enqueue,
        )

    def _pool(self, layer: MaxPool) -> _Step:
        kernels, sizes = self.kernels, pool_keywords(layer)
        return _Step(
            lambda x: kernels.max_pool_shape(x, **sizes),
            lambda x: 0,
            lambda x, y, workspace, counters, stream: kernels.max_pool(
                x, y, **sizes, stream=stream
            ),
        )

    def _lrn(self, layer: LRN) -> _Step:
        kernels, norm = self.kernels, lrn_keywords(layer)
        return _Step(
            lambda x: x,
            lambda x: 0,
            lambda x, y, workspace, counters, stream: kernels.lrn(x, y, **norm, stream=stream),
        )

    def _pool_lrn(self, pool: MaxPool, lrn: LRN) -> _Step:
        kernels, sizes, norm = self.kernels, pool_keywords(pool), lrn_keywords(lrn)
        return _Step(
            lambda x: kernels.max_pool_shape(x, **sizes),
            lambda x: 0,
            lambda x, y, workspace, counters, stream: kernels.max_pool_lrn(
                x, y, **sizes, **norm, stream=stream
            ),
        )

    # -- use -------------------------------------------------------------------------------------

    def __call__(self, crops: Array) -> Array:
        """Crops (N, 3, side, side) float32 -> features (N, C * H * W), on the current stream."""
        plan = TowerPlan(self, len(crops))
        features = self.memory.empty((len(crops), plan.features), np.float32)
        entry, stream = self.entry, self.memory.current_stream()

        def fill(start: int, images: Array) -> None:
            self.kernels.space_to_depth(
                crops[start : start + len(images)], images, block=entry.block, stream=stream
            )

        plan.run(fill, features, stream)
        return features


def network_tower(
    gpu: Gpu,
    architecture: Architecture,
    parameters: Mapping[str, Array],
    arithmetic: Arithmetic,
    suffix: str = "",
) -> Tower:
    """A network's target tower, or that whose parameters' names end in ``suffix``."""
    named = {
        f"{layer.name}/{kind}": parameters[f"{layer.name}{suffix}/{kind}"]
        for layer in architecture.convs
        for kind in ("weight", "bias")
    }
    side = architecture.preprocessing.input_size
    return Tower(gpu, architecture.tower, side, named, arithmetic)


class TowerPlan:
    """Buffers for ``count`` crops through ``tower``, and the kernels' launches."""

    def __init__(self, tower: Tower, count: int) -> None:
        memory, dtype = tower.memory, tower.arithmetic.dtype
        self._tower, self._count = tower, count
        chunk = min(count, CHUNK)
        side = tower.entry.side
        shape: tuple[int, ...] = (chunk, side, side, tower.entry.channels)
        self._buffers = [memory.empty(shape, dtype)]
        workspace = 1
        for step in tower.steps:
            workspace = max(workspace, step.workspace(shape))
            shape = step.shape(shape)
            self._buffers.append(memory.empty(shape, dtype))
        if tower.last_pool is not None:
            shape = tower.kernels.max_pool_shape(shape, **pool_keywords(tower.last_pool))
        self._output = (shape[3], shape[1], shape[2])
        #: Values in a crop's features, C * H * W.
        self.features = shape[1] * shape[2] * shape[3]
        self._workspace = memory.empty((workspace,), np.uint8)
        self._counters = memory.zeros((tower.kernels.COUNTERS,), np.int32)

    def run(self, fill: Callable[[int, Array], None], features: Array, stream: int) -> None:
        """Launches everything on ``stream``.

        Args:
            fill: ``fill(start, images)`` launches what writes crops start, start + 1 ... in the entry's
                layout into ``images``.
            features: (count, C * H * W) float32, in (C, H, W) order: written.
        """
        tower = self._tower
        for start in range(0, self._count, CHUNK):
            size = min(CHUNK, self._count - start)
            images = [buffer[:size] for buffer in self._buffers]
            fill(start, images[0])
            for step, x, y in zip(tower.steps, images, images[1:], strict=False):
                step.enqueue(x, y, self._workspace, self._counters, stream)
            out = features[start : start + size].reshape(size, *self._output)
            if tower.last_pool is None:
                tower.kernels.nhwc_to_nchw(images[-1], out, stream=stream)
            else:
                sizes = pool_keywords(tower.last_pool)
                tower.kernels.max_pool_to_nchw(images[-1], out, **sizes, stream=stream)


# -- weights and layouts -------------------------------------------------------------------------


def _entry(layers: Sequence[TowerLayer], side: int, arithmetic: Arithmetic) -> Entry:
    """Space to depth by the first convolution's stride, where that gives the same outputs."""
    first, block = layers[0], 1
    if isinstance(first, Conv) and first.pad == 0 and first.groups == 1:
        outputs = (side - first.kernel) // first.stride + 1
        if -(-side // first.stride) - -(-first.kernel // first.stride) + 1 == outputs:
            block = first.stride
    channels = 3 * block * block
    if isinstance(first, Conv) and first.groups == 1:  # zeros are as good as no channels
        channels = -(-channels // arithmetic.vector) * arithmetic.vector
    return Entry(block, -(-side // block), channels)


def _blocked(weight: np.ndarray, block: int, channels: int) -> np.ndarray:
    """A first convolution's weight (K, 3, R, S) for an input of blocks as :class:`Entry` has them.

    The kernel grows by zeros to whole blocks; channel (row * block + column) * 3 + plane of tap (r, s)
    is the weight at (r * block + row, s * block + column) of the plane.
    """
    outputs, planes, height, width = weight.shape
    rows, columns = -(-height // block), -(-width // block)
    whole = np.zeros((outputs, planes, rows * block, columns * block), weight.dtype)
    whole[:, :, :height, :width] = weight
    taps = whole.reshape(outputs, planes, rows, block, columns, block)
    blocked = np.zeros((outputs, channels, rows, columns), weight.dtype)
    blocked[:, : planes * block * block] = taps.transpose(0, 3, 5, 1, 2, 4).reshape(
        outputs, -1, rows, columns
    )
    return blocked


def _stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values in a tower's dtype, C-contiguous."""
    if np.dtype(dtype) == np.uint16:
        return compressed.to_bf16(values)
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(values, dtype)
    if np.dtype(dtype) == np.float16 and not np.isfinite(stored).all():
        raise ValueError(
            "the convolutions' weights do not fit into half precision (65504 at most); use another "
            "precision"
        )
    return stored


def pool_keywords(layer: MaxPool) -> dict[str, int]:
    """What the kernels ask of a pooling layer."""
    return {"kernel": layer.kernel, "stride": layer.stride, "pad": 0}


def lrn_keywords(layer: LRN) -> dict[str, Any]:
    """What the kernels ask of a normalisation layer."""
    return {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "k": layer.k}
