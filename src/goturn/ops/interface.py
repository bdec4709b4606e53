"""The operations a device offers: the contract that every backend fulfils.

Arrays are the backend's own (NumPy on ``reference`` and ``cpu``, CuPy on ``cuda``), C-contiguous,
floating point.  Letters: N batch, C channels, H W height and width, K output channels, P Q output height
and width.  A gradient is named ``d`` + what it belongs to; a ``*_backward`` takes the gradient of its
op's output first.  Nothing writes into its arguments but :meth:`Ops.sgd_update`,
:meth:`Ops.linear_sgd_update` and :meth:`Ops.adam_update`.

Every op raises ValueError for shapes that do not fit, in one sentence that names them.

Sources: Caffe's layer semantics (facts 1.4), the solver (facts 3.3) and the loss (facts 3.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from goturn.architecture import Architecture, TowerLayer
from goturn.box import SearchWindow

#: An array of the backend's kind.
Array = Any

#: Precisions in which all weights are float32.
FULL_PRECISIONS = ("fp32", "tf32")


@dataclass(frozen=True)
class CompressedWeight:
    """A weight matrix of linear in fewer bits; what :meth:`Ops.compress` returns."""

    precision: str
    """"bf16", "fp16" or "int8"."""
    values: Array
    """(out, in): the bits of bfloat16 numbers as uint16, float16, or int8."""
    scale: Array | None
    """(out,), what each row of int8 values is multiplied by; None for the others."""

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)."""
        rows, columns = self.values.shape
        return rows, columns

    def columns(self, start: int, stop: int) -> CompressedWeight:
        """Columns ``start`` to ``stop``: the same memory, and the scale of the whole rows."""
        return replace(self, values=self.values[:, start:stop])


#: What keeps Adam's steps finite where gradients are zero.
ADAM_EPSILON = 1e-8


def adam_rates(
    *, rate: float, momentum: float, squares: float, decay: float, iteration: int
) -> dict[str, float]:
    """The numbers of one step of :meth:`Ops.adam_update`, in the kernels' order and words.

    Raises:
        ValueError: an iteration before the first, or a mean that takes up nothing.
    """
    if not (iteration >= 1 and 0 <= momentum < 1 and 0 <= squares < 1):
        raise ValueError(
            "adam_update: iteration must be at least 1, momentum and squares in [0, 1); "
            f"got {iteration}, {momentum} and {squares}"
        )
    return {
        "momentum": momentum,
        "fresh": 1 - momentum,
        "squares": squares,
        "fresh_squares": 1 - squares,
        "step": rate / (1 - momentum**iteration),
        "root": (1 - squares**iteration) ** -0.5,
        "shrink": rate * decay,
        "epsilon": ADAM_EPSILON,
    }


def layer_key(key: int, layer: int) -> int:
    """A dropout key for one fc layer of one iteration; distinct for distinct arguments."""
    return (key * 64 + layer) % 2**64


