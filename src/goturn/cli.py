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
from types import ModuleType

import goturn
from goturn.commands import convert, data, demo, evaluate, info, track, train
from goturn.commands.exits import ERROR, SIGNAL_BASE, USAGE, UsageError

EPILOG = """\
exit codes:
  0    done
  1    error: one sentence on standard error says which
  2    the command line cannot be used as given
{own}  130  stopped by Ctrl-C, 143 by SIGTERM{completes}
  141  the reader of standard output has gone

GOTURN_DEBUG=1 in the environment shows the traceback of an error."""

#: Exit codes that only one command has.
OWN_CODES = {
    track: """\
  3    the source ended early (cut short, or an image that cannot be read); boxes so far are kept
""",
    train: """\
  4    training diverged; checkpoints from before are kept
""",
}

#: What a command does when it is asked to stop.
STOPS = {
    demo: "goturn demo completes its video first",
    track: "goturn track completes its outputs first",
    train: "goturn train saves a checkpoint first",
    evaluate: "goturn evaluate keeps the runs that are done, and goes on with them",
}

#: Subcommand, its module, one line about it.
COMMANDS = (
    ("demo", demo, "track a clip that is made on the spot: does it work, and how fast?"),
    ("track", track, "follow objects through a video, a camera or a folder of images"),
    ("train", train, "learn weights from labelled videos and photographs"),
    ("evaluate", evaluate, "score trackers on labelled videos by the field's protocols"),
    ("data", data, "what is in data sets, what is wrong with them, and how they look"),
    ("convert", convert, "convert weights between formats"),
    ("info", info, "what is installed, built and found on this machine"),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="goturn",
        description="GOTURN: tracks any object from one box, with one forward pass a frame.",
        epilog=_epilog(*OWN_CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"goturn {goturn.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module, line in COMMANDS:
        command = commands.add_parser(
            name,
            help=line,
            description=module.DESCRIPTION,
            epilog=_epilog(module),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,  # --target is not short for --target-error
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def _epilog(*modules: ModuleType) -> str:
    """What ends a help text, with the exit codes of the commands that are meant."""
    stops = "".join(f"; {STOPS[module]}" for module in modules if module in STOPS)
    return EPILOG.format(
        own="".join(OWN_CODES.get(module, "") for module in modules), completes=stops
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
