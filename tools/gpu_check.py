"""Builds goturn for the GPU at hand, tests it there, and measures it: one call, a short table last.

    python3 tools/gpu_check.py                        # everything, in at most nine minutes
    python3 tools/gpu_check.py --only build,tests     # some stages
    python3 tools/gpu_check.py --minutes 60           # no stage is cut short

Works in a temporary folder and leaves the checkout as it is, but for the result,
``benchmarks/results/<GPU>.json``.  Needs no network and no installed goturn, but nvcc, g++ and CMake; of
this Python NumPy, h5py, OpenCV, tqdm, CuPy, pybind11, pytest, hypothesis and psutil; and PyTorch to be
compared with.  A stage that fails or takes too long does not keep the next from running.

Exit status: 0 where all went well, 1 where something failed, 2 where nothing could be done here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_stages import ROOT, STAGES, Check, Outcome

#: Seconds that each stage may take of nine minutes; with more, in proportion.  What a stage leaves is for
#: the others.
SECONDS = {
    "build": 240,
    "tests": 120,
    "benchmarks": 330,
    "memcheck": 75,
    "racecheck": 60,
    "suite": 120,
}
NINE_MINUTES = 540

#: By the name of the module; what stages cannot do without.
NEEDED = {
    "numpy": "numpy", "h5py": "h5py", "cv2": "opencv-python", "tqdm": "tqdm",
    "cupy": "cupy-cuda13x", "pybind11": "pybind11", "pytest": "pytest",
    "hypothesis": "hypothesis", "psutil": "psutil",
}  # fmt: skip

# -- the machine ----------------------------------------------------------------------------------


def missing_modules() -> list[str]:
    return [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]


def first_gpu() -> Any:
    """The GPU as :mod:`goturn.ops.devices` sees it, without a compiled module.

    Raises:
        RuntimeError: there is none, and why; or packages are missing.
    """
    missing = missing_modules()
    lacks = f"this Python lacks packages; pip install {' '.join(missing)}"
    if "numpy" in missing:
        raise RuntimeError(lacks)
    sys.path.insert(0, str(ROOT / "src"))
    try:
        from goturn.ops import devices
    finally:
        sys.path.remove(str(ROOT / "src"))

    status = devices.cuda_status()
    if not status.devices:
        raise RuntimeError(f"no GPU to check: {status.problem}")
    if missing:
        raise RuntimeError(lacks)
    return status.devices[0]


def check_writable(folder: Path) -> None:
    """That the result can be written, before minutes are spent on it.

    Raises:
        RuntimeError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RuntimeError(f"cannot write to {folder} ({error}); name another --output") from error


def driver() -> str | None:
    """The driver's version, as nvidia-smi says it."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout else None


def slug(name: str) -> str:
    """A GPU's name as a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "gpu"


# -- the whole ------------------------------------------------------------------------------------


def summary(outcomes: Sequence[Outcome]) -> str:
    """The table of the stages."""
    lines = ["| stage | | s | |", "|:--|:--|--:|:--|"]
    lines += [f"| {o.stage} | {o.status} | {o.seconds:.0f} | {o.detail} |" for o in outcomes]
    return "\n".join(lines)


def write(check: Check, gpu: Mapping[str, Any], outcomes: Sequence[Outcome]) -> Path:
    """The result file: the stages, and the benchmark's figures where there are any."""
    result: dict[str, Any] = {"gpu": dict(gpu), "stages": [asdict(o) for o in outcomes]}
    if check.figures.exists():
        result.update(json.loads(check.figures.read_text(encoding="utf-8")))
    if check.commit:
        result["commit"] = check.commit
    check.output.mkdir(parents=True, exist_ok=True)
    path = check.output / f"{slug(str(gpu['name']))}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Builds, tests and measures goturn on a GPU.")
    parser.add_argument("--only", default=",".join(STAGES), metavar="STAGE,...")
    parser.add_argument("--minutes", type=float, default=9, help="for everything (default: 9)")
    parser.add_argument("--work", type=Path, help="folder for build and logs, kept (else none is)")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--sections", metavar="NAME,...", help="of the benchmarks (default: all)")
    parser.add_argument("--commit", help="of this checkout, where git cannot say")
    options = parser.parse_args(arguments)
    options.only = options.only.split(",")
    unknown = set(options.only) - set(STAGES)
    if unknown:
        parser.error(f"unknown stages {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    end = time.monotonic() + 60 * options.minutes
    try:
        found = first_gpu()
        check_writable(options.output)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    gpu = {**asdict(found), "driver": driver()}
    with tempfile.TemporaryDirectory() as temporary:
        check = Check(
            (options.work or Path(temporary)).resolve(),
            options.output.resolve(),
            options.commit,
            options.sections,
            "{}{}-real".format(*found.capability),
        )
        outcomes = run_stages(check, options.only, end, options.minutes * 60 / NINE_MINUTES)
        written = write(check, gpu, outcomes)
    print("\n".join(["", *check.tables]))
    print(f"\n{gpu['name']}, driver {gpu['driver']}: {written}")
    print(summary(outcomes))
    return 0 if all(outcome.status in ("ok", "skipped") for outcome in outcomes) else 1


def run_stages(check: Check, names: Sequence[str], end: float, factor: float) -> list[Outcome]:
    """The stages one after the other, each within its limit."""
    check.figures.unlink(missing_ok=True)
    logs = check.work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for name in names:
        start = time.monotonic()
        later = sum(SECONDS[other] for other in names[names.index(name) + 1 :])
        limit = min(max(SECONDS[name] * factor, end - start - later * factor), end - start)
        log = logs / f"{name}.log"
        log.write_text("", encoding="utf-8")
        if limit < 5:
            outcomes.append(Outcome(name, "stopped", "no time left"))
            continue
        print(f"== {name}, at most {limit:.0f} s; {log}", flush=True)
        try:
            outcome = STAGES[name](check, limit, log)
        except Exception as error:  # whatever it is, the next stage may work
            outcome = Outcome(name, "failed", f"{type(error).__name__}: {error}")
        outcome.seconds = round(time.monotonic() - start, 1)
        outcomes.append(outcome)
        print(f"   {outcome.status}: {outcome.detail}", flush=True)
        if (name, outcome.status) == ("build", "failed"):
            print(log.read_text(encoding="utf-8", errors="replace")[-3000:], flush=True)
            break  # there is nothing to test
    return outcomes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
