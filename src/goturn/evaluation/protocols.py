"""The protocols by name: what each needs to be run, and how it scores.

========  ======================  ===================  ===========
name      experiments             overlap              repetitions
========  ======================  ===================  ===========
otb       one-pass                exact                1
got10k    one-pass                bounded              3, of a deterministic tracker 1
vot2014   baseline, region_noise  raster, in bounds    15, of a deterministic tracker 3
========  ======================  ===================  ===========

Any other definition of overlap can be asked for, and is named in the notes.  Nobody knows that a tracker
is deterministic but who made it; VOT takes one for it whose first three repetitions agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from goturn.data.model import Video
from goturn.evaluation import got10k, otb, ranking, vot2014
from goturn.evaluation.overlap import MODES
from goturn.evaluation.results import Evaluation, TrackerResult, Trajectory

#: Of one tracker: repetitions by video's name.
Trajectories = Mapping[str, Sequence[Trajectory]]


@dataclass(frozen=True)
class EvaluationProtocol:
    """One protocol."""

    name: str
    experiments: tuple[str, ...]
    """Kinds of runs it scores, each by itself; the first is always made, others when asked for."""
    overlap: str
    """The definition of overlap that the field's tools use for it."""
    repetitions: int
    repetitions_deterministic: int
    """How many are enough of a tracker that gives the same boxes every time."""
    scorer: Callable[[str, Sequence[Video], Trajectories, str], TrackerResult]
    left_out: Callable[[Video], str | None]
    """Why a video cannot be scored, a clause; None if it can."""
    better_low: frozenset[str] = field(default=frozenset())
    ranked: bool = False
    """Whether trackers are ranked by tests of significance."""

    def score(
        self,
        name: str,
        videos: Sequence[Video],
        trajectories: Trajectories,
        overlap: str | None = None,
    ) -> TrackerResult:
        """One tracker on the videos that can be scored.

        Args:
            name: of the tracker.
            videos: of the data set; the order changes nothing but that of the result.
            trajectories: by video's name.
            overlap: one of :data:`goturn.evaluation.overlap.MODES`; None for the protocol's own.

        Raises:
            ValueError: no video can be scored, a trajectory is missing or of another length, or the
                definition of overlap is unknown.
        """
        kept, notes = self._kept(videos)
        if not kept:
            raise ValueError(" ".join(["there is no video to score:", *notes]))
        return self.scorer(name, kept, trajectories, self._overlap(overlap))

    def evaluate(
        self,
        experiment: str,
        dataset: str,
        videos: Sequence[Video],
        trajectories: Mapping[str, Trajectories],
        overlap: str | None = None,
    ) -> Evaluation:
        """All trackers on the videos that can be scored; notes say which cannot.

        Args:
            experiment: one of the protocol's.
            dataset: its name, for people.
            videos: of the data set.
            trajectories: by tracker's name, in the order of the result, then by video's name.
            overlap: as in :meth:`score`.

        Raises:
            ValueError: as :meth:`score`, no tracker, or an experiment of another protocol.
        """
        if experiment not in self.experiments:
            raise ValueError(
                f"{self.name} has no experiment {experiment!r}; it has {', '.join(self.experiments)}"
            )
        if not trajectories:
            raise ValueError("there is no tracker to evaluate; give at least one")
        mode = self._overlap(overlap)
        kept, notes = self._kept(videos)
        trackers = tuple(
            self.score(name, videos, found, mode) for name, found in trajectories.items()
        )
        if mode != self.overlap:
            notes.append(f"Overlap is {mode}; {self.name} is defined with {self.overlap} overlap.")
        if len(kept) == 1:
            notes.append("There is one video: intervals have no width and say nothing of others.")
        for name, found in trajectories.items():
            notes += self._repeated(name, [found[video.name] for video in kept])
        if self.ranked and len(trackers) > 1:
            scores = {
                name: vot2014.score_videos(kept, found, mode)
                for name, found in trajectories.items()
            }
            trackers = ranking.with_ranks(trackers, ranking.rank(scores))
            notes.append("Ranks hold among these trackers alone, and have no intervals.")
        return Evaluation(
            self.name,
            experiment,
            mode,
            dataset,
            tuple(kept),
            trackers,
            self.better_low,
            tuple(notes),
        )

    def _overlap(self, overlap: str | None) -> str:
        if overlap is not None and overlap not in MODES:
            raise ValueError(
                f"unknown definition of overlap {overlap!r}; there are {', '.join(MODES)}"
            )
        return overlap or self.overlap

    def _kept(self, videos: Sequence[Video]) -> tuple[list[Video], list[str]]:
        """The videos that can be scored, and a sentence on each other."""
        reasons = [(video, self.left_out(video)) for video in videos]
        return (
            [video for video, reason in reasons if reason is None],
            [f"{video.name} is left out: {reason}." for video, reason in reasons if reason],
        )

    def _repeated(self, name: str, runs: Sequence[Sequence[Trajectory]]) -> list[str]:
        """A sentence where there were fewer repetitions than the protocol asks for."""
        fewest = min(len(repetitions) for repetitions in runs)
        if fewest >= self.repetitions or all(
            len(repetitions) >= self.repetitions_deterministic and alike(repetitions)
            for repetitions in runs
        ):
            return []
        enough = self.repetitions_deterministic
        return [
            f"{name} was run {count(fewest, 'time')} on a video; {self.name} asks for "
            f"{self.repetitions}, or {enough} of a tracker that gives the same boxes every time."
        ]


def alike(repetitions: Sequence[Trajectory]) -> bool:
    """Whether all have the same boxes and codes: VOT's sign of a deterministic tracker."""
    first = repetitions[0]
    return all(
        np.array_equal(one.boxes, first.boxes, equal_nan=True)
        and np.array_equal(one.codes, first.codes)
        for one in repetitions[1:]
    )


def count(number: int, noun: str) -> str:
    """With the noun in the plural where it must be: "1 time", "2 times"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _without_label(video: Video) -> str | None:
    return None if video.boxes else "it has no labelled frame"


def _without_scored(video: Video) -> str | None:
    if video.boxes and not got10k.scored_frames(video).any():
        return "no frame after its first labelled one is scored"
    return _without_label(video)


#: By name.
PROTOCOLS: Mapping[str, EvaluationProtocol] = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol("otb", ("one-pass",), "exact", 1, 1, otb.score, _without_label),
        EvaluationProtocol("got10k", ("one-pass",), "bounded", 3, 1, got10k.score, _without_scored),
        EvaluationProtocol(
            "vot2014",
            ("baseline", "region_noise"),
            "raster",
            15,
            3,
            vot2014.score,
            _without_label,
            vot2014.BETTER_LOW,
            ranked=True,
        ),
    )
}
