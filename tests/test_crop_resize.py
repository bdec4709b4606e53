"""crop_resize: bit for bit OpenCV's resize of a canvas that is never made, on every backend alike."""

from __future__ import annotations

import platform
import resource
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import BACKENDS, load_backend
from goturn.box import Box, SearchWindow, search_window
from goturn.ops.cpu import CpuOps
from goturn.ops.reference import ReferenceOps

MEAN = (104.0, 117.0, 123.5)

#: Elsewhere OpenCV resizes with the processor's own routines, which may differ by one level.
OPENCV_TOLERANCE = 0 if platform.machine() in ("x86_64", "AMD64") else 1

Crop = Callable[..., np.ndarray]
reference: Crop = ReferenceOps().crop_resize
native: Crop = CpuOps().crop_resize


@pytest.fixture(params=BACKENDS)
def crop_resize(request: pytest.FixtureRequest) -> Crop:
    ops = load_backend(request.param)

    def crops(frame: np.ndarray, windows: Sequence[SearchWindow], **parameters: Any) -> np.ndarray:
        return ops.to_numpy(ops.crop_resize(frame, windows, **parameters))

    return crops


def random_frame(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8)


def whole(frame: np.ndarray) -> SearchWindow:
    """The window that is the frame and nothing else."""
    height, width = frame.shape[:2]
    return SearchWindow(0, 0, 0, 0, width, height, 0, 0, width, height)


def by_opencv(frame: np.ndarray, window: SearchWindow, size: int) -> np.ndarray:
    """(3, size, size) float32: the canvas made, pasted, resized, converted, less the mean."""
    w = window
    canvas = np.zeros((w.height, w.width, frame.shape[2]), np.uint8)
    canvas[w.paste_y : w.paste_y + w.rows, w.paste_x : w.paste_x + w.columns] = frame[
        w.top : w.top + w.rows, w.left : w.left + w.columns
    ]
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_LINEAR)
    small = small.reshape(size, size, -1)
    small = np.repeat(small, 3, axis=2) if small.shape[2] == 1 else small[:, :, :3]
    return (small.astype(np.float32) - np.asarray(MEAN, np.float32)).transpose(2, 0, 1)


def assert_like_opencv(crops: np.ndarray, frame: np.ndarray, window: SearchWindow) -> None:
    size = crops.shape[-1]
    assert crops.dtype == np.float32
    np.testing.assert_allclose(
        crops[0], by_opencv(frame, window, size), rtol=0, atol=OPENCV_TOLERANCE
    )


# -- against OpenCV ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("height", "width"),
    [
        *[(1, 1), (1, 227), (227, 1), (2, 2), (3, 1000), (2000, 1)],
        *[(227, 227), (454, 454), (681, 681), (908, 908)],  # equal and whole ratios
        *[(454, 227), (227, 454), (453, 455), (226, 228), (113, 114)],
        *[(400, 400), (719, 1279), (1999, 1777)],
    ],
)
def test_canvas_of_this_size(crop_resize: Crop, height: int, width: int, channels: int) -> None:
    frame = random_frame(height * width, height, width, channels)
    crops = crop_resize(frame, [whole(frame)], size=227, mean=MEAN)
    assert_like_opencv(crops, frame, whole(frame))


@pytest.mark.parametrize("seed", range(60))
def test_random_canvases_and_sizes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = (int(v) for v in generator.integers(1, 2001 if seed % 2 else 300, 2))
    size = 227 if seed % 3 else int(generator.integers(1, 400))
    frame = random_frame(seed, height, width, (1, 3, 4)[seed % 3])
    crops = native(frame, [whole(frame)], size=size, mean=MEAN)
    assert_like_opencv(crops, frame, whole(frame))
    np.testing.assert_array_equal(reference(frame, [whole(frame)], size=size, mean=MEAN), crops)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 64, 227, 300])
def test_halving_and_copying(crop_resize: Crop, size: int) -> None:
    # OpenCV has code of its own for these two; here they must come out of the general formula.
    for extent in (size, 2 * size):
        frame = random_frame(extent, extent, extent)
        assert_like_opencv(
            crop_resize(frame, [whole(frame)], size=size, mean=MEAN), frame, whole(frame)
        )


@pytest.mark.parametrize("shape", [(1, 2**25 + 3), (2**24 + 17, 1)])
def test_canvas_beyond_float32_precision(crop_resize: Crop, shape: tuple[int, int]) -> None:
    frame = random_frame(7, *shape, channels=1)
    crops = crop_resize(frame, [whole(frame)], size=61, mean=MEAN)
    assert_like_opencv(crops, frame, whole(frame))


