# Arrays are in device memory: anything with __cuda_array_interface__.  Results, workspaces and
# counters are the caller's arrays; streams are CUDA's handles as numbers.  Images are (N, H, W, C) and
# weights of convolutions (K, R, S, C / groups) but in check_...; dtypes are float32, float16 or uint16
# (the bits of bfloat16) where not said.  products: "scalar", "tf32", "tf32x3" (of float32), "half" (of
# 16 bits; of int8 in linear).
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any
Shape = tuple[int, ...]

version: str
cuda_version: tuple[int, int]
architectures: tuple[str, ...]
COUNTERS: int

def devices() -> list[tuple[str, tuple[int, int], int]]: ...
def compute_capability() -> tuple[int, int]: ...

# Arguments as Python has them, float32 and (N, C, H, W); the shape of the result where it is new.
def check_conv2d(
    x: Array, weight: Array, bias: Array, *, stride: int, pad: int, groups: int
) -> Shape: ...
def check_conv2d_backward(
    dy: Array, x: Array, weight: Array, *, stride: int, pad: int, groups: int
) -> None: ...
def check_max_pool(x: Array, *, kernel: int, stride: int, pad: int) -> Shape: ...
def check_max_pool_backward(dy: Array, x: Array, *, kernel: int, stride: int, pad: int) -> None: ...
def check_lrn(x: Array, *, size: int) -> None: ...
def check_lrn_backward(dy: Array, x: Array, *, size: int) -> None: ...
def check_match(targets: Array, searches: Array, *, cells: int, scale: float) -> Shape: ...
def check_match_backward(
    dy: Array, targets: Array, searches: Array, *, cells: int, scale: float
) -> None: ...
def check_linear(x: Array, weight: Array, bias: Array | None, *, dtype: str) -> Shape: ...
def check_linear_backward(dy: Array, x: Array, weight: Array) -> None: ...
def check_one_shape(op: str, **arrays: Array) -> Shape: ...
def check_ratio(op: str, ratio: float) -> None: ...
def check_crop_resize(*, size: int, mean: Sequence[float], colour_order: str) -> None: ...
def check_dropout_mask(shape: Shape, *, ratio: float, key: int) -> Shape: ...

# Layouts and copies.
def nchw_to_nhwc(x: Array, y: Array, *, stream: int) -> None: ...
def nhwc_to_nchw(x: Array, y: Array, *, stream: int) -> None: ...
def copy_rows(x: Array, y: Array, *, factor: float, stream: int) -> None: ...
def gather_rows(index: Array, x: Array, y: Array, *, stream: int) -> None: ...
def sum_rows(index: Array, x: Array, y: Array, *, stream: int) -> None: ...
def add(x: Array, y: Array, *, stream: int) -> None: ...

# Convolution.
def conv2d_shape(x: Shape, weight: Shape, *, stride: int, pad: int, groups: int) -> Shape: ...
def conv2d_workspace(
    x: Shape, weight: Shape, *, stride: int, pad: int, groups: int, dtype: str, products: str
) -> int: ...
def conv2d_backward_data_workspace(
    x: Shape, weight: Shape, *, stride: int, pad: int, groups: int, dtype: str, products: str
) -> int: ...
def conv2d_backward_weight_workspace(
    x: Shape, weight: Shape, *, stride: int, pad: int, groups: int, dtype: str, products: str
) -> int: ...
def conv2d(
    x: Array,
    weight: Array,
    bias: Array,
    y: Array,
    *,
    stride: int,
    pad: int,
    groups: int,
    relu: bool,
    products: str,
    workspace: Array | None,
    counters: Array,
    stream: int,
) -> None: ...
def conv2d_backward_data(
    dy: Array,
    weight: Array,
    dx: Array,
    *,
    stride: int,
    pad: int,
    groups: int,
    products: str,
    workspace: Array | None,
    counters: Array,
    stream: int,
) -> None: ...
def conv2d_backward_weight(
    dy: Array,
    x: Array,
    dweight: Array,
    dbias: Array,
    *,
    stride: int,
    pad: int,
    groups: int,
    products: str,
    workspace: Array | None,
    counters: Array,
    stream: int,
) -> None: ...

