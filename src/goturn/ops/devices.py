"""What this build and this machine offer: the compiled CUDA module, its driver, its GPUs, the CPUs.

Asks the driver itself (``libcuda.so.1``), so it needs neither CuPy nor a CUDA toolkit, and can tell a
machine without a driver from one whose driver sees no GPU.  CuPy, which takes a second to import, is
asked last, where nothing else is missing.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: How to get compiled modules that are missing; ends an error's sentence.
REBUILD = "rebuild it with 'pip install --force-reinstall --no-deps .' in goturn's source folder"

#: Ends the sentence on a GPU that cannot be used.
OTHERWISE = "device 'cpu' (--device cpu) needs none of this"

#: The least compute capability that there are kernels for.
LEAST_CAPABILITY = (7, 5)

_DRIVER_LIBRARY = "libcuda.so.1"

# The driver API's codes (cuda.h).
_NO_DEVICE = 100
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NAME_LENGTH = 256


@dataclass(frozen=True)
class CudaDevice:
    """One GPU."""

    index: int
    """The N of ``cuda:N``."""
    name: str
    capability: tuple[int, int]
    """Compute capability, (8, 6) for sm_86."""
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class CudaStatus:
    """Whether CUDA can be used here, and if not, what is missing."""

    built: bool
    """Whether goturn's CUDA module is installed and can be imported."""
    cuda_version: tuple[int, int] | None
    """The CUDA version that the module was compiled with; None where it is missing."""
    architectures: tuple[str, ...]
    """What the module was compiled for, as CMake writes it ("90-real", "120-virtual")."""
    driver_version: tuple[int, int] | None
    """The newest CUDA version that the driver supports; None where there is no driver."""
    devices: tuple[CudaDevice, ...]
    problem: str | None
    """What is missing here for the first GPU, with what to do: driver, GPU, module, CuPy, or what fits
    these to each other.  None where "cuda:0" can be used, which says nothing of others."""


def cuda_status() -> CudaStatus:
    """What of CUDA is there: module, driver, GPUs, CuPy.  Never raises for want of any of them."""
    return _status_for(0)


def _status_for(index: int) -> CudaStatus:
    """The same, its ``problem`` that of the machine or of GPU number ``index``, if there is one."""
    module, module_problem = _import_module()
    driver_version, devices, driver_problem = _query_driver()
    compiled: tuple[int, int] | None = module.cuda_version if module else None
    problem = driver_problem or module_problem
    # A module runs on every driver of its major version or a later one (CUDA's minor version
    # compatibility), so the minor version is not compared.
    if problem is None and compiled and driver_version and driver_version[0] < compiled[0]:
        problem = (
            f"the NVIDIA driver supports CUDA {_dotted(driver_version)} but goturn was compiled "
            f"with CUDA {_dotted(compiled)}; update the driver, or rebuild goturn with an older nvcc"
        )
    architectures = tuple(module.architectures) if module else ()
    if problem is None and index < len(devices):
        problem = _device_problem(devices[index], architectures, compiled, driver_version)
        problem = problem or _cupy_problem(driver_version)
    return CudaStatus(
        built=module is not None,
        cuda_version=compiled,
        architectures=architectures,
        driver_version=driver_version,
        devices=devices,
        problem=problem,
    )


def check_cuda(index: int) -> None:
    """That GPU number ``index`` can be used; the others are not asked.

    Raises:
        RuntimeError: it cannot, and why.
    """
    status = _status_for(index)
    if status.problem:
        raise RuntimeError(f"{status.problem}; {OTHERWISE}")
    count = len(status.devices)
    if index >= count:
        last = f" to cuda:{count - 1}" if count > 1 else ""
        raise RuntimeError(
            f"there is no cuda:{index}; this machine has {count} GPU{'s' if count > 1 else ''}, "
            f"cuda:0{last}"
        )


