"""What ptxas says of every kernel: registers, static shared memory, stack, spills.  Needs no GPU.

    python tools/ptx_report.py                        # sm_80 and sm_90, every file of csrc/cuda
    python tools/ptx_report.py --arch 75 --arch 120 csrc/cuda/conv_gather_half.cu

Fails if a kernel spills registers to memory, or nvcc warns.  Shared memory that a launch asks for is not
in it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

#: The names of csrc/cuda/ops.h's Products.
PRODUCTS = ("scalar", "tf32", "tf32x3", "half")


class Kernel(NamedTuple):
    """A row of the table; all but the name and registers in bytes."""

    name: str
    registers: int
    shared: int
    stack: int
    spilled: int


def shortened(names: list[str]) -> list[str]:
    """Mangled names as one reads them, without parameters and what every kernel has in common."""
    filtered = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    ).stdout
    return [_without_noise(name) for name in filtered.splitlines()]


def _without_noise(name: str) -> str:
    name = re.sub(r"^void |goturn::cuda::|\(anonymous namespace\)::|\((?:bool|int)\)", "", name)
    name = re.sub(r"\(Products\)(\d)", lambda found: PRODUCTS[int(found.group(1))], name)
    depth = 0
    for index, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:index].strip()
    return name


def kernels_of(log: str) -> list[Kernel]:
    """The kernels in what ``nvcc -Xptxas -v`` wrote."""
    blocks = re.split(r"Compiling entry function '", log)[1:]
    names = shortened([block.split("'", 1)[0] for block in blocks])
    return [
        Kernel(
            name,
            _number(r"Used (\d+) registers", block),
            _number(r"(\d+) bytes smem", block),
            _number(r"(\d+) bytes stack frame", block),
            _number(r"(\d+) bytes spill stores", block)
            + _number(r"(\d+) bytes spill loads", block),
        )
        for name, block in zip(names, blocks, strict=True)
    ]


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else 0


def compiled(source: Path, architecture: str, nvcc: str) -> str:
    """nvcc's and ptxas's words on compiling ``source``."""
    command = [nvcc, "-std=c++17", "-O3", f"-arch=sm_{architecture}", f"-I{ROOT / 'csrc'}"]
    command += ["-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra"]
    command += ["-Xptxas", "-v", "-cubin", "-o", "/dev/null", str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{source} does not compile for sm_{architecture}:\n{result.stderr}")
    return result.stderr


def main() -> None:
    """Prints a table for each architecture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sources", nargs="*", type=Path, help="default: csrc/cuda/*.cu")
    parser.add_argument("--arch", action="append", help="80, 90, ...; may be repeated")
    parser.add_argument("--nvcc", default="nvcc")
    options = parser.parse_args()
    sources = options.sources or sorted((ROOT / "csrc" / "cuda").glob("*.cu"))
    spilling = 0
    for architecture in options.arch or ["80", "90"]:
        start = time.perf_counter()
        print(
            f"sm_{architecture}\n{'registers':>9} {'shared':>7} {'stack':>6} {'spills':>6}  kernel"
        )
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            logs = pool.map(compiled, sources, repeat(architecture), repeat(options.nvcc))
        for log in logs:
            for kernel in kernels_of(log):
                mark = "  SPILLS" if kernel.spilled else ""
                spilling += kernel.spilled > 0
                print(
                    f"{kernel.registers:>9} {kernel.shared:>7} {kernel.stack:>6} {kernel.spilled:>6}"
                    f"  {kernel.name}{mark}",
                    flush=True,
                )
        print(f"{len(sources)} files in {time.perf_counter() - start:.0f} s\n")
    if spilling:
        sys.exit(f"{spilling} kernels spill")


if __name__ == "__main__":
    main()
