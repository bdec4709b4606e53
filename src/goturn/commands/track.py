"""``goturn track``: follows one or more objects through a source and writes what it finds."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from goturn.box import Box, as_box
from goturn.commands.exits import DONE, ENDED_EARLY, SIGNAL_BASE, UsageError, stop_on_signal

if TYPE_CHECKING:
    from goturn.outputs import Output
    from goturn.tracker import MultiTracker
    from goturn.video import Source

DESCRIPTION = """\
Tracks what is in --box of the first frame through a video, a camera or a folder of images.
Without --output, --csv, --mot, --jsonl and --show the boxes go to standard output as CSV."""


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


def rate_argument(text: str) -> float:
    """Frames per second, above 0."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate between 0 and 1000")
    return rate


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
    parser.add_argument("--weights", metavar="FILE", help="weights, in any format goturn reads")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or reference")
    parser.add_argument(
        "--precision", default="fp32", help="of the fc weights: fp32 (default), bf16 or int8"
    )
    outputs = parser.add_argument_group("outputs (existing files are overwritten)")
    outputs.add_argument(
        "--output", metavar="FILE", help="annotated video, .mp4 or .avi; ending in /: JPEG images"
    )
    outputs.add_argument(
        "--csv", metavar="FILE", help="boxes: frame,object,x,y,w,h from frame 0; - is stdout"
    )
    outputs.add_argument(
        "--mot", metavar="FILE", help="boxes as MOT gt.txt, from frame 1; - is stdout"
    )
    outputs.add_argument("--jsonl", metavar="FILE", help="boxes as JSON lines; - is stdout")
    outputs.add_argument("--show", action="store_true", help="watch in a window; q or Esc ends")
    parser.add_argument(
        "--start", type=count_argument, default=0, metavar="N", help="skip the first N frames"
    )
    parser.add_argument("--frames", type=count_argument, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--fps", type=rate_argument, help="rate of the annotated video, if not the source's"
    )
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
        _check_screen(needs_screen)
    check_outputs(args)
    with open_source(args.source, start=args.start) as source:
        check_not_overwritten(args, source)
        tracker = MultiTracker(args.weights, device=args.device, precision=args.precision)
        return track(args, source, tracker)


def _check_screen(purpose: str) -> None:
    from goturn.commands.screen import screen_problem

    problem = screen_problem()
    if problem:
        remedy = "leave it out" if purpose == "--show" else "pass --box x,y,w,h"
        raise UsageError(f"{purpose} needs a window, but {problem}; {remedy}")


def output_paths(args: argparse.Namespace) -> list[Path]:
    """The files and folders that will be written."""
    names: Iterable[str | None] = (args.output, args.csv, args.mot, args.jsonl)
    return [Path(name) for name in names if name is not None and name != "-"]


def check_outputs(args: argparse.Namespace) -> None:
    """Refuses outputs that could not be written, before any work is done.

    Raises:
        FileNotFoundError, ValueError, IsADirectoryError: with a sentence.
    """
    from goturn.outputs import check_video_suffix, is_image_folder

    folder = args.output is not None and is_image_folder(args.output)
    if args.output is not None and not folder:
        check_video_suffix(args.output)
    paths = output_paths(args)
    for path in paths:
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"{path}: the folder {path.parent} does not exist; make it first"
            )
    for name in (args.csv, args.mot, args.jsonl):
        if name is not None and Path(name).is_dir():
            raise IsADirectoryError(f"{name} is a folder; give the name of a file for the boxes")
    if folder and Path(args.output).exists() and not Path(args.output).is_dir():
        raise ValueError(f"{args.output} is a file, not a folder for images")
    to_stdout = [name for name in (args.csv, args.mot, args.jsonl) if name == "-"]
    if len({path.resolve() for path in paths}) < len(paths) or len(to_stdout) > 1:
        raise ValueError("two outputs have the same name; give each its own")


