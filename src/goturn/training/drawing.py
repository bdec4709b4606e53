"""Training examples as pictures, to be looked at before a long run."""

from __future__ import annotations

import cv2
import numpy as np

from goturn.architecture import Preprocessing
from goturn.box import Box, SearchWindow, unscale
from goturn.ops import get_ops
from goturn.overlay import draw_boxes
from goturn.training.examples import Examples, Item

#: Width of the gap between pictures, pixels.
_GAP = 6
_PAPER = 245


def draw_examples(
    examples: Examples, count: int, *, side: int = Preprocessing().input_size, per_item: int = 4
) -> np.ndarray:
    """The first examples of ``count`` items, one item a row: its target, then search windows.

    The box is drawn where the network is to find the object; in the target, where it is: in the middle,
    unless the image's edge is near.

    Args:
        examples: their source.
        count: items, the first ones.
        side: of a crop, pixels.
        per_item: search windows of each: the true one first.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    rows = [_row(examples.item(number), side, per_item) for number in range(count)]
    width = max(row.shape[1] for row in rows)
    padded = [
        cv2.copyMakeBorder(
            row, _GAP, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=(_PAPER,) * 3
        )
        for row in rows
    ]
    return np.concatenate(padded)


def _row(item: Item, side: int, per_item: int) -> np.ndarray:
    shown = item.searches[:per_item]
    crops = [_crop(item.previous, item.target, side)]
    for window, label in zip(shown, item.labels, strict=False):
        box = unscale(label, window)
        across, down = side / window.width, side / window.height
        drawn = Box(box.x * across, box.y * down, box.w * across, box.h * down)
        crops.append(draw_boxes(_crop(item.current, window, side), {0: drawn}))
    gap = np.full((side, _GAP, 3), _PAPER, np.uint8)
    pictures = [part for crop in crops for part in (gap, crop)]
    caption = np.full((22, sum(part.shape[1] for part in pictures), 3), _PAPER, np.uint8)
    text = f"{item.source}: target, true search window, {len(shown) - 1} drawn"
    cv2.putText(
        caption, text, (_GAP, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40,) * 3, 1, cv2.LINE_AA
    )
    return np.concatenate([caption, np.concatenate(pictures, axis=1)])


def _crop(frame: np.ndarray, window: SearchWindow, side: int) -> np.ndarray:
    """The window as the network sees it, as an image."""
    planes = get_ops("reference").crop_resize(frame, [window], size=side, mean=(0.0, 0.0, 0.0))
    image: np.ndarray = np.ascontiguousarray(planes[0].transpose(1, 2, 0)).astype(np.uint8)
    return image
