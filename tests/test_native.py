"""The compiled modules: what their bindings refuse, that they release the GIL; the devices."""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goturn import _cpu
from goturn.box import SearchWindow, search_window
from goturn.ops import devices, get_ops
from goturn.ops.cpu import CpuOps
from goturn.ops.reference import ReferenceOps
from goturn.ops.resample import window_table

FRAME = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
WINDOW = SearchWindow(0, 0, 2, 3, 40, 50, 1, 2, 10, 12)
TABLE = window_table([WINDOW])


def crop(frame: Any = FRAME, windows: Any = TABLE, **changes: Any) -> np.ndarray:
    arguments = {"size": 10, "mean": (1.0, 2.0, 3.0), "colour_order": "BGR", **changes}
    return _cpu.crop_resize(frame, windows, **arguments)


# -- the binding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "windows", "sentence"),
    [
        (TypeError, TABLE.tolist(), "windows must be an array of int64; got list"),
        (TypeError, TABLE.astype(np.int32), "windows must be an array of int64; got int32"),
        (TypeError, TABLE.astype(float), "windows must be an array of int64; got float64"),
        (TypeError, TABLE.astype(">i8"), "windows must be an array of int64; got >i8"),
        (ValueError, TABLE[0], r"windows must be \(N, 8\), C-contiguous; got \(8,\)"),
        (ValueError, TABLE[:, :7], r"windows must be \(N, 8\), C-contiguous; got \(1, 7\)"),
        (ValueError, np.repeat(TABLE, 4, 0)[::2], "C-contiguous"),
    ],
)
def test_window_table_of_another_kind(error: type[Exception], windows: Any, sentence: str) -> None:
    with pytest.raises(error, match=f"^crop_resize: .*{sentence}"):
        crop(windows=windows)


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (TypeError, {"frame": None}),
        (TypeError, {"frame": FRAME.view(np.int8)}),
        (TypeError, {"frame": FRAME.view(bool)}),
        (TypeError, {"size": 10.0}),
        (TypeError, {"size": 2**70}),
        (TypeError, {"size": None}),
        (TypeError, {"mean": 3.0}),
        (TypeError, {"mean": (1, 2, "three")}),
        (ValueError, {"mean": (1, 2, 1e300)}),
        (ValueError, {"mean": (1, 2, 3, 4)}),
        (TypeError, {"colour_order": None}),
        (ValueError, {"frame": np.zeros((2, 2, 2, 3), np.uint8)}),
        (ValueError, {"frame": np.zeros((0, 0, 3), np.uint8)}),
    ],
)
def test_arguments_of_another_kind(error: type[Exception], changes: dict[str, Any]) -> None:
    with pytest.raises(error):
        crop(**changes)


EXTREMES = [0, 1, -1, 5, 10, 29, 30, 31, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 10 - 2**63]


@settings(deadline=None, max_examples=500)
@given(st.lists(st.sampled_from(EXTREMES) | st.integers(-5, 60), min_size=8, max_size=8))
def test_hostile_windows_are_refused_or_cropped_as_the_reference_does(values: list[int]) -> None:
    table = np.array([values], np.int64)
    width, height, paste_x, paste_y, left, top, columns, rows = values
    fits = (
        all(1 <= canvas <= 2**53 for canvas in (width, height))
        and all(count >= 1 for count in (columns, rows))
        and all(position >= 0 for position in (left, top, paste_x, paste_y))
        and (left + columns <= 30 and top + rows <= 20)
        and (paste_x + columns <= width and paste_y + rows <= height)
    )
    if not fits:
        with pytest.raises(ValueError, match=r"^crop_resize: window 0: "):
            crop(windows=table)
        return
    window = SearchWindow(0, 0, paste_x, paste_y, width, height, left, top, columns, rows)
    expected = ReferenceOps().crop_resize(FRAME, [window], size=10, mean=(1, 2, 3))
    np.testing.assert_array_equal(crop(windows=table), expected)


