"""Every benchmark of the CPU, one after the other: a result file each, and one page of tables.

python benchmarks/everything.py --opencv4-python PATH --engines-python PATH --output FOLDER --name NAME
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import HERE

OURS = "cpu,cpu-bf16,cpu-int8"
OPENVINO = "openvino-fp32,openvino,openvino-int8"


def commands(options: argparse.Namespace) -> list[list[str]]:
    """The commands, without the interpreter."""
    results, name = options.output, options.name
    engines = ["--engines-python", options.engines_python]
    opencv = ["--opencv4-python", options.opencv4_python]

    def output(kind: str) -> list[str]:
        return ["--output", str(results / f"{kind}-{name}.json")]

    return [
        [
            "track.py",
            *opencv,
            *engines,
            *("--peers", f"{OURS},reference,opencv,onnxruntime,{OPENVINO},torch"),
            *output("track"),
        ],
        [
            "track.py",
            *("--peers", "cpu,cpu-ahead,cpu-int8,cpu-int8-ahead,cpu-16,cpu-int8-16"),
            *("--threads", "2"),
            *output("ahead-and-many"),
        ],
        ["crop.py", *output("crop")],
        ["train_step.py", *engines, *output("train")],
        ["civil.py", *engines, *output("civil")],
    ]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for option in ("--opencv4-python", "--engines-python"):
        parser.add_argument(option, metavar="PATH", required=True, help="as in track.py")
    parser.add_argument("--output", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--name", required=True, help="of the machine, for the files' names")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    failed = 0
    for line in commands(parse(arguments)):
        print(f"\n## {line[0]}\n", flush=True)
        done = subprocess.run([sys.executable, str(HERE / line[0]), *line[1:]], check=False)
        failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
