"""``goturn evaluate``: trackers on labelled videos, scored by the field's protocols."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goturn.commands.exits import DONE, ERROR, SIGNAL_BASE, UsageError, stop_on_signal
from goturn.commands.values import positive_argument

if TYPE_CHECKING:
    from goturn.commands.exits import StopRequest
    from goturn.data import Dataset, Video
    from goturn.evaluation.experiments import Experiment
    from goturn.evaluation.results import Evaluation
    from goturn.evaluation.running import Outcome
    from goturn.evaluation.store import Store
    from goturn.evaluation.trackers import TrackerSpec

DESCRIPTION = """\
Runs trackers on labelled videos, scores them as the field's own tools do, prints a table and writes a
report with plots, a page to look at, JSON and CSV to --output.  DATA is as goturn data has it.

A run that was done is kept in --output and not repeated; other weights, precision, OpenCV, truth or
options make it anew.  A tracker that raises or gives no box in a frame has none there, which is a miss.

trackers, each with NAME= before it if it is to be called otherwise:
  goturn                             with the weights that come with it
  weights.h5 or goturn:weights.h5    with other ones; options device=, precision= and ahead=yes after
                                     commas: weights.h5,device=cpu,precision=int8
  cv2:KCF, cv2:CSRT, cv2:MIL ...     what the installed OpenCV has; options are its Params', such as
                                     cv2:Nano,backbone=FILE,neckhead=FILE
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

