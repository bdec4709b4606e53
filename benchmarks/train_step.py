"""Milliseconds per training step with frozen convolutions, batch 50, against PyTorch.

python benchmarks/train_step.py --engines-python PATH --output benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import command
from command import add_options, run, whole_numbers
from goturn.architecture import Architecture, goturn
from goturn.weights import save
from harness import HERE, Peer
from machine import Work
from track import standing_still

BATCH = 50


def work(architecture: Architecture, batch: int) -> Work:
    """A step: both towers and three products with each fc weight, less the first layer's dx.

    The weights are read for the forward pass, once more for dx, and with their velocities read and
    written by the update.
    """
    shapes, outputs = architecture.parameter_shapes(), architecture.tower_shapes()
    macs = 0
    for conv in architecture.convs:
        _, height, width = outputs[conv.name]
        macs += 2 * math.prod(shapes[f"{conv.name}/weight"]) * height * width
    fcs = [math.prod(shapes[f"{layer.name}/weight"]) for layer in architecture.head]
    macs += 3 * sum(fcs) - fcs[0]
    convs = sum(math.prod(shapes[f"{conv.name}/weight"]) for conv in architecture.convs)
    values = convs + 2 * sum(fcs) - fcs[0] + 4 * sum(fcs)
    return Work(bytes=4 * values, flops=2 * macs * batch)


def make_peers(
    widths: Sequence[int], batch: int, device: str, engines: str | None, folder: Path
) -> list[Peer]:
    architecture = goturn(widths)
    weights, cost = standing_still(architecture), work(architecture, batch)
    ours, tensors = folder / "net.h5", folder / "net.npz"
    save(weights, ours)
    common = {"batch": batch, "side": architecture.preprocessing.input_size}
    options: dict[str, Any] = {"weights": str(ours), "device": device, **common}
    peers = [
        Peer(
            f"goturn {device}", HERE / "training.py", "Goturn", cost, options=options, files=(ours,)
        )
    ]
    if engines is not None:
        named: dict[str, Any] = dict(weights.parameters)
        np.savez(tensors, **named)
        options = {"tensors": str(tensors), "architecture": architecture.to_json(), **common}
        peers.append(
            Peer(
                "PyTorch",
                HERE / "training.py",
                "Torch",
                cost,
                options=options,
                files=(tensors,),
                interpreter=engines,
            )
        )
    return peers


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--engines-python", metavar="PATH", help="interpreter with torch; without it no such row"
    )
    parser.add_argument("--device", default="cpu", help="of our row (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="N", help="pairs of crops")
    parser.add_argument(
        "--widths",
        type=whole_numbers,
        default=(4096, 4096, 4096),
        metavar="N,...",
        help="of the hidden fc layers (default: the paper's 4096,4096,4096)",
    )
    add_options(parser, threads=(2,), rounds=6, steps=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    return run(
        "train_step",
        arguments,
        options,
        lambda folder: make_peers(
            options.widths, options.batch, options.device, options.engines_python, folder
        ),
        {
            "batch": options.batch,
            "widths": options.widths,
            "parameters": goturn(options.widths).parameter_count,
        },
        step="step",
    )


if __name__ == "__main__":
    command.main(main)
