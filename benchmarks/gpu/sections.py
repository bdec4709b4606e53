"""One section of the GPU benchmark, in a process of its own: what ends it costs the others nothing.

    PYTHONPATH=benchmarks python -m gpu.sections SECTION --rows FILE --ceilings FILE --seconds N

Appends a JSON line to FILE for each row as it is done.  "ceilings" writes the ceilings instead.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from goturn.architecture import Architecture, goturn
from goturn.weights import Weights
from gpu import ceilings as ceilings_of_gpu
from gpu import (
    compiled,
    memory,
    networks,
    op_convs,
    op_linears,
    op_planes,
    trackers,
    trainings,
)
from gpu.device import Device
from gpu.rows import Case, Rows
from track import standing_still

Cases = Callable[[Device, Weights], Iterator[Case]]

#: In the order of their weight, should time be short.
SECTIONS: dict[str, Cases] = {
    "network": networks.cases,
    "tracker": trackers.cases,
    "training": trainings.cases,
    "compiled": compiled.cases,
    "convolutions": op_convs.cases,
    "linear": op_linears.cases,
    "planes": op_planes.cases,
}
NAMES = ("ceilings", *SECTIONS, "memory")

#: Precisions of the rows on memory and loading.
LOADED = ("fp32", "fp16", "int8")


def random_weights(architecture: Architecture) -> Weights:
    """As the trackers' benchmark has them, with a last layer that answers to its input."""
    weights = standing_still(architecture)
    last = f"{architecture.head[-1].name}/weight"
    shape = weights.parameters[last].shape
    values = np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    own = {**weights.parameters, last: values * np.float32(math.sqrt(1 / shape[1]))}
    return Weights(architecture, own, origin="benchmarks/gpu, random")


def weights_of(section: str, architecture: Architecture) -> Weights:
    """Trackers must stay where they are; everything else is checked by its numbers."""
    still = section in ("tracker", "memory")
    return standing_still(architecture) if still else random_weights(architecture)


def run(
    section: str, device: Device, weights: Weights, rows: Rows, ceilings: Mapping[str, float]
) -> None:
    """Measures a section's cases."""

    def all_of_them() -> None:
        for case in SECTIONS[section](device, weights):
            rows.run(device, case, ceilings)

    rows.guarded(section, all_of_them)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="One section of the GPU benchmark.")
    parser.add_argument("section", choices=NAMES)
    parser.add_argument("--rows", type=Path, required=True, metavar="FILE")
    parser.add_argument("--ceilings", type=Path, required=True, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="torch")
    rows = Rows(options.rows, options.section, options.seconds)
    measure(options, rows)
    rows.end()
    return 0


def measure(options: argparse.Namespace, rows: Rows) -> None:
    """All that the section has to say."""
    if options.section == "memory":
        with tempfile.TemporaryDirectory() as folder:
            weights = weights_of("memory", goturn())
            for row in memory.rows(weights, Path(folder), LOADED):
                rows.add(row)
        return
    device = Device()
    if options.section == "ceilings":
        found: dict[str, Any] = {**ceilings_of_gpu.measure(device), "versions": device.versions()}
        options.ceilings.write_text(json.dumps(found), encoding="utf-8")
        print(json.dumps(found), file=sys.stderr)
        return
    ceilings: dict[str, float] = {}
    if options.ceilings.exists():
        ceilings = json.loads(options.ceilings.read_text(encoding="utf-8"))
    run(options.section, device, weights_of(options.section, goturn()), rows, ceilings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
