"""From runs to evaluations: which videos count, which repetitions, and what a reader must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from goturn.data.model import Dataset, Video
from goturn.evaluation.experiments import BASELINE, ONE_PASS, REGION_NOISE, Experiment
from goturn.evaluation.protocols import PROTOCOLS
from goturn.evaluation.results import FAILED, SKIPPED, Evaluation
from goturn.evaluation.running import Runs
from goturn.evaluation.session import Run

#: By which protocol kept runs of an experiment are scored where none is asked for.
USUAL_PROTOCOLS = {ONE_PASS: "otb", BASELINE: "vot2014", REGION_NOISE: "vot2014"}

#: How many bad parts of a data set are listed.
LISTED = 10


@dataclass(frozen=True)
class Subject:
    """A data set to be evaluated on."""

    name: str
    """Fit for a folder, and unlike others'."""
    dataset: Dataset
    videos: Sequence[Video]
    """Those of its videos that were chosen."""


def evaluations(
    subject: Subject,
    trackers: Sequence[str],
    runs: Runs,
    asked: Mapping[str, Sequence[Experiment]],
    *,
    overlap: str | None,
) -> list[Evaluation]:
    """One for each protocol and experiment, of the videos that all trackers were run on.

    Args:
        subject: what was tracked.
        trackers: their names, in the order of the result.
        runs: what they did.
        asked: the experiments by protocol.
        overlap: the definition; None for the protocol's.

    Returns:
        None for an experiment of which there is no video that all trackers have.

    Raises:
        ValueError: runs that cannot be scored.
    """
    made = []
    for protocol, experiments in asked.items():
        for experiment in experiments:
            of = {key[1:]: each for key, each in runs.items() if key[0] == experiment.name}
            videos = [v for v in subject.videos if all((t, v.name) in of for t in trackers)]
            if not videos:
                continue
            notes = data_notes(subject) + tracker_notes(of)
            if experiment.name == REGION_NOISE:
                notes.append(
                    "Starting boxes were scaled and shifted; VOT turns them too, which upright boxes "
                    "cannot be."
                )
            gone = [video.name for video in subject.videos if video not in videos]
            if gone:
                notes.append(f"Left out, for not every tracker did them: {', '.join(gone)}.")
            trajectories = {
                tracker: {
                    video.name: [
                        run.trajectory for run in of[tracker, video.name][: experiment.repetitions]
                    ]
                    for video in videos
                }
                for tracker in trackers
            }
            evaluation = PROTOCOLS[protocol].evaluate(
                experiment.name, subject.name, videos, trajectories, overlap=overlap
            )
            made.append(replace(evaluation, notes=(*evaluation.notes, *notes)))
    return made


def never_tracked(runs: Runs) -> list[str]:
    """Trackers that gave no box in any frame of any run, in the order of the runs."""
    names = dict.fromkeys(tracker for _, tracker, _ in runs)
    for (_, tracker, _), each in runs.items():
        for run in each:
            trajectory = run.trajectory
            given = trajectory.boxes[trajectory.codes >= FAILED]
            if len(trajectory.codes) == 1 or not np.isnan(given).all():
                names.pop(tracker, None)
    return list(names)


def data_notes(subject: Subject) -> list[str]:
    """What of a data set is not in its scores: sentences."""
    dataset = subject.dataset
    notes = list(dataset.notes)
    if dataset.problems:
        listed = "; ".join(map(str, dataset.problems[:LISTED]))
        more = len(dataset.problems) - LISTED
        notes.append(
            f"Left out of the data, for being bad: {listed}{f'; and {more} more' if more > 0 else ''}."
        )
    if len(subject.videos) < len(dataset.videos):
        notes.append(f"{len(subject.videos)} of {len(dataset.videos)} videos were chosen.")
    return notes


def tracker_notes(runs: Mapping[tuple[str, str], Sequence[Run]]) -> list[str]:
    """What trackers raised, or gave instead of boxes, and whether their times can be compared.

    Args:
        runs: by tracker and video, of one experiment.
    """
    notes = []
    for tracker in dict.fromkeys(name for name, _ in runs):
        mine = [(key[1], run) for key, each in runs.items() if key[0] == tracker for run in each]
        bad = [(video, run) for video, run in mine if run.problem_count]
        if bad:
            frames = sum(run.problem_count for _, run in bad)
            tracked = sum(int((run.trajectory.codes != SKIPPED).sum()) for _, run in mine)
            of_runs = f" of {len(mine)} runs" if len(mine) > 1 else ""
            notes.append(
                f"{tracker} failed in {frames:,} of the {tracked:,} frames{of_runs}, which count as "
                f"frames without a box; the first: {bad[0][0]}, {bad[0][1].problems[0]}."
            )
    if any(run.jobs > 1 for each in runs.values() for run in each):
        notes.append(
            "Frames per second were measured with several processes side by side, and cannot be "
            "compared with others'."
        )
    return notes
