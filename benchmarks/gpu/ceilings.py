"""What the GPU can do at best, measured: ``probe.cu``, and PyTorch's large matrix products."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from gpu.device import Device

HERE = Path(__file__).resolve().parent

#: Side of the square products, and how often each is timed.
SIDE, TIMES = 8192, 12


def measure(device: Device) -> dict[str, Any]:
    """Rates in "..._bytes_per_s" and "..._flops_per_s"; what could not be measured is left out, and
    "failed" says why.
    """
    found: dict[str, Any] = {}
    failed = []
    for part in (probe, matrix_rates):
        try:
            found.update(part(device))
        except Exception as error:
            failed.append(f"{part.__name__}: {type(error).__name__}: {error}"[:400])
    if "half_flops_per_s" not in found and device.torch is not None:
        failed.append("no matrix rates")
    if failed:
        found["failed"] = "; ".join(failed)
    return found


def probe(device: Device) -> dict[str, Any]:
    """The program's figures, compiled for this GPU by nvcc."""
    compiler = find_nvcc()
    major, minor = device.kernels.compute_capability()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "probe"
        command = [
            compiler, "-O3", "-std=c++17", f"-arch=sm_{major}{minor}", str(HERE / "probe.cu"),
            "-o", str(program),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"the probe does not compile: {done.stderr.strip()[-300:]}")
        done = subprocess.run(
            [str(program)], capture_output=True, text=True, check=False, timeout=60
        )
    if done.returncode != 0:
        raise RuntimeError(f"the probe fails: {done.stderr.strip()[-300:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def find_nvcc() -> str:
    """Where nvcc is: CUDACXX, the PATH, or its usual folder.

    Raises:
        RuntimeError: nowhere.
    """
    for candidate in (os.environ.get("CUDACXX"), "nvcc", "/usr/local/cuda/bin/nvcc"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    raise RuntimeError("no nvcc on the PATH, in CUDACXX or in /usr/local/cuda/bin")


def matrix_rates(device: Device) -> dict[str, float]:
    """FLOP/s of large products by cuBLAS, random numbers: TF32, half (the faster of bf16 and fp16),
    and what cuBLAS makes of plain float32.
    """
    torch = device.torch
    if torch is None:
        return {}
    rates: dict[str, float] = {}
    for name, precision, tf32 in (
        ("sgemm", "fp32", False), ("tf32", "tf32", True), ("bf16", "bf16", False),
        ("fp16", "fp16", False),
    ):  # fmt: skip
        device.settings(conv_tf32=tf32, matmul_tf32=tf32)
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
        a, b = (torch.randn((SIDE, SIDE), device=device.torch_device).to(dtype) for _ in range(2))
        out = torch.empty_like(a)

        def product(a: Any = a, b: Any = b, out: Any = out) -> None:
            torch.matmul(a, b, out=out)

        for _ in range(3):
            product()
        times = [device.device_us(product) for _ in range(TIMES)]
        rates[f"{name}_flops_per_s"] = 2 * SIDE**3 / (1e-6 * statistics.median(times))
        del a, b, out
        device.release()
    rates["half_flops_per_s"] = max(rates["bf16_flops_per_s"], rates["fp16_flops_per_s"])
    return rates
