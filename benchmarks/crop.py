"""Milliseconds per crop of a 2w x 2h window to 227 x 227, against OpenCV.

python benchmarks/crop.py --output benchmarks/results/NAME.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command
from command import add_options, run
from harness import HERE, Peer
from machine import Work

FRAME, BOX = (640, 480), (220, 140, 200, 200)
SIZE = 227


def make_peers(_: Path) -> list[Peer]:
    """The window's pixels are read and the crop's floats written."""
    cost = Work(bytes=2 * BOX[2] * 2 * BOX[3] * 3 + 4 * 3 * SIZE * SIZE, flops=0)
    common: dict[str, Any] = {"frame": FRAME, "box": BOX}
    file = HERE / "cropping.py"
    return [
        Peer("goturn cpu", file, "Goturn", cost, options=common),
        Peer("cv2.copyMakeBorder + resize", file, "OpenCV", cost, options=common),
        Peer("cv2 resize + planes", file, "OpenCV", cost, options={**common, "planes": True}),
    ]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add_options(parser, threads=(1, 2), rounds=8, steps=200)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    facts = {"frame": FRAME, "box": BOX, "size": SIZE}
    return run("crop", arguments, parse(arguments), make_peers, facts, step="crop")


if __name__ == "__main__":
    command.main(main)
