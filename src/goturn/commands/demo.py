"""``goturn demo``: tracks a clip that is made on the spot, and shows that everything works."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from goturn.commands import track
from goturn.commands.exits import DONE, UsageError
from goturn.commands.track_outputs import check_outputs
from goturn.commands.values import add_where_to_run, count_argument

DESCRIPTION = """\
Makes a clip of a car on a road, tracks the car from its first box with the weights that come with goturn,
writes the video with the box drawn, and says how fast that was and how well the box fitted.  Needs no
video, no weights and no network connection."""

#: Where the video goes.
OUTPUT = "demo.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn demo``."""
    parser.add_argument(
        "--output",
        default=OUTPUT,
        metavar="FILE",
        help=f"annotated video, .mp4 or .avi; ending in /: JPEG images (default: {OUTPUT})",
    )
    parser.add_argument("--show", action="store_true", help="watch in a window; q or Esc ends")
    parser.add_argument("--frames", type=count_argument, metavar="N", help="stop after N frames")
    parser.add_argument("--weights", metavar="FILE", help="other weights than goturn's own")
    add_where_to_run(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")


def run(args: argparse.Namespace) -> int:
    """Tracks; gives the exit code.

    Raises:
        UsageError, OSError, ValueError, TypeError, RuntimeError: with a sentence for the user.
    """
    from goturn.demo import FRAMES, DemoSource, Overlaps
    from goturn.tracker import MultiTracker

    if args.frames == 0:
        raise UsageError("--frames 0 leaves nothing to track; give at least 1")
    if args.show:
        track.check_screen("--show")
    options = _as_tracking(args)
    check_outputs(options)
    tracker = MultiTracker(
        args.weights,
        device=args.device,
        precision=args.precision,
        target_policy=args.target,
    )
    source = DemoSource(min(args.frames or FRAMES, FRAMES))
    with source:
        options.box = [source.truth[0]]
        overlaps = Overlaps(source.truth)
        code = track.track(options, source, tracker, [overlaps])
    if not args.quiet and code == DONE:
        mean, least = float(np.mean(overlaps.found)), min(overlaps.found)
        print(f"IoU of the box with the car's: mean {mean:.2f}, least {least:.2f}", file=sys.stderr)
    return code


def _as_tracking(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of ``goturn track`` that do this."""
    parser = argparse.ArgumentParser()
    track.add_arguments(parser)
    given = ["the demo's clip", f"--output={args.output}"]
    given += ["--show"] * args.show + ["--quiet"] * args.quiet
    return parser.parse_args(given)