def test_last_pixel_of_an_allocation_is_the_last_read() -> None:
    # Under a sanitizer a read beyond it ends the run; see tools/sanitize.sh.
    for shape in ((1, 1), (3, 5), (40, 60)):
        for channels in (1, 3, 4):
            frame = np.zeros((*shape, channels), np.uint8)
            window = search_window((0, 0, shape[1], shape[0]), shape[1], shape[0])
            whole = SearchWindow(0, 0, 0, 0, shape[1], shape[0], 0, 0, shape[1], shape[0])
            crops = crop(frame, window_table([window, whole]), size=227)
            np.testing.assert_array_equal(crops[:, 0], -1)


def test_memory_that_cannot_be_had_is_an_error() -> None:
    tables = np.broadcast_to(TABLE, (1 << 20, 8)).copy()
    with pytest.raises((MemoryError, ValueError)):
        crop(windows=tables, size=8192)  # 800 TB


def test_other_threads_run_meanwhile() -> None:
    """With thread switching all but turned off, this one can run only if the call lets go."""
    windows = np.repeat(TABLE, 50_000, 0)
    running, finished = threading.Event(), threading.Event()

    def work() -> None:
        running.set()
        crop(windows=windows, size=8)
        finished.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        while not running.is_set():
            time.sleep(0)
        overlapped = not finished.is_set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert overlapped


def test_threads_do_not_disturb_each_other() -> None:
    frames = [np.ascontiguousarray(np.roll(FRAME, shift, axis=1)) for shift in range(4)]
    windows = np.repeat(TABLE, 300, 0)
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        results[index] = crop(frames[index], windows, size=40)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(results[index], crop(frame, windows, size=40))


# -- modules and versions ------------------------------------------------------------------------


def test_version_is_the_project_s() -> None:
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    written = re.search(r'^version = "(.*)"$', project.read_text(), re.MULTILINE)
    assert written
    assert _cpu.version == written.group(1)
    try:
        installed = version("goturn")
    except PackageNotFoundError:
        return  # run from a checkout
    assert _cpu.version == installed


def test_cpu_ops_have_the_name_of_their_device() -> None:
    assert isinstance(get_ops("cpu"), CpuOps)
    assert get_ops("cpu").name == "cpu"


def test_missing_cpu_module_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import goturn

    monkeypatch.delattr(goturn, "_cpu")
    monkeypatch.setitem(sys.modules, "goturn._cpu", None)
    monkeypatch.delitem(sys.modules, "goturn.ops.cpu")
    with pytest.raises(RuntimeError, match=r"CPU module cannot be imported .*; rebuild it with"):
        importlib.import_module("goturn.ops.cpu")


def test_cuda_module_says_what_it_was_built_for() -> None:
    cuda = pytest.importorskip("goturn._cuda", reason="built without a CUDA compiler")
    assert cuda.version == _cpu.version
    assert cuda.cuda_version >= (11, 0)
    assert all(re.fullmatch(r"\d+[a-z]?(-virtual|-real)?", x) for x in cuda.architectures)
    status = devices.cuda_status()
    if status.problem:
        with pytest.raises(RuntimeError, match=r"^cudaGetDeviceCount.* failed: "):
            cuda.devices()
    else:
        seen = [(d.name, d.capability, d.memory) for d in status.devices]
        assert cuda.devices() == seen


# -- devices, by a driver that is not there ------------------------------------------------------


