"""The operations on a GPU, one at a time, on float32 arrays in device memory.

This is the contract of :mod:`goturn.ops.interface`: (N, C, H, W), every result a new array.  The kernels
take (N, H, W, C), so each image operation here changes layouts on its way in and out.  What is called
often has a way of its own that does not: see :mod:`goturn.ops.cuda_tower`.

Work goes to the caller's current stream, and nothing waits for it but what returns numbers to Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from goturn.architecture import Architecture, TowerLayer
from goturn.box import SearchWindow
from goturn.ops import compressed
from goturn.ops.cuda_arrays import CudaArrays
from goturn.ops.cuda_gpu import Gpu
from goturn.ops.cuda_memory import Memory
from goturn.ops.cuda_pipeline import CudaPipeline
from goturn.ops.cuda_precision import arithmetic
from goturn.ops.cuda_tower import Tower
from goturn.ops.cuda_training import CudaTrainingStep, training_dropout_is_gated
from goturn.ops.interface import Array, CompressedWeight, adam_rates
from goturn.ops.resample import window_table

#: The dtype of compressed weights, as the kernels name it.
_DTYPES = {"bf16": np.uint16, "fp16": np.float16, "int8": np.int8}

#: Products of tensor cores need this compute capability.
_TENSOR_CORES = (8, 0)


class CudaOps(CudaArrays):
    """:class:`goturn.ops.interface.Ops` on a GPU; see there for shapes and formulas.

    Arrays must be C-contiguous but for the rows of linear's matrices, which may lie apart.

    Args:
        kernels: the module ``goturn._cuda``.
        memory: its device's.
        products: how float32 numbers are multiplied: "scalar", "tf32" or "tf32x3" (csrc/cuda/ops.h);
            by default the fastest that keeps nearly all of their bits.
    """

    def __init__(self, kernels: Any, memory: Memory, products: str | None = None) -> None:
        super().__init__(kernels, memory)
        self.name = memory.name
        self._gpu = Gpu(kernels, memory)
        with memory.device():
            #: (major, minor).
            self.capability: tuple[int, int] = kernels.compute_capability()
        tensor_cores = self.capability >= _TENSOR_CORES
        #: All but TF32, which tensor cores alone have; the others are as exact on CUDA cores.
        self.precisions: tuple[str, ...] = ("fp32", "tf32", "bf16", "fp16", "int8")
        if not tensor_cores:
            self.precisions = tuple(name for name in self.precisions if name != "tf32")
        if products is None:
            products = "tf32x3" if tensor_cores else "scalar"
        self.products = products

    # -- whole networks --------------------------------------------------------------------------

    def tower(
        self,
        layers: Sequence[TowerLayer],
        side: int,
        parameters: Mapping[str, Array],
        precision: str = "fp32",
    ) -> Callable[[Array], Array]:
        how, _ = arithmetic(precision, self.products)
        with self.memory.device():
            return Tower(self._gpu, layers, side, parameters, how)

    def pipeline(
        self,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        precision: str,
        start: float = 0.0,
    ) -> CudaPipeline:
        towers, head = arithmetic(precision, self.products)
        return CudaPipeline(self._gpu, architecture, parameters, towers, head, start=start)

    def training_step(
        self, architecture: Architecture, parameters: Mapping[str, Any], *, loss: str, towers: bool
    ) -> CudaTrainingStep | None:
        if not training_dropout_is_gated(architecture.head) or architecture.match is not None:
            return None
        how, products = arithmetic("fp32", self.products)
        return CudaTrainingStep(
            self._gpu, architecture, parameters,
            loss=loss, towers=towers, convs=how, products=products,
        )  # fmt: skip

    # -- layers ----------------------------------------------------------------------------------

    def conv2d(
        self,
        x: Array,
        weight: Array,
        bias: Array,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        relu: bool = False,
    ) -> Array:
        sizes: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
        n, k, p, q = self.kernels.check_conv2d(x, weight, bias, **sizes)
        images, filters, y = self._nhwc(x), self._nhwc(weight), self._empty((n, p, q, k))
        self._launch_with_scratch(
            "conv2d", images, filters, bias, y, **sizes, relu=relu,
            bytes=self._conv_bytes("conv2d", images, filters, sizes),
        )  # fmt: skip
        return self._nchw(y)

    def conv2d_backward(
        self,
        dy: Array,
        x: Array,
        weight: Array,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        need_dx: bool = True,
    ) -> tuple[Array | None, Array, Array]:
        sizes: dict[str, Any] = {"stride": stride, "pad": pad, "groups": groups}
        self.kernels.check_conv2d_backward(dy, x, weight, **sizes)
        d_out, images, filters = self._nhwc(dy), self._nhwc(x), self._nhwc(weight)
        dx = None
        if need_dx:
            op, dx = "conv2d_backward_data", self._empty(images.shape)
            size = self._conv_bytes(op, images, filters, sizes)
            self._launch_with_scratch(op, d_out, filters, dx, **sizes, bytes=size)
        op, dweight = "conv2d_backward_weight", self._empty(filters.shape)
        dbias = self._empty((weight.shape[0],))
        size = self._conv_bytes(op, images, filters, sizes)
        self._launch_with_scratch(op, d_out, images, dweight, dbias, **sizes, bytes=size)
        return None if dx is None else self._nchw(dx), self._nchw(dweight), dbias

    def max_pool(self, x: Array, *, kernel: int, stride: int, pad: int = 0) -> Array:
        sizes = {"kernel": kernel, "stride": stride, "pad": pad}
        y = self._empty(self.kernels.check_max_pool(x, **sizes))
        self._launch("max_pool_to_nchw", self._nhwc(x), y, **sizes)
        return y

    def max_pool_backward(
        self, dy: Array, x: Array, *, kernel: int, stride: int, pad: int = 0
    ) -> Array:
        sizes = {"kernel": kernel, "stride": stride, "pad": pad}
        self.kernels.check_max_pool_backward(dy, x, **sizes)
        images = self._nhwc(x)
        dx = self._empty(images.shape)
        self._launch("max_pool_backward", dy, images, dx, **sizes, nchw=True)
        return self._nchw(dx)

    def lrn(self, x: Array, *, size: int, alpha: float, beta: float, k: float = 1.0) -> Array:
        self.kernels.check_lrn(x, size=size)
        images = self._nhwc(x)
        y = self._empty(images.shape)
        self._launch("lrn", images, y, size=size, alpha=alpha, beta=beta, k=k)
        return self._nchw(y)

    def lrn_backward(
        self, dy: Array, x: Array, *, size: int, alpha: float, beta: float, k: float = 1.0
    ) -> Array:
        self.kernels.check_lrn_backward(dy, x, size=size)
        images = self._nhwc(x)
        dx = self._empty(images.shape)
        norm = {"size": size, "alpha": alpha, "beta": beta, "k": k}
        self._launch("lrn_backward", self._nhwc(dy), images, dx, **norm)
        return self._nchw(dx)

    def compress(self, weight: Array, precision: str) -> CompressedWeight:
        compressed.check_compress(weight, precision, self.precisions)
        values = self.memory.empty(weight.shape, _DTYPES[precision])
        if precision == "bf16":
            self._launch("convert", self.contiguous(weight), values)
            self._finish()
            return CompressedWeight(precision, values, None)
        if precision == "int8":
            scale = self._to_int8(weight, values)
            compressed.check_finite(self.to_numpy(scale))
            return CompressedWeight(precision, values, scale)
        # Rows with weights near fp16's largest number are looked at one by one.
        largest = 127 * self.to_numpy(
            self._to_int8(weight, self.memory.empty(weight.shape, np.int8))
        )
        self._launch("convert", self.contiguous(weight), values)
        self._finish()
        for row in np.flatnonzero(~(largest < 65000)):
            compressed.check_range(self.to_numpy(values[int(row)]))
        return CompressedWeight(precision, values, None)

    def _finish(self) -> None:
        """Weights are for every stream: waits until they are there."""
        self.memory.synchronize(self.memory.caller_stream())

    def linear(
        self,
        x: Array,
        weight: Array | CompressedWeight,
        bias: Array | None,
        *,
        relu: bool = False,
    ) -> Array:
        values: Any = weight
        scale, products, dtype = None, self.products, "float32"
        if isinstance(weight, CompressedWeight):
            values, scale = weight.values, weight.scale
            dtype = np.dtype(_DTYPES[weight.precision]).name
            # Tensor cores would round x, but for int8, with which it is split.
            exact = weight.precision == "int8" and products != "scalar"
            products = "half" if exact else "scalar"
        y = self._empty(self.kernels.check_linear(x, values, bias, dtype=dtype))
        size = self.kernels.linear_workspace(x.shape, values.shape, dtype=dtype, products=products)
        self._launch_with_scratch(
            "linear", x, values, scale, bias, y, relu=relu, products=products, bytes=size
        )
        return y

    def linear_backward(
        self,
        dy: Array,
        x: Array,
        weight: Array,
        *,
        need_dx: bool = True,
        need_dweight: bool = True,
    ) -> tuple[Array | None, Array | None, Array]:
        self.kernels.check_linear_backward(dy, x, weight)
        dx = None
        if need_dx:
            dx = self._empty(x.shape)
            size = self.kernels.linear_backward_data_workspace(
                x.shape, weight.shape, products=self.products
            )
            self._launch_with_scratch(
                "linear_backward_data", dy, weight, None, dx, gate_factor=1, bytes=size
            )
        dweight = self._empty(weight.shape) if need_dweight else None
        dbias = self._empty((weight.shape[0],))
        self._launch("linear_backward_weight", dy, x, dweight, dbias)
        return dx, dweight, dbias

    def match(self, targets: Array, searches: Array, *, cells: int, scale: float) -> Array:
        how: dict[str, Any] = {"cells": cells, "scale": scale}
        y = self._empty(self.kernels.check_match(targets, searches, **how))
        self._launch("match", targets, searches, y, columns=self._columns(targets, cells), **how)
        return y

    def match_backward(
        self, dy: Array, targets: Array, searches: Array, *, cells: int, scale: float
    ) -> tuple[Array, Array]:
        how: dict[str, Any] = {"cells": cells, "scale": scale}
        self.kernels.check_match_backward(dy, targets, searches, **how)
        d_targets, d_searches = self._empty(targets.shape), self._empty(searches.shape)
        columns = self._columns(targets, cells)
        self._launch(
            "match_backward", dy, targets, searches, d_targets, d_searches, columns=columns, **how
        )
        return d_targets, d_searches

    def relu(self, x: Array) -> Array:
        y = self._empty(self.kernels.check_one_shape("relu", x=x))
        self._launch("relu", x, y)
        return y

    def relu_backward(self, dy: Array, y: Array) -> Array:
        dx = self._empty(self.kernels.check_one_shape("relu_backward", dy=dy, y=y))
        self._launch("relu_backward", dy, y, dx)
        return dx

    def dropout_mask(self, shape: tuple[int, ...], *, ratio: float, key: int) -> Array:
        sizes = self.kernels.check_dropout_mask(shape, ratio=ratio, key=key)
        mask = self.memory.empty(sizes, np.uint8)
        keys = self.memory.from_numpy(np.array([key], np.uint64))
        self._launch("dropout_mask", mask, keys, ratio=ratio)
        return mask

    def dropout(self, x: Array, mask: Array, *, ratio: float) -> Array:
        self.kernels.check_ratio("dropout", ratio)
        y = self._empty(self.kernels.check_one_shape("dropout", mask=mask, x=x))
        self._launch("dropout", x, mask, y, ratio=ratio)
        return y

    # -- losses ----------------------------------------------------------------------------------

    def l1_loss(self, prediction: Array, label: Array) -> tuple[float, Array]:
        return self._loss("l1_loss", prediction, label)

    def l2_loss(self, prediction: Array, label: Array) -> tuple[float, Array]:
        return self._loss("l2_loss", prediction, label)

    def _loss(self, op: str, prediction: Array, label: Array) -> tuple[float, Array]:
        shape = self.kernels.check_one_shape(op, prediction=prediction, label=label)
        gradient, value = self._empty(shape), self.memory.empty((1,), np.float64)
        self._launch(op, prediction, label, gradient, value)
        return float(self.to_numpy(value)[0]), gradient

    # -- solver ----------------------------------------------------------------------------------

    def sgd_update(
        self,
        weight: Array,
        gradient: Array,
        velocity: Array,
        *,
        rate: float,
        momentum: float,
        decay: float,
    ) -> None:
        rates = self._rates(rate, momentum, decay)
        self._launch("sgd_update", weight, gradient, velocity, rates)

    def adam_update(
        self, weight: Array, gradient: Array, velocity: Array, square: Array, **how: Any
    ) -> None:
        rates = self._rates(*adam_rates(**how).values())
        self._launch("adam_update", weight, gradient, velocity, square, rates)

    def linear_sgd_update(
        self,
        dy: Array,
        x: Array,
        weight: Array,
        velocity: Array,
        *,
        rate: float,
        momentum: float,
        decay: float,
    ) -> None:
        rates = self._rates(rate, momentum, decay)
        self._launch("linear_sgd_update", dy, x, weight, velocity, rates, None, None, None)

    def _rates(self, *rates: float) -> Array:
        return self.memory.from_numpy(np.array(rates, np.float32))

    # -- input -----------------------------------------------------------------------------------

    def crop_resize(
        self,
        frame: Array,
        windows: Sequence[SearchWindow],
        *,
        size: int,
        mean: tuple[float, float, float],
        colour_order: str = "BGR",
    ) -> Array:
        """As the interface has it; a frame in host memory is copied to the device first."""
        parameters: dict[str, Any] = {"size": size, "mean": mean, "colour_order": colour_order}
        self.kernels.check_crop_resize(**parameters)
        pixels = self.memory.view(frame)
        if pixels is None:
            pixels = self.memory.from_numpy(frame) if isinstance(frame, np.ndarray) else frame
        table = window_table(windows)
        job = self.memory.from_numpy(self.kernels.pack_crop_job(pixels, table))
        crops = self._empty((len(table), 3, size, size))
        self._launch("crop_resize", job, crops, **parameters)
        return crops

    # -- shared parts ----------------------------------------------------------------------------

    def _launch_with_scratch(
        self, op: str, *arguments: Any, bytes: int, products: str | None = None, **parameters: Any
    ) -> None:
        """The same of an operation with products, in a new workspace of ``bytes``."""
        workspace = self.memory.empty((bytes,), np.uint8)
        counters = self.memory.zeros((self.kernels.COUNTERS,), np.int32)
        self._launch(
            op, *arguments, **parameters, products=products or self.products,
            workspace=workspace, counters=counters,
        )  # fmt: skip

    def _columns(self, targets: Array, cells: int) -> Array:
        """Where match stores its columns."""
        count, features = targets.shape
        return self._empty((2, count, features // cells + 1, cells))

    def _conv_bytes(self, op: str, x: Array, weight: Array, sizes: Mapping[str, int]) -> int:
        size: int = getattr(self.kernels, f"{op}_workspace")(
            x.shape, weight.shape, **sizes, dtype="float32", products=self.products
        )
        return size

    def _to_int8(self, weight: Array, values: Array) -> Array:
        """Fills ``values``; gives the scale of each row."""
        scale = self._empty((weight.shape[0],))
        self._launch("to_int8", weight, values, scale)
        return scale
