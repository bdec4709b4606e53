"""``goturn convert``: weights from one format to another."""

from __future__ import annotations

import argparse
from pathlib import Path

from goturn.commands.exits import DONE, UsageError

DESCRIPTION = """\
Converts weights: reads goturn's .h5, Caffe's .caffemodel and Caffe's HDF5 snapshots, told apart by
their content; writes .h5, or .caffemodel with a .prototxt beside it, by the extension of OUT."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn convert``."""
    parser.add_argument("source", metavar="IN", help="the weights to read")
    parser.add_argument("destination", metavar="OUT", help="the file to write: .h5 or .caffemodel")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        default="fp32",
        help="how .h5 stores the values; fp16 takes half the space and rounds them",
    )


def run(args: argparse.Namespace) -> int:
    """Converts; gives the exit code.

    Raises:
        UsageError, OSError, ValueError: with a sentence for the user.
    """
    from goturn.weights import convert, load, save

    destination = Path(args.destination)
    if not destination.parent.is_dir():
        raise FileNotFoundError(
            f"{destination}: the folder {destination.parent} does not exist; make it first"
        )
    if args.precision == "fp32":
        weights = convert(args.source, destination)
    elif destination.suffix != ".h5":
        raise UsageError(f"--precision {args.precision} is for .h5 alone; {destination} is not one")
    else:
        weights = load(args.source)
        save(weights, destination, precision=args.precision)
    count = weights.architecture.parameter_count
    print(f"wrote {destination}: {count:,} parameters, {destination.stat().st_size / 1e6:.1f} MB")
    return DONE
