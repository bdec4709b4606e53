from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

version: str
compiler: str

class Tower:
    def __init__(
        self, layers: Sequence[Mapping[str, Any]], side: int, numbers: str = "fp32"
    ) -> None: ...
    def __call__(self, crops: np.ndarray) -> np.ndarray: ...

def tower_takes_int16() -> bool: ...
def isa() -> str: ...
def thread_count() -> int: ...
def set_thread_count(count: int) -> None: ...
def linear(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, relu: bool
) -> np.ndarray: ...
def linear_bf16(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, relu: bool
) -> np.ndarray: ...
def linear_int8(
    x: np.ndarray,
    weight: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray | None,
    *,
    relu: bool,
) -> np.ndarray: ...
def to_bf16(weight: np.ndarray) -> np.ndarray: ...
def to_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...
def linear_backward(
    dy: np.ndarray, x: np.ndarray, weight: np.ndarray, *, need_dx: bool, need_dweight: bool
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]: ...
def linear_sgd_update(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    velocity: np.ndarray,
    *,
    rate: float,
    momentum: float,
    decay: float,
) -> None: ...
def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    *,
    stride: int,
    pad: int,
    groups: int,
    relu: bool,
) -> np.ndarray: ...
def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    *,
    stride: int,
    pad: int,
    groups: int,
    need_dx: bool,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]: ...
def max_pool(x: np.ndarray, *, kernel: int, stride: int, pad: int) -> np.ndarray: ...
def max_pool_backward(
    dy: np.ndarray, x: np.ndarray, *, kernel: int, stride: int, pad: int
) -> np.ndarray: ...
def lrn(x: np.ndarray, *, size: int, alpha: float, beta: float, k: float) -> np.ndarray: ...
def lrn_backward(
    dy: np.ndarray, x: np.ndarray, *, size: int, alpha: float, beta: float, k: float
) -> np.ndarray: ...
def match(targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float) -> np.ndarray: ...
def match_backward(
    dy: np.ndarray, targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float
) -> tuple[np.ndarray, np.ndarray]: ...
def relu(x: np.ndarray) -> np.ndarray: ...
def relu_backward(dy: np.ndarray, y: np.ndarray) -> np.ndarray: ...
def dropout_mask(shape: tuple[int, ...], *, ratio: float, key: int) -> np.ndarray: ...
def dropout(x: np.ndarray, mask: np.ndarray, *, ratio: float) -> np.ndarray: ...
def l1_loss(prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]: ...
def l2_loss(prediction: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]: ...
def sgd_update(
    weight: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray,
    *,
    rate: float,
    momentum: float,
    decay: float,
) -> None: ...
def adam_update(
    weight: np.ndarray,
    gradient: np.ndarray,
    velocity: np.ndarray,
    square: np.ndarray,
    *,
    momentum: float,
    fresh: float,
    squares: float,
    fresh_squares: float,
    step: float,
    root: float,
    shrink: float,
    epsilon: float,
) -> None: ...
def crop_resize(
    frame: np.ndarray,
    windows: np.ndarray,
    *,
    size: int,
    mean: Sequence[float],
    colour_order: str,
) -> np.ndarray: ...
