"""The match of two feature maps in NumPy, and its gradients; see :meth:`goturn.ops.interface.Ops.match`.

With t a column of the target's features (all channels of a cell), a = t - mean(t) and r = sqrt(sum of
a^2 + eps), the column is made to ahat = a / r; the search's likewise.  A match is scale times the product
of two such columns.  Backward, with g the gradient of ahat::

    d_a = (g - ahat (ahat . g)) / r        of the division by r, which depends on a too
    d_t = d_a - mean(d_a)                  of taking the mean away
"""

from __future__ import annotations

import math

import numpy as np

#: Added to a column's sum of squares: columns of one value throughout, such as those that no channel
#: sees anything in, match nothing, and their gradients are finite.
EPSILON = 1e-6
#: More cells than any feature map has.
MAX_CELLS = 1 << 16


def match(targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float) -> np.ndarray:
    check_match("match", targets, searches, cells, scale)
    a, _ = _standardised(targets, cells)
    b, _ = _standardised(searches, cells)
    y: np.ndarray = np.matmul(a.transpose(0, 2, 1), b) * a.dtype.type(scale)
    return y.reshape(len(y), cells * cells)


def match_backward(
    dy: np.ndarray, targets: np.ndarray, searches: np.ndarray, *, cells: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    check_match("match_backward", targets, searches, cells, scale)
    if dy.shape != (len(targets), cells * cells):
        raise ValueError(
            f"match_backward: dy has shape {dy.shape}, the output of targets {targets.shape} with "
            f"{cells} cells has {(len(targets), cells * cells)}"
        )
    a, target_size = _standardised(targets, cells)
    b, search_size = _standardised(searches, cells)
    pairs = dy.reshape(len(dy), cells, cells) * dy.dtype.type(scale)
    d_targets = _standardised_backward(np.matmul(b, pairs.transpose(0, 2, 1)), a, target_size)
    d_searches = _standardised_backward(np.matmul(a, pairs), b, search_size)
    return d_targets, d_searches


def _standardised(features: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, C, P) columns of mean 0 and, nearly, length 1, and what they were divided by, (n, 1, P)."""
    columns = features.reshape(len(features), features.shape[1] // cells, cells)
    # The mean in float64: what is left of a column of one value is then nothing, not a rounding error.
    mean = columns.mean(axis=1, keepdims=True, dtype=np.float64).astype(features.dtype)
    centred = columns - mean
    size = np.sqrt((centred * centred).sum(axis=1, keepdims=True) + features.dtype.type(EPSILON))
    return centred / size, size


def _standardised_backward(g: np.ndarray, unit: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The gradient of the features, (n, C * P), from that of their columns."""
    d_centred = (g - unit * (unit * g).sum(axis=1, keepdims=True)) / size
    mean = d_centred.mean(axis=1, keepdims=True, dtype=np.float64).astype(g.dtype)
    dx: np.ndarray = (d_centred - mean).reshape(len(g), g.shape[1] * g.shape[2])
    return dx


def check_match(
    op: str, targets: np.ndarray, searches: np.ndarray, cells: int, scale: float
) -> None:
    """Raises ValueError where the arguments do not fit each other."""
    if targets.ndim != 2 or targets.shape != searches.shape:
        raise ValueError(
            f"{op}: targets and searches (N, C * cells) must be matrices of one shape; got "
            f"{targets.shape} and {searches.shape}"
        )
    if not 1 <= cells <= MAX_CELLS:
        raise ValueError(f"{op}: cells must be 1 to {MAX_CELLS}; got {cells}")
    if targets.shape[1] == 0 or targets.shape[1] % cells:
        raise ValueError(
            f"{op}: {targets.shape[1]} features are not some channels of {cells} cells each"
        )
    if not math.isfinite(scale):
        raise ValueError(f"{op}: scale must be finite; got {scale}")
