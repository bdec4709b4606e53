"""Which runs there are, and one of them done: what a worker process is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from goturn.data.model import Video
from goturn.evaluation.one_pass import one_pass
from goturn.evaluation.reset import failure_overlap, noisy_start, true_start, with_resets
from goturn.evaluation.session import Read, Run, Session
from goturn.evaluation.trackers import AnyTracker

#: One pass without a restart; with restarts from the truth; with restarts from boxes a little off.
ONE_PASS, BASELINE, REGION_NOISE = "one-pass", "baseline", "region_noise"
EXPERIMENTS = (ONE_PASS, BASELINE, REGION_NOISE)

#: A tracker that does the same in so many runs is taken to be deterministic, and not run again (VOT).
EQUAL_RUNS = 3


@dataclass(frozen=True)
class Experiment:
    """How trackers are run."""

    name: str
    """One of ``EXPERIMENTS``."""
    repetitions: int
    """At most so many runs of each video."""
    deterministic: int = 1
    """So many are enough of a tracker that is known to do the same each time."""
    overlap: str = "exact"
    """What decides a failure, where there are restarts: see :mod:`goturn.evaluation.overlap`."""

    @property
    def settings(self) -> dict[str, object]:
        """What decides a run's boxes, besides the tracker and the video."""
        return {} if self.name == ONE_PASS else {"overlap": self.overlap}

    def complete(self, runs: Sequence[Run], deterministic: bool) -> bool:
        """Whether there are as many runs of a video as are wanted.

        A tracker that is not known to be deterministic is taken for it once its first three runs are
        equal.  Where each repetition starts elsewhere, all are run.
        """
        if len(runs) >= self.repetitions:
            return True
        if self.name == REGION_NOISE:
            return False
        if deterministic:
            return len(runs) >= self.deterministic
        first = runs[:EQUAL_RUNS]
        return len(first) == EQUAL_RUNS and all(_equal(first[0], run) for run in first[1:])

    def expected(self, deterministic: bool) -> int:
        """How many runs there will be, as a rule."""
        if self.name == REGION_NOISE:
            return self.repetitions
        return min(self.repetitions, self.deterministic if deterministic else EQUAL_RUNS)


def run_experiment(
    tracker: AnyTracker,
    video: Video,
    experiment: Experiment,
    repetition: int,
    read: Read,
    *,
    fatal: tuple[type[Exception], ...] = (MemoryError,),
    step: Callable[[], object] = lambda: None,
) -> Run:
    """Runs a tracker on a video, once.

    Args:
        tracker: is started.
        video: with a labelled frame.
        experiment: how.
        repetition: from 0.
        read: decodes a frame.
        fatal: what of a tracker's errors is raised: the machine's.
        step: called after each frame.

    Raises:
        ValueError: a frame that cannot be decoded, or no label.
        MemoryError: the tracker has run out of memory; or what else is ``fatal``.
    """
    session = Session(tracker, video, read, fatal=fatal, step=step)
    if experiment.name == ONE_PASS:
        one_pass(session, video)
    else:
        start = noisy_start(repetition) if experiment.name == REGION_NOISE else true_start
        with_resets(session, video, failure_overlap(experiment.overlap), start)
    return session.run()


def _equal(one: Run, other: Run) -> bool:
    a, b = one.trajectory, other.trajectory
    return np.array_equal(a.codes, b.codes) and np.array_equal(a.boxes, b.boxes, equal_nan=True)
