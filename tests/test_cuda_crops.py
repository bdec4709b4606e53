"""Crops on the GPU as the first convolution takes them, and from frames and windows that change in place;
their pixels are test_crop_resize.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cuda_device import (
    MODULES,
    TYPES,
    Device,
    empty,
    load_device,
    stored,
)
from goturn.box import Box, search_window
from goturn.ops.reference import ReferenceOps
from goturn.ops.resample import window_table

REFERENCE = ReferenceOps()


@pytest.fixture(params=MODULES)
def device(request: pytest.FixtureRequest) -> Device:
    return load_device(request.param)


MEAN = (104.0, 117.0, 123.5)
#: Size, block and channels: the network's, padded, ragged, of more columns than threads.
SHAPES = [(35, 4, 48), (35, 4, 64), (36, 4, 48), (13, 1, 3), (13, 1, 8), (29, 2, 13), (9, 3, 32)]
SHAPES += [(40, 11, 363), (300, 1, 4), (5, 5, 75)]

BOXES = [Box(20, 12, 16, 12), Box(-6.5, 20.25, 17, 9), Box(500, 400, 3, 3), Box(-90, -90, 260, 220)]


def frames() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(3)
    for channels in (1, 3, 4):
        yield rng.integers(0, 256, (48, 64, channels), np.uint8)
    yield rng.integers(0, 256, (64, 48, 3), np.uint8)[::-1].transpose(1, 0, 2)


def crops_in_depth(planes: np.ndarray, block: int, channels: int) -> np.ndarray:
    """Crops (N, 3, size, size) with the pixels of block x block as channels of one."""
    count, _, size, _ = planes.shape
    side = -(-size // block)
    depth = np.zeros((count, side, side, channels), np.float32)
    for place in range(block * block):
        pixels = planes[:, :, place // block :: block, place % block :: block]
        rows, columns = pixels.shape[2:]
        depth[:, :rows, :columns, 3 * place : 3 * place + 3] = pixels.transpose(0, 2, 3, 1)
    return depth


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "shape",
    SHAPES,
    ids=str,
)
@pytest.mark.parametrize("colour_order", ["BGR", "RGB"])
def test_crops_as_space_to_depth(
    device: Device, shape: tuple[int, int, int], colour_order: str, kind: str
) -> None:
    size, block, channels = shape
    for frame in frames() if size < 100 else [next(frames())]:
        windows = [search_window(box, frame.shape[1], frame.shape[0]) for box in BOXES]
        parameters: dict[str, Any] = {"size": size, "mean": MEAN, "colour_order": colour_order}
        planes = REFERENCE.crop_resize(frame, windows, **parameters)
        pixels = device.put(frame)
        job = device.put(device.kernels.pack_crop_job(pixels, window_table(windows)))
        side = -(-size // block)
        crops = device.put(empty((len(windows), side, side, channels), kind))
        device.kernels.crop_resize(job, crops, block=block, stream=device.stream, **parameters)
        want = stored(crops_in_depth(planes, block, channels), kind)
        np.testing.assert_array_equal(device.get(crops), want)


@pytest.mark.parametrize("block", [0, 4])
def test_frame_and_windows_are_read_when_crops_are_made(device: Device, block: int) -> None:
    size = 227
    parameters: dict[str, Any] = {"size": size, "mean": MEAN, "colour_order": "BGR"}
    job = device.put(np.zeros(device.kernels.crop_job_bytes(2), np.uint8))
    shape = (2, 57, 57, 48) if block else (2, 3, size, size)
    crops = device.put(empty(shape))
    for frame in frames():
        for boxes in (BOXES[:2], BOXES[2:]):
            windows = [search_window(box, frame.shape[1], frame.shape[0]) for box in boxes]
            pixels = device.put(frame)
            job[:] = device.put(device.kernels.pack_crop_job(pixels, window_table(windows)))
            device.kernels.crop_resize(job, crops, block=block, stream=device.stream, **parameters)
            want = REFERENCE.crop_resize(frame, windows, **parameters)
            want = crops_in_depth(want, block, 48) if block else want
            np.testing.assert_array_equal(device.get(crops), want)


#: From what is on the device to the frame that it holds, at strides that frames may come with.
VIEWS: dict[str, Callable[[Any], Any]] = {
    "sparse": lambda pixels: pixels[::2, 1::3, 2:5],
    "upside down": lambda pixels: pixels[::-1, :, :3],
    "mirrored": lambda pixels: pixels[:, ::-1, :1],
    "all reversed": lambda pixels: pixels[::-1, ::-1, 3::-1],
    "sideways": lambda pixels: pixels[:, :, 1:4].transpose(1, 0, 2),
    "one row for all": lambda pixels: pixels[5:40:35, 3:50, :4],
}


@pytest.mark.parametrize("block", [0, 4])
@pytest.mark.parametrize("view", VIEWS)
def test_frames_at_any_strides(device: Device, view: str, block: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (90, 120, 7), np.uint8)
    frame = VIEWS[view](pixels)
    windows = [search_window(box, frame.shape[1], frame.shape[0]) for box in BOXES]
    parameters: dict[str, Any] = {"size": 50, "mean": MEAN, "colour_order": "RGB"}
    want = REFERENCE.crop_resize(frame, windows, **parameters)
    want = crops_in_depth(want, block, 48) if block else want
    there = VIEWS[view](device.put(pixels))
    job = device.put(device.kernels.pack_crop_job(there, window_table(windows)))
    crops = device.put(empty(want.shape))
    device.kernels.crop_resize(job, crops, block=block, stream=device.stream, **parameters)
    np.testing.assert_array_equal(device.get(crops), want)
