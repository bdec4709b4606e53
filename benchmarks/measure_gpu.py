"""Everything on a GPU against PyTorch: the sections one after the other, a result file, a table.

python benchmarks/measure_gpu.py --output benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu.report import asked_table, ceiling_lines, row_table
from gpu.rows import NO_TIME, done_file
from gpu.sections import NAMES
from harness import HERE, write_result
from machine import commit, describe, now

#: Seconds that a section may take, and to which it is told to keep itself, less a margin; less for
#: all where they are more together than there is.
LIMITS = {
    "ceilings": 60,
    "network": 90,
    "tracker": 70,
    "training": 70,
    "compiled": 150,
    "convolutions": 90,
    "linear": 60,
    "planes": 50,
    "memory": 60,
}

STOPPED = "stopped at its limit"

#: To start with: imports, weights.
MARGIN = 20


def run_sections(
    names: Sequence[str], seconds: float, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]]]:
    """Rows, ceilings, and how each section went."""
    end = time.monotonic() + seconds
    rows, ceilings = folder / "rows.jsonl", folder / "ceilings.json"
    rows.touch()
    paths = (str(HERE), os.environ.get("PYTHONPATH"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    ran = []
    for index, name in enumerate(names):
        limit = share(names[index:], end - time.monotonic())
        if limit < MARGIN:
            ran.append({"section": name, "outcome": NO_TIME, "seconds": 0})
            continue
        print(f"section {name}, at most {limit:.0f} s", file=sys.stderr, flush=True)
        start = time.monotonic()
        command = [
            sys.executable, "-m", "gpu.sections", name, "--rows", str(rows),
            "--ceilings", str(ceilings), "--seconds", str(limit - MARGIN / 2),
        ]  # fmt: skip
        status = run(command, limit, environment)
        if status is None:  # what it had measured by then may have been all
            outcome = "ok" if done_file(rows, name).exists() else STOPPED
        else:
            outcome = "ok" if status == 0 else f"exit status {status}"
        spent = round(time.monotonic() - start, 1)
        ran.append({"section": name, "outcome": outcome, "seconds": spent})
    lines = rows.read_text(encoding="utf-8").splitlines()
    found = json.loads(ceilings.read_text(encoding="utf-8")) if ceilings.exists() else {}
    return [json.loads(line) for line in lines], found, ran


def share(names: Sequence[str], seconds: float) -> float:
    """Of ``seconds`` for the sections ``names``, those that the first may take.

    Where there are less than all may take, they are divided alike; what one leaves is the others'.
    """
    limit = LIMITS[names[0]]
    return min(limit, seconds * limit / sum(LIMITS[name] for name in names))


def run(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> int | None:
    """The exit status; None where it was ended at its limit, with all that it had started."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait(timeout=seconds)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures goturn on a GPU against PyTorch.")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.json")
    parser.add_argument("--seconds", type=float, default=600, help="for all sections together")
    parser.add_argument("--sections", default=",".join(NAMES), metavar="NAME,...")
    parser.add_argument("--commit", help="of the checkout, where git cannot say")
    options = parser.parse_args(arguments)
    options.sections = options.sections.split(",")
    unknown = set(options.sections) - set(NAMES)
    if unknown:
        parser.error(f"unknown sections {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return options


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    # Raises, so that a section's processes, in a session of their own, are ended too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    started = now()
    with tempfile.TemporaryDirectory() as folder:
        rows, ceilings, ran = run_sections(options.sections, options.seconds, Path(folder))
    result = {
        "benchmark": "gpu",
        "command": "python benchmarks/measure_gpu.py " + " ".join(arguments),
        **commit(),
        "started": started,
        "ended": now(),
        "machine": describe(),
        "ceilings": ceilings,
        "sections": ran,
        "rows": rows,
    }
    if options.commit:
        result["commit"] = options.commit
    write_result(options.output, result)
    print(f"written: {options.output}", file=sys.stderr)
    print(ceiling_lines(ceilings))
    print(row_table(rows), end="\n\n")
    print(asked_table(rows))
    return 0 if is_complete(rows, ran) else 1


def is_complete(rows: Sequence[dict[str, Any]], ran: Sequence[dict[str, Any]]) -> bool:
    """Whether everything that there was time for went well; torch.compile may take too long."""
    sections = all(
        section["outcome"] in ("ok", NO_TIME)
        or (section["section"], section["outcome"]) == ("compiled", STOPPED)
        for section in ran
    )
    return sections and bool(rows) and all(row.get("failed", NO_TIME) == NO_TIME for row in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
