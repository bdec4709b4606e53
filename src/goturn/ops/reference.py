"""The operations in NumPy: the plain statement of what each computes, and the oracle of the tests.

Generic in the floating-point type: float32 in gives float32 out, float64 gives float64.  In float64 it is
what every other backend is held against; in float32 it is a backend of its own, ``device="reference"``,
fast enough to use where nothing is compiled.  Matrix products go through NumPy's BLAS, whose
sums may be ordered otherwise, and round otherwise, with another number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from goturn.architecture import Architecture, TowerLayer
from goturn.box import SearchWindow
from goturn.ops import compressed, reference_conv, reference_match, resample
from goturn.ops.host_arrays import HostArrays
from goturn.ops.interface import CompressedWeight, adam_rates

#: Elements that sgd_update works on at a time, so that its temporaries stay in the cache.
SGD_CHUNK = 1 << 16

_MIX_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MIX_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class ReferenceOps(HostArrays):
    """:class:`goturn.ops.interface.Ops` in NumPy; see there for shapes and formulas."""

    name = "reference"
    precisions: tuple[str, ...] = compressed.PRECISIONS

    def tower(
        self,
        layers: Sequence[TowerLayer],
        side: int,
        parameters: Mapping[str, np.ndarray],
        precision: str = "fp32",
    ) -> Callable[[np.ndarray], np.ndarray] | None:
        return None

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
        _check_dtype("conv2d", x=x, weight=weight, bias=bias)
        return reference_conv.conv2d(
            x, weight, bias, stride=stride, pad=pad, groups=groups, relu=relu
        )

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
        _check_dtype("conv2d_backward", dy=dy, x=x, weight=weight)
        return reference_conv.conv2d_backward(
            dy, x, weight, stride=stride, pad=pad, groups=groups, need_dx=need_dx
        )

    def max_pool(self, x: np.ndarray, *, kernel: int, stride: int, pad: int = 0) -> np.ndarray:
        _check_dtype("max_pool", x=x)
        return reference_conv.max_pool(x, kernel=kernel, stride=stride, pad=pad)

    def max_pool_backward(
        self, dy: np.ndarray, x: np.ndarray, *, kernel: int, stride: int, pad: int = 0
    ) -> np.ndarray:
        _check_dtype("max_pool_backward", dy=dy, x=x)
        return reference_conv.max_pool_backward(dy, x, kernel=kernel, stride=stride, pad=pad)

    def lrn(
        self, x: np.ndarray, *, size: int, alpha: float, beta: float, k: float = 1.0
    ) -> np.ndarray:
        _check_dtype("lrn", x=x)
        _check_lrn(x, size)
        y: np.ndarray = x * _power(_lrn_scale(x, size, alpha, k), -beta)
        return y

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
        # With s the scale: dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum_j dy_j x_j s_j^(-beta-1),
        # j over the channels whose window holds i; windows being symmetric, those in i's own window.
        _check_dtype("lrn_backward", dy=dy, x=x)
        _check_lrn(x, size)
        _check_same_shape("lrn_backward", dy=dy, x=x)
        scale = _lrn_scale(x, size, alpha, k)
        direct = dy * _power(scale, -beta)
        dx: np.ndarray = direct - (2 * alpha * beta / size) * x * _channel_sum(
            direct * x / scale, size
        )
        return dx

    def match(
        self, targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float
    ) -> np.ndarray:
        _check_dtype("match", targets=targets, searches=searches)
        return reference_match.match(targets, searches, cells=cells, scale=scale)

    def match_backward(
        self,
        dy: np.ndarray,
        targets: np.ndarray,
        searches: np.ndarray,
        *,
        cells: int,
        scale: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        _check_dtype("match_backward", dy=dy, targets=targets, searches=searches)
        return reference_match.match_backward(dy, targets, searches, cells=cells, scale=scale)

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
        return compressed.compress(weight, precision)

    def linear(
        self,
        x: np.ndarray,
        weight: np.ndarray | CompressedWeight,
        bias: np.ndarray | None,
        *,
        relu: bool = False,
    ) -> np.ndarray:
        given = {"x": x} if bias is None else {"x": x, "bias": bias}
        if isinstance(weight, CompressedWeight):
            _check_dtype("linear", **given)
            _check_linear("linear", x, weight)
            y = compressed.products(x, weight)
        else:
            _check_dtype("linear", **given, weight=weight)
            _check_linear("linear", x, weight)
            # The transpose is a view: BLAS reads the rows where they lie, however far apart.
            y = x @ weight.T
        if bias is not None:
            if bias.shape not in (weight.shape[:1], y.shape):
                raise ValueError(
                    f"linear: bias has shape {bias.shape}, x {x.shape} and weight {weight.shape} "
                    f"need ({weight.shape[0]},) or {y.shape}"
                )
            y += bias
        if relu:
            np.maximum(y, 0, out=y)
        return y

    def linear_backward(
        self,
        dy: np.ndarray,
        x: np.ndarray,
        weight: np.ndarray,
        *,
        need_dx: bool = True,
        need_dweight: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
        _check_dtype("linear_backward", dy=dy, x=x, weight=weight)
        _check_linear_gradient("linear_backward", dy, x, weight)
        dx = dy @ weight if need_dx else None
        return dx, dy.T @ x if need_dweight else None, dy.sum(axis=0)

    def relu(self, x: np.ndarray) -> np.ndarray:
        _check_dtype("relu", x=x)
        y: np.ndarray = np.maximum(x, 0)  # a NaN stays a NaN
        return y

    def relu_backward(self, dy: np.ndarray, y: np.ndarray) -> np.ndarray:
        _check_dtype("relu_backward", dy=dy, y=y)
        _check_same_shape("relu_backward", dy=dy, y=y)
        return np.where(y > 0, dy, dy.dtype.type(0))

    def dropout_mask(self, shape: tuple[int, ...], *, ratio: float, key: int) -> np.ndarray:
        _check_ratio("dropout_mask", ratio)
        if not 0 <= key < 1 << 64:
            raise ValueError(f"dropout_mask: key must be in 0 .. 2**64 - 1; got {key}")
        z = np.arange(1, int(np.prod(shape, dtype=np.int64)) + 1, dtype=np.uint64)
        z *= _MIX_INCREMENT
        z += np.uint64(key)
        z ^= z >> np.uint64(30)
        z *= _MIX_FACTORS[0]
        z ^= z >> np.uint64(27)
        z *= _MIX_FACTORS[1]
        z ^= z >> np.uint64(31)
        kept = (z >> np.uint64(32)) >= np.uint64(int(ratio * 2**32))
        mask: np.ndarray = kept.astype(np.uint8).reshape(shape)
        return mask

    def dropout(self, x: np.ndarray, mask: np.ndarray, *, ratio: float) -> np.ndarray:
        _check_dtype("dropout", x=x)
        _check_ratio("dropout", ratio)
        _check_same_shape("dropout", mask=mask, x=x)
        y: np.ndarray = x * mask / (1 - ratio)
        return y

    # -- losses ----------------------------------------------------------------------------------

    def l1_loss(self, prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
        difference = _difference("l1_loss", prediction, label)
        return float(np.abs(difference).sum(dtype=np.float64)), np.sign(difference)

    def l2_loss(self, prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
        difference = _difference("l2_loss", prediction, label)
        return float(np.square(difference, dtype=np.float64).sum() / 2), difference

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
        _check_dtype("sgd_update", weight=weight, gradient=gradient, velocity=velocity)
        _check_same_shape("sgd_update", weight=weight, gradient=gradient, velocity=velocity)
        _check_update("sgd_update", weight=weight, velocity=velocity)
        w, g, v = weight.reshape(-1), gradient.reshape(-1), velocity.reshape(-1)
        for start in range(0, w.size, SGD_CHUNK):
            chunk = slice(start, start + SGD_CHUNK)
            v[chunk] *= momentum
            v[chunk] += rate * (g[chunk] + decay * w[chunk])
            w[chunk] -= v[chunk]

    def adam_update(
        self,
        weight: np.ndarray,
        gradient: np.ndarray,
        velocity: np.ndarray,
        square: np.ndarray,
        **how: Any,
    ) -> None:
        changed = {"weight": weight, "velocity": velocity, "square": square}
        _check_dtype("adam_update", gradient=gradient, **changed)
        _check_same_shape("adam_update", gradient=gradient, **changed)
        _check_update("adam_update", **changed)
        k = adam_rates(**how)
        w, g, v, s = (each.reshape(-1) for each in (weight, gradient, velocity, square))
        for start in range(0, w.size, SGD_CHUNK):
            chunk = slice(start, start + SGD_CHUNK)
            v[chunk] *= k["momentum"]
            v[chunk] += k["fresh"] * g[chunk]
            s[chunk] *= k["squares"]
            s[chunk] += k["fresh_squares"] * g[chunk] ** 2
            step = k["step"] * v[chunk] / (k["root"] * np.sqrt(s[chunk]) + k["epsilon"])
            w[chunk] -= step + k["shrink"] * w[chunk]

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
        op = "linear_sgd_update"
        _check_dtype(op, dy=dy, x=x, weight=weight, velocity=velocity)
        _check_linear_gradient(op, dy, x, weight)
        _check_update(op, weight=weight, velocity=velocity)
        self.sgd_update(weight, dy.T @ x, velocity, rate=rate, momentum=momentum, decay=decay)

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
        return resample.crop_resize(frame, windows, size=size, mean=mean, colour_order=colour_order)


# -- local response normalisation ----------------------------------------------------------------


def _channel_sum(values: np.ndarray, size: int) -> np.ndarray:
    """Sum over the ``size`` channels about each channel of ``values`` (N, C, H, W), zero outside."""
    total: np.ndarray = values.copy()
    for shift in range(1, size // 2 + 1):
        total[:, shift:] += values[:, :-shift]
        total[:, :-shift] += values[:, shift:]
    return total


def _lrn_scale(x: np.ndarray, size: int, alpha: float, k: float) -> np.ndarray:
    scale = _channel_sum(x * x, size)
    scale *= alpha / size
    scale += k
    return scale


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """base ** exponent; the network's -0.75 by two square roots, which is much faster than pow."""
    if exponent == -0.75:
        root = np.sqrt(base)
        power: np.ndarray = 1 / (root * np.sqrt(root))
    else:
        power = base**exponent
    return power


