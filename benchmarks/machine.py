"""The machine a result was taken on: what it is, how busy it is, and what it can do at best."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

#: How the probe is compiled; CXX chooses another compiler than c++.
FLAGS = ("-std=c++17", "-O3", "-march=native", "-pthread")

#: Floats an FMA works on in the widest unit; two such units are what a server's core has at most.
_LANES = {"avx512f": 16, "avx2": 8}


def describe() -> dict[str, Any]:
    """Processor, cores, memory and system."""
    return {
        "cpu": _first_value("/proc/cpuinfo", "model name") or platform.machine(),
        "cpu_family_model_stepping": [
            _first_value("/proc/cpuinfo", key) for key in ("cpu family", "model", "stepping")
        ],
        "simd": next((unit for unit in _LANES if unit in _cpu_flags()), "other"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "transparent_huge_pages": _text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "system": f"{platform.system()} {platform.release()}",
    }


def now() -> dict[str, Any]:
    """The time (UTC) and the load averages over 1, 5 and 15 minutes."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def commit(folder: Path = HERE) -> dict[str, Any]:
    """The git commit of ``folder`` and whether files differ from it; None where there is no git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


def busy_seconds() -> float:
    """CPU time that all processes together have used, and that the host took away, since boot."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, _text("/proc/stat").split(maxsplit=9)[1:9]
    )
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def confined(cores: int) -> Iterator[None]:
    """Keeps this process, and those that it starts meanwhile, on so many cores.

    Libraries count cores or read variables of their own to choose their number of threads; this holds
    for all.  The last cores are taken, since the first one serves most interrupts.

    Raises:
        ValueError: there are not so many.
    """
    allowed = os.sched_getaffinity(0)
    if not 1 <= cores <= len(allowed):
        raise ValueError(f"{cores} cores asked for, {len(allowed)} are there; ask for fewer")
    os.sched_setaffinity(0, sorted(allowed)[-cores:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


# -- what it can do at best ----------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """What one step cannot avoid: bytes read from memory, floating-point operations (FMA = 2)."""

    bytes: int
    flops: int


class Probe:
    """``probe.cpp``, compiled for this machine: its rates, measured anew at each call.

    Args:
        folder: where the compiled program goes.

    Raises:
        RuntimeError: there is no compiler, or the probe does not compile.
    """

    def __init__(self, folder: Path) -> None:
        compiler = os.environ.get("CXX", "c++")
        self._program = folder / "probe"
        command = [compiler, *FLAGS, str(HERE / "probe.cpp"), "-o", str(self._program)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"no C++ compiler {compiler!r}; install one or name one in CXX"
            ) from error
        if done.returncode != 0:
            raise RuntimeError(f"the probe does not compile with {compiler}:\n{done.stderr}")

    def __call__(self, threads: int) -> dict[str, Any]:
        """Lists of read_bytes_per_s, flops_per_s and clock_hz, a value a pass; huge_page_bytes."""
        done = subprocess.run(
            (str(self._program), str(threads)), capture_output=True, text=True, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def rates(probes: list[dict[str, Any]], threads: int) -> dict[str, Any]:
    """The probes of a run in one: median and highest of each rate, and FLOP a cycle and thread.

    ``flops_per_cycle`` is the check of the FMA figure against the processor: where it is far from
    ``flops_per_cycle_in_theory`` (two units of the widest kind), the figure is not the peak.
    """
    result: dict[str, Any] = {}
    for name in ("read_bytes_per_s", "flops_per_s", "clock_hz"):
        values = [value for probe in probes for value in probe[name]]
        result[name] = {"median": statistics.median(values), "max": max(values)}
    peak, clock = result["flops_per_s"]["median"], result["clock_hz"]["median"]
    result["flops_per_cycle"] = peak / clock / threads
    lanes = next((_LANES[unit] for unit in _LANES if unit in _cpu_flags()), 4)
    result["flops_per_cycle_in_theory"] = 2 * 2 * lanes
    result["huge_page_share"] = min(p["huge_page_bytes"] / p["buffer_bytes"] for p in probes)
    return result


def floor_ms(work: Work, measured: dict[str, Any]) -> float:
    """Milliseconds to read the bytes at the median rate, plus those to do the FLOPs at it."""
    read, peak = measured["read_bytes_per_s"]["median"], measured["flops_per_s"]["median"]
    return float(1e3 * (work.bytes / read + work.flops / peak))


def _cpu_flags() -> set[str]:
    return set((_first_value("/proc/cpuinfo", "flags") or "").split())


def _first_value(path: str, key: str) -> str | None:
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
