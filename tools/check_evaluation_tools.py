"""Checks that the field's evaluation tools run our adapters, and report what our scorers report.

::

    python tools/check_evaluation_tools.py --quick    # rendered videos: two minutes
    python tools/check_evaluation_tools.py            # and recorded ones, of GOTURN_TEST_DATA

It makes an environment of its own with the versions that are known to run: got10k 0.1.3, and VOT's
toolkit 0.7.4 with attributee 0.1.9 (later ones fail in the supervised experiment, which VOT2014 is).

got10k: ExperimentOTB and ExperimentGOT10k run goturn.adapters.got10k.  The boxes must be those of our own
one-pass loop, to the three decimals that got10k keeps, and its report that of goturn.evaluation.otb and
.got10k on the boxes it has kept, to 1e-9.

VOT: ``vot test``, then ``vot evaluate`` and ``vot analysis`` on the experiment of VOT2014, run
goturn.adapters.trax.  Starts and failures must be those of our own loop in every frame, boxes the same to
the protocol's four decimals, and its accuracy, failures and place in the A-R plot those of
goturn.evaluation.vot2014 on the boxes it has kept, to 1e-12.

A line for each comparison; the exit code is 1 if one fails, or a tool breaks off.  What cannot be
installed is skipped, and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import goturn
from evaluation_environment import PINS, Broken, Environment, make_environment
from evaluation_layouts import (
    NAMES,
    OTB_VERSION,
    recorded_videos,
    rendered_videos,
    small_weights,
    upright,
    write_got10k,
    write_otb,
    write_vot,
)
from goturn.data.model import Video
from goturn.evaluation.experiments import BASELINE, ONE_PASS, Experiment, run_experiment
from goturn.evaluation.protocols import PROTOCOLS
from goturn.evaluation.results import STARTED, TRACKED, TrackerResult, Trajectory
from goturn.video import read_image

#: Recorded videos to take, by name.
RECORDED = ("otb-crossing", "otb-girl")

TRACKER = "GOTURN"
GOT10K_TOLERANCE = 1e-9
VOT_TOLERANCE = 1e-12
#: Pixels: got10k keeps three decimals ...
GOT10K_BOXES = 0.5e-3 + 1e-9
#: ... and TraX carries four, which end up in single precision.
TRAX_BOXES = 0.5e-4 + 1024 * 2.0**-24

INSIDE = Path(__file__).with_name("evaluation_tools_inside.py")


@dataclass
class Case:
    """Videos, and the weights to track with."""

    name: str
    videos: list[Video]
    weights: Path


class Report:
    """The lines that have been printed."""

    def __init__(self) -> None:
        self.failed = 0

    def line(self, passed: bool, text: str) -> None:
        """Prints a comparison's outcome."""
        self.failed += not passed
        print(f"{'same ' if passed else 'DIFFERENT'} {text}", flush=True)

    def compare(
        self, what: str, theirs: Mapping[str, float], ours: Mapping[str, float], tolerance: float
    ) -> None:
        """Numbers by name: those of ``theirs`` must all be there, and as near as ``tolerance``."""
        apart = {name: abs(value - ours[name]) for name, value in theirs.items()}
        worst = max(apart, key=lambda name: apart[name] if apart[name] >= 0 else np.inf)
        passed = all(value <= tolerance for value in apart.values())  # false for NaN
        text = (
            f"{what}: {len(apart)} numbers within {tolerance:g}, at most {apart[worst]:.1e} apart"
        )
        if not passed:
            text += f"; {worst}: theirs {theirs[worst]!r}, ours {ours[worst]!r}"
        self.line(passed, text)


def our_run(case: Case, kind: str) -> dict[str, Trajectory]:
    """Our own loop, by video."""
    tracker = goturn.Tracker(str(case.weights), device="cpu")
    experiment = Experiment(kind, 1, overlap="exact" if kind == ONE_PASS else "raster")
    return {
        video.name: run_experiment(tracker, video, experiment, 0, read_image).trajectory
        for video in case.videos
    }


def trajectory_of(rows: np.ndarray, like: Trajectory) -> Trajectory:
    """Boxes that a tool has kept, of a run without restarts."""
    codes = np.full(len(rows), TRACKED, np.uint8)
    codes[0] = STARTED
    return Trajectory(rows, codes, np.full(len(rows), np.nan), like.width, like.height)


# -- got10k ------------------------------------------------------------------------------------


