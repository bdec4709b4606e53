"""The stages of ``gpu_check.py``: each runs programs within a limit of time, and says how it went."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Under compute-sanitizer, which slows kernels down a lot.
SANITIZED = ("test_ops.py", "test_cuda_*.py", "test_training_step.py")

#: Why tests skip where the GPU cannot be used; then nothing was tested.
UNUSABLE = ("no backend 'cuda'", "no GPU:", "could not import 'cupy'", "no module goturn._cuda:")

#: What must hold before anything else is worth its time.
USABLE = """
import sys
from goturn import _cuda
from goturn.ops.devices import check_cuda
check_cuda(0)
sys.exit(None if _cuda.__file__.startswith(sys.argv[1]) else f"another goturn: {_cuda.__file__}")
"""

#: Seconds that a program has to end itself.
GRACE = 3

#: Ends a process under compute-sanitizer that found something.
FOUND = 77


@dataclass
class Outcome:
    """How a stage went."""

    stage: str
    status: str
    """ "ok", "failed", "stopped" (at its limit) or "skipped"."""
    detail: str
    seconds: float = 0.0


@dataclass
class Check:
    """What the stages share."""

    work: Path
    output: Path
    commit: str | None
    sections: str | None
    architecture: str
    tables: list[str] = field(default_factory=list)
    """Of the benchmarks, for the end."""

    @property
    def figures(self) -> Path:
        """What the benchmarks write."""
        return self.work / "figures.json"

    @property
    def site(self) -> Path:
        """Where the package that is tested lies."""
        return self.work / "site"

    @property
    def environment(self) -> dict[str, str]:
        paths = (str(self.site), str(ROOT / "tools"), os.environ.get("PYTHONPATH"))
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Other plugins' warnings would be errors, and their options unknown.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PATH": os.pathsep.join((*tool_folders(), os.environ.get("PATH", ""))),
        }


def tool_folders() -> list[str]:
    """Where CMake, ninja, nvcc and compute-sanitizer may be beside the PATH."""
    places = [str(Path(sys.executable).parent), "/usr/local/cuda/bin", "/usr/local/bin"]
    return [place for place in places if Path(place).is_dir()]


def find(program: str, check: Check) -> str | None:
    """The path of a program, or None."""
    return shutil.which(program, path=check.environment["PATH"])


Stage = Callable[[Check, float, Path], Outcome]


def build(check: Check, seconds: float, log: Path) -> Outcome:
    """Compiles both modules and lays the package beside them."""
    end = time.monotonic() + seconds
    cmake = find("cmake", check)
    if cmake is None:
        return Outcome("build", "failed", "no cmake; pip install cmake ninja")
    generator = ["-G", "Ninja"] if find("ninja", check) else []
    folder = check.work / "build"
    commands = [
        [
            cmake, "-S", str(ROOT), "-B", str(folder), *generator, "-DGOTURN_CUDA=ON",
            "-DGOTURN_WERROR=OFF", f"-DCMAKE_CUDA_ARCHITECTURES={check.architecture}",
            f"-DPython_EXECUTABLE={sys.executable}",
        ],
        [cmake, "--build", str(folder), "--parallel", str(os.cpu_count() or 1)],
        [cmake, "--install", str(folder), "--prefix", str(check.site)],
        [sys.executable, "-c", USABLE, str(check.site)],
    ]  # fmt: skip
    shutil.rmtree(check.site, ignore_errors=True)
    ignore = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "src" / "goturn", check.site / "goturn", ignore=ignore)
    for command in commands:
        status = run(command, check, end - time.monotonic(), log)
        if status != 0:
            return Outcome("build", word(status), last_lines(log))
    return Outcome("build", "ok", f"compiled for {check.architecture}")


def tests(check: Check, seconds: float, log: Path) -> Outcome:
    """Every test that runs on the GPU."""
    status = run(pytest("-k", "cuda and not emulated"), check, seconds, log)
    outcome = judge("tests", status, log)
    text = log.read_text(encoding="utf-8", errors="replace")
    reasons = [line for line in text.splitlines() if any(reason in line for reason in UNUSABLE)]
    if reasons:
        return Outcome("tests", "failed", f"tests skipped the GPU: {reasons[0]}")
    return outcome


def suite(check: Check, seconds: float, log: Path) -> Outcome:
    """All others, but for the slow ones."""
    workers: tuple[str, ...] = ()
    if importlib.util.find_spec("xdist"):
        workers = ("-p", "xdist.plugin", "-n", str(min(4, os.cpu_count() or 1)))
    command = pytest("-m", "not slow", "-k", "not cuda or emulated", *workers)
    return judge("suite", run(command, check, seconds, log), log)


def memcheck(check: Check, seconds: float, log: Path) -> Outcome:
    """Accesses beyond what was allocated, in some of the tests."""
    return sanitizer("memcheck", check, seconds, log)


def racecheck(check: Check, seconds: float, log: Path) -> Outcome:
    """Accesses to shared memory that no barrier orders."""
    return sanitizer("racecheck", check, seconds, log)


def sanitizer(tool: str, check: Check, seconds: float, log: Path) -> Outcome:
    program = find("compute-sanitizer", check)
    if program is None:
        return Outcome(tool, "skipped", "no compute-sanitizer on the PATH; it comes with CUDA")
    command = [program, "--tool", tool, "--error-exitcode", str(FOUND)]
    # Each array by itself, not a part of CuPy's pool: else what lies behind it is there too.
    # A line a test, so that those that were done are told from one that was begun.
    options = ("-vv", "-p", "cupy_without_pool", "-m", "not slow")
    chosen = pytest(*options, "-k", "cuda and not emulated")
    files = [str(file) for name in SANITIZED for file in sorted((ROOT / "tests").glob(name))]
    status = run([*command, *chosen, *files], check, seconds, log)
    text = log.read_text(encoding="utf-8", errors="replace")
    if "Device not supported" in text:
        return Outcome(tool, "skipped", "compute-sanitizer does not support this device")
    found = re.findall(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", text)
    count = sum(int(number) for pair in found for number in pair if number)
    marks = text.count("========= Invalid") + text.count("========= Error: Race")
    if status == FOUND or count or marks:
        return Outcome(tool, "failed", f"{max(count, marks)} findings: {first_finding(text)}")
    outcome = judge(tool, status, log)
    if status is None:
        passed = len(re.findall(r"\bPASSED\b", text))
        if "\nFAILED" in text or re.search(r"::.* (FAILED|ERROR)\b", text):
            return Outcome(tool, "failed", "a test failed before its limit")
        if not passed:
            return Outcome(tool, "stopped", "no test was done until its limit")
        return Outcome(tool, "ok", f"nothing found in {passed} tests, until its limit")
    return outcome


def benchmarks(check: Check, seconds: float, log: Path) -> Outcome:
    """Everything against PyTorch; the tables are in the log."""
    script = str(ROOT / "benchmarks" / "measure_gpu.py")
    command = [
        sys.executable, script, "--output", str(check.figures),
        "--seconds", str(max(1.0, seconds - 5)),
    ]  # fmt: skip
    if check.sections:
        command += ["--sections", check.sections]
    status = run(command, check, seconds, log)
    check.tables = table_lines(log.read_text(encoding="utf-8", errors="replace"))
    if not check.figures.exists():
        return Outcome("benchmarks", word(status), last_lines(log))
    return Outcome("benchmarks", word(status), figures_detail(check.figures))


def figures_detail(path: Path) -> str:
    """How many rows there are, which sections did not end well, and the first rows that failed."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows = figures["rows"]
    parts = [f"{sum('us' in row for row in rows)} rows timed"]
    parts += [
        f"{section['section']}: {section['outcome']}"
        for section in figures["sections"]
        if section["outcome"] != "ok"
    ]
    failed = [f"{row['name']}: {row['failed']}" for row in rows if "failed" in row]
    if failed:
        parts.append(f"{len(failed)} failed, {'; '.join(text[:120] for text in failed[:3])}")
    return "; ".join(parts)


