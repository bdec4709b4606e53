"""What a tracker takes: seconds from the weights file to ready, bytes of GPU memory.

Each figure is of a process of its own, started here; nothing else may use the GPU meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from goturn.weights import Weights, save
from track import BOX

#: A tracker's life up to its second update, with the times and the GPU's free memory on the way.
PROGRAM = """
import json, sys, time
start = time.perf_counter()
import numpy, cupy, goturn
from goturn.ops.devices import check_cuda
free = lambda: cupy.cuda.runtime.memGetInfo()[0]
check_cuda(0)
cupy.cuda.runtime.free(0)
frame = numpy.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=numpy.uint8)
imported, before = time.perf_counter(), free()
tracker = goturn.Tracker(sys.argv[1], device="cuda", precision=sys.argv[2])
loaded = time.perf_counter()
tracker.init(frame, json.loads(sys.argv[3]))
tracker.update(frame)
first = time.perf_counter()
tracker.update(frame)
print(json.dumps({
    "import_s": imported - start, "load_s": loaded - imported, "first_update_s": first - loaded,
    "gpu_mib": (before - free()) / 2**20,
    "pool_mib": cupy.get_default_memory_pool().total_bytes() / 2**20,
}))
"""


def rows(weights: Weights, folder: Path, precisions: tuple[str, ...]) -> list[dict[str, Any]]:
    """One for each precision."""
    file = folder / "benchmark.h5"
    save(weights, file)
    found = []
    for precision in precisions:
        command = (sys.executable, "-c", PROGRAM, str(file), precision, json.dumps(BOX))
        row: dict[str, Any] = {"name": f"tracker from a file, {precision}", "peers": {}}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            row["memory"] = json.loads(done.stdout.strip().splitlines()[-1])
        except Exception as error:
            row["failed"] = f"{type(error).__name__}: {error}"[:400]
        found.append(row)
    file.unlink()
    return found
