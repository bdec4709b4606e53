"""The operations on the CPU in compiled code, on float32 NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from goturn.architecture import LRN, Architecture, Conv, TowerLayer
from goturn.box import SearchWindow
from goturn.ops import compressed
from goturn.ops.devices import REBUILD
from goturn.ops.host_arrays import HostArrays
from goturn.ops.interface import CompressedWeight, adam_rates
from goturn.ops.resample import window_table

try:
    from goturn import _cpu
except ImportError as error:
    raise RuntimeError(
        f"goturn's CPU module cannot be imported ({error}); {REBUILD}, or use device='reference'"
    ) from error


class CpuOps(HostArrays):
    """:class:`goturn.ops.interface.Ops` on the CPU; see there for shapes and formulas.

    Arrays must be C-contiguous but for the rows of linear's matrices, which may lie apart.
    """

    name = "cpu"
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8")

    def __init__(self) -> None:
        # Said here, not by whatever comes to need them first: what the environment asks for
        # (GOTURN_CPU_ISA, GOTURN_NUM_THREADS) may not be there.
        _cpu.isa()
        _cpu.thread_count()

    def tower(
        self,
        layers: Sequence[TowerLayer],
        side: int,
        parameters: Mapping[str, np.ndarray],
        precision: str = "fp32",
    ) -> Callable[[np.ndarray], np.ndarray] | None:
        described = []
        for layer in layers:
            entry: dict[str, Any] = asdict(layer)
            if isinstance(layer, Conv):
                entry |= {kind: parameters[f"{layer.name}/{kind}"] for kind in ("weight", "bias")}
                entry["kind"] = "conv"
            else:
                entry["kind"] = "lrn" if isinstance(layer, LRN) else "max_pool"
            described.append(entry)
        # Elsewhere than on x86, whole numbers would be slower than single precision.
        numbers = "int16" if precision == "int8" and _cpu.tower_takes_int16() else "fp32"
        return _cpu.Tower(described, side, numbers)

    def pipeline(
        self,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        precision: str,
        start: float = 0.0,
    ) -> None:
        return None

    def training_step(
        self, architecture: Architecture, parameters: Mapping[str, Any], *, loss: str, towers: bool
    ) -> None:
        return None

    def compress(self, weight: np.ndarray, precision: str) -> CompressedWeight:
        compressed.check_compress(weight, precision, self.precisions)
        if precision == "bf16":
            return CompressedWeight(precision, _cpu.to_bf16(weight), None)
        values, scale = _cpu.to_int8(weight)
        compressed.check_finite(scale)
        return CompressedWeight(precision, values, scale)

    # -- layers ----------------------------------------------------------------------------------

    def conv2d(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        relu: bool = False,
    ) -> np.ndarray:
        return _cpu.conv2d(x, weight, bias, stride=stride, pad=pad, groups=groups, relu=relu)

    def conv2d_backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        need_dx: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        return _cpu.conv2d_backward(
            dy, x, weight, stride=stride, pad=pad, groups=groups, need_dx=need_dx
        )

    def max_pool(self, x: np.ndarray, *, kernel: int, stride: int, pad: int = 0) -> np.ndarray:
        return _cpu.max_pool(x, kernel=kernel, stride=stride, pad=pad)

    def max_pool_backward(
        self, dy: np.ndarray, x: np.ndarray, *, kernel: int, stride: int, pad: int = 0
    ) -> np.ndarray:
        return _cpu.max_pool_backward(dy, x, kernel=kernel, stride=stride, pad=pad)

    def lrn(
        self, x: np.ndarray, *, size: int, alpha: float, beta: float, k: float = 1.0
    ) -> np.ndarray:
        return _cpu.lrn(x, size=size, alpha=alpha, beta=beta, k=k)

    def lrn_backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        *,
        size: int,
        alpha: float,
        beta: float,
        k: float = 1.0,
    ) -> np.ndarray:
        return _cpu.lrn_backward(dy, x, size=size, alpha=alpha, beta=beta, k=k)

    def match(
        self, targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float
    ) -> np.ndarray:
        return _cpu.match(targets, searches, cells=cells, scale=scale)

    def match_backward(
        self,
        dy: np.ndarray,
        targets: np.ndarray,
        searches: np.ndarray,
        *,
        cells: int,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        return _cpu.match_backward(dy, targets, searches, cells=cells, scale=scale)

    def linear(
        self,
        x: np.ndarray,
        weight: np.ndarray | CompressedWeight,
        bias: np.ndarray | None,
        *,
        relu: bool = False,
    ) -> np.ndarray:
        if not isinstance(weight, CompressedWeight):
            return _cpu.linear(x, weight, bias, relu=relu)
        if weight.scale is None:
            return _cpu.linear_bf16(x, weight.values, bias, relu=relu)
        return _cpu.linear_int8(x, weight.values, weight.scale, bias, relu=relu)

    def linear_backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray,
        *,
        need_dx: bool = True,
        need_dweight: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
        return _cpu.linear_backward(dy, x, weight, need_dx=need_dx, need_dweight=need_dweight)

    def relu(self, x: np.ndarray) -> np.ndarray:
        return _cpu.relu(x)

    def relu_backward(self, dy: np.ndarray, y: np.ndarray) -> np.ndarray:
        return _cpu.relu_backward(dy, y)

    def dropout_mask(self, shape: tuple[int, ...], *, ratio: float, key: int) -> np.ndarray:
        return _cpu.dropout_mask(shape, ratio=ratio, key=key)

    def dropout(self, x: np.ndarray, mask: np.ndarray, *, ratio: float) -> np.ndarray:
        return _cpu.dropout(x, mask, ratio=ratio)

    # -- losses ----------------------------------------------------------------------------------

    def l1_loss(self, prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
        return _cpu.l1_loss(prediction, label)

    def l2_loss(self, prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
        return _cpu.l2_loss(prediction, label)

    # -- solver ----------------------------------------------------------------------------------

    def sgd_update(
        self,
        weight: np.ndarray,
        gradient: np.ndarray,
        velocity: np.ndarray,
        *,
        rate: float,
        momentum: float,
        decay: float,
    ) -> None:
        _cpu.sgd_update(weight, gradient, velocity, rate=rate, momentum=momentum, decay=decay)

    def adam_update(
        self,
        weight: np.ndarray,
        gradient: np.ndarray,
        velocity: np.ndarray,
        square: np.ndarray,
        **how: Any,
    ) -> None:
        _cpu.adam_update(weight, gradient, velocity, square, **adam_rates(**how))

    def linear_sgd_update(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray,
        velocity: np.ndarray,
        *,
        rate: float,
        momentum: float,
        decay: float,
    ) -> None:
        _cpu.linear_sgd_update(dy, x, weight, velocity, rate=rate, momentum=momentum, decay=decay)

    # -- input -----------------------------------------------------------------------------------

    def crop_resize(
        self,
        frame: np.ndarray,
        windows: Sequence[SearchWindow],
        *,
        size: int,
        mean: tuple[float, float, float],
        colour_order: str = "BGR",
    ) -> np.ndarray:
        return _cpu.crop_resize(
            frame, window_table(windows), size=size, mean=mean, colour_order=colour_order
        )
