"""Rows of what only moves numbers: pooling, normalisation, both in one kernel, and crops of a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from goturn.architecture import LRN, Architecture, MaxPool
from goturn.box import Box, search_window
from goturn.ops.cuda_tower import lrn_keywords, pool_keywords
from goturn.ops.reference import ReferenceOps
from goturn.ops.resample import window_table
from goturn.weights import Weights
from gpu.arrays import nchw, nhwc, numbers, random_values, rounded, stored
from gpu.costs import Cost
from gpu.device import Device
from gpu.networks import repeated
from gpu.rows import LIMITS, Case, Subject
from gpu.torch_network import lrn_builtin, lrn_slices
from track import BOX, HEIGHT, WIDTH, make_frames

CALLS = 20

#: Crops of a frame in one launch.
WINDOWS = (1, 64)

#: Images: a target and a search window, a chunk of the towers'.
IMAGES = (2, 16)


def stages(architecture: Architecture) -> list[tuple[MaxPool, LRN, tuple[int, int, int]]]:
    """The pools followed by a normalisation, with their input's (C, H, W)."""
    found, shapes = [], architecture.tower_shapes()
    for before, pool, norm in zip(
        architecture.tower, architecture.tower[1:], architecture.tower[2:], strict=False
    ):
        if isinstance(pool, MaxPool) and isinstance(norm, LRN):
            found.append((pool, norm, shapes[before.name]))
    return found


def cases(device: Device, weights: Weights) -> Iterator[Case]:
    """Each stage's pool, normalisation and both; then crops."""
    for pool, norm, shape in stages(weights.architecture):
        for images in IMAGES:
            for precision in ("fp32", "fp16"):
                for which in ("pool", "lrn", "pool+lrn"):
                    yield _case(device, (pool, norm), (images, *shape), precision, which)
    for count in WINDOWS:
        yield _crops(device, weights.architecture, count)


def _case(
    device: Device,
    layers: tuple[MaxPool, LRN],
    shape: tuple[int, int, int, int],
    precision: str,
    which: str,
) -> Case:
    pool, norm = layers
    x = np.maximum(random_values(12, *shape, scale=20.0), 0)
    sizes, how = pool_keywords(pool), lrn_keywords(norm)
    reference = ReferenceOps()
    pooled = tuple(device.kernels.max_pool_shape((shape[0], *shape[2:], shape[1]), **sizes))

    def want() -> np.ndarray:
        y = rounded(x[:2], precision).astype(np.float64)
        if which != "lrn":
            y = np.asarray(reference.max_pool(y, **sizes))
        if which != "pool":
            y = np.asarray(reference.lrn(y, **how))
        return y

    def ours() -> Subject:
        memory, kernels = device.memory, device.kernels
        images = memory.from_numpy(stored(nhwc(x), precision))
        y = memory.empty(images.shape if which == "lrn" else pooled, images.dtype)
        run: Callable[[], None] = {
            "pool": lambda: kernels.max_pool(images, y, **sizes, stream=device.pointer),
            "lrn": lambda: kernels.lrn(images, y, **how, stream=device.pointer),
            "pool+lrn": lambda: kernels.max_pool_lrn(
                images, y, **sizes, **how, stream=device.pointer
            ),
        }[which]
        launch = device.capture(repeated(run, CALLS))
        return Subject(launch, lambda: nchw(numbers(memory.to_numpy(y)))[:2])

    size = 2 if precision == "fp16" else 4
    outputs = math.prod(shape) if which == "lrn" else math.prod(pooled)
    name = {"pool": pool.name, "lrn": norm.name, "pool+lrn": f"{pool.name}+{norm.name}"}[which]
    at = "" if which != "lrn" else f" at {shape[2]}x{shape[3]}"
    return Case(
        name=f"{name}{at}, {shape[0]} images, {precision}",
        ours=ours,
        peers=_peers(device, layers, x, precision, which),
        costs=[Cost(size * (math.prod(shape) + outputs), 0)],
        want=want,
        limit=LIMITS[precision],
        calls=CALLS,
    )


