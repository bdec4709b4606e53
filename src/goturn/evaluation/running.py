"""Trackers run on a data set's videos, or what they did read where it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from goturn.data.model import Video
from goturn.evaluation.experiments import Experiment
from goturn.evaluation.pool import Pool
from goturn.evaluation.session import Run
from goturn.evaluation.store import RunKey, Store
from goturn.evaluation.trackers import TrackerSpec
from goturn.evaluation.worker import Answer, Build, Built, Failed, Question, Step, Track, Tracked

#: Runs by experiment, tracker and video; one for each repetition.
Runs = Mapping[tuple[str, str, str], Sequence[Run]]


class Progress(Protocol):
    """Counts frames: a tqdm is one."""

    total: float | None

    def update(self, n: float = 1) -> object:
        """So many more are done."""


@dataclass(frozen=True)
class Failure:
    """A video that a tracker could not be run on."""

    tracker: str
    video: str
    reason: str

    def __str__(self) -> str:
        return f"{self.tracker} on {self.video}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """What there is, and what not."""

    runs: dict[tuple[str, str, str], list[Run]] = field(default_factory=dict)
    """By experiment, tracker and video; only where all repetitions are there."""
    failures: list[Failure] = field(default_factory=list)
    kept: int = 0
    """How many runs were not repeated."""
    made: int = 0
    """How many were."""
    complete: bool = True
    """False where it was stopped."""


def check_trackers(
    pool: Pool, specs: Sequence[TrackerSpec], *, stop: Callable[[], bool] = lambda: False
) -> dict[str, dict[str, object]] | None:
    """Builds each tracker once.

    Returns:
        By name, what decides its boxes; None where it was stopped.

    Raises:
        ValueError: one cannot be built.
    """
    works = [_Check(spec) for spec in specs]
    if not pool.do(works, stop=stop):
        return None
    for work in works:
        if work.problem:
            raise ValueError(work.problem)
    return {work.spec.name: work.fingerprint for work in works}


def run_trackers(
    pool: Pool,
    store: Store,
    videos: Sequence[Video],
    specs: Sequence[TrackerSpec],
    *,
    fingerprints: Mapping[str, Mapping[str, object]],
    experiments: Sequence[Experiment],
    progress: Progress,
    rerun: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Runs each tracker on each video, as often as the experiments ask, but for what is kept already.

    Args:
        pool: runs them.
        store: has what was done before, and takes what is done now, as soon as it is.
        videos: each with a labelled frame.
        specs: the trackers.
        fingerprints: of each, by name: :func:`check_trackers`.
        experiments: how they are run.
        progress: counts frames.
        rerun: make anew what is kept, too.
        stop: asked all the time.

    Raises:
        OSError: a result cannot be written.
    """
    works = [
        _VideoWork(
            spec,
            video,
            fingerprint=fingerprints[spec.name],
            experiments=experiments,
            store=store,
            progress=progress,
            rerun=rerun,
        )
        for spec in specs
        for video in videos
    ]
    kept = sum(len(runs) for work in works for runs in work.runs.values())
    progress.total = sum(work.frames_left() for work in works)
    complete = pool.do(works, stop=stop)
    outcome = Outcome(kept=kept, made=sum(work.made for work in works), complete=complete)
    for work in works:
        if work.failure is not None:
            outcome.failures.append(work.failure)
        for experiment in experiments:
            if experiment.complete(work.runs[experiment.name], work.spec.deterministic):
                key = (experiment.name, work.spec.name, work.video.name)
                outcome.runs[key] = work.runs[experiment.name]
    return outcome


def read_runs(
    store: Store,
    videos: Sequence[Video],
    trackers: Sequence[str],
    experiments: Sequence[Experiment],
) -> Outcome:
    """What there is of runs of the trackers of these names, whatever they were then.

    Raises:
        ValueError: some runs of a tracker are of other weights, options or versions than others.
    """
    outcome = Outcome()
    for tracker in trackers:
        makers: list[Mapping[str, object]] = []
        for video in videos:
            for experiment in experiments:
                runs: list[Run] = []
                for repetition in range(experiment.repetitions):
                    key = RunKey(experiment.name, tracker, video.name, repetition)
                    kept_run = store.read(key, video, None)
                    if kept_run is None:
                        break
                    runs.append(kept_run[0])
                    if kept_run[1] not in makers:
                        makers.append(kept_run[1])
                if runs:
                    outcome.runs[experiment.name, tracker, video.name] = runs
                else:
                    reason = f"no result of {experiment.name} is kept that fits the video"
                    outcome.failures.append(Failure(tracker, video.name, reason))
        if len(makers) > 1:
            differ = sorted({k for one in makers for k in one if one[k] != makers[0].get(k)})
            raise ValueError(
                f"the results of {tracker} in {store.folder} do not belong together: they differ in "
                f"{', '.join(differ) or 'what they are of'}; run the tracker again, without --score-only"
            )
    kept = sum(map(len, outcome.runs.values()))
    return Outcome(outcome.runs, outcome.failures, kept)


