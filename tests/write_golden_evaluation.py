"""Writes ``golden/evaluation.json``: what the VOT toolkit and SciPy compute.

``python tests/write_golden_evaluation.py``, with vot-toolkit 0.7.4, attributee 0.1.9 and SciPy.  Numbers
have three decimals, so that the file holds exactly what was computed with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from vot.region import Polygon, Rectangle, calculate_overlap

GOLDEN = Path(__file__).parent / "golden" / "evaluation.json"
SIZE = (80, 60)
UNIT = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])


def raster_boxes(rng: np.random.Generator) -> list[Any]:
    """Pairs of boxes, some on half pixels, some hardly a pixel large, some over the image's edge."""
    found = []
    for i in range(150):
        box = rng.uniform([-20, -20, 0, 0], [80, 60, 50, 50])
        if i % 10 == 1:
            box[2:] = rng.uniform(0, 2, 2)
        other = box + rng.normal(0, [2, 0.5, 6, 12][i % 4], 4)
        digits = 3 if i % 10 else 0
        pair = np.round(np.stack([other, box]) * (1 if digits else 2), digits) / (
            1 if digits else 2
        )
        overlap = calculate_overlap(Rectangle(*pair[0]), Rectangle(*pair[1]), SIZE)
        found.append([*pair.tolist(), overlap])
    return found


def raster_quadrangles(rng: np.random.Generator) -> list[Any]:
    """A box and a quadrangle: most are rotated boxes, others upright, bent, flat, or cross themselves."""
    found = []
    for i in range(150):
        angle, middle = rng.uniform(0, 2 * np.pi), rng.uniform([0, 0], SIZE)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        corners = UNIT * rng.uniform(1, 25, 2) @ turn.T + middle
        match i % 10:
            case 0:
                corners = UNIT * np.round(rng.uniform(1, 25, 2)) + np.round(middle)
            case 1:
                corners += rng.normal(0, 10, (4, 2))
            case 2:
                corners[2] = (corners[0] + corners[1]) / 2
            case 3:
                corners[[1, 2]] = corners[[2, 1]]
        low, high = corners.min(axis=0), corners.max(axis=0)
        box = np.round(np.concatenate([low, high - low]) + rng.normal(0, 4, 4), 3)
        corners = np.round(corners, 3)
        overlap = calculate_overlap(
            Rectangle(*box), Polygon([tuple(corner) for corner in corners]), SIZE
        )
        found.append([box.tolist(), corners.ravel().tolist(), overlap])
    return found


def signed_rank(rng: np.random.Generator) -> list[Any]:
    """Differences without ties, with ties, and with zeros, by the normal approximation."""
    found = []
    for n, step in ((16, 0.001), (25, 0.001), (33, 0.001), (40, 0.5), (60, 0.25), (200, 0.1)):
        differences = np.round(np.round(rng.normal(0.3, 1, n) / step) * step, 3)
        p = stats.wilcoxon(differences, method="asymptotic", correction=False).pvalue
        found.append([differences.tolist(), float(p)])
    return found


def signed_rank_exact(rng: np.random.Generator) -> list[Any]:
    """Differences without ties: SciPy's exact test knows no others."""
    found = []
    for n in (1, 3, 5, 8, 12, 15):
        differences = np.round(rng.normal(0.4, 1, n), 3)
        p = stats.wilcoxon(differences, method="exact").pvalue
        found.append([differences.tolist(), float(p)])
    return found


def rank_sum(rng: np.random.Generator) -> list[Any]:
    """Counts, as failures are: nearly all tied."""
    found = []
    for n, m, mean in (
        (15, 15, 1),
        (15, 30, 0.3),
        (30, 45, 2),
        (15, 15, 0.1),
        (60, 60, 0.8),
        (1, 1, 1),
    ):
        first, second = rng.poisson(mean, n), rng.poisson(mean * 1.5 + 0.1, m)
        p = stats.mannwhitneyu(first, second, method="asymptotic").pvalue
        found.append([first.tolist(), second.tolist(), float(p)])
    return found


def main() -> None:
    rng = np.random.default_rng(7)
    golden = {
        "size": SIZE,
        "raster boxes": raster_boxes(rng),
        "raster quadrangles": raster_quadrangles(rng),
        "signed rank": signed_rank(rng),
        "signed rank, exact": signed_rank_exact(rng),
        "rank sum": rank_sum(rng),
    }
    GOLDEN.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