# -- checks --------------------------------------------------------------------------------------


def _check_dtype(op: str, **arrays: np.ndarray) -> None:
    dtypes = {name: array.dtype for name, array in arrays.items()}
    if len(set(dtypes.values())) > 1 or next(iter(dtypes.values())) not in (np.float32, np.float64):
        given = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(
            f"{op}: arrays must be all float32 or all float64; got {given}; convert with astype"
        )


def _check_same_shape(op: str, **arrays: np.ndarray) -> None:
    shapes = [array.shape for array in arrays.values()]
    if len(set(shapes)) > 1:
        given = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"{op}: arrays must have one shape; got {given}")


def _check_lrn(x: np.ndarray, size: int) -> None:
    if x.ndim != 4:
        raise ValueError(f"lrn: x (N, C, H, W) has 4 dimensions; got shape {x.shape}")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"lrn: size must be odd and >= 1; got {size}")


def _check_linear(op: str, x: np.ndarray, weight: np.ndarray | CompressedWeight) -> None:
    if x.ndim != 2 or len(weight.shape) != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"{op}: x (N, in) and weight (out, in) must agree in their second dimension; "
            f"got shapes {x.shape} and {weight.shape}"
        )


def _check_linear_gradient(op: str, dy: np.ndarray, x: np.ndarray, weight: np.ndarray) -> None:
    _check_linear(op, x, weight)
    if dy.shape != (len(x), len(weight)):
        raise ValueError(
            f"{op}: dy has shape {dy.shape}, the output of x {x.shape} and weight "
            f"{weight.shape} has {(len(x), len(weight))}"
        )


def _check_update(op: str, **changed: np.ndarray) -> None:
    _check_same_shape(op, **changed)
    if not all(array.flags.c_contiguous for array in changed.values()):
        names = ", ".join(list(changed)[:-1]) + " and " + list(changed)[-1]
        raise ValueError(f"{op}: {names} are changed in place and must be C-contiguous")


def _check_ratio(op: str, ratio: float) -> None:
    if not 0 <= ratio < 1:
        raise ValueError(f"{op}: ratio must be in [0, 1); got {ratio}")


def _difference(op: str, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    _check_dtype(op, prediction=prediction, label=label)
    _check_same_shape(op, prediction=prediction, label=label)
    difference: np.ndarray = prediction - label
    return difference