def check_not_overwritten(args: argparse.Namespace, source: Source) -> None:
    """Refuses outputs that would overwrite what is read.

    Raises:
        ValueError: with a sentence.
    """
    from goturn.video import ImageSource

    inputs = {path.resolve() for path in source.paths}
    if isinstance(source, ImageSource):
        inputs |= {path.parent for path in inputs}
    if args.weights is not None:
        inputs.add(Path(args.weights).resolve())
    for path in output_paths(args):
        if path.resolve() in inputs:
            raise ValueError(
                f"{path} is read as input and writing it would destroy it; give another name"
            )


@dataclass
class Timing:
    """How long a run took, seconds."""

    frames: int = 0
    tracking: float = 0.0
    """Spent in the tracker's updates: one for each frame but the first."""
    overall: float = 0.0

    def summary(self) -> str:
        """Frames and rates in one line."""
        text = f"{self.frames} frame{'s' if self.frames != 1 else ''}"
        if self.frames > 1:
            text += (
                f", tracking {(self.frames - 1) / max(self.tracking, 1e-9):.1f} frames/s, "
                f"overall {self.frames / max(self.overall, 1e-9):.1f} frames/s"
            )
        return text


def track(args: argparse.Namespace, source: Source, tracker: MultiTracker) -> int:
    """Runs ``tracker`` over ``source``, writes the outputs, and gives the exit code."""
    frames = iter(source)
    first = next(frames)
    found = {tracker.add(first, box): box for box in args.box or [_drawn_box(first)]}
    timing = Timing()
    began = time.perf_counter()
    with ExitStack() as stack:
        request = stack.enter_context(stop_on_signal())
        outputs = _open_outputs(args, source, stack)
        total = source.claimed and min(source.claimed, args.frames or source.claimed)
        progress = stack.enter_context(_progress(args, total or args.frames))
        for frame in islice(chain([first], frames), args.frames):
            if timing.frames > 0:
                before = time.perf_counter()
                found = tracker.update(frame)
                timing.tracking += time.perf_counter() - before
            watching = _emit(args, outputs, source.start + timing.frames, frame, found)
            timing.frames += 1
            progress.update()
            if request.signal or not watching:
                break
    timing.overall = time.perf_counter() - began

    if not args.quiet:
        written = ", ".join(output.name for output in outputs if output.name != "-")
        print(timing.summary() + (f"; wrote {written}" if written else ""), file=sys.stderr)
    if source.problem:
        print(f"goturn: warning: {source.problem}; the boxes so far are kept", file=sys.stderr)
    if request.signal:
        return SIGNAL_BASE + request.signal
    return ENDED_EARLY if source.problem else DONE


def _drawn_box(frame: np.ndarray) -> Box:
    from goturn.commands.screen import select_box

    return select_box(frame)


def _open_outputs(args: argparse.Namespace, source: Source, stack: ExitStack) -> list[Output]:
    """Opens what is asked for; ``stack`` closes it."""
    from goturn.outputs import STDOUT, BoxFile, open_pictures

    outputs: list[Output] = []
    if args.output is not None:
        pictures = open_pictures(args.output, source.size, args.fps or source.fps)
        outputs.append(stack.enter_context(pictures))
    for layout in ("csv", "mot", "jsonl"):
        name = getattr(args, layout)
        if name is not None:
            outputs.append(stack.enter_context(BoxFile(name, layout)))
    if args.show:
        from goturn.commands.screen import close_windows

        stack.callback(close_windows)
    elif not outputs:
        outputs.append(stack.enter_context(BoxFile(STDOUT)))
    return outputs


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
) -> bool:
    """Writes and shows one frame; false once the user has closed the window."""
    picture = frame
    if args.show or args.output is not None:
        from goturn.overlay import draw_boxes

        picture = draw_boxes(frame, boxes)
    for output in outputs:
        output.write(index, picture, boxes)
    if args.show:
        from goturn.commands.screen import show

        return show(picture)
    return True