class _Check:
    """A tracker built once."""

    def __init__(self, spec: TrackerSpec) -> None:
        self.spec = spec
        self.fingerprint: dict[str, object] = {}
        self.problem = ""
        self._asked = False

    def question(self) -> Question | None:
        if self._asked:
            return None
        self._asked = True
        return Build(self.spec)

    def take(self, answer: Answer) -> None:
        if isinstance(answer, Built):
            self.fingerprint = answer.fingerprint
        elif isinstance(answer, Failed):
            self.problem = answer.reason
            if self.spec.name not in self.problem and self.spec.text not in self.problem:
                self.problem = f"tracker {self.spec.text!r}: {answer.reason}"


class _VideoWork:
    """A tracker on a video, in all experiments, as often as they ask: frames are decoded once then."""

    def __init__(
        self,
        spec: TrackerSpec,
        video: Video,
        *,
        fingerprint: Mapping[str, object],
        experiments: Sequence[Experiment],
        store: Store,
        progress: Progress,
        rerun: bool,
    ) -> None:
        self.spec, self.video = spec, video
        self.runs: dict[str, list[Run]] = {each.name: [] for each in experiments}
        self.failure: Failure | None = None
        self.made = 0
        self._fingerprint, self._experiments = fingerprint, experiments
        self._store, self._progress = store, progress
        self._stepped, self._rerun = 0, rerun
        for experiment in experiments:
            self._read(experiment)

    def frames_left(self) -> int:
        """How many frames will be tracked, as a rule."""
        return sum(
            max(0, each.expected(self.spec.deterministic) - len(self.runs[each.name]))
            for each in self._experiments
            if not self._complete(each)
        ) * len(self.video.frames)

    def question(self) -> Question | None:
        if self.failure is not None:
            return None
        for experiment in self._experiments:
            if not self._complete(experiment):
                done = len(self.runs[experiment.name])
                if self._progress.total is not None:
                    more = done >= experiment.expected(self.spec.deterministic)
                    self._progress.total += len(self.video.frames) if more else 0
                return Track(self.spec, self.video, experiment, done)
        return None

    def take(self, answer: Answer) -> None:
        if isinstance(answer, Step):
            self._stepped += answer.frames
            self._progress.update(answer.frames)
        elif isinstance(answer, Failed):
            self._fail(answer.reason)
        elif isinstance(answer, Tracked) and self._is_another(answer.fingerprint):
            self._fail(
                "its weights, or its code, are not those that it had when the evaluation began"
            )
        elif isinstance(answer, Tracked):
            experiment = next(each for each in self._experiments if not self._complete(each))
            runs = self.runs[experiment.name]
            key = RunKey(experiment.name, self.spec.name, self.video.name, len(runs))
            self._store.save(key, self.video, self._fingerprint, answer.run)
            runs.append(answer.run)
            self.made += 1
            self._settle(len(self.video.frames))
            self._read(experiment)

    def _is_another(self, fingerprint: Mapping[str, object]) -> bool:
        """Whether a run is not of the tracker that it was asked of."""
        before, now = dict(self._fingerprint), dict(fingerprint)
        if self.spec.kind == "module":  # which may write to files that its options name: a log
            before.pop("files", None)
            now.pop("files", None)
        return before != now

    def _fail(self, reason: str) -> None:
        self.failure = Failure(self.spec.name, self.video.name, reason)
        self._settle(self.frames_left())

    def _settle(self, frames: int) -> None:
        """The bar is at what was to be done, though skipped frames were not counted one by one."""
        self._progress.update(max(0, frames - self._stepped))
        self._stepped = 0

    def _read(self, experiment: Experiment) -> None:
        """Takes those next repetitions that are kept."""
        if self._rerun:
            return
        runs = self.runs[experiment.name]
        while not self._complete(experiment):
            key = RunKey(experiment.name, self.spec.name, self.video.name, len(runs))
            run = self._store.load(key, self.video, self._fingerprint)
            if run is None:
                break
            runs.append(run)

    def _complete(self, experiment: Experiment) -> bool:
        return experiment.complete(self.runs[experiment.name], self.spec.deterministic)
