"""One peer in a process of its own: reads commands as JSON lines and answers each with one line.

Started by ``harness.py`` under the peer's interpreter; needs nothing but the standard library, since
that interpreter may have neither this project nor NumPy.

    python worker.py FILE.py CLASS OPTIONS_JSON

    {"do": "open"}              import the libraries: CLASS(**options)
    {"do": "load", "files": []} read the files once, so that they are in the page cache, then load()
    {"do": "turn", "warm_up": 1, "steps": 5}    step() so often; times of the steps after the warm-up
    {"do": "close"}             the versions in use, the highest memory use; ends the process

An answer is {"ok": true, ...} or {"ok": false, "error": one sentence}.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

#: Whose versions are reported, where the peer has imported them.
LIBRARIES = ("goturn", "numpy", "cv2", "torch", "onnxruntime", "openvino", "cupy")

_MIB = 1 << 20


def memory() -> dict[str, float]:
    """Resident memory of this process now and at its highest so far, MiB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {
        name: int(fields[key].split()[0]) / 1024
        for name, key in (("rss_mib", "VmRSS"), ("peak_mib", "VmHWM"))
    }


def versions() -> dict[str, str]:
    """Of Python, of the libraries that were imported, and of NumPy's BLAS."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        blas = numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]
        found["blas"] = f"{blas['name']} {blas['version']}"
    return found


class Commands:
    """What the harness may ask for, one method each, on one peer."""

    def __init__(self, file: str, name: str, options: dict[str, Any]) -> None:
        self._file, self._name, self._options = file, name, options
        self._peer: Any = None

    def open(self) -> dict[str, Any]:
        spec = importlib.util.spec_from_file_location("peer", self._file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._peer = getattr(module, self._name)(**self._options)
        return memory()

    def load(self, files: list[str]) -> dict[str, Any]:
        for name in files:
            with open(name, "rb", buffering=0) as file:
                while file.read(_MIB):
                    pass
        cpu_start, start = time.process_time(), time.perf_counter()
        self._peer.load()
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        return {"wall_s": wall, "cpu_s": cpu, **memory()}

    def turn(self, warm_up: int, steps: int) -> dict[str, Any]:
        step, times = self._peer.step, []
        cpu_start, start = time.process_time(), time.perf_counter()
        rest = getattr(self._peer, "rest", None)
        for _ in range(warm_up + steps):
            if rest is not None:
                rest()
            begin = time.perf_counter_ns()
            step()
            times.append((time.perf_counter_ns() - begin) / 1e6)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        self._peer.check()
        return {"ms": times[warm_up:], "wall_s": wall, "cpu_s": cpu, **memory()}

    def close(self) -> dict[str, Any]:
        return {"versions": versions(), **memory()}


def main() -> int:
    file, name, options = sys.argv[1:]
    # The answers get the pipe for themselves: what a library prints goes to the standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    commands = Commands(file, name, json.loads(options))
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("do")
        try:
            answer = {"ok": True, **getattr(commands, command)(**request)}
        except Exception as error:  # whatever a peer raises ends the run, with its own words
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
        if command == "close":
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
