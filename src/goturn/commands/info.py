"""``goturn info``: what is installed, built and found on this machine."""

from __future__ import annotations

import argparse
import contextlib
import json

from goturn.commands.exits import DONE

DESCRIPTION = """\
Prints the versions of goturn and what it uses, what of it is compiled, the CPU and the GPUs, and what is
in the weights that come with it, or in those of --weights: what a report of a problem should contain."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn info``."""
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights to describe, if not those that come with goturn: layers, preprocessing, digest",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the report; gives the exit code.

    Raises:
        OSError, ValueError: the weights cannot be read.
    """
    from goturn.info import gather, render
    from goturn.weights.default import default_path

    weights = args.weights
    if weights is None:
        with contextlib.suppress(FileNotFoundError):  # an installation without is told of as such
            weights = default_path()
    report = gather(weights)
    print(json.dumps(report, indent=2) if args.json else render(report))
    return DONE
