from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

version: str
compiler: str

class Tower:
    def __init__(self, layers: Sequence[Mapping[str, Any]], side: int) -> None: ...
    def __call__(self, crops: np.ndarray) -> np.ndarray: ...

def isa() -> str: ...
def thread_count() -> int: ...
def set_thread_count(count: int) -> None: ...
def linear(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, *, relu: bool
) -> np.ndarray: ...
def crop_resize(
    frame: np.ndarray,
    windows: np.ndarray,
    *,
    size: int,
    mean: Sequence[float],
    colour_order: str,
) -> np.ndarray: ...
