"""How wrong the boxes are about which a tracker looks: what the motion model of training should draw.

python tools/tracker_errors.py FILE --videos SPEC

Tracks labelled videos, those that weights were or will be trained on, from many starts, and compares the
box about which each search window is cropped, the latest estimate, with where the object then is.  Shifts
are in units of the object's size, changes of size relative to it, as the motion model draws them
(``goturn.training.motion``): the inverse of a mean is the lambda of the Laplace distribution with that
mean.  Frames in which the two hardly overlap (IoU of a tenth) are left out: the object is lost there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from goturn.commands.exits import SIGNAL_BASE, stop_on_signal
from goturn.data import FrameReader
from goturn.data.model import Video
from goturn.evaluation.many_starts import followed, starts
from goturn.evaluation.session import Read, Session, Stopped
from goturn.evaluation.trackers import AnyTracker
from goturn.tracker import Tracker
from goturn.training.config import TrainConfig
from goturn.training.sources import open_sources

#: A box with less overlap than this has lost the object.
HELD = 0.1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", metavar="FILE")
    parser.add_argument("--videos", nargs="+", required=True, metavar="SPEC")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="int8", help="to track with (default int8)")
    return parser.parse_args(arguments)


def errors(
    tracker: AnyTracker, videos: Sequence[Video], read: Read, stop: Callable[[], bool]
) -> np.ndarray:
    """(n, 4): shift across and down, change of width and of height, of the boxes that were looked about.

    Raises:
        ValueError: a video without labels, or a frame that cannot be decoded.
        Stopped: on request.
    """
    found: list[tuple[float, float, float, float]] = []
    for video in videos:
        session = Session(tracker, video, read, strict=True, stop=stop)
        for start in starts(video):
            looked = video.boxes[start]
            for number, box in followed(session, video, start):
                truth = video.boxes.get(number)
                counts = number not in video.ignored
                if truth is not None and counts and looked.iou(truth) >= HELD:
                    (x, y), (true_x, true_y) = looked.center, truth.center
                    shift = (x - true_x) / truth.w, (y - true_y) / truth.h
                    found.append((*shift, looked.w / truth.w - 1, looked.h / truth.h - 1))
                looked = box or looked  # without an answer, where it was
    return np.array(found, np.float64).reshape(-1, 4)


def main(arguments: Sequence[str]) -> int:
    args = parse(arguments)
    if not Path(args.weights).is_file():
        raise FileNotFoundError(f"{args.weights}: there is no such file")
    tracker = Tracker(args.weights, device=args.device, precision=args.precision)
    videos = open_sources(TrainConfig(videos=tuple(args.videos))).videos
    with stop_on_signal() as request:
        try:
            found = errors(tracker, videos, FrameReader().read, lambda: request.signal != 0)
        except Stopped:
            return SIGNAL_BASE + request.signal
    if not len(found):
        raise ValueError(f"no frame of {', '.join(args.videos)} has a label behind a start")
    sizes = np.abs(found)
    share, every = tracker.target_policy
    print(f"{len(found):,} frames of {len(videos)} videos, tracked with --target {share:g},{every}")
    print(f"{'':14}  across   down  lambda")
    for name, (across, down) in (("shift", (0, 1)), ("change of size", (2, 3))):
        of_both = sizes[:, [across, down]].mean()
        means = f"{sizes[:, across].mean():7.3f} {sizes[:, down].mean():7.3f}"
        print(f"{name:14} {means} {1 / max(of_both, 1e-9):7.1f}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"tracker_errors: error: {error}", file=sys.stderr)
        sys.exit(1)