STAGES: dict[str, Stage] = {
    "build": build,
    "tests": tests,
    "benchmarks": benchmarks,
    "memcheck": memcheck,
    "racecheck": racecheck,
    "suite": suite,
}


# -- running --------------------------------------------------------------------------------------


def pytest(*arguments: str) -> list[str]:
    # What newer libraries warn of is not what is asked here.
    options = ("-q", "-W", "default", "-p", "no:cacheprovider")
    return [sys.executable, "-m", "pytest", *options, *arguments]


def run(command: Sequence[str], check: Check, seconds: float, log: Path) -> int | None:
    """The exit status; None where it was ended at its limit, with all that it had started."""
    with open(log, "a", encoding="utf-8") as file:
        print("$", *command, file=file, flush=True)
        process = subprocess.Popen(
            command, cwd=ROOT, env=check.environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(timeout=max(1.0, seconds))
        except BaseException as error:
            # First what lets it end those of its children that have sessions of their own.
            for number in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=GRACE)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise


def word(status: int | None) -> str:
    return "stopped" if status is None else "ok" if status == 0 else "failed"


def judge(stage: str, status: int | None, log: Path) -> Outcome:
    """The outcome of a pytest run; one in which nothing passed is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = r"\d+ (passed|failed|skipped|errors?|deselected)\b.* in [\d.]+s"
    counts = [line.strip("= ") for line in lines if re.search(last, line)]
    detail = counts[-1] if counts else last_lines(log)
    if status == 0 and not re.search(r"\d+ passed", detail):
        return Outcome(stage, "failed", f"no test ran: {detail}")
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR "))]
    if failed:
        detail += "; " + "; ".join(line[:160] for line in failed[:8])
    return Outcome(stage, word(status), detail)


def last_lines(log: Path, count: int = 3) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(line.strip()[:200] for line in lines[-count:])


def first_finding(text: str) -> str:
    """The first few lines of what compute-sanitizer says."""
    lines = [line.removeprefix("========= ") for line in text.splitlines() if line[:9] == "=" * 9]
    start = next(
        (i for i, line in enumerate(lines) if re.match(r"Invalid|Error|Program hit|Fatal", line)), 0
    )
    return " / ".join(line.strip() for line in lines[start : start + 3])[:300]


def table_lines(text: str) -> list[str]:
    """What the benchmark prints on its standard output: from the GPU's rates on."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("written: ")]
    return lines[starts[-1] + 1 :] if starts else []