def test_extreme_values_do_not_wrap(crop_resize: Crop) -> None:
    for value in (0, 255):
        frame = np.full((333, 211, 3), value, np.uint8)
        assert_like_opencv(
            crop_resize(frame, [whole(frame)], size=227, mean=MEAN), frame, whole(frame)
        )


# -- windows in and about the frame --------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        Box(40, 30, 60, 50),  # inside
        Box(-20, -10, 50, 60),  # over the top left
        Box(150, 100, 60, 40),  # over the bottom right
        Box(-100, -100, 400, 400),  # around the frame
        Box(-500, 20, 30, 30),  # outside on each side
        Box(700, 20, 30, 30),
        Box(20, -500, 30, 30),
        Box(20, 900, 30, 30),
        Box(50, 40, 0, 0),  # empty, inverted
        Box(50, 40, -30, -20),
        Box(10.3, 20.7, 33.1, 0.2),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_search_windows(crop_resize: Crop, box: Box, channels: int) -> None:
    frame = random_frame(3, 120, 180, channels)
    window = search_window(box, 180, 120)
    assert_like_opencv(crop_resize(frame, [window], size=227, mean=MEAN), frame, window)


def test_outside_is_black_less_the_mean(crop_resize: Crop) -> None:
    frame = np.full((10, 10, 3), 255, np.uint8)
    window = SearchWindow(0, 0, 50, 50, 100, 100, 0, 0, 10, 10)
    crops = crop_resize(frame, [window], size=100, mean=(10, 20, 0))
    expected = np.zeros((3, 100, 100), np.float32)
    expected[:, 50:60, 50:60] = 255
    expected -= np.array([10, 20, 0], np.float32).reshape(3, 1, 1)
    np.testing.assert_array_equal(crops[0], expected)
    assert not np.signbit(crops[0, 2]).any()  # no negative zeros


@settings(deadline=None, max_examples=200)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4])),
    box=st.tuples(*[st.floats(-90, 90), st.floats(-90, 90), st.floats(-9, 90), st.floats(-9, 90)]),
    size=st.integers(1, 50),
    colour_order=st.sampled_from(["BGR", "RGB"]),
)
def test_backends_agree_with_each_other_and_opencv(
    shape: tuple[int, int, int],
    box: tuple[float, float, float, float],
    size: int,
    colour_order: str,
) -> None:
    frame = random_frame(sum(shape), *shape)
    window = search_window(Box(*box), shape[1], shape[0])
    crops = native(frame, [window], size=size, mean=MEAN, colour_order=colour_order)
    same = reference(frame, [window], size=size, mean=MEAN, colour_order=colour_order)
    np.testing.assert_array_equal(crops, same)
    if colour_order == "BGR":
        assert_like_opencv(crops, frame, window)


