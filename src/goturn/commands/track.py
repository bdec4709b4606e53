"""``goturn track``: follows one or more objects through a source and writes what it finds."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goturn.box import Box
from goturn.commands import track_outputs
from goturn.commands.exits import DONE, ENDED_EARLY, SIGNAL_BASE, UsageError, stop_on_signal
from goturn.commands.files import check_not_overwritten
from goturn.commands.track_outputs import check_outputs, open_outputs, output_paths
from goturn.commands.values import add_where_to_run, box_argument, count_argument

if TYPE_CHECKING:
    from goturn.outputs import Output
    from goturn.tracker import MultiTracker
    from goturn.video import Source

DESCRIPTION = """\
Tracks what is in --box of the first frame through a video, a camera or a folder of images.
Where no file and no --show is asked for, the boxes go to standard output as CSV."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn track``."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="video file, camera number, stream URL, folder of images, or quoted glob pattern",
    )
    parser.add_argument(
        "--box",
        type=box_argument,
        action="append",
        metavar="x,y,w,h",
        help="left, top, width, height of the target in the first frame, pixels; give it again for "
        "each further object; without it a window opens to draw one",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights, in any format goturn reads (default: those that come with goturn)",
    )
    add_where_to_run(parser)
    track_outputs.add_arguments(parser)
    parser.add_argument(
        "--start", type=count_argument, default=0, metavar="N", help="skip the first N frames"
    )
    parser.add_argument("--frames", type=count_argument, metavar="N", help="stop after N frames")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")


def run(args: argparse.Namespace) -> int:
    """Tracks; gives the exit code.

    Raises:
        UsageError, OSError, ValueError, TypeError, RuntimeError: with a sentence for the user.
    """
    from goturn.tracker import MultiTracker
    from goturn.video import open_source

    if args.frames == 0:
        raise UsageError("--frames 0 leaves nothing to track; give at least 1")
    needs_screen = "--show" if args.show else None if args.box else "drawing a box"
    if needs_screen:
        check_screen(needs_screen)
    check_outputs(args)
    with open_source(args.source, start=args.start) as source:
        check_not_overwritten(output_paths(args), input_paths(args, source))
        tracker = MultiTracker(
            args.weights,
            device=args.device,
            precision=args.precision,
            target_policy=args.target,
        )
        return track(args, source, tracker)


def check_screen(purpose: str) -> None:
    """Refuses what needs a window where there can be none.

    Raises:
        UsageError: which says why.
    """
    from goturn.commands.screen import screen_problem

    problem = screen_problem()
    if problem:
        remedy = "leave it out" if purpose == "--show" else "pass --box x,y,w,h"
        raise UsageError(f"{purpose} needs a window, but {problem}; {remedy}")


def input_paths(args: argparse.Namespace, source: Source) -> list[Path]:
    """The files that are read, and the folders of images."""
    from goturn.video import ImageSource
    from goturn.weights.default import default_path

    paths = [*source.paths, Path(args.weights or default_path())]
    if isinstance(source, ImageSource):
        paths += {path.resolve().parent for path in source.paths}
    return paths


#: A confidence below it: rather lost than not.
PROBABLY = 0.5


@dataclass
class Timing:
    """How long a run took, seconds: all frames but the first, whose box is given."""

    frames: int = 0
    """The first included."""
    tracking: float = 0.0
    """Spent in the tracker's updates."""
    overall: float = 0.0
    """From the first frame's being written to the outputs' being closed."""

    def summary(self) -> str:
        """Frames and rates in one line; both rates are of the frames tracked, all but the first."""
        text = f"{self.frames} frame{'s' if self.frames != 1 else ''}"
        if self.frames > 1:
            tracked = self.frames - 1
            text += (
                f", tracking {tracked / max(self.tracking, 1e-9):.1f} frames/s, "
                f"overall {tracked / max(self.overall, 1e-9):.1f} frames/s"
            )
        return text