def thread_count() -> int:
    """How many CPUs this process may run on: its affinity, not the machine's number."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _import_module() -> tuple[Any, str | None]:
    """goturn._cuda, or None and why."""
    try:
        return importlib.import_module("goturn._cuda"), None
    except ModuleNotFoundError:
        return None, f"goturn was built without CUDA; with nvcc on PATH {REBUILD}"
    except ImportError as error:
        return None, f"goturn's CUDA module cannot be imported ({error}); {REBUILD}"


def _device_problem(
    device: CudaDevice,
    architectures: Sequence[str],
    compiled: tuple[int, int] | None,
    driver: tuple[int, int] | None,
) -> str | None:
    """What keeps the module's kernels, compiled with CUDA ``compiled``, from running on ``device``."""
    capability = _dotted(device.capability)
    named = f"cuda:{device.index} ({device.name}) has compute capability {capability}"
    if device.capability < LEAST_CAPABILITY:
        return f"{named}, goturn's kernels need {_dotted(LEAST_CAPABILITY)}"
    ways = [_runs_on(name, device.capability) for name in architectures]
    rebuild = (
        f"{REBUILD}, with -C cmake.define.CMAKE_CUDA_ARCHITECTURES={capability.replace('.', '')}"
    )
    if any(native for native, _ in ways):
        return None
    if not any(ptx for _, ptx in ways):
        return f"{named}, goturn was compiled for {', '.join(architectures)}; {rebuild}"
    # CUDA's minor version compatibility leaves out what the driver compiles.
    if compiled and driver and driver < compiled:
        return (
            f"{named}, for which goturn holds PTX of CUDA {_dotted(compiled)}, and the driver compiles "
            f"that of CUDA {_dotted(driver)} or older; update the driver, or {rebuild}"
        )
    return None


def _runs_on(architecture: str, capability: tuple[int, int]) -> tuple[bool, bool]:
    """Whether native code, and whether PTX, for ``architecture``, in CMake's words, is there and runs
    on a GPU of ``capability``.
    """
    match = re.fullmatch(r"(\d+)(\d)([a-z]?)(-real|-virtual)?", architecture)
    if match is None:
        return True, False  # "native", "all": what they stand for is not known here
    version, kind = (int(match[1]), int(match[2])), match[3]
    # Within a major version from a minor one on; but "90a" is for one GPU alone.
    native = version[0] == capability[0] and version <= capability
    if kind == "a":
        native = version == capability
    # Plain PTX is compiled for whatever is newer; that of "90a" or a family, "100f", is not.
    ptx = native if kind else version <= capability
    return native and match[4] != "-virtual", ptx and match[4] != "-real"


def _cupy_problem(driver_version: tuple[int, int] | None) -> str | None:
    """What keeps CuPy from being used."""
    wanted = "cupy-cuda13x" if driver_version and driver_version[0] >= 13 else "cupy-cuda12x"
    try:
        cupy = importlib.import_module("cupy")
        cupy.cuda.runtime.getDeviceCount()
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return f"CuPy is not installed; pip install {wanted}"
        return f"CuPy cannot be imported ({error}); pip install --force-reinstall {wanted}"
    except Exception as error:  # a library that does not load, a driver that is too old for it
        return f"CuPy does not work here ({error}); pip install {wanted}, and no other CuPy"
    return None


def _load_driver() -> Any:
    return ctypes.CDLL(_DRIVER_LIBRARY)


def _query_driver() -> tuple[tuple[int, int] | None, tuple[CudaDevice, ...], str | None]:
    """The driver's CUDA version, its GPUs, and what is wrong, if anything."""
    try:
        driver = _load_driver()
    except OSError:
        return (
            None,
            (),
            f"no NVIDIA driver was found ({_DRIVER_LIBRARY} cannot be loaded); install it if there is an "
            "NVIDIA GPU here",
        )
    number = ctypes.c_int()
    version = None
    if driver.cuDriverGetVersion(ctypes.byref(number)) == 0:
        version = (number.value // 1000, number.value % 1000 // 10)

    status = driver.cuInit(0)
    count = ctypes.c_int()
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status not in (0, _NO_DEVICE):
        return (
            version,
            (),
            f"the NVIDIA driver does not start ({_error_text(driver, status)}); see whether "
            "nvidia-smi works",
        )
    if count.value == 0:
        return (
            version,
            (),
            "the NVIDIA driver sees no GPU; see whether nvidia-smi does and what "
            "CUDA_VISIBLE_DEVICES hides",
        )
    return version, tuple(_query_device(driver, index) for index in range(count.value)), None


def _query_device(driver: Any, index: int) -> CudaDevice:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory = ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, _NAME_LENGTH, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return CudaDevice(
        index=index,
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        memory=memory.value,
    )


def _error_text(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorString(status, ctypes.byref(text))
    return (text.value or b"unknown error").decode(errors="replace") + f", code {status}"