class FakeDriver:
    """libcuda.so.1 with ``count`` GPUs."""

    def __init__(self, version: int = 13000, count: int = 2, status: int = 0) -> None:
        self.version, self.count, self.status = version, count, status

    @staticmethod
    def _write(pointer: Any, value: Any) -> int:
        pointer._obj.value = value
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        return self._write(version, self.version)

    def cuInit(self, flags: int) -> int:
        assert flags == 0
        return self.status

    def cuDeviceGetCount(self, count: Any) -> int:
        return self._write(count, self.count)

    def cuDeviceGet(self, device: Any, index: int) -> int:
        return self._write(device, 70 + index)  # a handle need not be the index

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:
        assert len(name) == length
        name.value = b"GPU %d" % device.value
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:
        return self._write(value, {75: 9, 76: device.value - 70}[attribute])

    def cuDeviceTotalMem_v2(self, memory: Any, device: Any) -> int:
        return self._write(memory, device.value << 32)

    def cuGetErrorString(self, status: int, text: Any) -> int:
        return self._write(text, b"text of %d" % status)


def cupy_with(devices: Callable[[], int]) -> types.SimpleNamespace:
    """CuPy, whose device count is ``devices``."""
    return types.SimpleNamespace(
        cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=devices))
    )


CUPY = cupy_with(lambda: 2)
MODULE = types.SimpleNamespace(cuda_version=(13, 0), architectures=("90-real", "120-virtual"))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what cuda_status() finds: a driver (None: no library), a module (None: not built), CuPy
    (None: not installed).
    """

    def pretend(
        driver: FakeDriver | None, module: Any = MODULE, cupy: Any = CUPY
    ) -> devices.CudaStatus:
        def load(name: str) -> FakeDriver:
            assert name == "libcuda.so.1"
            if driver is None:
                raise OSError("cannot open shared object file")
            return driver

        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setitem(sys.modules, "goturn._cuda", module)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        return devices.cuda_status()

    return pretend


def test_cuda_in_order(machine: Any) -> None:
    status = machine(FakeDriver())
    assert status.problem is None
    assert status.built
    assert status.cuda_version == (13, 0)
    assert status.architectures == ("90-real", "120-virtual")
    assert status.driver_version == (13, 0)
    assert status.devices == (
        devices.CudaDevice(0, "GPU 70", (9, 0), 70 << 32),
        devices.CudaDevice(1, "GPU 71", (9, 1), 71 << 32),
    )


def test_no_driver(machine: Any) -> None:
    status = machine(None)
    assert (status.built, status.driver_version, status.devices) == (True, None, ())
    assert status.problem == (
        "no NVIDIA driver was found (libcuda.so.1 cannot be loaded); install it if there is an "
        "NVIDIA GPU here"
    )


@pytest.mark.parametrize("driver", [FakeDriver(count=0), FakeDriver(status=100)])
def test_driver_without_gpu(machine: Any, driver: FakeDriver) -> None:
    status = machine(driver)
    assert (status.driver_version, status.devices) == ((13, 0), ())
    assert (status.problem or "").startswith(
        "the NVIDIA driver sees no GPU; see whether nvidia-smi does"
    )


def test_driver_that_fails(machine: Any) -> None:
    status = machine(FakeDriver(status=803))
    assert status.devices == ()
    assert (status.problem or "").startswith(
        "the NVIDIA driver does not start (text of 803, code 803);"
    )


def test_gpu_but_no_module(machine: Any) -> None:
    status = machine(FakeDriver(), module=None)
    assert (status.built, status.cuda_version, status.architectures) == (False, None, ())
    assert len(status.devices) == 2
    assert (status.problem or "").startswith(
        "goturn was built without CUDA; with nvcc on PATH rebuild it"
    )


def test_module_that_cannot_be_loaded(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ImportError("undefined symbol: f")

    monkeypatch.setattr(importlib, "import_module", broken)
    status = machine(FakeDriver())
    assert not status.built
    assert (status.problem or "").startswith(
        "goturn's CUDA module cannot be imported (undefined symbol: f); rebuild it"
    )


@pytest.mark.parametrize(
    ("driver", "fits"), [(12090, False), (13000, True), (13010, True), (14000, True)]
)
@pytest.mark.parametrize("minor", [0, 2])
def test_driver_against_the_module_s_cuda(
    machine: Any, driver: int, fits: bool, minor: int
) -> None:
    module = types.SimpleNamespace(cuda_version=(13, minor), architectures=("90-real",))
    status = machine(FakeDriver(version=driver), module)
    if fits:
        assert status.problem is None
    else:
        assert (status.problem or "").startswith(
            f"the NVIDIA driver supports CUDA 12.9 but goturn was compiled with CUDA 13.{minor};"
        )


def test_cupy_that_is_missing(machine: Any) -> None:
    assert machine(FakeDriver(), cupy=None).problem == (
        "CuPy is not installed; pip install cupy-cuda13x"
    )
    module = types.SimpleNamespace(cuda_version=(12, 4), architectures=("90-real",))
    assert machine(FakeDriver(12080), module, None).problem == (
        "CuPy is not installed; pip install cupy-cuda12x"
    )
    assert machine(None, cupy=None).problem.startswith("no NVIDIA driver")  # is not asked then


def test_cupy_that_does_not_work(machine: Any) -> None:
    def fails() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver: too old")

    status = machine(FakeDriver(), cupy=cupy_with(fails))
    assert status.problem == (
        "CuPy does not work here (cudaErrorInsufficientDriver: too old); pip install cupy-cuda13x, "
        "and no other CuPy"
    )


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (("75-real", "120-virtual"), (7, 5), True),
        (("75-real", "120-virtual"), (8, 0), False),
        (("80-real",), (8, 9), True),
        (("89-real",), (8, 0), False),
        (("80",), (9, 0), True),
        (("75-virtual",), (12, 0), True),
        (("90a-real",), (9, 0), True),
        (("90a-real",), (12, 0), False),
        (("120-virtual",), (9, 0), False),
        (("native",), (9, 0), True),
        (("75-virtual",), (7, 0), False),
        (("60-real",), (6, 1), False),
        (("100f-real",), (10, 0), True),
        (("100f-real",), (10, 3), True),
        (("103f-real",), (10, 0), False),
        (("100f",), (11, 0), False),
        (("100f-virtual",), (12, 0), False),
        (("90-virtual",), (11, 0), True),
    ],
)
def test_what_the_module_was_compiled_for(
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    architectures: tuple[str, ...],
    capability: tuple[int, int],
    runs: bool,
) -> None:
    seen = (devices.CudaDevice(0, "GPU", capability, 1 << 34),)
    monkeypatch.setattr(devices, "_query_driver", lambda: ((13, 0), seen, None))
    module = types.SimpleNamespace(cuda_version=(13, 0), architectures=architectures)
    problem = machine(FakeDriver(), module).problem
    if runs:
        assert problem is None
        return
    assert problem.startswith(f"cuda:0 (GPU) has compute capability {capability[0]}.")
    if capability < (7, 5):
        assert problem.endswith("goturn's kernels need 7.5")
    else:
        assert f"goturn was compiled for {', '.join(architectures)}; rebuild it with" in problem
        assert problem.endswith(f"CMAKE_CUDA_ARCHITECTURES={capability[0]}{capability[1]}")


@pytest.mark.parametrize(
    ("architectures", "driver", "runs"),
    [
        (("90-virtual",), (13, 0), False),
        (("90-virtual",), (13, 2), True),
        (("90-virtual",), (14, 0), True),
        (("90-real", "90-virtual"), (13, 1), False),  # native code, but for others
        (("110-real", "90-virtual"), (13, 0), True),
        (("110",), (13, 0), True),
        (("110-virtual",), (13, 0), False),
    ],
)
def test_ptx_needs_a_driver_as_new_as_its_cuda(
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    architectures: tuple[str, ...],
    driver: tuple[int, int],
    runs: bool,
) -> None:
    seen = (devices.CudaDevice(0, "GPU", (11, 0), 1 << 34),)
    monkeypatch.setattr(devices, "_query_driver", lambda: (driver, seen, None))
    module = types.SimpleNamespace(cuda_version=(13, 2), architectures=architectures)
    problem = machine(FakeDriver(), module).problem
    if runs:
        assert problem is None
        return
    assert problem.startswith(
        "cuda:0 (GPU) has compute capability 11.0, for which goturn holds PTX of CUDA 13.2, and the "
        f"driver compiles that of CUDA 13.{driver[1]} or older; update the driver, or rebuild it with"
    )
    assert problem.endswith("CMAKE_CUDA_ARCHITECTURES=110")


@pytest.mark.parametrize("unusable", [0, 1])
def test_each_gpu_is_judged_by_itself(
    machine: Any, monkeypatch: pytest.MonkeyPatch, unusable: int
) -> None:
    capabilities = [(9, 0), (9, 0)]
    capabilities[unusable] = (6, 1)
    seen = tuple(devices.CudaDevice(i, "GPU", c, 1 << 34) for i, c in enumerate(capabilities))
    monkeypatch.setattr(devices, "_query_driver", lambda: ((13, 0), seen, None))
    status = machine(FakeDriver())
    assert (status.problem is None) == (unusable == 1)  # which is the first one's
    devices.check_cuda(1 - unusable)
    with pytest.raises(RuntimeError, match=f"^cuda:{unusable} .* 6.1, goturn's kernels need 7.5; "):
        devices.check_cuda(unusable)
    with pytest.raises(RuntimeError, match=r"^there is no cuda:2; this machine has 2 GPUs"):
        devices.check_cuda(2)
    machine(FakeDriver(), cupy=None)
    with pytest.raises(RuntimeError, match=r"^CuPy is not installed"):
        devices.check_cuda(1 - unusable)


def test_get_ops_tells_what_is_missing(machine: Any) -> None:
    machine(None)
    with pytest.raises(RuntimeError) as caught:
        get_ops("cuda")
    assert str(caught.value) == (
        "no NVIDIA driver was found (libcuda.so.1 cannot be loaded); install it if there is an "
        "NVIDIA GPU here; device 'cpu' "
        "(--device cpu) needs none of this"
    )
    assert get_ops("auto").name == "cpu"
    machine(FakeDriver())
    with pytest.raises(RuntimeError) as caught:
        get_ops("cuda:2")
    assert str(caught.value) == "there is no cuda:2; this machine has 2 GPUs, cuda:0 to cuda:1"
    machine(FakeDriver(count=1))
    with pytest.raises(RuntimeError, match=r"has 1 GPU, cuda:0$"):
        get_ops("cuda:1")


def test_get_ops_opens_the_gpu(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    class Opened:
        def __init__(self, kernels: Any, memory: Any) -> None:
            opened.append(memory)

    import goturn
    from goturn.ops import cuda, cuda_memory

    machine(FakeDriver())
    monkeypatch.setattr(goturn, "_cuda", MODULE, raising=False)
    monkeypatch.setattr(cuda, "CudaOps", Opened)
    monkeypatch.setattr(cuda_memory, "CupyMemory", lambda index: index)
    for device in ("cuda", "cuda:1", "auto"):
        assert isinstance(get_ops(device), Opened)
    assert opened == [0, 1, 0]


def test_a_build_without_a_compiler_says_what_to_install(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cmake, ninja = shutil.which("cmake", path=path), shutil.which("ninja", path=path)
    if cmake is None or ninja is None:
        pytest.skip("cmake and ninja are not installed")
    source = Path(__file__).parent.parent
    done = subprocess.run(
        [cmake, "-S", source, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"],
        env={**os.environ, "CXX": "/nowhere/g++"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "goturn needs a C++17 compiler" in done.stderr
    assert "apt-get install g++" in done.stderr
    assert done.stderr.count("CMake Error") == 1


def test_thread_count_is_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert devices.thread_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert devices.thread_count() == 7