class Ops(Protocol):
    """What a backend implements.  ``goturn.ops.reference`` is the plain statement of each op."""

    name: str
    """Name of the device: "reference", "cpu", "cuda:0"."""

    on_host: bool
    """Whether arrays are NumPy's, and operations are done when they return: any thread may call them."""

    precisions: tuple[str, ...]
    """"fp32", what :meth:`compress` can make of weights, and "tf32" where the device has products of
    fp32 numbers rounded to 10 bits of fraction (:meth:`tower`, :meth:`pipeline`; the weights stay)."""

    # -- arrays ----------------------------------------------------------------------------------

    def from_numpy(self, array: np.ndarray) -> Array:
        """``array`` on this device, in its dtype; may share memory with it."""

    def to_numpy(self, array: Array) -> np.ndarray:
        """``array``, at any strides, in host memory; may share memory with it."""

    # What the network does with arrays of float32 besides the layers.

    def concatenate(self, arrays: Sequence[Array], *, axis: int = 0) -> Array:
        """``arrays``, C-contiguous, one after another along ``axis`` 0, or 1 of matrices."""

    def stack(self, arrays: Sequence[Array]) -> Array:
        """``arrays``, C-contiguous and of one shape, along a new first axis."""

    def contiguous(self, matrix: Array) -> Array:
        """A matrix whose rows may lie apart, its rows together; a copy only where needed."""

    def scale(self, x: Array, factor: float) -> Array:
        """x * factor, a new array of x's shape."""

    def add_to(self, y: Array, x: Array) -> None:
        """y += x, in place; both of one shape."""

    def take_rows(self, x: Array, index: np.ndarray) -> Array:
        """Rows ``index`` of a matrix, as a new one."""

    def sum_rows(self, x: Array, index: np.ndarray, count: int) -> Array:
        """``count`` rows, of which row g is the sum of the rows i of x with index[i] = g, in order."""

    # -- a whole tower ---------------------------------------------------------------------------

    def tower(
        self,
        layers: Sequence[TowerLayer],
        side: int,
        parameters: Mapping[str, Array],
        precision: str = "fp32",
    ) -> Callable[[Array], Array] | None:
        """A tower as one call, where the device has a faster way than layer by layer; else None.

        Args:
            layers: conv, pool and LRN layers; each convolution is followed by a ReLU.
            side: height and width of the input.
            parameters: "conv1/weight", "conv1/bias" ..., under the layers' names; copied, so that
                later changes are not seen.
            precision: the network's, one of :attr:`precisions`; what it means for convolutions is the
                device's.

        Returns:
            A function from (N, 3, side, side) to the features (N, C * H * W) of the last layer.
        """

    def pipeline(
        self,
        architecture: Architecture,
        parameters: Mapping[str, Any],
        precision: str,
        start: float = 0.0,
    ) -> Any | None:
        """A :class:`goturn.pipeline.Pipeline` for a network, where the device has its own; else None.

        Args:
            architecture: of the network.
            parameters: by name, on this device, as :class:`goturn.network.Network` keeps them.
            precision: the network's, one of :attr:`precisions`.
            start: :attr:`goturn.target_policy.TargetPolicy.start`.
        """

    def training_step(
        self, architecture: Architecture, parameters: Mapping[str, Any], *, loss: str, towers: bool
    ) -> Any | None:
        """A :class:`goturn.training.step.TrainingStep`, where the device has its own; else None.

        Args:
            architecture: of the network.
            parameters: float32, by name, on this device; changed in place.
            loss: "l1" or "l2".
            towers: whether the convolutions learn too.
        """

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
        """Cross-correlation plus bias, then ReLU where ``relu``.

        Args:
            x: (N, C, H, W).
            weight: (K, C / groups, R, S); group g maps its slice of input to its slice of output
                channels.
            bias: (K,).

        Returns:
            (N, K, P, Q) with P = floor((H + 2 pad - R) / stride) + 1, Q likewise.
        """

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
        """Gradients (dx, dweight, dbias) of conv2d without ReLU; dx is None unless ``need_dx``."""

    def max_pool(self, x: Array, *, kernel: int, stride: int, pad: int = 0) -> Array:
        """Max over kernel x kernel windows, clipped to the image.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, P, Q) with P = ceil((H + 2 pad - kernel) / stride) + 1, less one if the last window
            would start beyond the image and its left padding (Caffe's ceil mode); Q likewise.
        """

    def max_pool_backward(
        self, dy: Array, x: Array, *, kernel: int, stride: int, pad: int = 0
    ) -> Array:
        """dx: each window's whole gradient goes to its first maximum in row-major order."""

    def lrn(self, x: Array, *, size: int, alpha: float, beta: float, k: float = 1.0) -> Array:
        """x_c * (k + alpha / size * sum of x^2 over ``size`` channels about c) ** -beta.

        Channels outside [0, C) count as zero; the divisor stays ``size``.  x: (N, C, H, W).
        """

    def lrn_backward(
        self, dy: Array, x: Array, *, size: int, alpha: float, beta: float, k: float = 1.0
    ) -> Array:
        """dx of lrn."""

    def match(self, targets: Array, searches: Array, *, cells: int, scale: float) -> Array:
        """How like each cell of one feature map is to each cell of another: correlations, times scale.

        The numbers of all channels at a cell, less their mean and divided by the root of their sum of
        squares (plus 1e-6, so that a cell at which all channels are equal matches nothing), are a
        column; the match of two cells is scale times the sum of products of their columns.

        Args:
            targets: (N, C * cells), channel after channel.
            searches: (N, C * cells).
            cells: places of a feature map, its height times its width.
            scale: finite.

        Returns:
            (N, cells * cells): that of target cell x and search cell y at x * cells + y.
        """

    def match_backward(
        self, dy: Array, targets: Array, searches: Array, *, cells: int, scale: float
    ) -> tuple[Array, Array]:
        """Gradients (d_targets, d_searches) of match."""

    def compress(self, weight: Array, precision: str) -> CompressedWeight:
        """A weight matrix of linear in fewer bits, a copy.

        "bf16" and "fp16" round each value to the nearest bfloat16 or half precision number, ties to
        even.  "int8" is symmetric, with one scale for each row: scale = max|w| / 127, value = w / scale
        rounded to nearest, ties to even.

        Args:
            weight: (out, in) float32; finite for "int8", and for "fp16" in its range besides.
            precision: one of :attr:`precisions` but "fp32" and "tf32".
        """

    def linear(
        self,
        x: Array,
        weight: Array | CompressedWeight,
        bias: Array | None,
        *,
        relu: bool = False,
    ) -> Array:
        """x @ weight.T + bias, then ReLU where ``relu``.

        Args:
            x: (N, in).
            weight: (out, in); its rows may lie apart (a column slice of a larger matrix).  Compressed
                weights count as the numbers they stand for; all else is in x's precision, but for int8
                on the CPU: there each row of x counts as whole numbers of 16 bits, the nearest to
                multiples of the 8191st part of the row's largest in size.
            bias: (out,), or (N, out) to add another one to each row, or None for zeros.

        Returns:
            (N, out).
        """

    def linear_backward(
        self,
        dy: Array,
        x: Array,
        weight: Array,
        *,
        need_dx: bool = True,
        need_dweight: bool = True,
    ) -> tuple[Array | None, Array | None, Array]:
        """Gradients (dx, dweight, dbias) of linear without ReLU.

        dx and dweight are None unless needed; :meth:`linear_sgd_update` does without the latter.
        """

    def relu(self, x: Array) -> Array:
        """max(x, 0), any shape."""

    def relu_backward(self, dy: Array, y: Array) -> Array:
        """dx = dy where the output ``y`` is positive, else 0 (so 0 at the kink)."""

    def dropout_mask(self, shape: tuple[int, ...], *, ratio: float, key: int) -> Array:
        """Which values dropout keeps: uint8, 1 with probability 1 - ratio.

        A pure function of ``key`` (0 <= key < 2**64) and the position, the same bits on every device:
        value i is kept where the upper 32 bits of mix(key + (i + 1) * 0x9E3779B97F4A7C15 mod 2**64)
        are at least floor(ratio * 2**32); mix is SplitMix64's output function.
        """

    def dropout(self, x: Array, mask: Array, *, ratio: float) -> Array:
        """Inverted dropout, x * mask / (1 - ratio); its own backward, with dy for x."""

    # -- losses: sums over all elements, as in the authors' network -------------------------------

    def l1_loss(self, prediction: Array, label: Array) -> tuple[float, Array]:
        """(sum of |prediction - label|, its gradient sign(prediction - label), 0 at 0).

        Both arguments (N, 4).  A sum, not a mean: the learning rates of the paper belong to it.
        """

    def l2_loss(self, prediction: Array, label: Array) -> tuple[float, Array]:
        """(half the sum of squared differences, their gradient prediction - label).

        Caffe's EuclideanLoss times the batch size, so that it is a sum as l1_loss is.
        """

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
        """Caffe's momentum SGD, in place: v = momentum v + rate (gradient + decay w); w = w - v.

        The rate is inside the velocity.  Changes ``weight`` and ``velocity``; all of one shape.
        """

    def adam_update(
        self,
        weight: Array,
        gradient: Array,
        velocity: Array,
        square: Array,
        *,
        rate: float,
        momentum: float,
        squares: float,
        decay: float,
        iteration: int,
    ) -> None:
        """Adam with decoupled decay, in place (Kingma & Ba, 2015; Loshchilov & Hutter, 2019).

        v = momentum v + (1 - momentum) gradient; s = squares s + (1 - squares) gradient^2, elementwise;
        w = w - rate (v / (1 - momentum^t) / (sqrt(s / (1 - squares^t)) + 1e-8) + decay w).  Changes
        ``weight``, ``velocity`` (v) and ``square`` (s), all of one shape; ``iteration`` is t, from 1.
        """

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
        """:meth:`sgd_update` with the weight gradient of :meth:`linear`, dy.T @ x, in place.

        In one pass where the device can: a gradient as large as the weights is then never stored.

        Args:
            dy: (N, out), the gradient of linear's output.
            x: (N, in), its input.
            weight: (out, in), changed.
            velocity: (out, in), changed.
        """

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
        """The search windows of a frame, resized to size x size, as the network's input.

        Each window is the canvas that :class:`goturn.box.SearchWindow` describes, black outside the
        image, resized bilinearly on 8-bit values (OpenCV's ``INTER_LINEAR``), converted to float32,
        the mean subtracted.  No memory in proportion to the windows is used.

        Args:
            frame: (H, W, C) uint8 with C of 1 (grey), 3 (BGR) or 4 (BGRA, alpha dropped), any strides.
            windows: N windows of this frame.
            mean: per channel, in the order of ``colour_order``.
            colour_order: order of the output's planes, "BGR" or "RGB".

        Returns:
            (N, 3, size, size) float32.
        """
