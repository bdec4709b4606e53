"""The operations of the network on each device, and the choice between the devices."""

from __future__ import annotations

from typing import Any

from goturn.ops.interface import Array, Ops

__all__ = ["DEVICES", "PRECISIONS", "PRECISION_OPTION", "Array", "Ops", "device_kind", "get_ops"]

#: What ``device`` may be; "cuda:1" names the second GPU.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "reference")

#: What ``precision`` may be; a device may not offer each.
PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "int8")

#: What ``--precision`` is, for every command that has it.
PRECISION_OPTION: dict[str, Any] = {
    "choices": ("auto", *PRECISIONS),
    "default": "auto",
    "help": "of the fc weights and, on a CPU, of int8's products; auto (default) is int8 on a CPU for "
    "weights that are int8 already, as those that ship are, else fp32",
}


def device_kind(device: str) -> str:
    """What ``device`` is apart from its number: "cuda" of "cuda:1".

    Raises:
        TypeError: ``device`` is not text.
        ValueError: an unknown device.
    """
    if not isinstance(device, str):
        raise TypeError(f"device must be one of {', '.join(DEVICES)}; got {device!r}")
    kind, _, index = device.partition(":")
    known = kind == "cuda" if index else device in DEVICES and device != "cuda:N"
    if not known or (index and not index.isdecimal()) or device.endswith(":"):
        raise ValueError(f"device must be one of {', '.join(DEVICES)}; got {device!r}")
    return kind


def get_ops(device: str = "auto") -> Ops:
    """The operations on ``device``.

    Args:
        device: "auto" (the first GPU where all that it takes is there, else the CPU), "cpu" (compiled
            code), "cuda" or "cuda:N", or "reference" (plain NumPy, what everything else is held
            against).

    Raises:
        TypeError: ``device`` is not text.
        ValueError: an unknown device.
        RuntimeError: a device that this machine or this build does not have.
    """
    kind = device_kind(device)
    if kind == "reference":
        from goturn.ops.reference import ReferenceOps

        return ReferenceOps()
    if kind == "cuda":
        return _open_cuda(int(device.partition(":")[2] or 0))
    if kind == "auto" and _cuda_is_ready():
        return _open_cuda(0)
    from goturn.ops.cpu import CpuOps

    return CpuOps()


def _cuda_is_ready() -> bool:
    """Whether "auto" is a GPU here."""
    from goturn.ops.devices import cuda_status

    return cuda_status().problem is None


def _open_cuda(index: int) -> Ops:
    from goturn.ops.devices import check_cuda

    check_cuda(index)
    from goturn import _cuda
    from goturn.ops.cuda import CudaOps
    from goturn.ops.cuda_memory import CupyMemory

    return CudaOps(_cuda, CupyMemory(index))