@settings(deadline=None, max_examples=100)
@given(
    box=st.tuples(*[st.floats(-1e9, 1e9)] * 4),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_backends_agree_on_windows_of_any_size(
    box: tuple[float, float, float, float], shape: tuple[int, int]
) -> None:
    frame = random_frame(1, *shape)
    window = search_window(Box(*box), shape[1], shape[0])
    np.testing.assert_array_equal(
        native(frame, [window], size=33, mean=MEAN), reference(frame, [window], size=33, mean=MEAN)
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_frame_of_one_pixel(crop_resize: Crop, channels: int) -> None:
    frame = random_frame(5, 1, 1, channels)
    for box in (Box(0, 0, 1, 1), Box(-3, -3, 7, 7), Box(5, 5, 1, 1)):
        window = search_window(box, 1, 1)
        assert_like_opencv(crop_resize(frame, [window], size=20, mean=MEAN), frame, window)


def test_huge_windows_take_no_memory(crop_resize: Crop) -> None:
    frame = random_frame(9, 480, 640)
    boxes = [Box(-5e8, -5e8, 1e9, 1e9), Box(0, 0, 1e9, 1), Box(1e9, -1e9, 1e9, 1e9)]
    windows = [search_window(box, 640, 480) for box in boxes]
    assert windows[0].width == 2 * 10**9

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        crops = crop_resize(frame, windows, size=227, mean=MEAN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert peak < 20e6
    assert grown * 1024 < 40e6  # what C++ allocates is not traced
    # Samples of the first window are 9 million pixels apart: the middle one alone can see the frame.
    crops[0, :, 113, 113] = -np.asarray(MEAN, np.float32)
    for plane, mean in zip(crops[0], MEAN, strict=True):
        np.testing.assert_array_equal(plane, np.float32(-mean))


# -- frames as they come -------------------------------------------------------------------------


def strided_views(frame: np.ndarray) -> dict[str, np.ndarray]:
    """Frames with the shape, but not the layout, that a camera gives."""
    padded = np.zeros((frame.shape[0] * 2, frame.shape[1] * 3, 7), np.uint8)
    padded[::2, 1::3, 2:5] = frame
    four = np.dstack([frame, frame[:, :, :1]])
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1))
    return {
        "sparse": padded[::2, 1::3, 2:5],
        "row padding": np.pad(frame, ((0, 0), (0, 9), (0, 0)))[:, :-9],
        "upside down": np.ascontiguousarray(frame[::-1])[::-1],
        "mirrored": np.ascontiguousarray(frame[:, ::-1])[:, ::-1],
        "RGB read as BGR": np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1],
        "all reversed": np.ascontiguousarray(frame[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "planar": planes.transpose(1, 2, 0),
        "column-major": np.asfortranarray(frame),
        "three of four channels": four[:, :, :3],
    }


VIEWS = list(strided_views(random_frame(0, 2, 2)))


@pytest.mark.parametrize("view", VIEWS)
def test_any_strides(crop_resize: Crop, view: str) -> None:
    frame = random_frame(11, 90, 70)
    strided = strided_views(frame)[view]
    np.testing.assert_array_equal(strided, frame)
    windows = [search_window(box, 70, 90) for box in (Box(10, 10, 30, 40), Box(50, 70, 40, 40))] + [
        whole(frame)
    ]
    np.testing.assert_array_equal(
        crop_resize(strided, windows, size=64, mean=MEAN),
        reference(frame, windows, size=64, mean=MEAN),
    )


def test_broadcast_and_read_only_frames(crop_resize: Crop) -> None:
    grey = random_frame(12, 30, 40, 1)
    frame = np.broadcast_to(grey, (30, 40, 3))
    assert not frame.flags.writeable
    np.testing.assert_array_equal(
        crop_resize(frame, [whole(grey)], size=32, mean=MEAN),
        crop_resize(grey, [whole(grey)], size=32, mean=MEAN),
    )


def test_alpha_is_dropped(crop_resize: Crop) -> None:
    frame = random_frame(13, 50, 60, 4)
    window = search_window(Box(30, 20, 40, 40), 60, 50)
    np.testing.assert_array_equal(
        crop_resize(frame, [window], size=40, mean=MEAN),
        crop_resize(np.ascontiguousarray(frame[:, :, :3]), [window], size=40, mean=MEAN),
    )


def test_colour_order_reverses_planes(crop_resize: Crop) -> None:
    frame = random_frame(14, 50, 60)
    window = search_window(Box(30, 20, 40, 40), 60, 50)
    bgr = crop_resize(frame, [window], size=40, mean=(1, 2, 3))
    rgb = crop_resize(frame, [window], size=40, mean=(3, 2, 1), colour_order="RGB")
    np.testing.assert_array_equal(rgb, bgr[:, ::-1])


def test_frame_is_not_written(crop_resize: Crop) -> None:
    frame = random_frame(15, 50, 60)
    copy = frame.copy()
    crop_resize(frame, [whole(frame)], size=40, mean=MEAN)
    np.testing.assert_array_equal(frame, copy)


# -- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_batch_is_its_windows_one_by_one(crop_resize: Crop, channels: int) -> None:
    frame = random_frame(16, 100, 120, channels)
    boxes = [Box(10, 10, 30, 30), Box(-400, 5, 10, 10), Box(80, 70, 90, 90), Box(10, 10, 30, 30)]
    windows = [search_window(box, 120, 100) for box in boxes]
    batch = crop_resize(frame, windows, size=50, mean=MEAN)
    assert batch.shape == (4, 3, 50, 50)
    assert batch.flags.c_contiguous
    for index, window in enumerate(windows):
        alone = crop_resize(frame, [window], size=50, mean=MEAN)
        np.testing.assert_array_equal(batch[index : index + 1], alone)


def test_no_windows(crop_resize: Crop) -> None:
    assert crop_resize(random_frame(0, 4, 4), [], size=9, mean=MEAN).shape == (0, 3, 9, 9)


# -- errors --------------------------------------------------------------------------------------

FRAME = np.zeros((20, 30, 3), np.uint8)
WINDOW = SearchWindow(0, 0, 2, 3, 40, 50, 1, 2, 10, 12)


@pytest.mark.parametrize(
    ("error", "changes", "sentence"),
    [
        (TypeError, {"frame": FRAME.astype(np.float32)}, "frame must be .* uint8; got float32"),
        (TypeError, {"frame": [[1]]}, "frame must be an array of uint8; got list"),
        (ValueError, {"frame": FRAME[0]}, r"frame must be \(H, W, C\) .*; got \(30, 3\)"),
        (ValueError, {"frame": FRAME[:, :, :2]}, r"C of 1, 3 or 4; got \(20, 30, 2\)"),
        (ValueError, {"frame": FRAME[:0]}, r"at least one pixel .*; got \(0, 30, 3\)"),
        (ValueError, {"size": 0}, "size must be 1 to 8192 pixels; got 0"),
        (ValueError, {"size": 8193}, "size must be 1 to 8192 pixels; got 8193"),
        (ValueError, {"mean": (1, 2)}, "mean must be three numbers between -1e6 and 1e6"),
        (ValueError, {"mean": (1, 2, float("nan"))}, "mean must be three numbers between"),
        (ValueError, {"mean": (1, 2, float("inf"))}, "mean must be three numbers between"),
        (ValueError, {"colour_order": "GBR"}, "colour_order must be BGR or RGB; got GBR"),
        (TypeError, {"windows": [(1, 2, 3)]}, "windows must be a sequence of SearchWindow"),
        (TypeError, {"windows": 5}, "windows must be a sequence of SearchWindow"),
    ],
)
def test_errors(
    crop_resize: Crop, error: type[Exception], changes: dict[str, object], sentence: str
) -> None:
    arguments = {"frame": FRAME, "windows": [WINDOW], "size": 10, "mean": MEAN, **changes}
    with pytest.raises(error, match=f"^crop_resize: .*{sentence}"):
        crop_resize(arguments.pop("frame"), arguments.pop("windows"), **arguments)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 0}, "canvas must be 1 to 9007199254740992 pixels in x; got 0"),
        ({"height": -5}, "canvas must be 1 to .* pixels in y; got -5"),
        ({"width": 2**53 + 1}, "canvas must be 1 to"),
        ({"left": -1}, "10 pixels from -1 in x, is not inside the frame of 30"),
        ({"left": 21}, "10 pixels from 21 in x, is not inside the frame of 30"),
        ({"top": 9}, "12 pixels from 9 in y, is not inside the frame of 20"),
        ({"columns": 0}, "0 pixels from 1 in x, is not inside the frame of 30"),
        ({"columns": -(2**63)}, "is not inside the frame of 30"),
        ({"columns": 2**63 - 1}, "is not inside the frame of 30"),
        ({"left": 2**63 - 1}, "is not inside the frame of 30"),
        ({"rows": 19}, "19 pixels from 2 in y, is not inside the frame of 20"),
        ({"edge_x": 31.0}, "10 pixels at 31 in x, is not inside the canvas of 40"),
        ({"edge_y": -1.0}, "12 pixels at -1 in y, is not inside the canvas of 50"),
        ({"edge_y": 1e18}, "is not inside the canvas of 50"),
        ({"width": 9}, "10 pixels at 2 in x, is not inside the canvas of 9"),
    ],
)
def test_windows_that_do_not_fit(
    crop_resize: Crop, changes: dict[str, float], sentence: str
) -> None:
    windows = [WINDOW, WINDOW._replace(**changes)]
    with pytest.raises(ValueError, match=f"^crop_resize: window 1: .*{sentence}"):
        crop_resize(FRAME, windows, size=10, mean=MEAN)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_edge_spacing_that_is_not_finite(crop_resize: Crop, value: float) -> None:
    with pytest.raises(ValueError, match="a window's edge spacing must be finite"):
        crop_resize(FRAME, [WINDOW._replace(edge_x=value)], size=10, mean=MEAN)


@pytest.mark.parametrize("value", [10.5, float("nan"), 2**64])
def test_window_sizes_that_are_not_whole(crop_resize: Crop, value: float) -> None:
    with pytest.raises(TypeError, match="must be whole numbers of 64 bits"):
        crop_resize(FRAME, [WINDOW._replace(columns=value)], size=10, mean=MEAN)