class Losses:
    """In which frames objects were probably lost: their confidence was below one half."""

    def __init__(self) -> None:
        self._frames: dict[int, list[int]] = {}
        self._all: set[int] = set()

    def note(self, index: int, confidences: Mapping[int, float]) -> None:
        """Takes a frame's confidences, by object number."""
        self._all |= set(confidences)
        for key, confidence in confidences.items():
            if confidence < PROBABLY:
                first, count = self._frames.get(key, (index, 0))
                self._frames[key] = [first, count + 1]

    def summary(self) -> list[str]:
        """A line for each object that was ever lost."""
        return [
            f"{f'object {key} was ' if len(self._all) > 1 else ''}probably lost in "
            f"{count} frame{'s' if count > 1 else ''}, the first is {first} (confidence below "
            f"{PROBABLY:g})"
            for key, (first, count) in self._frames.items()
        ]


def track(
    args: argparse.Namespace,
    source: Source,
    tracker: MultiTracker,
    further: Sequence[Output] = (),
) -> int:
    """Runs ``tracker`` over ``source``, writes the outputs, and gives the exit code.

    ``further`` outputs, which the caller closes, are written to as well.
    """
    frames = iter(source)
    first = next(frames)
    found = {tracker.add(first, box): box for box in args.box or [_drawn_box(first)]}
    confidences = tracker.confidences
    timing, losses, began = Timing(), Losses(), 0.0
    with ExitStack() as stack:
        request = stack.enter_context(stop_on_signal())
        outputs = open_outputs(args, source, stack)
        total = source.claimed and min(source.claimed, args.frames or source.claimed)
        progress = stack.enter_context(_progress(args, total or args.frames))
        for frame in islice(chain([first], frames), args.frames):
            if timing.frames > 0:
                before = time.perf_counter()
                found = tracker.update(frame)
                # A part of the next frame's work, which is spared then.
                confidences = tracker.confidences
                timing.tracking += time.perf_counter() - before
            watching = _emit(
                args,
                [*outputs, *further],
                source.start + timing.frames,
                frame,
                found,
                confidences=confidences,
            )
            losses.note(source.start + timing.frames, confidences)
            timing.frames += 1
            if timing.frames == 1:  # nothing was tracked yet
                began = time.perf_counter()
            progress.update()
            if request.signal or not watching:
                break
    timing.overall = time.perf_counter() - began

    if not args.quiet:
        written = ", ".join(output.name for output in outputs if output.name != "-")
        print(timing.summary() + (f"; wrote {written}" if written else ""), file=sys.stderr)
        for line in losses.summary():
            print(line, file=sys.stderr)
    if source.problem:
        print(f"goturn: warning: {source.problem}; the boxes so far are kept", file=sys.stderr)
    if request.signal:
        return SIGNAL_BASE + request.signal
    return ENDED_EARLY if source.problem else DONE


def _drawn_box(frame: np.ndarray) -> Box:
    from goturn.commands.screen import select_box

    return select_box(frame)


def _progress(args: argparse.Namespace, total: int | None) -> Any:
    """A progress bar on a terminal's standard error; nothing where that is a file."""
    from tqdm import tqdm

    return tqdm(total=total, unit=" frames", file=sys.stderr, disable=True if args.quiet else None)


def _emit(
    args: argparse.Namespace,
    outputs: Sequence[Output],
    index: int,
    frame: np.ndarray,
    boxes: Mapping[int, Box],
    *,
    confidences: Mapping[int, float],
) -> bool:
    """Writes and shows one frame; false once the user has closed the window."""
    picture = frame
    if args.show or args.output is not None:
        from goturn.overlay import draw_boxes

        picture = draw_boxes(frame, boxes)
    for output in outputs:
        output.write(index, picture, boxes, confidences)
    if args.show:
        from goturn.commands.screen import show

        return show(picture)
    return True