def check_got10k(case: Case, tools: Environment, folder: Path, report: Report) -> None:
    """Both experiments on the videos of a case, by their upright boxes."""
    plain = Case(case.name, [upright(video) for video in case.videos], case.weights)
    names = json.loads(tools.run("python", INSIDE, "otb-names").splitlines()[-1])
    write_otb(folder / "otb", plain.videos, names)
    write_got10k(folder / "got10k", plain.videos)
    tools.run("python", INSIDE, "got10k", folder, case.weights)

    own = our_run(plain, ONE_PASS)
    results = folder / "results"
    for kind, first, path, load_report in (
        ("otb", 1, "OTB{0}/{1}/{2}.txt", otb_figures),
        ("got10k", 0, "GOT-10k/{1}/{2}/{2}_001.txt", got10k_figures),
    ):
        kept = {
            name: np.loadtxt(results / path.format(OTB_VERSION, TRACKER, name), delimiter=",")
            for name in NAMES
        }
        shift = np.array([first, first, 0, 0])
        apart = max(float(np.abs(kept[n] - own[n].boxes - shift).max()) for n in NAMES)
        report.line(
            apart <= GOT10K_BOXES,
            f"{case.name}, got10k's {kind}: the adapter's boxes and our loop's, at most "
            f"{apart:.1e} pixels apart",
        )
        trajectories = {name: [trajectory_of(kept[name], own[name])] for name in NAMES}
        videos = [upright(video, by=first) for video in plain.videos]
        ours = PROTOCOLS[kind].score(TRACKER, videos, trajectories)
        label = f"OTB{OTB_VERSION}" if kind == "otb" else "GOT-10k"
        written = folder / "reports" / label / TRACKER / "performance.json"
        theirs = json.loads(written.read_text())[TRACKER]
        report.compare(
            f"{case.name}, got10k's {kind}: scores",
            *load_report(theirs, ours),
            GOT10K_TOLERANCE,
        )


Pair = tuple[dict[str, float], dict[str, float]]


def otb_figures(theirs: Mapping[str, Any], ours: TrackerResult) -> Pair:
    """All numbers of OTB's report: got10k's, and ours by the same names."""
    keys = {"success_score": "AUC", "precision_score": "P@20", "success_rate": "SR@0.5"}
    pair = _figures(theirs, ours, keys)
    for curve in ("success", "precision"):
        _add_curve(pair, curve, theirs["overall"][f"{curve}_curve"], ours.curves[curve].y)
    return pair


def got10k_figures(theirs: Mapping[str, Any], ours: TrackerResult) -> Pair:
    """All numbers of GOT-10k's report: got10k's, and ours by the same names."""
    pair = _figures(theirs, ours, {"ao": "AO", "sr": "SR@0.5"})
    _add_curve(pair, "success", theirs["overall"]["succ_curve"], ours.curves["success"].y)
    pair[0]["SR@0.75"] = theirs["overall"]["succ_curve"][75]
    pair[1]["SR@0.75"] = ours.scores["SR@0.75"].value
    return pair


def _figures(theirs: Mapping[str, Any], ours: TrackerResult, keys: Mapping[str, str]) -> Pair:
    left = {key: theirs["overall"][key] for key in keys}
    right = {key: ours.scores[name].value for key, name in keys.items()}
    for video, figures in theirs["seq_wise"].items():
        left |= {f"{video} {key}": figures[key] for key in keys}
        right |= {f"{video} {key}": ours.videos[video][name] for key, name in keys.items()}
    return left, right


def _add_curve(pair: Pair, name: str, theirs: Sequence[float], ours: Sequence[float]) -> None:
    for side, values in zip(pair, (theirs, ours), strict=True):
        side.update({f"{name}[{index}]": value for index, value in enumerate(values)})


# -- VOT ---------------------------------------------------------------------------------------


