"""The command line of ``goturn evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from goturn.commands.values import positive_argument

DESCRIPTION = """\
Runs trackers on labelled videos, scores them as the field's own tools do, prints a table and writes a
report with plots, a page to look at, JSON and CSV to --output.  DATA is as goturn data has it.

A run that was done is kept in --output and not repeated; other weights, precision, code, OpenCV, truth,
options or files that options name make it anew.  A tracker that raises or gives no box in a frame has
none there, which is a miss.

trackers, each with NAME= before it if it is to be called otherwise:
  goturn                             with the weights that come with it
  weights.h5 or goturn:weights.h5    with other ones; options device=, precision=, ahead=yes, start=
                                     and every= after commas: weights.h5,device=cpu,precision=fp32;
                                     precision is auto if not given: int8 where the weights are int8
                                     (ahead=yes works between frames, too, and that time is not counted;
                                     start=0,every=1 keep the target in the paper's way)
  cv2:KCF, cv2:CSRT, cv2:MIL ...     what the installed OpenCV has; options are its Params', such as
                                     cv2:Nano,backbone=FILE,neckhead=FILE; where one says that it has
                                     lost the object its last box stands, since the protocols want a box
                                     in every frame; with lost=none there is none, which is a miss
  identity                           the first box for ever
  module:Class                       any class or function that makes an object with init(frame, box) and
                                     update(frame): BGR frames, boxes x, y, w, h in pixels from 0

protocols:
  otb       one pass: success, precision, normalised precision
  got10k    one pass: AO, SR; 3 repetitions unless a tracker is deterministic
  vot2014   restarts after failures: accuracy, robustness; up to 15 repetitions, for a tracker whose first
            three runs differ; experiments baseline, and region_noise (starting boxes a little off)"""

PROTOCOL_NAMES = ("otb", "vot2014", "got10k")
EXPERIMENT_NAMES = ("baseline", "region_noise")
OVERLAP_NAMES = ("exact", "bounded", "raster", "polygon")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All arguments."""
    parser.usage = "goturn evaluate DATA [DATA ...] --tracker SPEC [--tracker SPEC ...] [options]"
    parser.add_argument("data", nargs="+", metavar="DATA", help="a data set: PATH or KIND:PATH")
    parser.add_argument(
        "--tracker",
        dest="trackers",
        action="append",
        metavar="SPEC",
        help="see above; give it again for each further one",
    )
    parser.add_argument(
        "--protocol",
        dest="protocols",
        nargs="+",
        action="extend",
        choices=PROTOCOL_NAMES,
        metavar="NAME",
        help="otb (default), vot2014 or got10k; several may be given",
    )
    parser.add_argument(
        "--experiment",
        dest="experiments",
        nargs="+",
        action="extend",
        choices=EXPERIMENT_NAMES,
        metavar="NAME",
        help="of vot2014: baseline (default), region_noise, or both",
    )
    parser.add_argument(
        "--overlap",
        choices=OVERLAP_NAMES,
        help="the definition of overlap, in scores and in what is a failure; the protocol's if not given",
    )
    parser.add_argument(
        "--repetitions",
        type=positive_argument,
        metavar="N",
        help="at most so many runs of each video; the protocol's if not given",
    )
    parser.add_argument(
        "--videos", nargs="+", action="extend", metavar="NAME", help="only these videos"
    )
    parser.add_argument(
        "--jobs",
        type=positive_argument,
        default=1,
        metavar="N",
        help="processes that track at the same time, sharing the processors (default: 1); frames per "
        "second measured with several are not comparable",
    )
    parser.add_argument(
        "--timeout",
        type=positive_argument,
        default=600,
        metavar="SECONDS",
        help="give a video up if a tracker does no frame of it in so long (default: 600)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("evaluation"),
        metavar="FOLDER",
        help="takes runs and reports (default: evaluation)",
    )
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="make runs anew that are kept in --output: after a change of what your own tracker imports, "
        "which cannot be noticed",
    )
    parser.add_argument(
        "--score-only",
        action="store_true",
        help="run nothing: score and report what is kept in --output, by all protocols that it allows or "
        "those given, of all trackers there, or of those whose names are given by --tracker",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars, no warnings")
