"""What scores mean, in a sentence each, for readers of a report."""

from __future__ import annotations

from goturn.evaluation.report.looks import score_names
from goturn.evaluation.results import Evaluation

_MEANINGS = {
    "AUC": "mean of the success curve: parts of the frames whose overlap is above 0, 0.05 ... 1. A "
    "perfect tracker has 0.952, since no overlap is above 1.",
    "P@20": "part of the frames in which the centre is at most 20 pixels from the true one.",
    "norm. P AUC": "mean of the normalised precision curve, distances in sizes of the true box from 0 "
    "to 0.5.",
    "norm. P@0.2": "part of the frames in which the centre is at most 0.2 sizes of the true box away.",
    "mean IoU": "mean overlap of all labelled frames, the first too.",
    "AO": "average overlap over the frames of all videos together, the first of each left out.",
    "SR@0.5": "part of the frames whose overlap is above 0.5.",
    "SR@0.75": "part of the frames whose overlap is above 0.75.",
    "overall error": "1 - (A + R) / 2 of accuracy A and robustness R: the paper's.",
    "accuracy": "A: mean overlap while the object is tracked, without the first ten frames from each "
    "start.",
    "accuracy error": "1 - A.",
    "failures": "how often the object was lost, in all videos together; the tracker is then started "
    "again.",
    "robustness": "R: exp(-30 failures / frames), 1 if the object was never lost.",
    "robustness error": "1 - R.",
    "mean overlap": "mean overlap of the valid frames of all videos together.",
    "mean failures": "failures in a video, mean over videos weighted by their lengths.",
    "A-R plot robustness": "R of the VOT toolkit's plot, from the mean failures and the mean length.",
    "accuracy over attributes": "mean accuracy of the attributes, weighted by their frames.",
    "failures over attributes": "mean failures of the attributes, weighted by their frames.",
    "accuracy rank": "mean rank over attributes among the trackers of this report alone; those that do "
    "not differ significantly share it.",
    "robustness rank": "likewise, by failures.",
    "rank": "mean of accuracy rank and robustness rank.",
}


def meanings(evaluation: Evaluation) -> dict[str, str]:
    """The scores of an evaluation that have an explanation, by name."""
    return {name: _MEANINGS[name] for name in score_names(evaluation) if name in _MEANINGS}