# The match of two feature maps; columns (2, N, C + 1, cells) are written.
def match(
    targets: Array,
    searches: Array,
    y: Array,
    *,
    cells: int,
    scale: float,
    columns: Array,
    stream: int,
) -> None: ...
def match_backward(
    dy: Array,
    targets: Array,
    searches: Array,
    d_targets: Array,
    d_searches: Array,
    *,
    cells: int,
    scale: float,
    columns: Array,
    stream: int,
) -> None: ...

# Pooling and normalisation.
def max_pool_shape(x: Shape, *, kernel: int, stride: int, pad: int) -> Shape: ...
def max_pool(x: Array, y: Array, *, kernel: int, stride: int, pad: int, stream: int) -> None: ...
def max_pool_to_nchw(
    x: Array, y: Array, *, kernel: int, stride: int, pad: int, stream: int
) -> None: ...
def max_pool_backward(
    dy: Array, x: Array, dx: Array, *, kernel: int, stride: int, pad: int, nchw: bool, stream: int
) -> None: ...
def lrn(
    x: Array, y: Array, *, size: int, alpha: float, beta: float, k: float, stream: int
) -> None: ...
def lrn_backward(
    dy: Array, x: Array, dx: Array, *, size: int, alpha: float, beta: float, k: float, stream: int
) -> None: ...
def max_pool_lrn(
    x: Array,
    y: Array,
    *,
    kernel: int,
    stride: int,
    pad: int,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    stream: int,
) -> None: ...

# Linear: the weight of float32, float16, uint16 (bfloat16) or, with a scale, int8; the rest float32.
def linear_workspace(x: Shape, weight: Shape, *, dtype: str, products: str) -> int: ...
def linear(
    x: Array,
    weight: Array,
    scale: Array | None,
    bias: Array | None,
    y: Array,
    *,
    relu: bool,
    key: Array | None = None,
    ratio: float = 0,
    products: str,
    workspace: Array | None,
    counters: Array,
    stream: int,
) -> None: ...
def linear_backward_data_workspace(x: Shape, weight: Shape, *, products: str) -> int: ...
def linear_backward_data(
    dy: Array,
    weight: Array,
    gate: Array | None,
    dx: Array,
    *,
    gate_factor: float,
    products: str,
    workspace: Array | None,
    counters: Array,
    stream: int,
) -> None: ...
def linear_backward_weight(
    dy: Array, x: Array, dweight: Array | None, dbias: Array, *, stream: int
) -> None: ...
def linear_sgd_update(
    dy: Array,
    x: Array,
    weight: Array,
    velocity: Array,
    rates: Array,
    bias: Array | None,
    bias_velocity: Array | None,
    bias_rates: Array | None,
    *,
    stream: int,
) -> None: ...
def convert(x: Array, y: Array, *, stream: int) -> None: ...
def to_int8(weight: Array, values: Array, scale: Array, *, stream: int) -> None: ...

# Elementwise, losses, solver.
def relu(x: Array, y: Array, *, stream: int) -> None: ...
def relu_backward(dy: Array, y: Array, dx: Array, *, stream: int) -> None: ...
def dropout_mask(mask: Array, key: Array, *, ratio: float, stream: int) -> None: ...
def dropout(x: Array, mask: Array, y: Array, *, ratio: float, stream: int) -> None: ...
def l1_loss(
    prediction: Array, label: Array, gradient: Array, value: Array, *, stream: int
) -> None: ...
def l2_loss(
    prediction: Array, label: Array, gradient: Array, value: Array, *, stream: int
) -> None: ...
def sgd_update(
    weight: Array, gradient: Array, velocity: Array, rates: Array, *, stream: int
) -> None: ...
def adam_update(
    weight: Array, gradient: Array, velocity: Array, square: Array, rates: Array, *, stream: int
) -> None: ...

# Input.
def crop_job_bytes(count: int) -> int: ...
def pack_crop_job(
    frame: Array, windows: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def crop_resize(
    job: Array,
    crops: Array,
    *,
    start: int = 0,
    size: int,
    mean: Sequence[float],
    colour_order: str,
    block: int = 0,
    stream: int,
) -> None: ...
def space_to_depth(crops: Array, y: Array, *, block: int, stream: int) -> None: ...
