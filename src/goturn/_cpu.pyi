from collections.abc import Sequence

import numpy as np

version: str

def crop_resize(
    frame: np.ndarray,
    windows: np.ndarray,
    *,
    size: int,
    mean: Sequence[float],
    colour_order: str,
) -> np.ndarray: ...
