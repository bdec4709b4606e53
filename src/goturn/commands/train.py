"""``goturn train``: weights from labelled videos and photographs."""

from __future__ import annotations

import argparse
import sys
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goturn.commands.exits import DIVERGED, DONE, SIGNAL_BASE, UsageError, stop_on_signal
from goturn.commands.values import count_argument
from goturn.training.config import NUMBERS, TrainConfig

if TYPE_CHECKING:
    from goturn.training.run_folder import RunFolder

DESCRIPTION = """\
Trains a tracker offline, from labelled videos and photographs, as the paper does.  RUN becomes a folder
with the configuration, metrics.csv, checkpoints, best.h5 (by validation) and, at the end, final.h5.

Every setting below can also stand in a TOML file (--config); what the command line says goes first.
Ctrl-C and SIGTERM save and end; --resume goes on, on a CPU to the same bits as without a stop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn train``: an option for each setting."""
    parser.usage = "goturn train RUN [options] [settings]"
    parser.add_argument(
        "folder", metavar="RUN", type=Path, help="the folder of the run; goes first"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings, a TOML file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in RUN, with its settings; --iterations, --device and others that do "
        "not decide the weights may be given anew",
    )
    parser.add_argument(
        "--show-examples",
        metavar="N",
        type=count_argument,
        help="write the first N training items to RUN/examples.png, and do not train",
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's events too")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    group = parser.add_argument_group("settings")
    for each in fields(TrainConfig):
        _add_setting(group, each)


def _add_setting(group: Any, each: Field[Any]) -> None:
    option = "--" + each.name.replace("_", "-")
    default = each.default
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    text = f"{each.metadata['help']} (default: {shown if shown != '' else 'none'})".replace(
        "%", "%%"
    )
    how: dict[str, Any] = {"dest": f"set_{each.name}", "default": None, "help": text}
    if isinstance(default, bool):
        group.add_argument(option, action=argparse.BooleanOptionalAction, **how)
    elif isinstance(default, tuple):
        kind = int if each.name in NUMBERS else str
        if kind is str:
            how["action"] = "extend"  # data sets given twice both count
        how |= {"nargs": "+", "metavar": "N" if kind is int else "SPEC"}
        group.add_argument(option, type=kind, **how)
    else:
        group.add_argument(option, type=type(default), metavar=_metavar(type(default)), **how)


def _metavar(kind: type) -> str:
    return {int: "N", float: "X", str: "TEXT"}[kind]


def run(args: argparse.Namespace) -> int:
    """Trains; gives the exit code.

    Raises:
        UsageError, OSError, ValueError, RuntimeError: with a sentence for the user.
    """
    from goturn.training.diagnosis import DivergedError
    from goturn.training.run_folder import RunFolder
    from goturn.training.trainer import train

    folder = RunFolder(args.folder)
    config = _config(args, folder)
    if args.show_examples is not None:
        return _show(config, folder, args.show_examples)
    with stop_on_signal() as request:
        try:
            outcome = train(
                config,
                folder.path,
                resume=args.resume,
                stop=lambda: request.signal != 0,
                report=_report,
                progress=not args.quiet,
                board=args.tensorboard,
            )
        except DivergedError as error:
            print(f"goturn: error: {error}", file=sys.stderr)
            return DIVERGED
    if not folder.begun:
        print("stopped before the run began; nothing was written")
        return SIGNAL_BASE + request.signal
    print(
        f"{folder.path}: {outcome.iteration:,} iterations, {outcome.examples_per_second:.0f} examples/s, "
        f"{outcome.waiting:.1%} of the time waiting for them"
    )
    if outcome.complete and not outcome.examples_per_second:
        print("it was finished already; --resume --iterations N trains on")
    if not outcome.complete:
        print(f"stopped; go on with: goturn train {folder.path} --resume")
        return SIGNAL_BASE + request.signal
    return DONE


def _config(args: argparse.Namespace, folder: RunFolder) -> TrainConfig:
    changes = {
        each.name: value
        for each in fields(TrainConfig)
        if (value := getattr(args, f"set_{each.name}")) is not None
    }
    if args.resume:
        if args.config:
            raise UsageError("--resume takes the settings that are in RUN; leave --config out")
        if not folder.begun:
            raise UsageError(f"{folder.path} has no run to resume; start one without --resume")
        return TrainConfig.from_toml(folder.config, changes)
    config = TrainConfig.from_toml(args.config, changes) if args.config else TrainConfig(**changes)
    return _absolute(config)


def _absolute(config: TrainConfig) -> TrainConfig:
    """The same settings with whole paths, so that the run can go on from another folder."""
    from goturn.data import absolute_spec

    changes: dict[str, Any] = {
        name: tuple(map(absolute_spec, getattr(config, name)))
        for name in ("videos", "images", "validation")
    }
    for name in ("start", "features_folder"):
        if getattr(config, name):
            changes[name] = str(Path(getattr(config, name)).absolute())
    return replace(config, **changes)


def _show(config: TrainConfig, folder: RunFolder, count: int) -> int:
    import cv2

    from goturn.training.drawing import draw_examples
    from goturn.training.sources import open_sources
    from goturn.training.supply import examples_of, frame_reader
    from goturn.weights.atomic import replacing

    if count == 0:
        raise UsageError("--show-examples takes a number from 1 on")
    examples = examples_of(config, open_sources(config), frame_reader(config))
    encoded = cv2.imencode(".png", draw_examples(examples, count))[1]
    folder.path.mkdir(parents=True, exist_ok=True)
    with replacing(folder.examples) as temporary:
        temporary.write_bytes(encoded.tobytes())
    print(f"wrote {folder.examples}")
    return DONE


def _report(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
