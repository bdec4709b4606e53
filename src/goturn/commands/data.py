"""``goturn data``: what is in data sets, what is wrong with them, and how they look."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from goturn.commands.exits import DONE, UsageError
from goturn.commands.progress import Loading
from goturn.commands.values import sheet_count_argument

if TYPE_CHECKING:
    from goturn.data import Dataset, FrameReader, Problem

DESCRIPTION = """\
Says what labelled videos and photographs there are, and what is wrong with them: what goturn train would
train on.  A data set is a folder, whose layout is told by looking, or KIND:PATH, with options after
commas: alov:/data/ALOV,split=train.

kinds and their options:
  photographs   boxes.json and img/
  voc           Pascal VOC: Annotations/ and JPEGImages/
  alov          ALOV300++; split=all|train|val, overlap=remove|keep (videos that VOT2014 has too),
                annotations=FOLDER, images=FOLDER
  got10k        GOT-10k; split=all|train|val
  vot           VOT challenges; base=1|0, the first pixel's coordinate
  otb           OTB: NAME/img and NAME/groundtruth_rect.txt
  folder        NAME/img and NAME/groundtruth.txt, a line x,y,w,h per frame
  imagenet_det  ImageNet DET; annotations=FOLDER, images=FOLDER"""

#: How many problems are listed without --verbose.
LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn data``."""
    parser.add_argument("specs", nargs="+", metavar="SPEC", help="a data set: PATH or KIND:PATH")
    parser.add_argument("--sheet", metavar="FILE.png", help="write samples with their boxes drawn")
    parser.add_argument(
        "--count", type=sheet_count_argument, metavar="N", help="samples on the sheet (default: 24)"
    )
    parser.add_argument("--check", action="store_true", help="decode every image")
    parser.add_argument("--verbose", action="store_true", help="list all problems, not only 10")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Prints what there is; gives the exit code.

    Raises:
        UsageError, OSError, ValueError: with a sentence for the user.
    """
    from goturn.data import BAD_LIMIT, DataError, FrameReader, open_dataset

    _check_sheet(args)
    reader = FrameReader()
    progress = Loading(args.quiet)
    datasets, refused = [], []
    for spec in args.specs:
        dataset = open_dataset(spec, progress=progress)
        datasets.append(dataset)
        problems = list(dataset.problems)
        if args.check:
            from goturn.data.check import check_images

            problems += check_images(dataset, progress=progress)
        _report(dataset, problems, reader, args.verbose)
        if len(problems) > BAD_LIMIT * (dataset.files + len(problems)):
            refused.append(dataset.name)
    if args.sheet is not None:
        _write_sheet(args, datasets, reader)
    if refused:
        raise DataError(
            f"more than {BAD_LIMIT:.0%} of {', '.join(refused)} is bad; mend it, or remove what is bad"
        )
    return DONE


def _check_sheet(args: argparse.Namespace) -> None:
    """Refuses a sheet that could not be written, before any work is done."""
    if args.sheet is None:
        if args.count is not None:
            raise UsageError("--count is for the sheet; give --sheet FILE.png")
        return
    path = Path(args.sheet)
    if path.suffix.lower() != ".png":
        raise UsageError(f"--sheet {args.sheet}: the name must end in .png")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; make it first")


def _report(
    dataset: Dataset, problems: Sequence[Problem], reader: FrameReader, verbose: bool
) -> None:
    from goturn.data.summary import describe

    print(dataset.name)
    for line in describe(dataset, reader):
        print(f"  {line}")
    listed = problems if verbose else problems[:LISTED]
    print(f"  problems: {len(problems):,}" if problems else "  no problems")
    for problem in listed:
        print(f"    {problem}")
    if len(listed) < len(problems):
        print(f"    and {len(problems) - len(listed):,} more; --verbose lists all")


def _write_sheet(
    args: argparse.Namespace, datasets: Sequence[Dataset], reader: FrameReader
) -> None:
    from goturn.data.sheet import choose, make_sheet, write_sheet

    samples = choose(datasets, args.count or 24)
    write_sheet(Path(args.sheet), make_sheet(samples, reader))
    print(f"wrote {args.sheet}: {len(samples)} samples")
