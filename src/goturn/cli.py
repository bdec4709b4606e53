"""The command line, ``goturn`` or ``python -m goturn``: arguments in, an exit code out.

Whatever goes wrong is told in one sentence on standard error; ``GOTURN_DEBUG=1`` shows the traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence

import goturn
from goturn.commands import convert, info, track
from goturn.commands.exits import ERROR, SIGNAL_BASE, USAGE, UsageError

EPILOG = """\
exit codes:
  0    done
  1    error: one sentence on standard error says which
  2    the command line cannot be used as given
{track}  130  stopped by Ctrl-C, 143 by SIGTERM{completes}
  141  the reader of standard output has gone

GOTURN_DEBUG=1 in the environment shows the traceback of an error."""

#: The exit code that only ``goturn track`` has.
ENDED_EARLY_LINE = """\
  3    the source ended early (cut short, or an image that cannot be read); boxes so far are kept
"""

#: Subcommand, its module, one line about it.
COMMANDS = (
    ("track", track, "follow objects through a video, a camera or a folder of images"),
    ("convert", convert, "convert weights between formats"),
    ("info", info, "what is installed, built and found on this machine"),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="goturn",
        description="GOTURN: tracks any object from one box, with one forward pass a frame.",
        epilog=_epilog(of_track=True),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"goturn {goturn.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module, line in COMMANDS:
        command = commands.add_parser(
            name,
            help=line,
            description=module.DESCRIPTION,
            epilog=_epilog(of_track=module is track),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _epilog(*, of_track: bool) -> str:
    """What ends a help text; exit codes that only ``goturn track`` has, where it is meant too."""
    return EPILOG.format(
        track=ENDED_EARLY_LINE if of_track else "",
        completes="; goturn track completes its outputs first" if of_track else "",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: those after the program's name; None takes the process's own.

    Returns:
        The exit code; EPILOG lists them.

    Raises:
        SystemExit: from argparse, for --help, --version and arguments it refuses.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = build_parser().parse_args(_join_negative_boxes(given))
    debug = os.environ.get("GOTURN_DEBUG", "") not in ("", "0")
    _quiet_opencv()
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return SIGNAL_BASE + signal.SIGINT
    except BrokenPipeError:  # the reader of our output has gone, as in "goturn info | head -1"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNAL_BASE + signal.SIGPIPE
    except Exception as error:
        if debug:
            raise
        print(f"goturn: error: {describe(error)}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else ERROR


def describe(error: Exception) -> str:
    """An error as one line: its sentence, and for one that no code of ours foresaw, its kind too."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, ImportError) and ("cv2" in text or "libGL" in text):
        return (
            f"OpenCV cannot be imported ({text}); install what it lacks (libgl1 on Debian and Ubuntu), "
            "or replace opencv-python by opencv-python-headless, which has no windows"
        )
    if isinstance(error, (OSError, ValueError, TypeError, RuntimeError, UsageError)) and text:
        return text
    return f"{type(error).__name__}{': ' if text else ''}{text} (GOTURN_DEBUG=1 shows where)"


def _join_negative_boxes(arguments: Sequence[str]) -> list[str]:
    """``--box -5,0,20,20`` as ``--box=-5,0,20,20``: argparse takes the former for another option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--box" and re.match(r"-[\d.]", argument):
            joined[-1] = f"--box={argument}"
        else:
            joined.append(argument)
    return joined


def _quiet_opencv() -> None:
    """Keeps OpenCV's and FFmpeg's own messages off standard error; a user's settings stand."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
