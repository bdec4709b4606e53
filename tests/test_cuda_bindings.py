"""What the bindings of the GPU's kernels refuse, so that no kernel reads or writes what is not its own.

On the emulation, whose arrays are NumPy's; the checks are the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from emulated import NumpyMemory, emulated_kernels
from goturn.box import SearchWindow
from goturn.ops.cuda import CudaOps
from goturn.ops.resample import window_table

MEMORY = NumpyMemory()
POOL = {"kernel": 3, "stride": 2, "pad": 0}
CONV: dict[str, Any] = {"stride": 1, "pad": 1, "groups": 1}
WINDOW = SearchWindow(0, 0, 2, 3, 40, 50, 1, 2, 10, 12)
CROPS: dict[str, Any] = {"size": 10, "mean": (1.0, 2.0, 3.0), "colour_order": "BGR"}


@pytest.fixture
def kernels() -> Any:
    return emulated_kernels()


@pytest.fixture
def capability_75(kernels: Any) -> Iterator[None]:
    kernels.set_emulation(capability=75)
    yield
    kernels.set_emulation(capability=90)


def zeros(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return MEMORY.zeros(shape, dtype)


def scratch(kernels: Any, size: int = 0) -> dict[str, Any]:
    return {
        "products": "scalar",
        "workspace": MEMORY.empty((size,), np.uint8),
        "counters": MEMORY.zeros((kernels.COUNTERS,), np.int32),
        "stream": 0,
    }


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, 3, [1.0], "x", b"x", object()])
def test_what_is_no_array(kernels: Any, given: Any) -> None:
    kind = type(given).__name__
    with pytest.raises(TypeError, match=f"^relu: x must be an array of float32; got {kind}$"):
        kernels.relu(given, zeros(3), stream=0)


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", "i4", "?", "c8", "U3", "M8[s]", "i4,f4", "O"])
def test_dtypes_of_another_kind(kernels: Any, dtype: str) -> None:
    given = np.zeros(3, dtype)
    with pytest.raises(TypeError, match=r"^relu: x must be an array of float32; got "):
        kernels.relu(given, zeros(3), stream=0)


class Described:
    """An object that says of itself what ``interface`` says."""

    def __init__(self, **interface: Any) -> None:
        memory = zeros(3)
        self.memory = memory
        self.__array_interface__ = {**memory.__array_interface__, **interface}


def test_any_object_with_the_interface_will_do(kernels: Any) -> None:
    x, y = zeros(3), zeros(3)
    x[:] = [1, -1, 2]
    kernels.relu(
        Described(data=(x.ctypes.data, True)), Described(data=(y.ctypes.data, False)), stream=0
    )
    assert y.tolist() == [1, 0, 2]
    kernels.relu(Described(strides=(4,)), zeros(3), stream=0)


@pytest.mark.parametrize(
    "interface",
    [
        {"shape": 3},
        {"shape": (3, "x")},
        {"shape": (-3,)},
        {"typestr": 7},
        {"typestr": ""},
        {"data": None},
        {"data": (1,)},
        {"data": (-1, False)},
        {"strides": (4, 4)},
        {"strides": ("x",)},
    ],
)
def test_interfaces_that_make_no_sense(kernels: Any, interface: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^relu: x has a __array_interface__ that makes no sense$"):
        kernels.relu(Described(**interface), zeros(3), stream=0)


# -- results -------------------------------------------------------------------------------------


def test_results_of_another_shape(kernels: Any) -> None:
    with pytest.raises(ValueError, match=r"^relu: y has shape \(4,\), expected \(3,\)$"):
        kernels.relu(zeros(3), zeros(4), stream=0)
    with pytest.raises(ValueError, match=r"y has shape \(2, 3, 3, 5\), expected \(2, 4, 4, 5\)"):
        kernels.max_pool(zeros(2, 9, 9, 5), zeros(2, 3, 3, 5), **POOL, stream=0)
    with pytest.raises(ValueError, match=r"dweight has shape .* expected|weight has .* channels"):
        kernels.conv2d_backward_weight(
            zeros(1, 4, 4, 8), zeros(1, 4, 4, 2), zeros(8, 3, 3, 1), zeros(8), **CONV,
            **scratch(kernels),
        )  # fmt: skip


def test_results_that_cannot_be_written(kernels: Any) -> None:
    y = zeros(3)
    y.flags.writeable = False
    with pytest.raises(ValueError, match=r"^relu: y must be writeable$"):
        kernels.relu(zeros(3), y, stream=0)
    with pytest.raises(ValueError, match=r"^relu: y must be C-contiguous$"):
        kernels.relu(zeros(3), zeros(6)[::2], stream=0)
    rows = np.lib.stride_tricks.as_strided(zeros(8), (3, 4), (8, 4))
    with pytest.raises(ValueError, match="y is written and its rows must not overlap"):
        kernels.copy_rows(zeros(3, 4), rows, factor=1, stream=0)


def test_results_in_the_memory_of_arguments(kernels: Any) -> None:
    memory = zeros(10)
    for start in (0, 3, -3):
        x, y = memory[3:7], memory[3 + start : 7 + start]
        with pytest.raises(
            ValueError, match=r"^relu: y is written and must not share memory with x$"
        ):
            kernels.relu(x, y, stream=0)
    kernels.relu(memory[:5], memory[5:], stream=0)
    weight = zeros(3)
    with pytest.raises(
        ValueError, match="weight is written and must not share memory with velocity"
    ):
        kernels.sgd_update(weight, zeros(3), weight, zeros(3), stream=0)
    with pytest.raises(ValueError, match="must not share memory"):
        kernels.copy_rows(
            memory[::-1][::-1].reshape(2, 5), memory.reshape(2, 5), factor=1, stream=0
        )


def test_sixteen_bits_must_match(kernels: Any) -> None:
    x, y = zeros(1, 5, 5, 2, dtype=np.float16), zeros(1, 2, 2, 2, dtype=np.uint16)
    with pytest.raises(TypeError, match=r"^max_pool: y must be an array of float16; got uint16$"):
        kernels.max_pool(x, y, **POOL, stream=0)
    with pytest.raises(TypeError, match="x must be an array of float32, float16 or uint16"):
        kernels.max_pool(zeros(1, 5, 5, 2, dtype=np.int8), y, **POOL, stream=0)
    x, y = zeros(2, 5), zeros(2, 3)
    whole, half = zeros(3, 5, dtype=np.int8), zeros(3, 5, dtype=np.float16)
    with pytest.raises(ValueError, match=r"a scale goes with .* int8; got none with .* int8"):
        kernels.linear(x, whole, None, None, y, relu=False, **scratch(kernels))
    with pytest.raises(ValueError, match="got one with weights of float16"):
        kernels.linear(x, half, zeros(3), None, y, relu=False, **scratch(kernels))


# -- workspace and counters ----------------------------------------------------------------------


def test_workspaces_that_do_not_do(kernels: Any) -> None:
    x, weight = zeros(1, 13, 13, 256), zeros(64, 3, 3, 256)
    arrays = (x, weight, zeros(64), zeros(1, 13, 13, 64))
    size = kernels.conv2d_workspace(
        x.shape, weight.shape, **CONV, dtype="float32", products="scalar"
    )
    given = scratch(kernels, size + 8)
    kernels.conv2d(*arrays, **CONV, relu=False, **given)
    if size:
        for bad in (given["workspace"][: size - 1], given["workspace"][8:], None):
            with pytest.raises(ValueError, match=f"workspace must be {size} bytes or more"):
                kernels.conv2d(*arrays, **CONV, relu=False, **{**given, "workspace": bad})
    counters = zeros(9, dtype=np.int32)
    with pytest.raises(ValueError, match=r"counters has shape \(9,\), expected \(4096,\)"):
        kernels.conv2d(*arrays, **CONV, relu=False, **{**given, "counters": counters})
    given["workspace"] = weight.reshape(-1).view(np.uint8)
    if size <= weight.nbytes:
        with pytest.raises(ValueError, match="workspace is written and must not share memory"):
            kernels.conv2d(*arrays, **CONV, relu=False, **given)


@pytest.mark.usefixtures("capability_75")
def test_tensor_cores_that_are_not_there(kernels: Any) -> None:
    shapes = ((1, 4, 4, 8), (8, 3, 3, 8))
    for dtype, products in (("float32", "tf32"), ("float32", "tf32x3"), ("float16", "half")):
        with pytest.raises(
            RuntimeError, match=f"{products} need compute capability 8.0; .* has 7.5"
        ):
            kernels.conv2d_workspace(*shapes, **CONV, dtype=dtype, products=products)
    ops = CudaOps(kernels, MEMORY)
    assert ops.products == "scalar"
    assert ops.capability == (7, 5)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3))
    y = ops.conv2d(*(ops.from_numpy(a.astype(np.float32)) for a in (x, weight, np.zeros(4))))
    from goturn.ops.reference import ReferenceOps

    np.testing.assert_allclose(y, ReferenceOps().conv2d(x, weight, np.zeros(4)), atol=1e-4)


# -- crops ---------------------------------------------------------------------------------------


def test_the_layout_of_a_job(kernels: Any) -> None:
    """The frame in 64 bytes, then each window in 64: what the kernel takes, and a replay may change."""
    frame = zeros(20, 30, 3, dtype=np.uint8)[::-1, 2:]
    table = window_table([WINDOW, WINDOW])
    job = kernels.pack_crop_job(frame, table)
    assert (job.dtype, job.shape) == (np.uint8, (64 * 3,))
    assert kernels.crop_job_bytes(2) == 64 * 3
    words = job.view(np.int64)
    assert words[:8].tolist() == [frame.ctypes.data, 20, 28, 3, *frame.strides, 0]
    assert words[8:].tolist() == table.ravel().tolist()
    pinned = np.full(200, 7, np.uint8)
    assert np.shares_memory(kernels.pack_crop_job(frame, table, pinned), pinned)
    assert np.array_equal(pinned[:192], job)
    assert (pinned[192:] == 7).all()


def test_jobs_that_do_not_do(kernels: Any) -> None:
    frame, table = zeros(20, 30, 3, dtype=np.uint8), window_table([WINDOW])
    with pytest.raises(ValueError, match="out must be writeable, of 128 bytes or more; got 127"):
        kernels.pack_crop_job(frame, table, np.zeros(127, np.uint8))
    with pytest.raises(ValueError, match=r"^crop_resize: window 0: "):
        kernels.pack_crop_job(frame[:10], table)
    with pytest.raises(
        TypeError, match=r"^crop_resize: frame must be an array of uint8; got float32"
    ):
        kernels.pack_crop_job(zeros(20, 30, 3), table)
    job = MEMORY.from_numpy(kernels.pack_crop_job(frame, table))
    for start, count in ((0, 2), (1, 1), (-1, 1), (2**62, 1)):
        with pytest.raises(ValueError, match=r"^crop_resize: "):
            kernels.crop_resize(job, zeros(count, 3, 10, 10), start=start, **CROPS, stream=0)
    with pytest.raises(ValueError, match="address that 8 divides"):
        kernels.crop_resize(
            zeros(136, dtype=np.uint8)[4:132], zeros(1, 3, 10, 10), **CROPS, stream=0
        )
    with pytest.raises(ValueError, match=r"crops has shape \(1, 3, 9, 10\)"):
        kernels.crop_resize(job, zeros(1, 3, 9, 10), **CROPS, stream=0)
    for block, channels in ((11, 363), (2, 11), (-1, 12)):
        with pytest.raises(ValueError, match=r"^crop_resize: "):
            kernels.crop_resize(job, zeros(1, 5, 5, channels), **CROPS, block=block, stream=0)


def test_rows_by_numbers_that_do_not_fit(kernels: Any) -> None:
    index = zeros(3, dtype=np.int32)
    with pytest.raises(ValueError, match=r"^gather_rows: "):
        kernels.gather_rows(index, zeros(5, 4), zeros(2, 4), stream=0)
    with pytest.raises(ValueError, match=r"^sum_rows: "):
        kernels.sum_rows(index, zeros(2, 4), zeros(5, 4), stream=0)
    with pytest.raises(TypeError, match="index must be an array of int32; got int64"):
        kernels.gather_rows(zeros(3, dtype=np.int64), zeros(5, 4), zeros(3, 4), stream=0)
