"""``goturn convert``: weights from one format to another."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from goturn.commands.exits import DONE, UsageError
from goturn.commands.files import check_not_overwritten
from goturn.commands.values import add_target, mean_argument
from goturn.target_policy import PAPER

if TYPE_CHECKING:
    from goturn.weights import Weights

DESCRIPTION = """\
Converts weights: reads goturn's .h5, Caffe's .caffemodel and Caffe's HDF5 snapshots, told apart by
their content; writes .h5, or .caffemodel with a .prototxt beside it, by the extension of OUT.
Existing files are overwritten, except IN."""

#: What ``cv2.TrackerGOTURN`` subtracts from every channel, whatever the network.
OPENCV_MEAN = 128.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn convert``."""
    parser.add_argument("source", metavar="IN", help="the weights to read")
    parser.add_argument("destination", metavar="OUT", help="the file to write: .h5 or .caffemodel")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="how .h5 stores the values; fp16 takes half the space and rounds them, int8 (of fc layers) "
        "a quarter",
    )
    add_target(parser, "for .h5, what the weights are to ask of trackers: ")
    parser.add_argument(
        "--names",
        choices=("opencv", "authors"),
        help="whose layer names .caffemodel has; opencv if not given",
    )
    parser.add_argument(
        "--fold-mean",
        type=mean_argument,
        metavar="MEAN",
        help="for .caffemodel: change the first convolution's bias so that the network expects this "
        "mean on every channel; 128 for cv2.TrackerGOTURN",
    )


def run(args: argparse.Namespace) -> int:
    """Converts; gives the exit code.

    Raises:
        UsageError, OSError, ValueError: with a sentence for the user.
    """
    from goturn.weights import load, save, save_caffemodel

    destination = Path(args.destination)
    _check_options(args, destination)
    written = [destination]
    if destination.suffix == ".caffemodel":
        written.append(destination.with_suffix(".prototxt"))
    check_not_overwritten(written, [Path(args.source)])
    if not destination.parent.is_dir():
        raise FileNotFoundError(
            f"{destination}: the folder {destination.parent} does not exist; make it first"
        )
    weights = load(args.source)
    if args.target is not None:
        weights = replace(weights, target_policy=None if args.target == PAPER else args.target)
    if destination.suffix == ".h5":
        save(weights, destination, precision=args.precision)
    else:
        names = args.names or "opencv"
        save_caffemodel(weights, destination, names=names, fold_mean=args.fold_mean)
        if names == "opencv":
            _tell_mean(weights, args.fold_mean)
        _tell_lost(weights)
    count = weights.architecture.parameter_count
    print(
        f"wrote {' and '.join(map(str, written))}: {count:,} parameters, "
        f"{destination.stat().st_size / 1e6:.1f} MB"
    )
    return DONE


def _check_options(args: argparse.Namespace, destination: Path) -> None:
    """Refuses options that the format to be written does not have."""
    suffix = destination.suffix
    if suffix not in (".h5", ".caffemodel"):
        raise UsageError(
            f"{destination}: cannot write {suffix or 'a file without extension'}; "
            "the name must end in .h5 or .caffemodel"
        )
    for option, given, own in (
        (f"--precision {args.precision}", args.precision != "fp32", ".h5"),
        ("--target", args.target is not None, ".h5"),
        ("--names", args.names is not None, ".caffemodel"),
        ("--fold-mean", args.fold_mean is not None, ".caffemodel"),
    ):
        if given and suffix != own:
            raise UsageError(f"{option} is for {own} alone; {destination} is not one")


def _tell_mean(weights: Weights, folded: float | None) -> None:
    """Says so where the written network's mean is not the one that OpenCV's tracker subtracts."""
    mean = weights.architecture.preprocessing.mean if folded is None else (folded,) * 3
    if set(mean) != {OPENCV_MEAN}:
        print(
            f"goturn: note: this network expects the mean {', '.join(f'{m:g}' for m in mean)}, but "
            "cv2.TrackerGOTURN subtracts 128 from every channel; --fold-mean 128 compensates",
            file=sys.stderr,
        )


def _tell_lost(weights: Weights) -> None:
    """Says what a .caffemodel has no place for, where the weights have it."""
    lost = {
        "target policy": weights.target_policy,
        "calibration of confidence": weights.calibration,
    }
    named = [name for name, value in lost.items() if value is not None]
    if named:
        print(
            f"goturn: note: a .caffemodel has no place for the {' and the '.join(named)} of these "
            "weights; keep the .h5 for goturn",
            file=sys.stderr,
        )
