"""The two tests by which VOT tells whether trackers differ, two-sided, without SciPy.

They are those of the archived VOT toolkit, MATLAB's ``signrank`` and ``ranksum`` with default settings:

* :func:`signed_rank`: differences of 0 are left out; exact for up to 15 others, ties included, else the
  normal approximation with its correction for ties and none for continuity (SciPy's
  ``wilcoxon(method="asymptotic")``);
* :func:`rank_sum`: the normal approximation with corrections for ties and continuity (SciPy's
  ``mannwhitneyu(method="asymptotic")``).  MATLAB is exact where a sample has less than 10 values and both
  have less than 20; that never happens in a ranking, which has 15 repetitions of each fragment.
"""

from __future__ import annotations

import math

import numpy as np

#: Up to so many differences the signed-rank test is exact.
EXACT = 15


def signed_rank(differences: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test that paired differences are symmetric about 0.

    Args:
        differences: (n,) finite.

    Returns:
        In [0, 1]; 1 where there is no difference but 0.

    Raises:
        ValueError: a difference is NaN or infinite.
    """
    values = _finite(differences)
    values = values[values != 0]
    n = len(values)
    if n == 0:
        return 1.0
    ranks, ties = mid_ranks(np.abs(values))
    positive = float(ranks[values > 0].sum())
    if n <= EXACT:
        return _exact_signed_rank(ranks, min(positive, float(ranks.sum()) - positive))
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return _two_sided((positive - n * (n + 1) / 4) / math.sqrt(variance))


def rank_sum(first: np.ndarray, second: np.ndarray) -> float:
    """p of the rank-sum (Mann-Whitney) test that neither of two samples tends to be larger.

    Args:
        first: (n,) finite, n >= 1.
        second: (m,) finite, m >= 1.

    Returns:
        In [0, 1]; 1 where all values are equal.

    Raises:
        ValueError: a sample is empty, or has a value that is NaN or infinite.
    """
    a, b = _finite(first), _finite(second)
    n, m = len(a), len(b)
    if not n or not m:
        raise ValueError(f"a rank-sum test needs two samples; got {n} and {m} values")
    ranks, ties = mid_ranks(np.concatenate([a, b]))
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    away = abs(float(ranks[:n].sum()) - n * (total + 1) / 2)
    return min(1.0, _two_sided((away - 0.5) / math.sqrt(variance))) if away > 0 else 1.0


def mid_ranks(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Ranks from 1, equal values their mean; and the sum of t^3 - t over groups of t equal values."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    ranks = (last - (sizes - 1) / 2)[group.reshape(-1)]
    counts = sizes.astype(np.float64)
    return np.asarray(ranks), float((counts**3 - counts).sum())


def _exact_signed_rank(ranks: np.ndarray, smaller: float) -> float:
    """Twice the probability of a sum of ranks of at most ``smaller`` if signs are a coin's."""
    twice = np.rint(2 * ranks).astype(np.int64)  # mid-ranks are halves
    ways = np.zeros(int(twice.sum()) + 1)
    ways[0] = 1
    for rank in twice.tolist():
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    tail = float(ways[: round(2 * smaller) + 1].sum())
    return min(1.0, 2 * tail / 2.0 ** len(ranks))


def _two_sided(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2))


def _finite(values: np.ndarray) -> np.ndarray:
    array = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise ValueError("a significance test needs finite numbers; leave out frames without one")
    return array
