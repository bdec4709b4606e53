"""What ``goturn track`` writes: the options, what is refused before any work is done, and the opening."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from goturn.commands.exits import UsageError
from goturn.commands.values import rate_argument

if TYPE_CHECKING:
    from goturn.outputs import Output
    from goturn.video import Source

#: Options whose boxes are written frame by frame, and may go to standard output.
LINES = ("csv", "mot", "jsonl")

#: Options whose file is written when the run ends.
WHOLE = ("cvat", "coco", "label_studio")

#: Standard output, as a file's name.
STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name outputs."""
    outputs = parser.add_argument_group("outputs (existing files are overwritten)")
    outputs.add_argument(
        "--output", metavar="FILE", help="annotated video, .mp4 or .avi; ending in /: JPEG images"
    )
    outputs.add_argument(
        "--csv",
        metavar="FILE",
        help="boxes: frame,object,x,y,w,h,confidence from frame 0; - is stdout",
    )
    outputs.add_argument(
        "--mot",
        metavar="FILE",
        help="boxes as MOT gt.txt, from frame 1; - is stdout; ending in .zip: as CVAT imports it",
    )
    outputs.add_argument("--jsonl", metavar="FILE", help="boxes as JSON lines; - is stdout")
    outputs.add_argument("--cvat", metavar="FILE", help="boxes as CVAT for video 1.1 (XML)")
    outputs.add_argument("--coco", metavar="FILE", help="boxes as COCO with videos (JSON)")
    outputs.add_argument(
        "--label-studio", metavar="FILE", help="boxes as Label Studio's predictions (JSON)"
    )
    outputs.add_argument(
        "--label",
        type=label_argument,
        metavar="NAME",
        help="the objects' class in --cvat, --coco, --label-studio and --mot FILE.zip, if not object",
    )
    outputs.add_argument("--show", action="store_true", help="watch in a window; q or Esc ends")
    outputs.add_argument(
        "--fps",
        type=rate_argument,
        help="rate of the annotated video, and of Label Studio's times, if not the source's",
    )


def label_argument(text: str) -> str:
    """The name of a class: something, in one line."""
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a class, such as pedestrian")
    return text.strip()


def output_paths(args: argparse.Namespace) -> list[Path]:
    """The files and folders that will be written."""
    names: Iterable[str | None] = (args.output, *_box_files(args))
    return [Path(name) for name in names if name is not None and name != STDOUT]


def check_outputs(args: argparse.Namespace) -> None:
    """Refuses outputs that could not be written, before any work is done.

    Raises:
        UsageError, FileNotFoundError, ValueError, IsADirectoryError: with a sentence.
    """
    from goturn.outputs import check_video_suffix, is_image_folder

    folder = args.output is not None and is_image_folder(args.output)
    video = args.output is not None and not folder
    if args.fps is not None and not video and args.label_studio is None:
        raise UsageError("--fps is the rate of an annotated video; give --output FILE.mp4 or .avi")
    if video:
        try:
            check_video_suffix(args.output)
        except ValueError as error:
            raise UsageError(str(error)) from error
    labelled = [getattr(args, option) is not None for option in WHOLE]
    if args.label is not None and not any(labelled) and not _is_zip(args.mot):
        raise UsageError(
            "--label names a class in the files of annotation tools; give --cvat, --coco, "
            "--label-studio or --mot FILE.zip as well"
        )
    for option in WHOLE:
        if getattr(args, option) == STDOUT:
            flag = "--" + option.replace("_", "-")
            raise UsageError(f"{flag} is written when the run ends; give the name of a file, not -")
    paths = output_paths(args)
    for path in paths:
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"{path}: the folder {path.parent} does not exist; make it first"
            )
    for name in _box_files(args):
        if name is not None and Path(name).is_dir():
            raise IsADirectoryError(f"{name} is a folder; give the name of a file for the boxes")
    if folder and Path(args.output).exists() and not Path(args.output).is_dir():
        raise ValueError(f"{args.output} is a file, not a folder for images")
    to_stdout = [option for option in LINES if getattr(args, option) == STDOUT]
    if len({path.resolve() for path in paths}) < len(paths) or len(to_stdout) > 1:
        raise UsageError("two outputs have the same name; give each its own")


def open_outputs(args: argparse.Namespace, source: Source, stack: ExitStack) -> list[Output]:
    """Opens what is asked for; ``stack`` closes it.

    Raises:
        OSError, ValueError, RuntimeError: something cannot be opened; with a sentence.
    """
    from goturn.exports import EXPORTS, MotZip, clip_of
    from goturn.outputs import BoxFile, open_pictures

    outputs: list[Output] = []
    if args.output is not None:
        pictures = open_pictures(args.output, source.size, args.fps or source.fps)
        outputs.append(stack.enter_context(pictures))
    clip = clip_of(source, fps=args.fps, **({"label": args.label} if args.label else {}))
    for option in (*LINES, *WHOLE):
        name = getattr(args, option)
        if name is None:
            continue
        output: Output
        if option in WHOLE:
            output = EXPORTS[option](name, clip)
        elif option == "mot" and _is_zip(name):
            output = MotZip(name, clip)
        else:
            output = BoxFile(name, option)
        outputs.append(stack.enter_context(output))
    if args.show:
        from goturn.commands.screen import close_windows

        stack.callback(close_windows)
    elif not outputs:
        outputs.append(stack.enter_context(BoxFile(STDOUT)))
    return outputs


def _box_files(args: argparse.Namespace) -> list[str | None]:
    return [getattr(args, option) for option in (*LINES, *WHOLE)]


def _is_zip(name: str | None) -> bool:
    return name is not None and name.lower().endswith(".zip")
