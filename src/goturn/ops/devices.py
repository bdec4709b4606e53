"""What this build and this machine offer: the compiled CUDA module, its driver, its GPUs, the CPUs.

Asks the driver itself (``libcuda.so.1``), so it needs neither CuPy nor a CUDA toolkit, and can tell a
machine without a driver from one whose driver sees no GPU.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from dataclasses import dataclass
from typing import Any

#: How to get compiled modules that are missing; ends an error's sentence.
REBUILD = "rebuild it with 'pip install --force-reinstall --no-deps .' in goturn's source folder"

#: What matters more than anything that a machine lacks; begins every sentence on CUDA.
NO_KERNELS = (
    "this version of goturn has no CUDA kernels yet; use device 'cpu' (--device cpu), with which "
    "nothing need be installed"
)

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
    """That there are no kernels yet, and what is missing here besides: module, driver or GPU, with what
    to do once there are.  None where nothing of these is missing."""


def cuda_status() -> CudaStatus:
    """What of CUDA is there: module, driver, GPUs.  Never raises for want of any of them."""
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
    return CudaStatus(
        built=module is not None,
        cuda_version=compiled,
        architectures=tuple(module.architectures) if module else (),
        driver_version=driver_version,
        devices=devices,
        problem=problem and f"{NO_KERNELS}; for a version that has them: {problem}",
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
            f"no NVIDIA driver was found ({_DRIVER_LIBRARY} cannot be loaded); install one",
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
