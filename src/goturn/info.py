"""A report of what is installed, built and found: for people, and for reports of problems."""

from __future__ import annotations

import importlib
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import goturn
from goturn.ops.devices import cuda_status, thread_count


def gather(weights: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The report as a dict that JSON can hold.

    Args:
        weights: a weights file to describe.

    Raises:
        OSError, ValueError: the weights cannot be read; nothing else is ever missed loudly.
    """
    return {
        "goturn": goturn.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "numpy": _numpy(),
        "opencv": _opencv(),
        "hdf5": _hdf5(),
        "cupy": _cupy(),
        "cpu": {
            "model": _cpu_model(),
            "threads": thread_count(),
            "module": _cpu_module(),
        },
        "cuda": _cuda(),
        "weights": None if weights is None else _weights(weights),
    }


def render(report: Mapping[str, Any]) -> str:
    """The report of :func:`gather` as lines of text."""
    numpy, opencv, hdf5 = report["numpy"], report["opencv"], report["hdf5"]
    cpu, cuda = report["cpu"], report["cuda"]
    if opencv is None:
        opencv_text = "cannot be imported"
    else:
        goturn_text = "has" if opencv["tracker_goturn"] else "has no"
        opencv_text = f"{opencv['version']} ({goturn_text} TrackerGOTURN of its own)"
    lines = {
        "goturn": report["goturn"],
        "Python": f"{report['python']}, {report['platform']}",
        "NumPy": f"{numpy['version']} (BLAS: {numpy['blas']})",
        "OpenCV": opencv_text,
        "HDF5": f"{hdf5['version']} (h5py {hdf5['h5py']})",
        "CuPy": report["cupy"] or "not installed",
        "CPU": f"{cpu['model']}, {cpu['threads']} usable threads",
        "CPU module": _cpu_module_text(cpu["module"]),
        "CUDA module": _cuda_module_text(cuda),
        "CUDA driver": f"up to CUDA {cuda['driver']}" if cuda["driver"] else "none",
        "GPUs": _devices_text(cuda),
        "CUDA": cuda["problem"] or "ready, device cuda:0 (auto)",
        **_weights_lines(report["weights"]),
    }
    width = max(map(len, lines)) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in lines.items())


def _numpy() -> dict[str, str]:
    import numpy as np

    settings: Any = np.show_config(mode="dicts")
    blas = settings.get("Build Dependencies", {}).get("blas", {})
    name = " ".join(str(blas[key]) for key in ("name", "version") if blas.get(key))
    return {"version": np.__version__, "blas": name or "unknown"}


def _opencv() -> dict[str, Any] | None:
    try:
        import cv2
    except ImportError:  # the wheel with windows needs libGL, which a server may lack
        return None
    return {"version": cv2.__version__, "tracker_goturn": hasattr(cv2, "TrackerGOTURN")}


def _hdf5() -> dict[str, str]:
    import h5py

    return {"version": h5py.version.hdf5_version, "h5py": h5py.__version__}


def _cupy() -> str | None:
    """CuPy's packages and versions, from their metadata: importing it takes a second."""
    names = ((each.metadata["Name"] or "", each.version) for each in distributions())
    found = {f"{name} {version}" for name, version in names if re.match(r"cupy(-cuda|$)", name)}
    return ", ".join(sorted(found)) or None


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _cpu_module() -> dict[str, Any] | None:
    try:
        module = importlib.import_module("goturn._cpu")
    except ImportError:
        return None
    found: dict[str, Any] = {"version": module.version, "compiler": module.compiler}
    problems = []
    for key, ask in (("isa", module.isa), ("threads", module.thread_count)):
        try:
            found[key] = ask()
        except RuntimeError as error:  # the environment asks for what is not there
            found[key] = None
            problems.append(str(error))
    return {**found, "problem": "; ".join(problems) or None}


def _cuda() -> dict[str, Any]:
    status = cuda_status()
    return {
        "built": status.built,
        "compiled_with": _dotted(status.cuda_version),
        "architectures": list(status.architectures),
        "driver": _dotted(status.driver_version),
        "devices": [
            {
                "name": device.name,
                "capability": _dotted(device.capability),
                "memory": device.memory,
            }
            for device in status.devices
        ],
        "problem": status.problem,
    }


def _weights(path: str | os.PathLike[str]) -> dict[str, Any]:
    from goturn.network import has_int8
    from goturn.target_policy import PAPER
    from goturn.weights import load

    weights = load(path)
    architecture = weights.architecture
    p = architecture.preprocessing
    return {
        "file": os.fspath(path),
        "digest": weights.digest,
        "origin": weights.origin,
        "parameters": architecture.parameter_count,
        "conv_channels": {layer.name: layer.channels for layer in architecture.convs},
        "fc_widths": {layer.name: layer.features for layer in architecture.head},
        "fc_int8": has_int8(weights),
        "match": architecture.match is not None,
        "shared_towers": architecture.shared_towers,
        "pool_lrn_order": architecture.pool_lrn_order,
        "input_size": p.input_size,
        "mean": list(p.mean),
        "colour_order": p.colour_order,
        "context_factor": p.context_factor,
        "output_scale": p.output_scale,
        "target_policy": list(weights.target_policy or PAPER),
    }


def _dotted(version: tuple[int, int] | None) -> str | None:
    return None if version is None else f"{version[0]}.{version[1]}"


def _cpu_module_text(module: Mapping[str, Any] | None) -> str:
    if module is None:
        return "not built"
    built = f"built, {module['version']}, by {module['compiler']}"
    if module["problem"]:
        return f"{built}, but cannot be used: {_printable(module['problem'])}"
    threads = module["threads"]
    return f"{built}, using {module['isa']} code and {threads} thread{'s' if threads > 1 else ''}"


def _cuda_module_text(cuda: Mapping[str, Any]) -> str:
    if not cuda["built"]:
        return "not built"
    return f"built with CUDA {cuda['compiled_with']} for {', '.join(cuda['architectures'])}"


def _devices_text(cuda: Mapping[str, Any]) -> str:
    devices = [
        f"cuda:{index} {device['name']}, {device['memory'] / 2**30:.0f} GiB, "
        f"compute {device['capability']}"
        for index, device in enumerate(cuda["devices"])
    ]
    return "; ".join(devices) or "none"


_ORDERS = {
    "pool_lrn": "pool before LRN (CaffeNet)",
    "lrn_pool": "LRN before pool (AlexNet)",
    "none": "no LRN",
}


def _weights_lines(weights: Mapping[str, Any] | None) -> dict[str, str]:
    if weights is None:
        return {"weights": "none come with this installation; give --weights FILE"}
    towers = "shared" if weights["shared_towers"] else "separate"
    return {
        "weights": weights["file"],
        "origin": _printable(weights["origin"]) or "unknown",
        "digest": f"SHA-256 {weights['digest']} (of architecture and tensors, not of the file)",
        "parameters": f"{weights['parameters']:,}",
        "towers": f"{towers}, {_ORDERS[weights['pool_lrn_order']]}",
        "channels": ", ".join(
            f"{name} {count}" for name, count in weights["conv_channels"].items()
        ),
        "fc layers": ", ".join(f"{name} {width}" for name, width in weights["fc_widths"].items())
        + (", all but the last of int8 numbers" if weights["fc_int8"] else "")
        + ("; the first reads a match of target and search too" if weights["match"] else ""),
        "input": f"{weights['input_size']}x{weights['input_size']} {weights['colour_order']}, "
        f"mean {', '.join(f'{value:g}' for value in weights['mean'])}, "
        f"of a window {weights['context_factor']:g} times the box",
        "output": f"{weights['output_scale']:g} units across that window",
        "target": _target_text(*weights["target_policy"]),
    }


def _target_text(start: float, every: int) -> str:
    """How a tracker keeps its target."""
    taken = "from every frame" if every == 1 else f"every {every} frames"
    beside = f", and the first one counts {100 * start:g}%" if start else ""
    return f"taken anew {taken}{beside}"


def _printable(text: str) -> str:
    """Text from a file as one line that a terminal only shows."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