def _peers(
    device: Device, layers: tuple[MaxPool, LRN], x: np.ndarray, precision: str, which: str
) -> dict[str, Callable[[], Subject]]:
    if device.torch is None:
        return {}
    torch, (pool, norm) = device.torch, layers

    def prepare(channels_last: bool, lrn: Callable[[Any, Any, LRN], Any]) -> Subject:
        order = torch.channels_last if channels_last else torch.contiguous_format
        images = device.tensor(x, precision).contiguous(memory_format=order)
        answer: list[Any] = [None]

        def enqueue() -> None:
            y = images
            if which != "lrn":
                y = torch.nn.functional.max_pool2d(y, pool.kernel, pool.stride, ceil_mode=True)
            answer[0] = y if which == "pool" else lrn(torch, y, norm)

        with torch.inference_mode():
            launch = device.torch_capture(repeated(enqueue, CALLS))
        return Subject(launch, lambda: answer[0][:2].float().cpu().contiguous().numpy())

    peers = {
        "NCHW": lambda: prepare(False, lrn_builtin),
        "channels_last": lambda: prepare(True, lrn_builtin),
    }
    if which != "pool":
        peers["channels_last, LRN by slices"] = lambda: prepare(True, lrn_slices)
    return peers


# -- crops ---------------------------------------------------------------------------------------


def _crops(device: Device, architecture: Architecture, count: int) -> Case:
    p = architecture.preprocessing
    frame = make_frames()[0]
    x, y, w, h = BOX
    boxes = [Box(float(x + 3 * i), float(y - 2 * i), float(w + i), float(h)) for i in range(count)]
    windows = [search_window(box, WIDTH, HEIGHT, p.context_factor) for box in boxes]
    sizes: dict[str, Any] = {
        "size": p.input_size,
        "mean": p.mean,
        "colour_order": p.colour_order,
    }

    def want() -> np.ndarray:
        exact = ReferenceOps().crop_resize(frame, windows[:2], **sizes)
        return np.asarray(exact, np.float64)

    def ours() -> Subject:
        memory, kernels = device.memory, device.kernels
        pixels = memory.from_numpy(frame)
        job = memory.from_numpy(kernels.pack_crop_job(pixels, window_table(windows)))
        crops = memory.empty((count, 3, p.input_size, p.input_size), np.float32)
        launch = device.capture(
            repeated(lambda: kernels.crop_resize(job, crops, **sizes, stream=device.pointer), CALLS)
        )
        # The job has the frame's address.
        return Subject(launch, lambda: memory.to_numpy(crops)[:2], keep=pixels)

    def theirs() -> Subject:
        torch = device.torch
        functional = torch.nn.functional
        pixels = device.tensor(frame)
        mean = device.tensor(np.array(p.mean, np.float32)).reshape(1, 3, 1, 1)
        theta = np.zeros((count, 2, 3), np.float32)
        for row, v in zip(theta, windows, strict=True):
            left, top = v.left - v.paste_x, v.top - v.paste_y
            row[0] = (v.width / WIDTH, 0, (2 * left + v.width) / WIDTH - 1)
            row[1] = (0, v.height / HEIGHT, (2 * top + v.height) / HEIGHT - 1)
        maps, side = device.tensor(theta), p.input_size
        answer: list[Any] = [None]

        def enqueue() -> None:
            image = pixels.permute(2, 0, 1).unsqueeze(0).float()
            grid = functional.affine_grid(maps, (count, 3, side, side), align_corners=False)
            crops = functional.grid_sample(
                image, grid.reshape(1, count * side, side, 2), align_corners=False
            )
            answer[0] = crops.reshape(3, count, side, side).transpose(0, 1) - mean

        with torch.inference_mode():
            launch = device.torch_capture(repeated(enqueue, CALLS))
        return Subject(launch, lambda: answer[0][:2].cpu().contiguous().numpy())

    shown = sum(3 * v.columns * v.rows for v in windows)
    return Case(
        name=f"crop_resize, {count} windows",
        ours=ours,
        peers={} if device.torch is None else {"affine_grid, grid_sample": theirs},
        costs=[Cost(shown + 4 * 3 * count * p.input_size**2, 0)],
        want=want,
        limit=0.02,  # ours is OpenCV's, in fixed point; theirs is in float
        calls=CALLS,
    )
