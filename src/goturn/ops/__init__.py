"""The operations of the network on each device, and the choice between the devices."""

from __future__ import annotations

from goturn.ops.interface import Array, Ops

__all__ = ["DEVICES", "Array", "Ops", "device_kind", "get_ops"]

#: What ``device`` may be; "cuda:1" names the second GPU.
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "reference")


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
        device: "auto" (the best there is), "cpu" (compiled code), "cuda" or "cuda:N", or "reference"
            (plain NumPy, what everything else is held against).

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
        from goturn.ops.devices import NO_KERNELS, cuda_status

        raise RuntimeError(cuda_status().problem or NO_KERNELS)
    from goturn.ops.cpu import CpuOps

    return CpuOps()
