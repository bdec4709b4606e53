"""``goturn evaluate``: trackers on labelled videos, scored by the field's protocols."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from goturn.commands.evaluate_options import DESCRIPTION, add_arguments
from goturn.commands.exits import DONE, ERROR, SIGNAL_BASE, UsageError, stop_on_signal
from goturn.commands.progress import Loading, bar

if TYPE_CHECKING:
    from goturn.evaluation.experiments import Experiment
    from goturn.evaluation.running import Outcome
    from goturn.evaluation.scoring import Subject
    from goturn.evaluation.store import Store
    from goturn.evaluation.trackers import TrackerSpec

__all__ = ["DESCRIPTION", "add_arguments", "run"]

#: How many failures, or names that could have been meant, are listed.
LISTED = 10


def run(args: argparse.Namespace) -> int:
    """Evaluates; gives the exit code.

    Raises:
        UsageError, OSError, ValueError, RuntimeError: with a sentence for the user.
    """
    from goturn.evaluation.store import remove_temporaries
    from goturn.evaluation.trackers import parse_trackers
    from goturn.training.run_folder import locked

    if not args.trackers and not args.score_only:
        raise UsageError(
            "no tracker given; pass --tracker SPEC (goturn evaluate --help lists them)"
        )
    if args.output.exists() and not args.output.is_dir():
        raise UsageError(f"--output {args.output} is a file; give a folder")
    try:
        specs = [] if args.score_only else parse_trackers(args.trackers)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sets = _open(args)
    if args.score_only and not args.protocols:
        _choose_kept(args, sets)
    experiments = _experiments(args)
    evaluator = _Evaluator(args, sets, experiments)
    with locked(args.output, "another evaluation is writing here"):
        remove_temporaries(args.output, [each.name for each in sets])
        return evaluator.score_kept() if args.score_only else evaluator.run_and_score(specs)


def _choose_kept(args: argparse.Namespace, sets: Sequence[Subject]) -> None:
    """Sets the protocols, and with them the experiments, to those that there are runs of."""
    from goturn.evaluation.experiments import EXPERIMENTS, ONE_PASS
    from goturn.evaluation.scoring import USUAL_PROTOCOLS
    from goturn.evaluation.store import Store

    stores = [Store(args.output / "runs" / each.name, {}) for each in sets]
    kept = [name for name in EXPERIMENTS if any(store.trackers(name) for store in stores)]
    asked = args.experiments or kept
    args.protocols = [USUAL_PROTOCOLS[name] for name in kept if name in (ONE_PASS, *asked)]
    args.experiments = [name for name in kept if name != ONE_PASS and name in asked] or None


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


def _open(args: argparse.Namespace) -> list[Subject]:
    """The data sets, with those of their videos that are asked for."""
    from goturn.data import check_problems, open_dataset
    from goturn.evaluation.scoring import Subject
    from goturn.evaluation.store import dataset_names

    datasets = [open_dataset(spec, progress=Loading(args.quiet)) for spec in args.data]
    places = [dataset.path.resolve() for dataset in datasets]
    if len(set(places)) < len(places):
        raise UsageError("a data set is given twice; give each once")
    output = args.output.resolve()
    for place in places:
        if place == output or place in output.parents:
            raise UsageError(
                f"--output {args.output} is among the data, in {place}; give a folder elsewhere"
            )
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
            sets.append(Subject(name, dataset, videos))
    return sets


class _Evaluator:
    """Runs trackers on data sets, scores what they did, and writes about it."""

    def __init__(
        self,
        args: argparse.Namespace,
        sets: Sequence[Subject],
        experiments: Mapping[str, Sequence[Experiment]],
    ) -> None:
        self._args, self._sets, self._experiments = args, sets, experiments
        self._said: set[str] = set()

    def run_and_score(self, specs: Sequence[TrackerSpec]) -> int:
        """Runs what is not kept yet; gives the exit code."""
        with stop_on_signal() as request:
            outcomes = self._run(specs, lambda: request.signal != 0)
        if request.signal:
            return self._tell_stopped(outcomes, request.signal)
        kept = sum(each.kept for each in outcomes)
        if kept:
            done = sum(each.made for each in outcomes)
            self._say(
                f"{done:,} runs done, {kept:,} taken from {self._args.output / 'runs'} "
                "(--rerun makes them anew)"
            )
        names = [spec.name for spec in specs]
        return self._score([(each, names) for each in self._sets], outcomes)

    def _run(self, specs: Sequence[TrackerSpec], stop: Callable[[], bool]) -> list[Outcome]:
        """What was done, by data set; fewer where it was stopped."""
        from goturn.evaluation.pool import Pool
        from goturn.evaluation.running import check_trackers, run_trackers

        outcomes: list[Outcome] = []
        quiet = self._args.quiet
        with Pool(self._args.jobs, patience=self._args.timeout) as pool:
            fingerprints = check_trackers(pool, specs, stop=stop)
            for each in self._sets if fingerprints is not None else ():
                store = self._store(each)
                with bar(quiet=quiet, label=each.name, total=0, unit=" frames") as progress:
                    outcome = run_trackers(
                        pool,
                        store,
                        each.videos,
                        specs,
                        fingerprints=fingerprints or {},
                        experiments=self._runs_wanted(),
                        progress=progress,
                        rerun=self._args.rerun,
                        stop=stop,
                    )
                outcomes.append(outcome)
                if not outcome.complete:
                    break
        return outcomes

    def score_kept(self) -> int:
        """Scores what is kept; gives the exit code."""
        from goturn.evaluation.running import read_runs

        scored, outcomes = [], []
        for each in self._sets:
            store = self._store(each)
            wanted = self._runs_wanted()
            there = sorted({name for one in wanted for name in store.trackers(one.name)})
            names = list(dict.fromkeys(self._args.trackers or there))
            of = " and ".join(one.name for one in wanted)
            if not there:
                raise UsageError(
                    f"{store.folder} has no results of {of}; run without --score-only first"
                )
            missing = [name for name in names if name not in there]
            if missing:
                raise UsageError(
                    f"{store.folder} has no results of {of} of a tracker {missing[0]!r}; it has those of "
                    f"{', '.join(there)}; --tracker takes these names, or run without --score-only first"
                )
            outcome = read_runs(store, each.videos, names, wanted)
            # That only a part was run is no failure of a tracker's.
            lacking = dict.fromkeys(failure.video for failure in outcome.failures)
            if len(lacking) == len(each.videos):
                raise UsageError(
                    f"{store.folder} has no video with results of {of} of all of {', '.join(names)}; "
                    "name fewer trackers with --tracker, or run without --score-only first"
                )
            videos = [video for video in each.videos if video.name not in lacking]
            if lacking:
                self._warn(
                    f"{each.name}: {len(lacking)} of {len(each.videos)} videos have no results of all "
                    "trackers and are left out"
                )
            outcome.failures.clear()
            scored.append((replace(each, videos=videos), names))
            outcomes.append(outcome)
        return self._score(scored, outcomes)

    def _store(self, each: Subject) -> Store:
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
        self, scored: Sequence[tuple[Subject, Sequence[str]]], outcomes: Sequence[Outcome]
    ) -> int:
        from goturn.data import FrameReader
        from goturn.data.reading import count
        from goturn.evaluation.report import table, write_reports
        from goturn.evaluation.scoring import evaluations, never_tracked

        reader, failures = FrameReader(), [each for one in outcomes for each in one.failures]
        for (subject, names), outcome in zip(scored, outcomes, strict=True):
            made = evaluations(
                subject, names, outcome.runs, self._experiments, overlap=self._args.overlap
            )
            if not made:
                continue
            output = self._args.output
            written = write_reports(
                output if len(scored) == 1 else output / subject.name,
                made,
                read=reader.read,
                progress=Loading(self._args.quiet),
                say=self._warn,
                base=subject.videos[0].base,
            )
            for evaluation in made:
                _print(table(evaluation))
            print(f"wrote {written[0]} and {count(len(written) - 1, 'more file')}", file=sys.stderr)
        useless = [name for each in outcomes for name in never_tracked(each.runs)]
        for name in dict.fromkeys(useless):
            print(f"goturn: failed: {name} gave no box in any frame", file=sys.stderr)
        if not failures:
            return ERROR if useless else DONE
        for failure in failures[:LISTED]:
            print(f"goturn: failed: {failure}", file=sys.stderr)
        more = len(failures) - LISTED
        if more > 0:
            print(f"goturn: failed: and {more} more", file=sys.stderr)
        print(
            f"goturn: error: {count(len(failures), 'run')} of a tracker on a video failed; such videos "
            "are left out for all trackers; what was done is kept, and the same command tries again",
            file=sys.stderr,
        )
        return ERROR

    def _tell_stopped(self, outcomes: Sequence[Outcome], signal: int) -> int:
        from goturn.data.reading import count

        made, kept = sum(each.made for each in outcomes), sum(each.kept for each in outcomes)
        runs = count(made + kept, "run")
        verb = "is" if made + kept == 1 else "are"
        print(
            f"stopped: {runs} {verb} kept in {self._args.output / 'runs'}; the same command goes on "
            "from there",
            file=sys.stderr,
        )
        return SIGNAL_BASE + signal

    def _warn(self, sentence: str) -> None:
        if sentence not in self._said:
            self._say(f"goturn: warning: {sentence}")
        self._said.add(sentence)

    def _say(self, line: str) -> None:
        if not self._args.quiet:
            print(line, file=sys.stderr)


def _print(text: str) -> None:
    """To standard output, with ? for what it cannot show: the reports are still to be written."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), end="\n\n")
