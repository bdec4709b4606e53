"""What the commands' options take: text in, a value out, or the sentence with which argparse ends."""

from __future__ import annotations

import argparse

from goturn.box import Box, as_box
from goturn.ops import PRECISION_OPTION, device_kind
from goturn.target_policy import TargetPolicy


def box_argument(text: str) -> Box:
    """``x,y,w,h`` as a Box."""
    try:
        box = as_box([float(part) for part in text.split(",")])
    except ValueError:
        box = Box(0, 0, 0, 0)
    if box.w <= 0 or box.h <= 0:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a box; give four numbers x,y,w,h in pixels, w and h above 0"
        )
    return box


def count_argument(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def positive_argument(text: str) -> int:
    """A whole number from 1 on."""
    count = count_argument(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return count


def rate_argument(text: str) -> float:
    """Frames per second, above 0."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate between 0 and 1000")
    return rate


def device_argument(text: str) -> str:
    """A device that goturn knows, whether or not it is here."""
    try:
        device_kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def mean_argument(text: str) -> float:
    """A mean of pixels, 0..255."""
    try:
        mean = float(text)
    except ValueError:
        mean = -1.0
    if not 0 <= mean <= 255:
        raise argparse.ArgumentTypeError(f"{text!r} is not a mean of pixels, 0 to 255")
    return mean


def sheet_count_argument(text: str) -> int:
    """How many samples are on a contact sheet; a thousand take some 250 MB."""
    count = count_argument(text)
    if not 1 <= count <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of samples from 1 to 1000")
    return count


def target_argument(text: str) -> TargetPolicy:
    """:meth:`TargetPolicy.parse`."""
    try:
        return TargetPolicy.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_where_to_run(parser: argparse.ArgumentParser) -> None:
    """The options ``--device``, ``--precision`` and ``--target`` of a command that tracks."""
    parser.add_argument(
        "--device",
        type=device_argument,
        default="auto",
        help="auto (default), cpu, cuda, cuda:N or reference",
    )
    parser.add_argument("--precision", **PRECISION_OPTION)
    add_target(parser)


def add_target(parser: argparse.ArgumentParser, what: str = "") -> None:
    """The option ``--target``; ``what`` goes before its help."""
    parser.add_argument(
        "--target",
        type=target_argument,
        metavar="SHARE,FRAMES",
        help=f"{what}how much the first target counts beside the latest, 0 to 1, and after how many "
        "frames the latest is taken anew; paper for 0,1 (default: what the weights ask for)",
    )