def check_vot(case: Case, tools: Environment, folder: Path, report: Report) -> None:
    """``vot test`` by both protocols; then the experiment of VOT2014, its analysis, and ours."""
    workspace = folder / "workspace"
    tools.run("vot", "initialize", "vot2014", "--workspace", workspace, "--nodownload")
    write_vot(workspace / "sequences", case.videos)
    ini = workspace / "trackers.ini"
    for name, protocol in ((TRACKER, "trax"), (f"{TRACKER}-python", "traxpython")):
        tools.run(
            "python", "-m", "goturn.adapters.trax", "--write-ini", ini, "--name", name,
            "--weights", case.weights, "--device", "cpu", "--protocol", protocol,
        )  # fmt: skip
        said = tools.run("vot", "--registry", ini, "test", name)
        report.line(
            "Test concluded success" in said,
            f"{case.name}: vot test takes the tracker by {protocol}",
        )
    tools.run("vot", "evaluate", "--workspace", workspace, TRACKER)
    tools.run(
        "vot", "analysis", "--workspace", workspace, "--format", "json", "--name", "check", TRACKER
    )
    tools.run("python", INSIDE, "vot", workspace, TRACKER, folder / "recorded.json")

    own = our_run(case, BASELINE)
    kept = {
        name: [recorded_trajectory(rows, own[name]) for rows in repetitions]
        for name, repetitions in json.loads((folder / "recorded.json").read_text()).items()
    }
    runs = [(one, own[name]) for name, repetitions in kept.items() for one in repetitions]
    failures = sum(int((one.codes == 2).sum()) for one in own.values())
    report.line(
        all(np.array_equal(theirs.codes, ours.codes) for theirs, ours in runs) and len(runs) == 6,
        f"{case.name}, VOT2014: starts and failures in every frame of {len(runs)} runs; "
        f"{failures} failures in {len(own)} videos",
    )
    apart = max(
        float(np.abs(theirs.boxes - ours.boxes)[theirs.codes == TRACKED].max())
        for theirs, ours in runs
    )
    report.line(
        apart <= TRAX_BOXES,
        f"{case.name}, VOT2014: boxes over TraX and our loop's, at most {apart:.1e} pixels apart",
    )
    written = json.loads((workspace / "analysis" / "check.json").read_text())
    theirs = vot_figures(written["results"]["baseline"]["results"])
    scores = PROTOCOLS["vot2014"].score(TRACKER, case.videos, kept).scores
    ours = {
        "accuracy": scores["accuracy"].value,
        "mean failures": scores["mean failures"].value,
        "A-R plot robustness": scores["A-R plot robustness"].value,
        "failures": scores["failures"].value,
    }
    report.compare(f"{case.name}, VOT2014: scores", theirs, ours, VOT_TOLERANCE)


def recorded_trajectory(rows: Sequence[Any], like: Trajectory) -> Trajectory:
    """What VOT's toolkit has kept: codes where it has no region."""
    boxes = np.full((len(rows), 4), np.nan)
    codes = np.full(len(rows), TRACKED, np.uint8)
    for number, row in enumerate(rows):
        if isinstance(row, list):
            boxes[number] = row
        else:
            codes[number] = row
    return Trajectory(boxes, codes, np.full(len(rows), np.nan), like.width, like.height)


def vot_figures(results: Sequence[Any]) -> dict[str, float]:
    """Of the two analyses that VOT2014 has: averages, and failures in all."""
    averages, failures = (list(_leaves(result)) for result in results)
    accuracy, mean_failures, robustness, accuracy_again, _ = averages
    assert accuracy == accuracy_again
    return {
        "accuracy": accuracy,
        "mean failures": mean_failures,
        "A-R plot robustness": robustness,
        "failures": failures[0],
    }


def _leaves(value: Any) -> Iterator[float]:
    """The numbers in nested lists, in order."""
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part)
    elif value is not None:
        yield float(value)


# -- all of it ---------------------------------------------------------------------------------

CHECKS: Mapping[str, Callable[[Case, Environment, Path, Report], None]] = {
    "got10k": check_got10k,
    "vot": check_vot,
}


def cases(args: argparse.Namespace, folder: Path) -> Iterator[Case]:
    """Rendered videos with a small network; recorded ones with real weights, where they are."""
    rendered = rendered_videos(folder / "rendered", args.frames)
    yield Case("rendered", rendered, small_weights(folder / "small.h5"))
    if args.quick:
        return
    data = os.environ.get("GOTURN_TEST_DATA")
    if not data:
        print("skipped: recorded videos; GOTURN_TEST_DATA does not name a folder with them")
        return
    from goturn.data.folder import load

    found = {video.name: video for video in load(Path(data) / "data" / "videos" / "val").videos}
    videos = recorded_videos([found[name] for name in RECORDED], folder / "recorded", args.frames)
    yield Case("recorded", videos, Path(args.weights or Path(data) / "weights" / "prototype.h5"))


def main() -> int:
    """The exit code: 1 if something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="rendered videos alone")
    parser.add_argument("--frames", type=int, default=60, help="of each video")
    parser.add_argument("--weights", help="for recorded videos, if not the test data's prototype")
    parser.add_argument(
        "--environment", metavar="FOLDER", help="where to make the environment, and find it again"
    )
    parser.add_argument(
        "--tool", choices=[*CHECKS], action="append", help="this tool alone; may be given again"
    )
    args = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        tools = make_environment(Path(args.environment).resolve() if args.environment else work)
        todo = []
        for tool in args.tool or CHECKS:
            reason = tools.install(PINS[tool])
            if reason:
                print(f"skipped: {tool}, which cannot be installed here ({reason})")
            else:
                todo.append(tool)
        for case in cases(args, work) if todo else ():
            for tool in todo:
                try:
                    CHECKS[tool](case, tools, work / f"{case.name}-{tool}", report)
                except Broken as error:
                    report.line(False, f"{case.name}, {tool}: {error}")
    if report.failed:
        print(f"{report.failed} of the comparisons failed", file=sys.stderr)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