#: How many problems of a data set, or failures of a tracker, are listed.
LISTED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``goturn evaluate``."""
    parser.usage = "goturn evaluate DATA [DATA ...] --tracker SPEC [--tracker SPEC ...] [options]"
    parser.add_argument("data", nargs="+", metavar="DATA", help="a data set: PATH or KIND:PATH")
    parser.add_argument(
        "--tracker",
        "--trackers",
        dest="trackers",
        nargs="+",
        action="extend",
        metavar="SPEC",
        help="see above; give it again for each further one",
    )
    parser.add_argument(
        "--protocol",
        "--protocols",
        dest="protocols",
        nargs="+",
        action="extend",
        choices=PROTOCOL_NAMES,
        metavar="NAME",
        help="otb (default), vot2014 or got10k; several may be given",
    )
    parser.add_argument(
        "--experiment",
        "--experiments",
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
        "--score-only",
        action="store_true",
        help="run nothing: score and report what is kept in --output, of all trackers there or of those "
        "whose names are given by --tracker",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no warnings")


@dataclass(frozen=True)
class _Set:
    """A data set to be evaluated on."""

    name: str
    dataset: Dataset
    videos: Sequence[Video]


def run(args: argparse.Namespace) -> int:
    """Evaluates; gives the exit code.

    Raises:
        UsageError, OSError, ValueError, RuntimeError: with a sentence for the user.
    """
    from goturn.evaluation.trackers import parse_trackers
    from goturn.training.run_folder import locked

    if not args.trackers and not args.score_only:
        raise UsageError(
            "no tracker given; pass --tracker SPEC (goturn evaluate --help lists them)"
        )
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"--output {args.output} is a file; give a folder")
    experiments = _experiments(args)
    try:
        specs = [] if args.score_only else parse_trackers(args.trackers)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sets = _open(args)
    with locked(args.output, "another evaluation is writing here"), stop_on_signal() as request:
        if args.score_only:
            return _Evaluator(args, sets, experiments, request).score_kept()
        return _Evaluator(args, sets, experiments, request).run_and_score(specs)


def _experiments(args: argparse.Namespace) -> dict[str, list[Experiment]]:
    """What the protocols ask to be run: by protocol."""
    from goturn.evaluation.experiments import ONE_PASS, Experiment
    from goturn.evaluation.protocols import PROTOCOLS

    names = tuple(dict.fromkeys(args.protocols or ("otb",)))
    asked: dict[str, list[Experiment]] = {}
    for name in names:
        protocol = PROTOCOLS[name]
        wanted = [
            each
            for each in protocol.experiments
            if each == ONE_PASS or each in (args.experiments or ("baseline",))
        ]
        asked[name] = [
            Experiment(
                each,
                args.repetitions or protocol.repetitions,
                protocol.repetitions_deterministic,
                args.overlap or protocol.overlap,
            )
            for each in wanted
        ]
    if args.experiments and all(each.name == ONE_PASS for e in asked.values() for each in e):
        raise UsageError("--experiment is vot2014's; give --protocol vot2014 too")
    return asked


def _open(args: argparse.Namespace) -> list[_Set]:
    """The data sets, with those of their videos that are asked for."""
    from goturn.data import check_problems, open_dataset
    from goturn.evaluation.store import dataset_names

    datasets = [open_dataset(spec, progress=_Loading(args.quiet)) for spec in args.data]
    places = [dataset.path.resolve() for dataset in datasets]
    if len(set(places)) < len(places):
        raise UsageError("a data set is given twice; give each once")
    wanted = frozenset(args.videos or ())
    known = {video.name for dataset in datasets for video in dataset.videos}
    unknown = sorted(wanted - known)
    if unknown:
        some = ", ".join(sorted(known)[:LISTED]) + (" ..." if len(known) > LISTED else "")
        raise UsageError(f"--videos: there is no video {unknown[0]!r}; there are {some}")
    sets = []
    for name, dataset in zip(dataset_names(datasets), datasets, strict=True):
        check_problems(dataset.name, dataset.problems, dataset.files + len(dataset.problems))
        videos = [video for video in dataset.videos if not wanted or video.name in wanted]
        if not videos and not wanted:
            raise UsageError(f"{dataset.name} has no labelled videos to track")
        if videos:
            sets.append(_Set(name, dataset, videos))
    return sets


class _Evaluator:
    """Runs trackers on data sets, scores what they did, and writes about it."""

    def __init__(
        self,
        args: argparse.Namespace,
        sets: Sequence[_Set],
        experiments: Mapping[str, Sequence[Experiment]],
        request: StopRequest,
    ) -> None:
        self._args, self._sets, self._request = args, sets, request
        self._experiments = experiments

    def run_and_score(self, specs: Sequence[TrackerSpec]) -> int:
        """Runs what is not kept yet; gives the exit code."""
        from goturn.evaluation.pool import Pool
        from goturn.evaluation.running import check_trackers, run_trackers

        outcomes: list[Outcome] = []
        with Pool(self._args.jobs, patience=self._args.timeout) as pool:
            fingerprints = check_trackers(pool, specs, stop=self._stopped)
            if fingerprints is None:
                return self._tell_stopped(outcomes)
            for each in self._sets:
                store = self._store(each)
                store.remove_temporaries()
                with self._progress(each.name) as progress:
                    outcome = run_trackers(
                        pool,
                        store,
                        each.videos,
                        specs,
                        fingerprints=fingerprints,
                        experiments=self._runs_wanted(),
                        progress=progress,
                        stop=self._stopped,
                    )
                outcomes.append(outcome)
                if not outcome.complete:
                    return self._tell_stopped(outcomes)
        names = [spec.name for spec in specs]
        return self._score([(each, names) for each in self._sets], outcomes)

    def score_kept(self) -> int:
        """Scores what is kept; gives the exit code."""
        from goturn.evaluation.running import read_runs

        scored, outcomes = [], []
        for each in self._sets:
            store = self._store(each)
            wanted = self._runs_wanted()
            there = sorted({name for one in wanted for name in store.trackers(one.name)})
            names = list(dict.fromkeys(self._args.trackers or there))
            missing = [name for name in names if name not in there]
            if missing or not names:
                what = f"results of a tracker {missing[0]!r}" if missing else "results"
                raise UsageError(
                    f"{store.folder} has no {what}; it has {', '.join(there) or 'none'}; run without "
                    "--score-only first"
                )
            scored.append((each, names))
            outcomes.append(read_runs(store, each.videos, names, wanted))
        return self._score(scored, outcomes)

    def _store(self, each: _Set) -> Store:
        from goturn.evaluation.store import Store

        folder = self._args.output / "runs" / each.name
        return Store(folder, {one.name: one.settings for one in self._runs_wanted()})

    def _runs_wanted(self) -> list[Experiment]:
        """Each experiment once, as often as the protocol that wants most of it does."""
        most: dict[str, Experiment] = {}
        for asked in self._experiments.values():
            for one in asked:
                before = most.get(one.name)
                if before is None or before.repetitions < one.repetitions:
                    most[one.name] = one
        return list(most.values())

    def _score(
        self, scored: Sequence[tuple[_Set, Sequence[str]]], outcomes: Sequence[Outcome]
    ) -> int:
        from goturn.data import FrameReader
        from goturn.evaluation.report import table, write_reports

        reader, failures = FrameReader(), 0
        for (each, names), outcome in zip(scored, outcomes, strict=True):
            failures += len(outcome.failures)
            for failure in outcome.failures[:LISTED]:
                self._warn(f"{failure}")
            if len(outcome.failures) > LISTED:
                self._warn(f"and {len(outcome.failures) - LISTED} more")
            evaluations = self._evaluations(each, names, outcome)
            if not evaluations:
                continue
            for evaluation in evaluations:
                print(table(evaluation), end="\n\n")
            folder = self._args.output
            written = write_reports(
                folder if len(self._sets) == 1 else folder / each.name,
                evaluations,
                read=reader.read,
                say=self._warn,
                base=each.videos[0].base,
            )
            print(f"wrote {written[0]} and {len(written) - 1} more files", file=sys.stderr)
        if failures:
            runs = f"{failures} video" + ("s" if failures > 1 else "")
            print(
                f"goturn: error: trackers could not be run on {runs} in all (listed above), which are "
                "left out of the scores of all; what was done is kept, and the same command tries again",
                file=sys.stderr,
            )
            return ERROR
        return DONE

    def _evaluations(self, each: _Set, names: Sequence[str], outcome: Outcome) -> list[Evaluation]:
        """One for each protocol and experiment for which there is a video that all trackers have."""
        from goturn.evaluation.protocols import PROTOCOLS
        from goturn.evaluation.running import problems_of

        made = []
        for protocol, asked in self._experiments.items():
            for one in asked:
                runs = {key: value for key, value in outcome.runs.items() if key[0] == one.name}
                videos = [
                    video
                    for video in each.videos
                    if all((one.name, name, video.name) in runs for name in names)
                ]
                if not videos:
                    self._warn(f"{each.name}, {one.name}: no video was tracked by all trackers")
                    continue
                notes = _data_notes(each) + problems_of(runs)
                if len(videos) < len(each.videos):
                    gone = [video.name for video in each.videos if video not in videos]
                    notes.append(f"Left out, for not every tracker did them: {', '.join(gone)}.")
                if any(run.jobs > 1 for some in runs.values() for run in some):
                    notes.append(
                        "Frames per second were measured with several processes side by side, and "
                        "cannot be compared with others'."
                    )
                evaluation = PROTOCOLS[protocol].evaluate(
                    one.name,
                    each.name,
                    videos,
                    {
                        name: {
                            video.name: [
                                run.trajectory
                                for run in runs[one.name, name, video.name][: one.repetitions]
                            ]
                            for video in videos
                        }
                        for name in names
                    },
                    overlap=self._args.overlap,
                )
                made.append(replace(evaluation, notes=(*evaluation.notes, *notes)))
        return made

    def _stopped(self) -> bool:
        return self._request.signal != 0

    def _tell_stopped(self, outcomes: Sequence[Outcome]) -> int:
        made, kept = sum(each.made for each in outcomes), sum(each.kept for each in outcomes)
        print(
            f"stopped: {made + kept} runs are kept in {self._args.output / 'runs'}; the same command "
            "goes on from there",
            file=sys.stderr,
        )
        return SIGNAL_BASE + self._request.signal

    def _progress(self, label: str) -> Any:
        from tqdm import tqdm

        return tqdm(
            total=0,
            desc=label,
            unit=" frames",
            file=sys.stderr,
            disable=True if self._args.quiet else None,
            leave=False,
        )

    def _warn(self, sentence: str) -> None:
        if not self._args.quiet:
            print(f"goturn: warning: {sentence}", file=sys.stderr)


def _data_notes(each: _Set) -> list[str]:
    """What of a data set is not there."""
    notes = list(each.dataset.notes)
    problems = each.dataset.problems
    if problems:
        listed = "; ".join(map(str, problems[:LISTED]))
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        notes.append(f"Left out of the data, for being bad: {listed}{more}.")
    if len(each.videos) < len(each.dataset.videos):
        notes.append(f"{len(each.videos)} of {len(each.dataset.videos)} videos were chosen.")
    return notes


class _Loading:
    """A bar on a terminal's standard error while annotations are read."""

    def __init__(self, quiet: bool) -> None:
        self._disable = True if quiet else None

    def __call__(self, things: Sequence[Any], label: str, /) -> Iterable[Any]:
        from tqdm import tqdm

        bar: Iterable[Any] = tqdm(
            things, desc=label, file=sys.stderr, disable=self._disable, leave=False
        )
        return bar
