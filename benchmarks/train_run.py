"""Examples a second of whole training runs, and the part of the time in which they are waited for.

python benchmarks/train_run.py --videos PATH --images PATH --output benchmarks/results/NAME.json

Runs the trainer as ``goturn train`` does, for some iterations: with fresh examples and the paper's
network, and with a narrow one on features computed once.  Pictures are decoded, cropped and learnt from
at the same time, on as many cores as there are.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command
from command import command_line
from goturn.training.config import TrainConfig
from goturn.training.trainer import train
from harness import write_result
from machine import commit, describe, now

#: Name, settings, iterations.
RUNS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("paper's network, fresh examples", {"iterations": 60}),
    (
        "fc layers of 1024, features computed once",
        {"iterations": 1000, "widths": (1024, 1024, 1024), "cache_features": 2200, "dropout": 0.3},
    ),
)


def measure_one(config: TrainConfig, folder: Path) -> dict[str, Any]:
    """One run's figures."""
    begun = time.perf_counter()
    outcome = train(config, folder, report=lambda line: print(line, file=sys.stderr))
    with (folder / "timing.csv").open() as file:
        intervals = list(csv.DictReader(file))
    return {
        "examples_per_second": outcome.examples_per_second,
        "examples_per_second_per_core": outcome.examples_per_second / len(os.sched_getaffinity(0)),
        "waiting_share": outcome.waiting,
        "wall_s": time.perf_counter() - begun,
        "intervals": intervals,
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--videos", nargs="+", required=True, metavar="SPEC")
    parser.add_argument("--images", nargs="+", required=True, metavar="SPEC")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="where the result goes")
    options = parser.parse_args(arguments)
    started, rows = now(), []
    for name, settings in RUNS:
        config = TrainConfig(
            videos=tuple(options.videos),
            images=tuple(options.images),
            device=options.device,
            checkpoint_every=10**6,
            **settings,
        )
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"run": name, **settings, **measure_one(config, Path(folder) / "run")})
    result = {
        "benchmark": "train_run",
        "command": command_line("train_run.py", arguments),
        **commit(),
        "started": started,
        "ended": now(),
        "machine": describe(),
        "rows": rows,
    }
    if options.output is not None:
        write_result(options.output, result)
    print("\n| run | examples/s | per core | waiting |\n|:--|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['run']} | {row['examples_per_second']:.1f} | "
            f"{row['examples_per_second_per_core']:.1f} | {row['waiting_share']:.1%} |"
        )
    return 0


if __name__ == "__main__":
    command.main(main)
